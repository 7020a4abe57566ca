//! DynamoDB expressions. Every attribute is written as `#name`, because plain names may
//! be reserved words (`mode`, `state`, `roles` are).

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Item;

/// The map from `#name` to `name` for all names in `expressions`.
pub fn names(expressions: &[&str]) -> HashMap<String, String> {
    placeholders(expressions, '#')
        .map(|name| (format!("#{name}"), name.to_owned()))
        .collect()
}

/// Keeps those of `values` that `expressions` use. DynamoDB refuses a request with an
/// unused value.
pub fn values<K: Borrow<str> + Eq + Hash>(
    expressions: &[&str],
    mut values: HashMap<K, AttributeValue>,
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

/// The update that sets each attribute of `item` to the value of its name, and removes those
/// of `optional` that `item` lacks. It leaves all other attributes as they are.
pub fn replacing(item: &Item, optional: &[&str]) -> String {
    let set = Vec::from_iter(item.keys().map(|name| format!("#{name} = :{name}")));
    let gone = optional.iter().filter(|name| !item.contains_key(**name));
    let gone = Vec::from_iter(gone.map(|name| format!("#{name}")));
    let mut update = format!("SET {}", set.join(", "));
    if !gone.is_empty() {
        update.push_str(&format!(" REMOVE {}", gone.join(", ")));
    }
    update
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
    fn an_absent_attribute_is_removed() {
        let item = Item::from([("a".to_owned(), flag(true))]);
        assert_eq!(replacing(&item, &["a"]), "SET #a = :a");
        assert_eq!(
            replacing(&item, &["b", "a", "c"]),
            "SET #a = :a REMOVE #b, #c"
        );
    }
}
