//! Texts that people type, copy or export: addresses, usernames, course ids, names.
//!
//! A text that was copied from a mail, a web page or a spreadsheet may contain invisible
//! characters, or more than the address alone. Such a text finds no learner, and nobody can see
//! the cause. These functions refuse it, and name the character. They are for imports and for
//! arguments of commands. Webhooks and stored items are read by the types' own `FromStr`, which
//! is less strict.

use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::course_id::CourseIdError;
use super::email::EmailError;
use super::user::UsernameError;
use super::{CourseId, Email, Username};

/// The longest name or title in characters.
pub const NAME_MAX_CHARS: usize = 255;

/// The reason why a text that a person or an export gave is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GivenError {
    /// It contains a character that is not visible ([`is_invisible`]). In names, only a line
    /// separator or a character that changes the reading direction.
    #[error("has {0}")]
    Invisible(Located),
    /// It contains U+FFFD, where some program could not read the original character.
    #[error("has {0}, in place of a character that was lost; export it again as UTF-8")]
    Lost(Located),
    /// It is an address that begins with the scheme of a link.
    #[error("begins with mailto:; give the address alone")]
    Mailto,
    /// It is a list of addresses.
    #[error("has more than one address; give one")]
    SeveralAddresses,
    /// It is an address with a mark that belongs to the text around it.
    #[error("has {0}; give the address alone")]
    Mark(Located),
    /// It is an address with a blank inside.
    #[error("has {0}; an address has no blanks")]
    Blank(Located),
    /// It is an address with more than one @.
    #[error("has more than one @")]
    SeveralAts,
    /// It is an address with nothing before its @, or nothing after it.
    #[error("has nothing before or after its @")]
    HalfAnAddress,
    /// It is a name or title without any character, after trimming.
    #[error("is blank")]
    NoName,
    /// It is a name or title with a character of Unicode's category Cc.
    #[error("has a control character")]
    ControlCharacter,
    /// It is a name or title of more than [`NAME_MAX_CHARS`] characters.
    #[error("is longer than {NAME_MAX_CHARS} characters")]
    LongName,
    /// It is not an address at all.
    #[error("{0}")]
    Email(#[from] EmailError),
    /// It is not a username at all.
    #[error("{0}")]
    Username(#[from] UsernameError),
    /// It is not the id of a course run at all.
    #[error("{0}")]
    CourseId(#[from] CourseIdError),
}

/// Reads an address that a person or an export gave.
///
/// # Errors
/// Besides what [`Email`] refuses: characters that are not visible, blanks, `mailto:`,
/// brackets, quotation marks, punctuation, several addresses.
///
/// ```
/// use domain::given;
///
/// assert!(given::email(" Ada@example.org").is_ok());
/// let refused = given::email("ada@example.org\u{200b}").unwrap_err();
/// assert_eq!(refused.to_string(), "has U+200B ZERO WIDTH SPACE at 16");
/// ```
pub fn email(text: &str) -> Result<Email, GivenError> {
    const SCHEME: &str = "mailto:";
    let text = text.trim();
    all_visible(text)?;
    let email: Email = text.parse()?;
    let start = text.get(..SCHEME.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(SCHEME)) {
        return Err(GivenError::Mailto);
    }
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '/');
    let parts = text.split(is_between).filter(|part| part.contains('@'));
    if parts.count() > 1 {
        return Err(GivenError::SeveralAddresses);
    }
    if let Some(mark) = Located::find(text, is_mark).or_else(|| Located::at_an_end(text)) {
        return Err(GivenError::Mark(mark));
    }
    if let Some(blank) = Located::find(text, char::is_whitespace) {
        return Err(GivenError::Blank(blank));
    }
    match text.split_once('@') {
        Some((_, domain)) if domain.contains('@') => Err(GivenError::SeveralAts),
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(email),
        _ => Err(GivenError::HalfAnAddress),
    }
}

/// True for brackets, quotation marks and separators of lists. RFC 5322 allows them only in
/// quoted local parts and comments, which no LMS address has. The typographic apostrophe is
/// there because word processors replace the plain one.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '<' | '>' | '(' | ')' | ',' | ';' | '"' | '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»'
    )
}

/// True for marks that end a sentence or surround a word, and that may occur inside an address:
/// `o'hara@example.org`.
const fn is_mark_at_an_end(c: char) -> bool {
    matches!(c, '.' | ':' | '\'' | '`')
}

