//! Expressions of DynamoDB: every attribute goes by `#name`, since plain names
//! may be reserved words (`mode`, `state`, `roles` are).

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// The map from `#name` to `name` for all names in `expressions`.
pub fn names(expressions: &[&str]) -> HashMap<String, String> {
    expressions
        .iter()
        .flat_map(|expression| expression.split('#').skip(1))
        .map(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (format!("#{}", &rest[..end]), rest[..end].to_owned())
        })
        .collect()
}

/// A moment as the tables hold it: RFC 3339 in UTC, always with three decimals,
/// so that texts sort as moments do.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub fn flag(value: bool) -> AttributeValue {
    AttributeValue::Bool(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let found = names(&["SET #a = :a, #b_c=if_not_exists(#b_c,:z)", "#a <> :b"]);
        let mut pairs: Vec<_> = found.into_iter().collect();
        pairs.sort();
        assert_eq!(
            pairs,
            [
                ("#a".to_owned(), "a".to_owned()),
                ("#b_c".to_owned(), "b_c".to_owned())
            ]
        );
    }

    #[test]
    fn moments_sort_as_texts() {
        let at = |ms| moment(Timestamp::from_millisecond(ms).unwrap());
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert!(at(1000) < at(1500) && at(1500) < at(1501) && at(1501) < at(2000));
    }
}
