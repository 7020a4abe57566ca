//! The base URL of the LMS.

use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

/// The LMS's base URL, for example `https://lms.example.org`. All paths of the LMS are
/// under it. It may have a path of its own, and a slash at its end is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Error: a text is not a base URL. It does not repeat the text, which may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BaseUrlError {
    /// The text is not a URL with a host.
    #[error("is not a URL such as https://lms.example.org")]
    NotAUrl,
    /// The URL has a scheme other than http and https.
    #[error("begins with neither http:// nor https://")]
    Scheme,
    /// The URL has a user name or a password. Requests have a credential of their own.
    #[error("has a user name or a password")]
    User,
    /// The URL has a query or a fragment, so that no path can be appended.
    #[error("has a query or a fragment")]
    Query,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let url =
            Url::parse(text.trim().trim_end_matches('/')).map_err(|_| BaseUrlError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            Err(BaseUrlError::Scheme)
        } else if !url.username().is_empty() || url.password().is_some() {
            Err(BaseUrlError::User)
        } else if url.query().is_some() || url.fragment().is_some() {
            Err(BaseUrlError::Query)
        } else {
            Ok(Self(url))
        }
    }
}

impl BaseUrl {
    /// Returns the URL of a path under this one. Each part is encoded so that it stays
    /// one part of the path, whatever it holds. `+` and `:` are not encoded.
    pub(crate) fn with<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        // Every http URL has a path.
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_http_without_user_query_or_fragment() {
        for (text, url) in [
            (
                "https://lms.example.org",
                "https://lms.example.org/a/%C3%A9+:%2F/",
            ),
            (
                "https://lms.example.org/",
                "https://lms.example.org/a/%C3%A9+:%2F/",
            ),
            (
                " http://LMS:8000/x/y// ",
                "http://lms:8000/x/y/a/%C3%A9+:%2F/",
            ),
        ] {
            let base: BaseUrl = text.parse().unwrap();
            assert_eq!(base.with(["a", "é+:/", ""]).as_str(), url, "{text}");
        }
        for (text, error) in [
            ("", BaseUrlError::NotAUrl),
            ("lms.example.org", BaseUrlError::NotAUrl),
            ("https://", BaseUrlError::NotAUrl),
            ("lms.example.org:443", BaseUrlError::Scheme),
            ("ftp://lms.example.org", BaseUrlError::Scheme),
            ("https://user:password@lms.example.org", BaseUrlError::User),
            ("https://lms.example.org?a=b", BaseUrlError::Query),
            ("https://lms.example.org/#a", BaseUrlError::Query),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(error), "{text}");
        }
    }
}
