//! Position in a list of the LMS that comes in pages.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The beginning of a page in a list: an opaque text of the LMS, of 1 to 1000 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

/// Error of a text that is not a cursor.
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

/// The next page of a list, with the state that detects endless pagination.
///
/// Its size does not grow with the list: Brent's algorithm (BIT 20, 1980), which remembers one
/// page, detects a cycle of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// The cursor of the next page; absent for the first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cursor: Option<Cursor>,
    /// The number of pages before it.
    pages: u32,
    /// The cursor of the last page whose number was a power of two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    remembered: Option<Cursor>,
}

/// The reason why the pages of a list cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PaginationError {
    /// The LMS announces a page that it announced before.
    #[error("the pages lead back to an earlier page")]
    Cycle,
    /// There are more pages than any course run could fill.
    #[error("there are too many pages")]
    TooManyPages,
}

impl PageCursor {
    /// The greatest number of pages that a list can have: with a hundred rows each, a million
    /// rows.
    pub const MAX_PAGES: u32 = 10_000;

    /// The cursor of the next page, or `None` for the first one.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The number of pages before the next one.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns the cursor after the next page, which announces `next`, or `None` if that is the
    /// last page.
    ///
    /// # Errors
    /// The pages cannot be followed. A cycle is detected after at most about three passes
    /// through it.
    pub fn follow(&self, next: Option<Cursor>) -> Result<Option<Self>, PaginationError> {
        let Some(next) = next else { return Ok(None) };
        let pages = self.pages + 1;
        if pages >= Self::MAX_PAGES {
            return Err(PaginationError::TooManyPages);
        }
        if Some(&next) == self.remembered.as_ref() || Some(&next) == self.cursor() {
            return Err(PaginationError::Cycle);
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

    /// Follows pages of which the nth announces `next(n)`. Returns the number of pages read,
    /// and the error that ended it.
    fn walk(next: impl Fn(u32) -> Option<u32>) -> (u32, Option<PaginationError>) {
        let (mut cursor, mut at, mut read) = (PageCursor::default(), 0, 0);
        loop {
            read += 1;
            let announced = next(at);
            match cursor.follow(announced.map(self::cursor)) {
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
                Ok(Some(after)) => {
                    // As if another process had resumed.
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
            assert_eq!(read, (pages, None), "{pages}");
        }
        let endless = walk(|n| Some(n + 1));
        assert_eq!(
            endless,
            (PageCursor::MAX_PAGES, Some(PaginationError::TooManyPages))
        );
    }

    #[test]
    fn every_cycle_is_detected() {
        for before in 0..40 {
            for length in 1..40 {
                let last = before + length - 1;
                let (read, error) = walk(|n| Some(if n == last { before } else { n + 1 }));
                assert_eq!(error, Some(PaginationError::Cycle), "{before} {length}");
                assert!(
                    read <= 3 * (before + length) + 1,
                    "{before} {length} {read}"
                );
            }
        }
        // A page that announces itself is detected at once.
        assert_eq!(walk(|n| Some(n.max(1))), (2, Some(PaginationError::Cycle)));
    }
}
