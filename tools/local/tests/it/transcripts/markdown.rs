//! Reads the transcripts of a page, and writes others in their place.
//!
//! A transcript is a `console` block. A line with `$ ` before it is a command; it goes on in the
//! next line after a `\` at its end, and up to the end of a here-document. What stands below a
//! command is its output.

use std::ops::Range;

const PROMPT: &str = "$ ";

/// Holds a command of a page and the output that the page shows below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The lines of the command, without the prompt.
    pub command: Vec<String>,
    /// The lines that the command prints, without blank ones at the end.
    pub output: Vec<String>,
    /// The white space before each line of the block.
    indent: String,
    /// The indices of the page's lines that hold the command and the output.
    lines: Range<usize>,
}

impl Step {
    /// Returns the number of the command's first line, counted from 1.
    pub fn line(&self) -> usize {
        self.lines.start + 1
    }
}

/// Says how a command goes on in the next line.
enum Unfinished {
    /// The line before ends with `\`.
    Line,
    /// A here-document goes on up to this line.
    HereDocument(String),
}

/// Reads the commands of all `console` blocks of a page, in order.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((_, fence)) = lines.next() {
        let Some(indent) = fence.strip_suffix("```console") else {
            continue;
        };
        let first_of_block = steps.len();
        let mut unfinished = None;
        for (index, line) in lines.by_ref() {
            let line = line.strip_prefix(indent).unwrap_or(line);
            if line == "```" {
                break;
            }
            if let Some(open) = unfinished.take() {
                let step = steps.last_mut().unwrap();
                step.command.push(line.to_owned());
                step.lines.end = index + 1;
                unfinished = match open {
                    Unfinished::Line => unfinished_after(line),
                    Unfinished::HereDocument(end) if line == end => None,
                    here_document => Some(here_document),
                };
            } else if let Some(command) = line.strip_prefix(PROMPT) {
                steps.push(Step {
                    command: vec![command.to_owned()],
                    output: Vec::new(),
                    indent: indent.to_owned(),
                    lines: index..index + 1,
                });
                unfinished = unfinished_after(command);
            } else {
                assert!(
                    steps.len() > first_of_block,
                    "line {}: a console block begins with a command, `$ ...`",
                    index + 1
                );
                steps.last_mut().unwrap().output.push(line.to_owned());
            }
        }
    }
    for step in &mut steps {
        while step.output.last().is_some_and(String::is_empty) {
            step.output.pop();
        }
        step.lines.end += step.output.len();
    }
    steps
}

/// Returns how a command goes on after this line, if it does.
fn unfinished_after(line: &str) -> Option<Unfinished> {
    if let Some((_, word)) = line.split_once("<<") {
        let is_end = |c: char| c.is_whitespace() || ";&|)".contains(c);
        let word = word.trim_start().split(is_end).next().unwrap_or_default();
        let word = word.trim_matches(['\'', '"']);
        return Some(Unfinished::HereDocument(word.to_owned()));
    }
    line.ends_with('\\').then_some(Unfinished::Line)
}

/// Returns the page with the command and the output of each step replaced by those in `others`.
pub fn with(page: &str, steps: &[Step], others: &[(Vec<String>, Vec<String>)]) -> String {
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    // From the end, so that the indices before it stay.
    for (step, (command, output)) in steps.iter().zip(others).rev() {
        let prompts = [PROMPT].into_iter().chain(std::iter::repeat(""));
        let command = prompts.zip(command).map(|(p, line)| format!("{p}{line}"));
        let all = command.chain(output.iter().cloned());
        let indented = all.map(|line| format!("{}{line}", step.indent).trim_end().to_owned());
        lines.splice(step.lines.clone(), Vec::from_iter(indented));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# A page

```sh
$ not this
```

1. An item:

   ```console
   $ one \
       --flag
   first

   second

   $ cat > file <<'END'
   $ no command
   END
   ```

```console
$ two
```
"#;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_outputs_are_distinguished() {
        let read = steps(PAGE);
        let read: Vec<_> = read
            .iter()
            .map(|step| (step.line(), step.command.clone(), step.output.clone()))
            .collect();
        let one = (
            10,
            lines(&["one \\", "    --flag"]),
            lines(&["first", "", "second"]),
        );
        let cat = (
            16,
            lines(&["cat > file <<'END'", "$ no command", "END"]),
            vec![],
        );
        assert_eq!(read, [one, cat, (22, lines(&["two"]), vec![])]);
    }

    #[test]
    fn a_page_is_written_as_it_was_read() {
        let steps = steps(PAGE);
        let same = steps.iter().map(|s| (s.command.clone(), s.output.clone()));
        assert_eq!(with(PAGE, &steps, &Vec::from_iter(same)), PAGE);
    }

    #[test]
    fn outputs_are_replaced_in_place() {
        let steps = steps(PAGE);
        let mut others: Vec<_> = steps
            .iter()
            .map(|step| (step.command.clone(), lines(&["said"])))
            .collect();
        others[1].1 = vec![];
        let written = with(PAGE, &steps, &others);
        assert!(
            written.contains("       --flag\n   said\n\n   $ cat"),
            "{written}"
        );
        assert!(written.ends_with("$ two\nsaid\n```\n"), "{written}");
    }

    #[test]
    #[should_panic(expected = "line 2: a console block begins with a command")]
    fn an_output_without_a_command_is_an_error() {
        steps("```console\nsaid\n```\n");
    }
}
