//! The numbers of a run, for the terminal and for docs/reliability.md.

use std::fmt::Write;
use std::io;
use std::path::Path;

use crate::run::Outcome;
use crate::world::Counts;

/// The numbers of all cases of a run.
#[derive(Debug, Clone)]
pub struct Total {
    /// The seed of the first case.
    pub seed: u64,
    /// The number of cases.
    pub cases: u64,
    /// The number of steps.
    pub steps: u64,
    /// Calls, faults and deaths.
    pub counts: Counts,
}

impl Total {
    /// Begins with nothing.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            cases: 0,
            steps: 0,
            counts: Counts::default(),
        }
    }

    /// Adds a case.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.steps += outcome.steps;
        self.counts.add(&outcome.counts);
    }
}

/// Begins and ends the part of the page that a run writes.
const BEGIN: &str = "<!-- written by `make storm WRITE=1` -->\n";
const END: &str = "<!-- end -->\n";

/// Returns the numbers as Markdown, which can be read on a terminal too.
pub fn table(total: &Total) -> String {
    let Total {
        seed,
        cases,
        steps,
        counts,
    } = total;
    let mut text = format!(
        "{} steps in {} cases from seed {seed}, without a difference from the model.\n{} processes died in \
         the middle of their work.\n\n| service | calls | fault | times |\n|---|---|---|---|\n",
        grouped(*steps),
        grouped(*cases),
        grouped(counts.deaths),
    );
    for (service, calls) in &counts.calls {
        let _ = writeln!(text, "| {} | {} | | |", service.as_str(), grouped(*calls));
        for ((_, fault), times) in counts.faults.iter().filter(|((of, _), _)| of == service) {
            let _ = writeln!(text, "| | | {} | {} |", fault.as_str(), grouped(*times));
        }
    }
    text
}

/// Replaces the numbers in a page.
///
/// # Errors
/// The page cannot be read or written, or has no place for them.
pub fn write(page: &Path, total: &Total) -> io::Result<()> {
    let text = std::fs::read_to_string(page)?;
    let missing = || io::Error::other("it has no place for the numbers");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    std::fs::write(
        page,
        format!("{before}{BEGIN}\n{}\n{END}{after}", table(total)),
    )
}

/// Returns a number with commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