/// Reads a username of the LMS that a person or an export gave.
///
/// # Errors
/// Besides what [`Username`] refuses: characters that are not visible. Blanks, `@`, `.` and `+`
/// occur in usernames.
pub fn username(text: &str) -> Result<Username, GivenError> {
    all_visible(text.trim())?;
    Ok(text.parse()?)
}

/// Reads the id of a course run that a person or an export gave.
///
/// # Errors
/// The errors of [`CourseId`]; a character that is not visible is named.
pub fn course_id(text: &str) -> Result<CourseId, GivenError> {
    all_visible(text)?;
    Ok(text.parse()?)
}

/// Reads the name of a person or a thing, or a title, without the blanks around it.
///
/// # Errors
/// No characters, more than [`NAME_MAX_CHARS`], control characters, separators of lines,
/// U+FFFD, and the characters that change the reading direction. Other characters that are not
/// visible belong to the spelling of some languages, as the joiners of Persian and Hindi do.
pub fn name(text: &str) -> Result<String, GivenError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(GivenError::NoName);
    }
    if text.chars().any(char::is_control) {
        return Err(GivenError::ControlCharacter);
    }
    none_lost(text)?;
    let refused = |c| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if let Some(found) = Located::find(text, refused) {
        return Err(GivenError::Invisible(found));
    }
    if text.chars().count() > NAME_MAX_CHARS {
        return Err(GivenError::LongName);
    }
    Ok(text.to_owned())
}

fn all_visible(text: &str) -> Result<(), GivenError> {
    none_lost(text)?;
    let found = Located::find(text, is_invisible);
    found.map_or(Ok(()), |found| Err(GivenError::Invisible(found)))
}

fn none_lost(text: &str) -> Result<(), GivenError> {
    let found = Located::find(text, |c| c == char::REPLACEMENT_CHARACTER);
    found.map_or(Ok(()), |found| Err(GivenError::Lost(found)))
}

/// A character of a text, and its position.
///
/// ```
/// use domain::given::Located;
///
/// let located = Located { character: '\u{200b}', at: 4 };
/// assert_eq!(located.to_string(), "U+200B ZERO WIDTH SPACE at 4");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The character.
    pub character: char,
    /// The position, counted from 1, in characters, without the blanks around the text.
    pub at: usize,
}

impl Located {
    fn find(text: &str, predicate: impl Fn(char) -> bool) -> Option<Self> {
        let mut all = (1..).zip(text.chars());
        all.find(|(_, c)| predicate(*c)).map(Self::from)
    }

    /// The mark at the end of a text, or else at its beginning.
    fn at_an_end(text: &str) -> Option<Self> {
        let last = (text.chars().count(), text.chars().next_back()?);
        let first = (1, text.chars().next()?);
        let mut ends = [last, first].into_iter();
        ends.find(|(_, c)| is_mark_at_an_end(*c)).map(Self::from)
    }
}

impl From<(usize, char)> for Located {
    fn from((at, character): (usize, char)) -> Self {
        Self { character, at }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { character, at } = *self;
        let code_point = CodePoint(character);
        match name_of(character) {
            Some(name) => write!(f, "{code_point} {name} at {at}"),
            None if is_invisible(character) || character.is_whitespace() => {
                write!(f, "{code_point}, which is not visible, at {at}")
            }
            None => write!(f, "{character} at {at}"),
        }
    }
}

/// A character shown by its number in Unicode: `U+200B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePoint(pub char);

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))
    }
}

/// True if a character shows nothing of its own and is not a control character: Unicode's
/// property `Default_Ignorable_Code_Point` (version 16), the separators of lines and
/// paragraphs, the marks of annotations, and the blank of Braille.
pub fn is_invisible(c: char) -> bool {
    const INVISIBLE: &[RangeInclusive<char>] = &[
        '\u{ad}'..='\u{ad}',
        '\u{34f}'..='\u{34f}',
        '\u{61c}'..='\u{61c}',
        '\u{115f}'..='\u{1160}',
        '\u{17b4}'..='\u{17b5}',
        '\u{180b}'..='\u{180f}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{2800}'..='\u{2800}',
        '\u{3164}'..='\u{3164}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
        '\u{ffa0}'..='\u{ffa0}',
        '\u{fff0}'..='\u{fffb}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0000}'..='\u{e0fff}',
    ];
    !c.is_ascii() && INVISIBLE.iter().any(|range| range.contains(&c))
}

