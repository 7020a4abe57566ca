//! `coursehook deliveries`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use tokio::signal;

use crate::cli;
use crate::context::{Context, LOG};
use crate::failure::Failure;
use crate::log::{self, Line, Message};
use crate::output::{self, Output};
use crate::rows::FileError;
use crate::time;

/// How often a file that is followed is looked at.
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
    if file == Path::new("-") {
        for line in io::stdin().lock().split(b'\n') {
            shown.take(&line.map_err(|error| in_file("standard input", error))?)?;
        }
        shown.show_last()?;
        return Ok(ExitCode::SUCCESS);
    }
    let broken = |error| in_file(&output::path(&file), error);
    let mut tail = Tail::open(&file).map_err(broken)?;
    tail.read(|line| shown.take(line)).map_err(broken)??;
    if !command.follow {
        shown.take(&tail.begun)?;
    }
    shown.show_last()?;
    if command.follow {
        tokio::select! {
            // First, so that Ctrl-C ends it however much is logged.
            biased;
            Ok(()) = signal::ctrl_c() => {}
            failed = follow(tail, file.clone(), &mut shown) => failed?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn in_file(file: &str, error: io::Error) -> Failure {
    Failure::File {
        file: file.to_owned(),
        problem: FileError::from(error),
    }
}

/// Shows what comes, until that fails.
async fn follow(mut tail: Tail, file: PathBuf, shown: &mut DeliveryView) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(PERIOD).await;
        let broken = |error| in_file(&output::path(&file), error);
        // What came before the file was replaced first.
        tail.read(|line| shown.take(line)).map_err(broken)??;
        tail.renew(&file).map_err(broken)?;
    }
}

/// A file of lines that others add to.
struct Tail {
    file: BufReader<File>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            begun: Vec::new(),
        })
    }

    /// Hands over all lines that are whole.
    fn read(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> io::Result<Result<(), Failure>> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 && self.begun.ends_with(b"\n") {
            let taken = take(&self.begun);
            self.begun.clear();
            if taken.is_err() {
                return Ok(taken);
            }
        }
        Ok(Ok(()))
    }

    /// Begins again where the file was emptied, or another one has its name. One
    /// that is away may come back.
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

/// Where the lines go that are to be shown.
struct DeliveryView {
    output: Output,
    is_coloured: bool,
    /// Until these are shown, only so many are held.
    last: Option<usize>,
    held: VecDeque<String>,
}

impl DeliveryView {
    /// Shows a line at once, or holds it as one of the last.
    fn take(&mut self, line: &[u8]) -> Result<(), Failure> {
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

    /// Shows what is held; from now on nothing is.
    fn show_last(&mut self) -> Result<(), Failure> {
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

/// Columns of a width that is known before the first row: rows come one by one.
fn row([time, kind, outcome, status, duration_ms, course]: [&str; 6]) -> String {
    let row =
        format!("{time:20}  {kind:11}  {outcome:33}  {status:>6}  {duration_ms:>6}  {course}");
    row.trim_end().to_owned()
}

/// Green where it took effect, yellow where it is pending, red where it was
/// refused or failed; a look at a pending event is dimmer.
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
