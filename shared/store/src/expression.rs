//! DynamoDB expressions. Every attribute is written as `#name`, because plain names may
//! be reserved words (`mode`, `state`, `roles` are).

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Item;

/// The map from `#name` to `name` for all names in `expressions`.
pub fn names(expressions: &[&str]) -> HashMap<String, String> {
    placeholders(expressions, '#')
        .map(|name| (format!("#{name}"), name.to_owned()))
        .collect()
}

/// Keeps those of `values` that `expressions` use. DynamoDB refuses a request with an
/// unused value.
pub fn values(
    expressions: &[&str],
    mut values: HashMap<&str, AttributeValue>,
) -> HashMap<String, AttributeValue> {
    placeholders(expressions, ':')
        .filter_map(|name| Some((format!(":{name}"), values.remove(name)?)))
        .collect()
}

/// The condition that an item still has all attributes that it had when it was read, with
/// its names and values.
pub fn exactly(item: &Item) -> (String, HashMap<String, String>, Item) {
    let (mut conditions, mut names, mut values) = (Vec::new(), HashMap::new(), Item::new());
    for (n, (name, value)) in item.iter().enumerate() {
        conditions.push(format!("#name{n} = :value{n}"));
        names.insert(format!("#name{n}"), name.clone());
        values.insert(format!(":value{n}"), value.clone());
    }
    (conditions.join(" AND "), names, values)
}

/// The words that follow `mark`.
fn placeholders<'a>(expressions: &[&'a str], mark: char) -> impl Iterator<Item = &'a str> {
    expressions
        .iter()
        .flat_map(move |expression| expression.split(mark).skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
}

/// Formats a time as the tables store it: RFC 3339 in UTC, always with three decimals, so
/// that the texts sort in order of time.
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
    fn names_are_found_in_expressions() {
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
    fn only_values_that_the_expressions_use_are_sent() {
        let all = HashMap::from([("now", flag(true)), ("no", flag(true))]);
        let sent = values(&["SET #a = :now", "#b = :now"], all);
        assert_eq!(sent, HashMap::from([(":now".to_owned(), flag(true))]));
    }

    #[test]
    fn times_sort_as_texts() {
        let at = |ms| moment(Timestamp::from_millisecond(ms).unwrap());
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert!(at(1000) < at(1500) && at(1500) < at(1501) && at(1501) < at(2000));
    }
}
