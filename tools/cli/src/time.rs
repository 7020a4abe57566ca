//! Reads and writes points in time and durations, in the form that operators use.

use jiff::civil::Time;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// Formats a time to the second.
pub fn show(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// Formats a time, or returns an empty text if there is none.
pub fn show_optional(at: Option<Timestamp>) -> String {
    at.map(show).unwrap_or_default()
}

/// Error of a text that is not a time that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentError {
    NotAMoment,
    /// A time before or after the range of [`Timestamp`].
    OutOfRange,
}

/// Reads a time of RFC 3339 with its offset, or a plain date, which is midnight UTC.
pub fn moment(text: &str) -> Result<Timestamp, MomentError> {
    const DATE: usize = "2026-09-01".len();
    let pieces = Pieces::parse(text).map_err(|_| MomentError::NotAMoment)?;
    let (time, offset) = match (pieces.time(), pieces.to_numeric_offset()) {
        (Some(time), Some(offset)) => (time, offset),
        (None, None) if text.len() == DATE => (Time::midnight(), Offset::UTC),
        _ => return Err(MomentError::NotAMoment),
    };
    offset
        .to_timestamp(pieces.date().to_datetime(time))
        .map_err(|_| MomentError::OutOfRange)
}

/// Reads a number with its unit, m, h, d or w: `90d`.
pub fn duration(text: &str) -> Result<SignedDuration, &'static str> {
    const WRONG: &str = "is not a number and one of m, h, d, w, such as 90d";
    let unit = text.chars().next_back().ok_or(WRONG)?;
    let minutes: i64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(WRONG),
    };
    let number = &text[..text.len() - unit.len_utf8()];
    let count: u32 = number.parse().map_err(|_| WRONG)?;
    if count == 0 {
        return Err("must be longer than 0");
    }
    Ok(SignedDuration::from_mins(i64::from(count) * minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_an_offset_or_as_a_plain_date() {
        for (text, read) in [
            ("2026-09-01", Ok("2026-09-01T00:00:00Z")),
            ("2026-09-01T02:00:00+02:00", Ok("2026-09-01T00:00:00Z")),
            ("2026-09-01T00:00:00.25Z", Ok("2026-09-01T00:00:00.25Z")),
            // PostgreSQL writes times like these.
            ("2026-09-01 02:00:00+02", Ok("2026-09-01T00:00:00Z")),
            ("2026-09-01 00:00:00.25+00", Ok("2026-09-01T00:00:00.25Z")),
            ("9999-12-30", Ok("9999-12-30T00:00:00Z")),
            ("9999-12-31", Err(MomentError::OutOfRange)),
            ("9999-12-31T23:59:59Z", Err(MomentError::OutOfRange)),
            // Without an offset it could be any of 26 times.
            ("2026-09-01T00:00:00", Err(MomentError::NotAMoment)),
            ("2026-09-01T00:00", Err(MomentError::NotAMoment)),
            ("2026-02-30", Err(MomentError::NotAMoment)),
            ("20260901", Err(MomentError::NotAMoment)),
            ("2026-09-01[Europe/Berlin]", Err(MomentError::NotAMoment)),
            ("01/09/2026", Err(MomentError::NotAMoment)),
            ("tomorrow", Err(MomentError::NotAMoment)),
        ] {
            let moment = moment(text).map(|at| at.to_string());
            assert_eq!(moment.as_deref().map_err(|error| *error), read, "{text}");
        }
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, minutes) in [
            ("5m", Some(5)),
            ("2h", Some(120)),
            ("90d", Some(129_600)),
            ("1w", Some(10_080)),
            ("4294967295w", Some(4_294_967_295 * 10_080)),
            ("", None),
            ("0d", None),
            ("-1d", None),
            ("90", None),
            ("d", None),
            ("1.5h", None),
            ("3é", None),
        ] {
            assert_eq!(
                duration(text).ok().map(|time| time.as_mins()),
                minutes,
                "{text:?}"
            );
        }
    }
}
