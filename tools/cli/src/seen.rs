//! Remembers the keys of a file's earlier lines, in little memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::digest::sha256_of_parts;

/// Keys, the lines where they first occurred, and digests of `N` columns of those lines:
/// 16 bytes for a key and 4 for a column, so that hundreds of thousands of keys fit in
/// memory.
#[derive(Debug)]
pub struct Seen<const N: usize = 0>(HashMap<u128, Occurrence<N>>);

#[derive(Debug, Clone, Copy)]
struct Occurrence<const N: usize> {
    line: u64,
    contents: [u32; N],
}

/// A column with the digest of its value, for comparison.
pub type Content = (&'static str, u32);

/// A key that occurred before. The message continues "the same address as ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The line where it first occurred.
    line: u64,
    /// The columns whose values differ from that line.
    differing: Vec<&'static str>,
}

/// Returns the digest of a value in a column.
pub fn content(column: &'static str, value: &impl Hash) -> Content {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    // Two different values have the same digest once in four thousand million.
    (column, hasher.finish() as u32)
}

impl<const N: usize> Default for Seen<N> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<const N: usize> Seen<N> {
    /// The line where the key of these parts first occurred, or `None`.
    pub fn line_of(&self, key: &[&str]) -> Option<u64> {
        self.0.get(&digest(key)).map(|first| first.line)
    }

    /// The line where the key of these parts first occurred, with the columns that differ
    /// now, or `None`.
    pub fn repeated(&self, key: &[&str], contents: &[Content; N]) -> Option<Repeated> {
        let first = self.0.get(&digest(key))?;
        let pairs = contents.iter().zip(&first.contents);
        let differing = pairs.filter(|((_, now), before)| now != *before);
        Some(Repeated {
            line: first.line,
            differing: differing.map(|((column, _), _)| *column).collect(),
        })
    }

    /// Remembers a key at its first occurrence.
    pub fn remember(&mut self, key: &[&str], line: u64, contents: &[Content; N]) {
        if let Entry::Vacant(entry) = self.0.entry(digest(key)) {
            let contents = contents.map(|(_, content)| content);
            entry.insert(Occurrence { line, contents });
        }
    }
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, which is imported and ", self.line)?;
        match self.differing.split_last() {
            None => f.write_str("has the same values"),
            Some((last, [])) => write!(f, "differs in {last}"),
            Some((last, others)) => write!(f, "differs in {} and {last}", others.join(", ")),
        }
    }
}

fn digest(key: &[&str]) -> u128 {
    const BYTES: usize = 16;
    let digest = sha256_of_parts(key);
    let bytes = digest.iter().take(BYTES);
    bytes.fold(0, |number, byte| number << 8 | u128::from(*byte))
}
