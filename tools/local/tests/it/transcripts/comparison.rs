//! Compares the output that a page shows with the output of a run.
//!
//! Two runs of a command print other ids, times and durations. Times and durations are not
//! compared. An id of the page stands for one id of the run: where the page shows the same id
//! twice, the run must print the same id twice.

use std::collections::HashMap;

use jiff::Timestamp;
use uuid::Uuid;

/// Stands for lines that the page leaves out, at most once in an output.
const ELISION: &str = "...";

/// Begins the headings of tables whose rows come in the order of random ids or times. The lists of
/// one item's fields that begin in the same way have two columns only.
const UNORDERED: [&str; 2] = ["email  ", "key  "];

/// Pairs the ids of a page with those of this run.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    of_run: HashMap<String, String>,
    of_page: HashMap<String, String>,
}

impl Ids {
    /// Returns a line of the page with the ids of this run.
    pub fn in_run(&self, line: &str) -> String {
        with_words(line, |word| self.of_run.get(word).cloned())
    }

    /// Compares the output that the page shows with the output that was printed.
    ///
    /// # Errors
    /// They differ; the text shows how.
    pub fn compare(&mut self, shown: &[String], printed: &[String]) -> Result<(), String> {
        let shown = sorted(&alike(shown));
        let printed = sorted(&alike(printed));
        self.learn(&shown, &printed);
        let printed: Vec<_> = printed
            .iter()
            .map(|line| with_words(line, |word| self.in_page(word)))
            .collect();
        if shown == printed {
            Ok(())
        } else {
            Err(difference(&shown, &printed))
        }
    }

    /// Returns the page's id for an id of this run, or a word of no page if it has none.
    fn in_page(&self, word: &str) -> Option<String> {
        let known = || self.of_page.get(word).cloned();
        is_id(word).then(|| known().unwrap_or_else(|| format!("{word} (another id)")))
    }

    /// Pairs the ids of two outputs that have as many of them, each with one of the same length. A
    /// pair is never replaced.
    fn learn(&mut self, shown: &[String], printed: &[String]) {
        let (shown, printed) = (ids(shown), ids(printed));
        if shown.len() != printed.len() {
            return;
        }
        for (page, run) in shown.into_iter().zip(printed) {
            let is_new = !self.of_run.contains_key(&page) && !self.of_page.contains_key(&run);
            if is_new && page.len() == run.len() {
                self.of_page.insert(run.clone(), page.clone());
                self.of_run.insert(page, run);
            }
        }
    }
}

/// Returns the printed lines without those that the page leaves out.
pub fn elided(printed: Vec<String>, shown: &[String]) -> Vec<String> {
    let Some(before) = shown.iter().position(|line| line == ELISION) else {
        return printed;
    };
    let after = shown.len() - before - 1;
    let Some(rest) = printed.len().checked_sub(before + after) else {
        return printed;
    };
    let mut elided = printed;
    elided.splice(before..before + rest, [ELISION.to_owned()]);
    elided
}

/// Returns the lines with words in place of times and durations.
fn alike(lines: &[String]) -> Vec<String> {
    let mut milliseconds = None;
    let mut alike = Vec::new();
    for line in lines {
        if line.starts_with("time  ") {
            milliseconds = line.find(" ms  ").map(|at| at + " ms".len());
        }
        let mut line = line.trim_end().to_owned();
        if let Some((cell, rest)) = milliseconds.and_then(|end| line.split_at_checked(end)) {
            line = without_number(cell) + rest;
        }
        if let Some((before, after)) = line.split_once(" ms ") {
            line = format!("{} ms {after}", without_number(before));
        }
        if line.starts_with("learners a second") {
            line = without_number(&line);
        }
        let time = |word: &str| word.parse::<Timestamp>().is_ok().then(|| "TIME".to_owned());
        alike.push(with_words(&line, time));
    }
    alike
}

/// Returns the text with a word in place of the number at its end.
fn without_number(text: &str) -> String {
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit());
    if before.len() == text.len() {
        text.to_owned()
    } else {
        format!("{} NUMBER", before.trim_end())
    }
}

/// Returns the lines, with the rows of unordered tables sorted by all but their ids.
fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    for table in lines.split_mut(String::is_empty) {
        if let [headings, rows @ ..] = table
            && UNORDERED.iter().any(|first| headings.starts_with(first))
            && headings.split("  ").filter(|cell| !cell.is_empty()).count() > 2
        {
            let id = |word: &str| is_id(word).then(|| "ID".to_owned());
            rows.sort_by_key(|row| with_words(row, id));
        }
    }
    lines
}

/// Returns the ids of all lines, in order.
fn ids(lines: &[String]) -> Vec<String> {
    let mut ids = Vec::new();
    for line in lines {
        with_words(line, |word| {
            if is_id(word) {
                ids.push(word.to_owned());
            }
            None
        });
    }
    ids
}

