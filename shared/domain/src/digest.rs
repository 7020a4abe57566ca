//! SHA-256 as lowercase hex.

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of `bytes` as 64 lowercase hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-256 over `parts` as lowercase hex. Each part is preceded by its length
/// in bytes (eight bytes, big endian), so that two different lists of parts do not have the
/// same digest.
pub fn sha256_hex_of_parts(parts: &[&str]) -> String {
    hex(&sha256_of_parts(parts))
}

/// Returns the same digest as [`sha256_hex_of_parts`], as bytes.
pub fn sha256_of_parts(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|nibble| DIGITS[usize::from(nibble)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_that_of_the_standard() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(
            sha256_hex_of_parts(&["ab", "c"]),
            sha256_hex_of_parts(&["a", "bc"])
        );
    }
}
