//! Recognises by its first bytes a text that is not plain UTF-8.

use thiserror::Error;

/// Error of a file or an input that is not text in UTF-8, with how to convert it. The
/// message continues "learners.csv: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlainTextError {
    #[error(
        "is in {0}, as Excel's \"Unicode Text\" is; save it as \"CSV UTF-8 (Comma delimited)\", \
         or convert it: iconv -f {0} -t UTF-8"
    )]
    Wide(&'static str),
    #[error("begins with two byte order marks (U+FEFF); save it as UTF-8 with one or none")]
    TwoByteOrderMarks,
    #[error(
        "is a ZIP archive, as workbooks (.xlsx, .ods) are; save the sheet as \
         \"CSV UTF-8 (Comma delimited)\""
    )]
    Zip,
    #[error("is compressed with gzip; unpack it with gunzip")]
    Gzip,
}

/// The number of first bytes that [`byte_order_mark`] checks.
pub const FIRST_BYTES: usize = 6;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Returns the length of the byte order mark with which a text begins, or 0. The mark
/// stands before the text and is not part of it (RFC 3629, section 6).
pub fn byte_order_mark(start: &[u8]) -> Result<usize, PlainTextError> {
    match start {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Err(PlainTextError::Wide("UTF-32")),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Err(PlainTextError::Wide("UTF-16")),
        // Without a mark: no text in UTF-8 has a NUL among its first letters.
        [1..=255, 0, 0, 0, ..] => Err(PlainTextError::Wide("UTF-32LE")),
        [0, 0, 0, 1..=255, ..] => Err(PlainTextError::Wide("UTF-32BE")),
        [1..=255, 0, ..] => Err(PlainTextError::Wide("UTF-16LE")),
        [0, 1..=255, ..] => Err(PlainTextError::Wide("UTF-16BE")),
        [b'P', b'K', 3, 4, ..] => Err(PlainTextError::Zip),
        [0x1F, 0x8B, ..] => Err(PlainTextError::Gzip),
        _ => match start.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if rest.starts_with(BYTE_ORDER_MARK) => {
                Err(PlainTextError::TwoByteOrderMarks)
            }
            Some(_) => Ok(BYTE_ORDER_MARK.len()),
            None => Ok(0),
        },
    }
}

/// Returns a text without its byte order mark.
pub fn without_byte_order_mark(bytes: &[u8]) -> Result<&[u8], PlainTextError> {
    let mark = byte_order_mark(bytes)?;
    Ok(bytes.get(mark..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_plain_text_is_refused_by_its_first_bytes() {
        let wide = |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(unit).collect()
        };
        let (little, big) = (u16::to_le_bytes, u16::to_be_bytes);
        for (bytes, expected) in [
            (b"".to_vec(), Ok(0)),
            (b"e".to_vec(), Ok(0)),
            (b"email,name\n".to_vec(), Ok(0)),
            ("\u{feff}".as_bytes().to_vec(), Ok(3)),
            ("\u{feff}email\n".as_bytes().to_vec(), Ok(3)),
            ("é".as_bytes().to_vec(), Ok(0)),
            (
                "\u{feff}\u{feff}email\n".as_bytes().to_vec(),
                Err(PlainTextError::TwoByteOrderMarks),
            ),
            (
                wide("\u{feff}email", little),
                Err(PlainTextError::Wide("UTF-16")),
            ),
            (
                wide("\u{feff}email", big),
                Err(PlainTextError::Wide("UTF-16")),
            ),
            (wide("email", little), Err(PlainTextError::Wide("UTF-16LE"))),
            (wide("email", big), Err(PlainTextError::Wide("UTF-16BE"))),
            (
                b"\xFF\xFE\0\0e\0\0\0".to_vec(),
                Err(PlainTextError::Wide("UTF-32")),
            ),
            (
                b"\0\0\xFE\xFF\0\0\0e".to_vec(),
                Err(PlainTextError::Wide("UTF-32")),
            ),
            (
                b"e\0\0\0m\0\0\0".to_vec(),
                Err(PlainTextError::Wide("UTF-32LE")),
            ),
            (
                b"\0\0\0e\0\0\0m".to_vec(),
                Err(PlainTextError::Wide("UTF-32BE")),
            ),
            (b"PK\x03\x04rest".to_vec(), Err(PlainTextError::Zip)),
            (b"\x1F\x8B\x08rest".to_vec(), Err(PlainTextError::Gzip)),
        ] {
            assert_eq!(byte_order_mark(&bytes), expected, "{bytes:?}");
            let start = bytes.get(..FIRST_BYTES).unwrap_or(&bytes);
            assert_eq!(byte_order_mark(start), expected, "{bytes:?}");
        }
        assert_eq!(
            without_byte_order_mark("\u{feff}{}".as_bytes()),
            Ok(&b"{}"[..])
        );
        assert_eq!(without_byte_order_mark(b"{}"), Ok(&b"{}"[..]));
    }
}
