//! The text of a time that is compared.

use jiff::Timestamp;
use serde::Serializer;

/// Formats a time as the tables store it where times are compared: RFC 3339 in UTC, always with
/// three decimals, so that the texts sort in order of time.
pub fn text(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Serializes a time as [`text`] formats it.
pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*at))
}

/// Serializes a time that may be absent, if there is one, as [`text`] formats it.
pub fn serialize_some<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize(at, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_texts() {
        let at = |ms| text(Timestamp::from_millisecond(ms).unwrap());
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert!(at(1000) < at(1500) && at(1500) < at(1501) && at(1501) < at(2000));
    }
}
