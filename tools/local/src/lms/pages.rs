//! Lists in pages, as the LMS's list APIs have them all.

use std::collections::HashMap;

use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use super::error::LmsResponseError;

/// The fields of a query, each once.
pub(super) type Fields = HashMap<String, String>;

/// How many items a list has on a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Where `page_size` says nothing.
    pub(super) default: usize,
    /// Whatever it says.
    pub(super) most: usize,
}

/// Where in a list the caller is, and how many items it wants at once.
pub(super) struct Place {
    after: String,
    size: usize,
}

/// Some items of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The place of the page that follows, if one does.
    pub(super) next: Option<Place>,
}

impl Place {
    /// What `cursor` and `page_size` ask for. A size that is none is the
    /// default one. A cursor that cannot be decoded is refused, and one that says
    /// nothing leads to the first page.
    pub(super) fn asked(fields: &Fields, sizes: Sizes) -> Result<Self, LmsResponseError> {
        let size = fields.get("page_size").and_then(|size| size.parse().ok());
        let size = size.filter(|size| *size > 0).unwrap_or(sizes.default);
        let after = match fields.get("cursor") {
            None => String::new(),
            Some(cursor) => read(cursor).ok_or_else(|| {
                LmsResponseError::new(StatusCode::NOT_FOUND, None, "Invalid cursor")
            })?,
        };
        Ok(Self {
            after,
            size: size.min(sizes.most),
        })
    }

    /// The list's first page.
    pub(super) fn first(&self) -> Self {
        Self {
            after: String::new(),
            size: self.size,
        }
    }

    /// The page at this place of a list. `rows` gives the first so many of those
    /// whose key comes after a key, in the order of the keys, each with its own.
    pub(super) fn page<T>(&self, rows: impl FnOnce(&str, usize) -> Vec<(String, T)>) -> Page<T> {
        // One more than the page has tells whether there is another page.
        let mut rows = rows(&self.after, self.size.saturating_add(1));
        let suspended = rows.len() > self.size;
        rows.truncate(self.size);
        let last = rows.last().filter(|_| suspended);
        let next = last.map(|(key, _)| Self {
            after: key.clone(),
            size: self.size,
        });
        let items = rows.into_iter().map(|(_, item)| item);
        Page {
            items: items.collect(),
            next,
        }
    }

    /// The query that leads here from that of another page of the list.
    pub(super) fn query(&self, uri: &Uri) -> String {
        let cursor = URL_SAFE.encode(format!("p={}", self.after));
        // Of that alphabet a query has to escape the padding alone.
        let cursor = cursor.replace('=', "%3D");
        let place = format!("cursor={cursor}&page_size={}", self.size);
        let is_place = |field: &&str| {
            ["cursor=", "page_size="]
                .iter()
                .any(|p| field.starts_with(p))
        };
        let others = uri.query().unwrap_or_default().split('&');
        let others = others.filter(|field| !field.is_empty() && !is_place(field));
        others.chain([place.as_str()]).collect::<Vec<_>>().join("&")
    }
}

fn read(cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE.decode(cursor).ok()?).ok()?;
    Some(text.strip_prefix("p=").unwrap_or_default().to_owned())
}
