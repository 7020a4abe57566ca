//! Where one is in a list of the LMS's that comes in pages.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where in a list a page begins: the LMS's own word, of 1 to 1000 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("does not have between 1 and {} bytes", Cursor::MAX_BYTES)]
pub struct CursorError;

super::text::text!(Cursor, CursorError);

impl Cursor {
    const MAX_BYTES: usize = 1000;
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let is_sound = (1..=Self::MAX_BYTES).contains(&text.len());
        is_sound.then(|| Self(text.to_owned())).ok_or(CursorError)
    }
}

/// The next page of a list, and what tells whether the pages lead anywhere.
///
/// Its size does not grow with the list: pages that lead in a circle are noticed
/// by Brent's algorithm (BIT 20, 1980), which remembers one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// Of the next page; absent for the first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cursor: Option<Cursor>,
    /// How many pages there were before.
    pages: u32,
    /// The last one of which the number was a power of two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    remembered: Option<Cursor>,
}

/// Why the pages of a list cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PaginationError {
    /// A page is announced that was announced before.
    #[error("a page that came before")]
    Circle,
    /// There are more pages than any course run could fill.
    #[error("pages without end")]
    TooManyPages,
}

impl PageCursor {
    /// The most pages that a list can have: of a hundred rows, a million of them.
    pub const MAX_PAGES: u32 = 10_000;

    /// Where the next page begins; `None` for the first.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// How many pages there were before the next one.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The cursor after the next page, which announces `next`; `None` where it is the last.
    ///
    /// # Errors
    /// The pages cannot be followed. A circle is noticed at the latest when it was
    /// gone through about three times.
    pub fn follow(&self, next: Option<Cursor>) -> Result<Option<Self>, PaginationError> {
        let Some(next) = next else { return Ok(None) };
        let pages = self.pages + 1;
        if pages >= Self::MAX_PAGES {
            return Err(PaginationError::TooManyPages);
        }
        if Some(&next) == self.remembered.as_ref() || Some(&next) == self.cursor() {
            return Err(PaginationError::Circle);
        }
        let remembered = if pages.is_power_of_two() {
            Some(next.clone())
        } else {
            self.remembered.clone()
        };
        Ok(Some(Self {
            cursor: Some(next),
            pages,
            remembered,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(n: u32) -> Cursor {
        n.to_string().parse().unwrap()
    }

    /// Follows pages of which the nth announces `next(n)`: how many were read,
    /// and what ended it.
    fn walk(next: impl Fn(u32) -> Option<u32>) -> (u32, Option<PaginationError>) {
        let (mut cursor, mut at, mut read) = (PageCursor::default(), 0, 0);
        loop {
            read += 1;
            let announced = next(at);
            match cursor.follow(announced.map(self::cursor)) {
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
                Ok(Some(after)) => {
                    // As if another process went on with it.
                    let text = serde_json::to_string(&after).unwrap();
                    cursor = serde_json::from_str(&text).unwrap();
                    assert_eq!(cursor.pages(), read);
                    at = announced.unwrap();
                }
            }
        }
    }

    #[test]
    fn a_list_is_followed_to_its_end() {
        for pages in [1, 2, 3, 100, 9_999] {
            let read = walk(|n| (n + 1 < pages).then_some(n + 1));
            assert_eq!(read, (pages, None));
        }
        let endless = walk(|n| Some(n + 1));
        assert_eq!(
            endless,
            (PageCursor::MAX_PAGES, Some(PaginationError::TooManyPages))
        );
    }

    #[test]
    fn every_circle_is_noticed() {
        for before in 0..40 {
            for length in 1..40 {
                let last = before + length - 1;
                let (read, error) = walk(|n| Some(if n == last { before } else { n + 1 }));
                assert_eq!(error, Some(PaginationError::Circle), "{before} {length}");
                assert!(
                    read <= 3 * (before + length) + 1,
                    "{before} {length} {read}"
                );
            }
        }
        // A page that announces itself is noticed at once.
        assert_eq!(walk(|n| Some(n.max(1))), (2, Some(PaginationError::Circle)));
    }
}