/// Returns true for a UUID, the id of a token, and the key of an event, whole or as tables show it.
fn is_id(word: &str) -> bool {
    const UUID: usize = 36;
    match word.len() {
        UUID => Uuid::try_parse(word).is_ok(),
        12 | 64 => word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        _ => false,
    }
}

/// Returns the line with each word replaced for which `replace` returns another one.
fn with_words(line: &str, mut replace: impl FnMut(&str) -> Option<String>) -> String {
    let is_between = |c: char| !c.is_ascii_alphanumeric() && !"-:".contains(c);
    let mut replaced = String::new();
    for piece in line.split_inclusive(is_between) {
        // A time has colons in it; one at its end is not of the word.
        let word = piece.trim_end_matches(|c| is_between(c) || c == ':');
        match replace(word) {
            Some(other) => replaced.push_str(&other),
            None => replaced.push_str(word),
        }
        replaced.push_str(&piece[word.len()..]);
    }
    replaced
}

/// Returns the lines of the page after `-` and the printed ones after `+`, where they differ.
fn difference(shown: &[String], printed: &[String]) -> String {
    let same = |(a, b): &(&String, &String)| a == b;
    let start = shown.iter().zip(printed).take_while(same).count();
    let (shown, printed) = (&shown[start..], &printed[start..]);
    let ends = shown.iter().rev().zip(printed.iter().rev());
    let end = ends.take_while(same).count();
    let only = |sign: char, lines: &[String]| {
        let lines = lines[..lines.len() - end].iter();
        lines
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    let context = |count| match count {
        0 => String::new(),
        count => format!("  ({count} lines alike)\n"),
    };
    context(start) + &only('-', shown) + &only('+', printed) + &context(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "eb7e6504-75ff-4f98-a22a-9a592084e2dc";
    const B: &str = "c1a9bf06-6bba-44a3-a527-230fb212d830";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn compare(ids: &mut Ids, shown: &str, printed: &str) -> Result<(), String> {
        ids.compare(&lines(shown), &lines(printed))
    }

    #[test]
    fn times_and_durations_are_not_compared() {
        for (shown, printed) in [
            ("at 2026-11-22T23:42:39Z:", "at 2027-01-01T00:00:00Z:"),
            ("200     18 ms  file", "200    118 ms  file"),
            ("learners a second  18", "learners a second  7"),
            (
                "time  status      ms  course\n         202    4388  course",
                "time  status      ms  course\n         202       8  course",
            ),
        ] {
            assert_eq!(compare(&mut Ids::default(), shown, printed), Ok(()));
        }
        for (shown, printed) in [
            ("at 2026-11-22T23:42:39Z.", "at noon."),
            ("201     18 ms  file", "200     18 ms  file"),
            ("listed  18", "listed  7"),
        ] {
            assert!(compare(&mut Ids::default(), shown, printed).is_err());
        }
    }

    #[test]
    fn an_id_of_the_page_is_one_id_of_the_run() {
        let mut ids = Ids::default();
        assert_eq!(
            compare(&mut ids, &format!("id {A}"), &format!("id {B}")),
            Ok(())
        );
        assert_eq!(ids.in_run(&format!("show '{A}'")), format!("show '{B}'"));
        assert_eq!(
            compare(
                &mut ids,
                &format!("again {A}, {A}"),
                &format!("again {B}, {B}")
            ),
            Ok(())
        );
        assert_eq!(
            compare(&mut ids, &format!("again {A}"), &format!("again {A}")),
            Err(format!("- again {A}\n+ again {A} (another id)\n"))
        );
    }

    #[test]
    fn ids_of_two_kinds_are_no_pair() {
        let event = &format!("id {}", "0".repeat(64));
        assert!(compare(&mut Ids::default(), &format!("id {A}"), event).is_err());
    }

    #[test]
    fn rows_by_address_have_no_order() {
        let shown = format!("email  id  x\na@b.org  {A}\nc@d.org  {B}\n\nlast");
        let printed = format!("email  id  x\nc@d.org  {A}\na@b.org  {B}\n\nlast");
        assert_eq!(compare(&mut Ids::default(), &shown, &printed), Ok(()));
        let fields = compare(
            &mut Ids::default(),
            "email  a@b.org\nname   A\nid  1",
            "email  a@b.org\nid  1\nname   A",
        );
        assert!(fields.is_err());
        let other = printed.replace("email", "at");
        assert!(compare(&mut Ids::default(), &shown.replace("email", "at"), &other).is_err());
    }

    #[test]
    fn three_dots_stand_for_any_lines() {
        let shown = lines("a\n...\nz");
        assert_eq!(elided(lines("a\nb\nc\nz"), &shown), shown);
        assert_eq!(elided(lines("a\nz"), &shown), shown);
        assert_eq!(elided(lines("a"), &shown), lines("a"));
        assert_eq!(elided(lines("a\nb"), &lines("...")), lines("..."));
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(
            compare(&mut Ids::default(), "a\nb\nd", "a\nc\nc\nd"),
            Err("  (1 lines alike)\n- b\n+ c\n+ c\n  (1 lines alike)\n".to_owned())
        );
    }
}
