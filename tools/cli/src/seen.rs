//! What was in a file already, in little memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use shared::domain::digest::sha256_of_parts;

/// Keys and the lines where they were first met: 16 bytes of digest a key, so
/// that hundreds of thousands are no matter.
#[derive(Debug, Default)]
pub struct Seen(HashMap<u128, u64>);

impl Seen {
    /// The line where the key of these parts was met, if it was.
    pub fn line_of(&self, key: &[&str]) -> Option<u64> {
        self.0.get(&digest(key)).copied()
    }

    /// Remembers a key, which is met for the first time.
    pub fn remember(&mut self, key: &[&str], line: u64) {
        if let Entry::Vacant(entry) = self.0.entry(digest(key)) {
            entry.insert(line);
        }
    }
}

fn digest(key: &[&str]) -> u128 {
    const BYTES: usize = 16;
    let digest = sha256_of_parts(key);
    let bytes = digest.iter().take(BYTES);
    bytes.fold(0, |number, byte| number << 8 | u128::from(*byte))
}
