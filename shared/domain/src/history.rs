//! History of one item of a table, cut to a fixed number of entries.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The first entry and the last 50 entries of the writes to an item, oldest first, and the
/// number of all entries ever written.
///
/// A DynamoDB item holds at most 400 KB, and a learner may be enrolled and un-enrolled any
/// number of times. The type dereferences to a slice of the stored entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored<T>")]
pub struct History<T> {
    #[serde(rename = "history")]
    entries: Vec<T>,
    #[serde(rename = "history_count")]
    count: u64,
}

/// A history as an item stores it.
#[derive(Deserialize)]
struct Stored<T> {
    history: Vec<T>,
    /// Absent if another program wrote the item and did not count.
    #[serde(default)]
    history_count: u64,
}

impl<T> From<Stored<T>> for History<T> {
    fn from(stored: Stored<T>) -> Self {
        let mut history = Self::from(stored.history);
        history.count = history.count.max(stored.history_count);
        history
    }
}

impl<T> History<T> {
    /// The number of last entries that are kept, besides the first.
    pub const LAST_KEPT: usize = 50;

    /// The history of a new item.
    pub fn new(first: T) -> Self {
        Self::from(vec![first])
    }

    /// Adds an entry, and drops the oldest of the last entries if there are too many.
    pub fn push(&mut self, entry: T) {
        self.count = self.count.saturating_add(1);
        self.entries.push(entry);
        // More than one if another program appended without dropping any.
        let surplus = self.entries.len().saturating_sub(1 + Self::LAST_KEPT);
        self.entries.drain(1..=surplus);
    }

    /// The number of all entries ever written, dropped ones included.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

/// Makes a history of these entries, oldest first.
impl<T> From<Vec<T>> for History<T> {
    fn from(entries: Vec<T>) -> Self {
        let count = entries.len() as u64;
        Self { entries, count }
    }
}

/// The stored entries, oldest first.
impl<T> Deref for History<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_and_the_last_fifty_entries_are_kept() {
        let mut history = History::default();
        for (n, expected) in [
            (1, vec![0]),
            (51, (0..51).collect()),
            (52, [0].into_iter().chain(2..52).collect()),
            (200, [0].into_iter().chain(150..200).collect::<Vec<u64>>()),
        ] {
            while history.count() < n {
                history.push(history.count());
            }
            assert_eq!((history.to_vec(), history.count()), (expected, n), "{n}");
        }
    }

    /// Another program has appended entries without counting or dropping.
    #[test]
    fn a_history_written_by_another_program_is_cut_and_counted() {
        let json = serde_json::json!({"history": (0..2200).collect::<Vec<_>>()});
        let mut history: History<u64> = serde_json::from_value(json).unwrap();
        assert_eq!((history.len(), history.count()), (2200, 2200));
        history.push(2200);
        let expected: Vec<_> = [0].into_iter().chain(2151..=2200).collect();
        assert_eq!((history.to_vec(), history.count()), (expected, 2201));
    }
}
