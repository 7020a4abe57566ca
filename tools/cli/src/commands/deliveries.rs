//! `coursehook deliveries`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Seek, SeekFrom};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use tokio::signal;

use crate::cli;
use crate::context::{Context, LOG};
use crate::failure::Failure;
use crate::log::{self, Line, Message};
use crate::output::{self, Output, OutputError};
use crate::rows::{NamedFileError, is_standard_input};
use crate::time;

/// The time between two reads of a followed file.
const PERIOD: Duration = Duration::from_millis(200);

pub async fn run(
    command: cli::Deliveries,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let file = match command.log {
        Some(file) => file,
        None => context.variable(LOG)?.into(),
    };
    let is_coloured = match command.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && !context.wants_no_color(),
    };
    let mut shown = DeliveryView {
        output,
        is_coloured,
        last: command.last,
        held: VecDeque::new(),
    };
    if !output.is_json() {
        output::line(&shown.headings())?;
    }
    if is_standard_input(&file) {
        for line in io::stdin().lock().split(b'\n') {
            shown.take(&line.map_err(|error| NamedFileError::new(&file, error))?)?;
        }
        shown.show_last()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut tail = Tail::open(&file).map_err(|error| NamedFileError::new(&file, error))?;
    show_new(&mut tail, &file, &mut shown)?;
    if !command.follow {
        shown.take(&tail.begun)?;
    }
    shown.show_last()?;
    if command.follow {
        tokio::select! {
            // First, so that Ctrl-C ends the command however much is logged.
            biased;
            Ok(()) = signal::ctrl_c() => {}
            failed = follow(tail, &file, &mut shown) => failed?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows new lines until an error.
async fn follow(mut tail: Tail, file: &Path, shown: &mut DeliveryView) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(PERIOD).await;
        // First, the lines that were written before the file was replaced.
        show_new(&mut tail, file, shown)?;
        let renewed = tail.renew(file);
        renewed.map_err(|error| NamedFileError::new(file, error))?;
    }
}

/// Shows all new lines.
fn show_new(tail: &mut Tail, file: &Path, shown: &mut DeliveryView) -> Result<(), Failure> {
    let broken = |error| NamedFileError::new(file, error);
    while let Some(line) = tail.next_line().map_err(broken)? {
        shown.take(&line)?;
    }
    Ok(())
}

/// A log file to which other programs append lines.
struct Tail {
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            begun: Vec::new(),
        })
    }

    /// Returns the next complete line; `None` if there is none yet.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.file.read_until(b'\n', &mut self.begun)?;
        if self.begun.ends_with(b"\n") {
            Ok(Some(mem::take(&mut self.begun)))
        } else {
            Ok(None)
        }
    }

    /// Starts again at the beginning if the file was emptied, or if another file has its
    /// name. A missing file may come back.
    fn renew(&mut self, path: &Path) -> io::Result<()> {
        let ours = self.file.get_ref().metadata()?;
        let there = match path.metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            *self = Self::open(path)?;
        } else if there.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
            self.begun.clear();
        }
        Ok(())
    }
}

/// The view that shows the lines.
struct DeliveryView {
    output: Output,
    is_coloured: bool,
    /// The number of lines to hold until they are shown.
    last: Option<usize>,
    held: VecDeque<String>,
}

impl DeliveryView {
    /// Shows a line at once, or holds it as one of the last.
    fn take(&mut self, line: &[u8]) -> Result<(), OutputError> {
        let line = String::from_utf8_lossy(line);
        let Some((json, line)) = log::json(&line).and_then(|json| Some((json, Line::read(json)?)))
        else {
            return Ok(());
        };
        let row = if self.output.is_json() {
            output::escaped(json)
        } else {
            self.row(&line)
        };
        let Some(last) = self.last else {
            return output::line(&row);
        };
        self.held.push_back(row);
        if self.held.len() > last {
            self.held.pop_front();
        }
        Ok(())
    }

    /// Shows the held lines; later lines are shown at once.
    fn show_last(&mut self) -> Result<(), OutputError> {
        self.last = None;
        self.held.drain(..).try_for_each(|row| output::line(&row))
    }

    fn headings(&self) -> String {
        row(["time", "kind", "outcome", "status", "ms", "course"])
    }

    fn row(&self, line: &Line) -> String {
        let text = |field: &Option<String>| field.as_deref().map(output::printable);
        let mut outcome = text(&line.outcome).unwrap_or_default();
        if let Some(reason) = text(&line.reason) {
            outcome.push_str(&format!(" ({reason})"));
        }
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let row = row([
            &time::show_optional(line.timestamp),
            &text(&line.kind).unwrap_or_default(),
            &outcome,
            &number(line.status.map(u64::from)),
            &number(line.duration_ms),
            &text(&line.course_id).unwrap_or_default(),
        ]);
        if self.is_coloured {
            let style = style(line);
            format!("{style}{row}{style:#}")
        } else {
            row
        }
    }
}

/// Formats a row with columns of fixed width: rows arrive one by one, so the widths must
/// be known before the first.
fn row([time, kind, outcome, status, duration_ms, course]: [&str; 6]) -> String {
    let row =
        format!("{time:20}  {kind:11}  {outcome:33}  {status:>6}  {duration_ms:>6}  {course}");
    row.trim_end().to_owned()
}

/// Returns green for a delivery that took effect, yellow for a pending one, red for one
/// that was refused or failed; attempts at pending events are dimmer.
fn style(line: &Line) -> Style {
    let colour = match line.status {
        _ if line.message == Message::EventRetried => return Style::new().dimmed(),
        Some(202 | 404) => AnsiColor::Yellow,
        Some(200..300) => AnsiColor::Green,
        Some(400..) => AnsiColor::Red,
        _ => return Style::new(),
    };
    colour.on_default()
}
