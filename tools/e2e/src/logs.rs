//! Checks that the functions' logs hold nothing confidential.

use std::collections::BTreeMap;
use std::fs;

use crate::emulator::log_file;
use crate::failure::{Failure, none, of_file};

/// Writes all lines to `.local/logs/e2e-functions.log`, to find the cause of an error.
pub fn write(logs: &BTreeMap<String, Vec<String>>) -> Result<(), Failure> {
    let groups = logs
        .iter()
        .map(|(group, lines)| format!("# {group}\n{}\n", lines.join("\n")));
    let file = log_file("e2e-functions.log")?;
    fs::write(&file, groups.collect::<String>()).map_err(of_file(&file))
}

/// Checks that no line of any group holds one of these addresses, usernames, tokens and secrets.
pub fn hold(logs: &BTreeMap<String, Vec<String>>, planted: &[String]) -> Result<(), Failure> {
    let mut found = Vec::new();
    for (group, lines) in logs {
        for line in lines {
            let holds = |secret: &&String| line.to_lowercase().contains(&secret.to_lowercase());
            if let Some(secret) = planted.iter().find(holds) {
                found.push(format!("{group} holds {secret}: {line}"));
            }
        }
    }
    none("the logs and what may be in them", &found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_a_line_is_found() {
        let planted = ["ada@example.org".to_owned()];
        for (line, is_fine) in [(r#"{"user_id":"1"}"#, true), ("Ada@Example.org", false)] {
            let logs = BTreeMap::from([("group".to_owned(), vec![line.to_owned()])]);
            assert_eq!(hold(&logs, &planted).is_ok(), is_fine, "{line}");
        }
    }
}
