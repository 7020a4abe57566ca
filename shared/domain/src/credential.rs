//! Credential that Coursehook presents to the LMS.

use secrecy::{ExposeSecret, SecretString};

/// The credential for the LMS's API. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An OAuth2 client, which obtains access tokens of limited lifetime.
    Client {
        /// The client's id, which is not secret.
        id: String,
        /// The client's secret.
        secret: SecretString,
    },
    /// A service token that a site issues once and that does not expire.
    Static {
        /// The token.
        token: SecretString,
    },
}

/// Compares our own credentials with each other, never with a value that a caller sent, so
/// the duration of the comparison reveals nothing.
impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        match (self, other) {
            (
                Self::Client { id, secret },
                Self::Client {
                    id: other_id,
                    secret: other_secret,
                },
            ) => id == other_id && same(secret, other_secret),
            (Self::Static { token }, Self::Static { token: other }) => same(token, other),
            _ => false,
        }
    }
}

impl Eq for Credential {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let credentials = [
            Credential::Client {
                id: "id".to_owned(),
                secret: "hidden".into(),
            },
            Credential::Static {
                token: "hidden".into(),
            },
        ];
        assert!(!format!("{credentials:?}").contains("hidden"));
        assert_ne!(credentials[0], credentials[1]);
    }
}
