//! Detects text that an export wrote in place of a name.

use domain::given;

use super::warnings::Warning;

/// Warns of text that is probably not a name or title.
pub fn of_name(column: &'static str, name: Option<&String>, warnings: &mut Vec<Warning>) {
    let Some(name) = name else { return };
    if is_word_for_nothing(name) {
        warnings.push(Warning::WordForNothing(column));
    }
    if has_html_entity(name) {
        warnings.push(Warning::HtmlEntity(column));
    }
    if has_address(name) {
        warnings.push(Warning::AddressAsName(column));
    }
    if was_read_as_windows_1252(name) {
        warnings.push(Warning::WrongEncoding(column));
    }
}

/// True if a text is what programs write for an absent value: databases and their dumps,
/// Python, JavaScript, Ruby and Go, the errors of spreadsheets, and people.
pub fn is_word_for_nothing(text: &str) -> bool {
    const WORDS: [&str; 17] = [
        "NULL",
        "(null)",
        "\\N",
        "None",
        "NaN",
        "undefined",
        "nil",
        "<nil>",
        "#N/A",
        "#NAME?",
        "#REF!",
        "#VALUE!",
        "#NULL!",
        "#NUM!",
        "#DIV/0!",
        "N/A",
        "<null>",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// True if a text has an HTML entity (`&amp;`, `&#39;`, `&#x27;`, `&eacute;`): it was
/// copied from the source of a web page.
fn has_html_entity(text: &str) -> bool {
    // The longest entity name of HTML has 31 letters.
    const MAX_CHARS: usize = 31;
    let is_entity = |rest: &str| {
        let Some((name, _)) = rest.split_once(';') else {
            return false;
        };
        let is_number = |digits: &str| {
            let hex = digits.strip_prefix(['x', 'X']);
            let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
            !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))
        };
        let is_name = |name: &str| {
            (2..=MAX_CHARS).contains(&name.len())
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric())
        };
        name.strip_prefix('#')
            .map_or_else(|| is_name(name), is_number)
    };
    text.split('&').skip(1).any(is_entity)
}

/// True if one of the words is an address.
fn has_address(text: &str) -> bool {
    let around = ['<', '>', '(', ')', '"', ',', ';', '.'];
    text.split_whitespace().any(|word| {
        let word = word.trim_matches(around);
        let domain = word.split_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| domain.contains('.')) && given::email(word).is_ok()
    })
}

/// True if each byte of a text in UTF-8 was read as a character of Windows-1252 or
/// Latin-1: `Zoë` becomes `ZoÃ«`. Hardly any other text is valid UTF-8 when it is
/// converted back.
fn was_read_as_windows_1252(text: &str) -> bool {
    /// The characters of the bytes from 0x80 on, which differ from Latin-1.
    const FROM_0X80: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
    let byte = |c: char| match FROM_0X80.chars().position(|special| special == c) {
        Some(place) => u8::try_from(0x80 + place).ok(),
        None => u8::try_from(c).ok(),
    };
    let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
    !text.is_ascii() && bytes.is_some_and(|bytes| str::from_utf8(&bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_names_are_distinguished() {
        use Warning::{AddressAsName, HtmlEntity, WordForNothing, WrongEncoding};
        const NAME: &str = "name";
        for (name, expected) in [
            ("NULL", vec![WordForNothing(NAME)]),
            ("null", vec![WordForNothing(NAME)]),
            ("(NULL)", vec![WordForNothing(NAME)]),
            ("\\N", vec![WordForNothing(NAME)]),
            ("None", vec![WordForNothing(NAME)]),
            ("NaN", vec![WordForNothing(NAME)]),
            ("undefined", vec![WordForNothing(NAME)]),
            ("nil", vec![WordForNothing(NAME)]),
            ("<nil>", vec![WordForNothing(NAME)]),
            ("#N/A", vec![WordForNothing(NAME)]),
            ("#REF!", vec![WordForNothing(NAME)]),
            ("#name?", vec![WordForNothing(NAME)]),
            ("n/a", vec![WordForNothing(NAME)]),
            ("Simon &amp; Garfunkel", vec![HtmlEntity(NAME)]),
            ("Flann O&#39;Brien", vec![HtmlEntity(NAME)]),
            ("Flann O&#X27;Brien", vec![HtmlEntity(NAME)]),
            ("Andr&eacute; Breton", vec![HtmlEntity(NAME)]),
            ("A & B; C&amp;", vec![HtmlEntity(NAME)]),
            ("ada@example.org", vec![AddressAsName(NAME)]),
            ("Ada Lovelace <ada@example.org>", vec![AddressAsName(NAME)]),
            ("ZoÃ« Washburne", vec![WrongEncoding(NAME)]),
            ("Ã‰mile Zola", vec![WrongEncoding(NAME)]),
            ("æ\u{9d}¾å°¾", vec![WrongEncoding(NAME)]),
            (
                "Ada &amp; ada@example.org",
                vec![HtmlEntity(NAME), AddressAsName(NAME)],
            ),
        ] {
            let mut warnings = Vec::new();
            of_name(NAME, Some(&name.to_owned()), &mut warnings);
            assert_eq!(warnings, expected, "{name}");
        }
        for name in [
            "Ada Lovelace",
            "Christopher Null",
            "Nil Bindig",
            "Nan Goldin",
            "Na Hye-sok",
            "Simon & Garfunkel",
            "Q&A; and more",
            "AT&T 5; 6",
            "& ; &; &#; &#x; &é;",
            "Meet @ noon",
            "@ada",
            "Zoë Washburne",
            "Émile Zola",
            "Ã",
            "Ångström",
            "松尾 芭蕉",
            "فاطمة الفهرية",
            "Nguyễn Thị Ánh",
        ] {
            let mut warnings = Vec::new();
            of_name(NAME, Some(&name.to_owned()), &mut warnings);
            assert_eq!(warnings, [], "{name}");
        }
        let mut warnings = Vec::new();
        of_name(NAME, None, &mut warnings);
        assert_eq!(warnings, []);
    }
}