/// Unicode's name of a character that cannot be identified by sight, for those that occur in
/// files.
fn name_of(c: char) -> Option<&'static str> {
    Some(match c {
        ' ' => "SPACE",
        '\u{a0}' => "NO-BREAK SPACE",
        '\u{ad}' => "SOFT HYPHEN",
        '\u{34f}' => "COMBINING GRAPHEME JOINER",
        '\u{61c}' => "ARABIC LETTER MARK",
        '\u{115f}' => "HANGUL CHOSEONG FILLER",
        '\u{1160}' => "HANGUL JUNGSEONG FILLER",
        '\u{180e}' => "MONGOLIAN VOWEL SEPARATOR",
        '\u{2002}' => "EN SPACE",
        '\u{2003}' => "EM SPACE",
        '\u{2007}' => "FIGURE SPACE",
        '\u{2009}' => "THIN SPACE",
        '\u{200a}' => "HAIR SPACE",
        '\u{200b}' => "ZERO WIDTH SPACE",
        '\u{200c}' => "ZERO WIDTH NON-JOINER",
        '\u{200d}' => "ZERO WIDTH JOINER",
        '\u{200e}' => "LEFT-TO-RIGHT MARK",
        '\u{200f}' => "RIGHT-TO-LEFT MARK",
        '\u{2028}' => "LINE SEPARATOR",
        '\u{2029}' => "PARAGRAPH SEPARATOR",
        '\u{202a}' => "LEFT-TO-RIGHT EMBEDDING",
        '\u{202b}' => "RIGHT-TO-LEFT EMBEDDING",
        '\u{202c}' => "POP DIRECTIONAL FORMATTING",
        '\u{202d}' => "LEFT-TO-RIGHT OVERRIDE",
        '\u{202e}' => "RIGHT-TO-LEFT OVERRIDE",
        '\u{202f}' => "NARROW NO-BREAK SPACE",
        '\u{2060}' => "WORD JOINER",
        '\u{2061}' => "FUNCTION APPLICATION",
        '\u{2062}' => "INVISIBLE TIMES",
        '\u{2063}' => "INVISIBLE SEPARATOR",
        '\u{2064}' => "INVISIBLE PLUS",
        '\u{2066}' => "LEFT-TO-RIGHT ISOLATE",
        '\u{2067}' => "RIGHT-TO-LEFT ISOLATE",
        '\u{2068}' => "FIRST STRONG ISOLATE",
        '\u{2069}' => "POP DIRECTIONAL ISOLATE",
        '\u{2800}' => "BRAILLE PATTERN BLANK",
        '\u{3000}' => "IDEOGRAPHIC SPACE",
        '\u{3164}' => "HANGUL FILLER",
        '\u{feff}' => "ZERO WIDTH NO-BREAK SPACE",
        '\u{ffa0}' => "HALFWIDTH HANGUL FILLER",
        char::REPLACEMENT_CHARACTER => "REPLACEMENT CHARACTER",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "ada@example.org";

    #[test]
    fn the_names_are_those_of_unicode() {
        let named = (' '..=char::MAX).filter_map(|c| Some((c, name_of(c)?)));
        let named = Vec::from_iter(named);
        for (c, name) in &named {
            let expected = unicode_names2::name(*c).map(|name| name.to_string());
            assert_eq!(expected.as_deref(), Some(*name), "{}", CodePoint(*c));
        }
        assert_eq!(named.len(), 41);
    }

    /// Each character with the name under which the message reports it.
    #[test]
    fn an_invisible_character_is_named() {
        for (c, name) in [
            ('\u{200b}', "U+200B ZERO WIDTH SPACE"),
            ('\u{feff}', "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
            ('\u{ad}', "U+00AD SOFT HYPHEN"),
            ('\u{202a}', "U+202A LEFT-TO-RIGHT EMBEDDING"),
            ('\u{202b}', "U+202B RIGHT-TO-LEFT EMBEDDING"),
            ('\u{202c}', "U+202C POP DIRECTIONAL FORMATTING"),
            ('\u{202d}', "U+202D LEFT-TO-RIGHT OVERRIDE"),
            ('\u{202e}', "U+202E RIGHT-TO-LEFT OVERRIDE"),
            ('\u{2060}', "U+2060 WORD JOINER"),
            ('\u{2066}', "U+2066 LEFT-TO-RIGHT ISOLATE"),
            ('\u{2067}', "U+2067 RIGHT-TO-LEFT ISOLATE"),
            ('\u{2068}', "U+2068 FIRST STRONG ISOLATE"),
            ('\u{2069}', "U+2069 POP DIRECTIONAL ISOLATE"),
            ('\u{200c}', "U+200C ZERO WIDTH NON-JOINER"),
            ('\u{200d}', "U+200D ZERO WIDTH JOINER"),
            ('\u{200e}', "U+200E LEFT-TO-RIGHT MARK"),
            ('\u{200f}', "U+200F RIGHT-TO-LEFT MARK"),
            ('\u{61c}', "U+061C ARABIC LETTER MARK"),
            ('\u{2063}', "U+2063 INVISIBLE SEPARATOR"),
            ('\u{3164}', "U+3164 HANGUL FILLER"),
            ('\u{fe0f}', "U+FE0F, which is not visible,"),
            ('\u{e0061}', "U+E0061, which is not visible,"),
        ] {
            for (text, at) in [
                (format!("{c}{ADDRESS}"), 1),
                (format!("é{c}{ADDRESS}"), 2),
                (format!("{ADDRESS}{c}"), 16),
            ] {
                let message = format!("has {name} at {at}");
                let refused = |error: GivenError| error.to_string();
                assert_eq!(
                    email(&text).map_err(refused),
                    Err(message.clone()),
                    "{text:?}"
                );
                assert_eq!(
                    username(&text).map_err(refused),
                    Err(message.clone()),
                    "{text:?}"
                );
                assert_eq!(course_id(&text).map_err(refused), Err(message), "{text:?}");
                // Stored items and webhooks accept the text.
                assert_eq!(text.parse::<Email>().unwrap().as_str(), text, "{text:?}");
                assert_eq!(text.parse::<Username>().unwrap().as_str(), text, "{text:?}");
            }
        }
    }

    #[test]
    fn an_address_with_anything_around_it_is_refused() {
        for (text, message) in [
            (
                "ada lovelace@example.org",
                "has U+0020 SPACE at 4; an address has no blanks",
            ),
            (
                "ada@example. org",
                "has U+0020 SPACE at 13; an address has no blanks",
            ),
            (
                "ada\u{a0}l@example.org",
                "has U+00A0 NO-BREAK SPACE at 4; an address has no blanks",
            ),
            (
                "ada@example\u{2003}.org",
                "has U+2003 EM SPACE at 12; an address has no blanks",
            ),
            (
                "ada@example\u{2008}.org",
                "has U+2008, which is not visible, at 12; an address has no blanks",
            ),
            (
                "ada@example.org\u{2028}bob",
                "has U+2028 LINE SEPARATOR at 16",
            ),
            (
                "mailto:ada@example.org",
                "begins with mailto:; give the address alone",
            ),
            (
                "MailTo:ada@example.org",
                "begins with mailto:; give the address alone",
            ),
            ("<ada@example.org>", "has < at 1; give the address alone"),
            (
                "Ada <ada@example.org>",
                "has < at 5; give the address alone",
            ),
            (
                "ada@example.org (work)",
                "has ( at 17; give the address alone",
            ),
            ("\"ada@example.org\"", "has \" at 1; give the address alone"),
            ("ada@example.org\"", "has \" at 16; give the address alone"),
            ("'ada@example.org'", "has ' at 17; give the address alone"),
            ("`ada@example.org`", "has ` at 17; give the address alone"),
            ("“ada@example.org”", "has “ at 1; give the address alone"),
            ("o’hara@example.org", "has ’ at 2; give the address alone"),
            ("«ada@example.org»", "has « at 1; give the address alone"),
            ("ada@example.org;", "has ; at 16; give the address alone"),
            ("ada@example.org,", "has , at 16; give the address alone"),
            ("ada@example.org.", "has . at 16; give the address alone"),
            ("ada@example.org:", "has : at 16; give the address alone"),
            (".ada@example.org", "has . at 1; give the address alone"),
            (
                "ada@example.org;ada;Ada",
                "has ; at 16; give the address alone",
            ),
            ("ada@x.org,bob@x.org", "has more than one address; give one"),
            (
                "ada@x.org; bob@x.org",
                "has more than one address; give one",
            ),
            ("ada@x.org bob@x.org", "has more than one address; give one"),
            (
                "ada@x.org / bob@x.org",
                "has more than one address; give one",
            ),
            ("ada@x.org|bob@x.org", "has more than one address; give one"),
            ("ada@@example.org", "has more than one @"),
            ("ada@home@example.org", "has more than one @"),
            ("@example.org", "has nothing before or after its @"),
            ("ada@", "has nothing before or after its @"),
            (
                "ad\u{fffd}@example.org",
                "has U+FFFD REPLACEMENT CHARACTER at 3, in place of a character that was lost; \
                 export it again as UTF-8",
            ),
            ("ada", "has no @"),
            (" ", "is blank"),
            ("a\u{7}@b", "has a control character"),
        ] {
            let refused = email(text).map_err(|error| error.to_string());
            assert_eq!(refused, Err(message.to_owned()), "{text:?}");
        }
        for text in [
            ADDRESS,
            " Ada@Example.ORG\t",
            "o'hara+x_y-z@example.org",
            "a.b!#$%&*/=?^{|}~@example.org",
            "ada@[192.0.2.1]",
            "ürün@bücher.example",
            "пример@пример.рф",
            "a@b",
        ] {
            let plain = text.parse::<Email>().unwrap();
            assert_eq!(email(text), Ok(plain), "{text:?}");
        }
    }

    #[test]
    fn a_username_may_look_like_an_address() {
        for text in [
            "ada",
            "ada@example.org",
            "ada.l+x y",
            "-_-",
            "Адa",
            "a;b,<c>",
        ] {
            assert_eq!(username(text), Ok(text.parse().unwrap()), "{text:?}");
        }
        for (text, message) in [
            ("", "is blank"),
            ("a\u{7}", "has a control character"),
            (
                "ad\u{fffd}",
                "has U+FFFD REPLACEMENT CHARACTER at 3, in place of a character that was lost; \
                 export it again as UTF-8",
            ),
        ] {
            let refused = username(text).map_err(|error| error.to_string());
            assert_eq!(refused, Err(message.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_one_line_in_its_own_reading_direction() {
        let longest = "é".repeat(NAME_MAX_CHARS);
        for text in [
            "Ada Lovelace",
            "C. V. Raman",
            "فاطمة الفهرية",
            // Persian and Hindi are spelled with joiners.
            "می\u{200c}رزا",
            "क्\u{200d}ष",
            "\u{200f}רבקה",
            &longest,
        ] {
            assert_eq!(name(text), Ok(text.to_owned()), "{text:?}");
            assert_eq!(name(&format!(" {text}\n")), Ok(text.to_owned()), "{text:?}");
        }
        let too_long = "é".repeat(NAME_MAX_CHARS + 1);
        for (text, message) in [
            (too_long.as_str(), "is longer than 255 characters"),
            (" \u{3000}", "is blank"),
            ("Ada\nLovelace", "has a control character"),
            ("Ada\u{85}Lovelace", "has a control character"),
            ("Ada\u{b}Lovelace", "has a control character"),
            ("Ada\u{2028}Lovelace", "has U+2028 LINE SEPARATOR at 4"),
            ("Ada\u{2029}Lovelace", "has U+2029 PARAGRAPH SEPARATOR at 4"),
            ("\u{202a}Ada", "has U+202A LEFT-TO-RIGHT EMBEDDING at 1"),
            ("Ada\u{202d}", "has U+202D LEFT-TO-RIGHT OVERRIDE at 4"),
            ("Ada\u{202e}", "has U+202E RIGHT-TO-LEFT OVERRIDE at 4"),
            (
                "\u{2066}Ada\u{2069}",
                "has U+2066 LEFT-TO-RIGHT ISOLATE at 1",
            ),
            (
                "Ad\u{fffd}",
                "has U+FFFD REPLACEMENT CHARACTER at 3, in place of a character that was lost; \
                 export it again as UTF-8",
            ),
        ] {
            let refused = name(text).map_err(|error| error.to_string());
            assert_eq!(refused, Err(message.to_owned()), "{text:?}");
        }
    }
}
