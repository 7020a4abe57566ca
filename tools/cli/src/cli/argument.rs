//! Parsers of arguments, for rules that the type alone does not express.

use std::fmt::Display;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use domain::LearnerRef;
use domain::Percent;
use domain::given::{self, GivenError};

/// Reads a name that reads well in a table.
pub fn name(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 100;
    let name = given::name(text).map_err(|error| error.to_string())?;
    if name.chars().count() > MAX_CHARS {
        return Err(format!("is longer than {MAX_CHARS} characters"));
    }
    Ok(name)
}

/// Reads a word without the blanks around it and without control characters. Whether the
/// word is a known one is checked later, if at all, since `--force` may be given.
pub fn plain<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        Err("has a control character".to_owned())
    } else {
        text.parse().map_err(|error: T::Err| error.to_string())
    }
}

/// Reads a percent as the LMS has it: 0.87, and not 87, which is what people write.
pub fn percent(text: &str) -> Result<Percent, String> {
    text.parse::<Percent>().map_err(|error| {
        let hundredths = text.trim().trim_end_matches('%').trim_end();
        let hundredths: Option<f64> = hundredths.parse().ok();
        let corrected = hundredths.and_then(|number| Percent::try_from(number / 100.0).ok());
        let corrected = corrected.map(|corrected| format!("; write {}", corrected.get()));
        format!(
            "{error}, 1 being the whole course{}",
            corrected.unwrap_or_default()
        )
    })
}

/// Reads one of a few values, by the word that the tables have for it.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let words = all.iter().map(|one| word(*one));
    PossibleValuesParser::new(words).try_map(move |text| {
        let found = all.iter().copied().find(|one| word(*one) == text);
        found.ok_or("is not one of these words")
    })
}

/// Reads a user by an address or by their id.
pub fn learner(text: &str) -> Result<LearnerRef, GivenError> {
    match text.parse() {
        Ok(user_id) => Ok(LearnerRef::User(user_id)),
        Err(_) => given::email(text).map(LearnerRef::Address),
    }
}

/// Reads the first digits of an event's key, enough of them to identify one event.
pub fn key(text: &str) -> Result<String, &'static str> {
    const DIGITS: std::ops::RangeInclusive<usize> = 6..=64;
    let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if DIGITS.contains(&text.len()) && text.bytes().all(is_digit) {
        Ok(text.to_owned())
    } else {
        Err("is not 6 to 64 hex digits, as `coursehook events list` shows them")
    }
}
