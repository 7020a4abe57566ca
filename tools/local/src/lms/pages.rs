//! Lists in pages, as in all of the LMS's list APIs.

use std::collections::HashMap;

use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use super::error::LmsResponseError;

/// The fields of a query, each once.
pub(super) type Fields = HashMap<String, String>;

/// The numbers of items in a page of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// The number if `page_size` is absent.
    pub(super) default: usize,
    /// The largest number, whatever `page_size` is.
    pub(super) most: usize,
}

/// The caller's place in a list, and the number of items of a page.
pub(super) struct Place {
    after: String,
    size: usize,
}

/// Some items of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The place of the next page, or `None` on the last one.
    pub(super) next: Option<Place>,
}

impl Place {
    /// Parses `cursor` and `page_size`. An invalid size is replaced by the default. A cursor that
    /// cannot be decoded is an error, and one without content leads to the first page.
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

    /// Returns the place of the list's first page.
    pub(super) fn first(&self) -> Self {
        Self {
            after: String::new(),
            size: self.size,
        }
    }

    /// Returns the page at this place of a list. `rows` returns the first rows, as many as it is
    /// asked for, whose key comes after a given key, in the order of the keys, each with its own
    /// key.
    pub(super) fn page<T>(&self, rows: impl FnOnce(&str, usize) -> Vec<(String, T)>) -> Page<T> {
        // One row more than the page holds shows whether there is another page.
        let mut rows = rows(&self.after, self.size.saturating_add(1));
        let has_more = rows.len() > self.size;
        rows.truncate(self.size);
        let last = rows.last().filter(|_| has_more);
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

    /// Returns the query for this place, given that of another page of the list.
    pub(super) fn query(&self, uri: &Uri) -> String {
        let cursor = URL_SAFE.encode(format!("p={}", self.after));
        // The padding is the only character of that alphabet that a query must escape.
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
