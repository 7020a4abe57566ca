//! Prints for each text on standard input whether it is a course run's id.
//!
//! A line of input is a JSON string, and a line of output is `true` or `false`. `make
//! peers` uses it to compare the answers with those of edx-opaque-keys.

use std::io::{self, BufRead, BufWriter, Write};

use domain::CourseId;

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        writeln!(out, "{}", text.parse::<CourseId>().is_ok())?;
    }
    out.flush()
}
