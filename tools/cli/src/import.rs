//! A file goes into a table: read by one thread, written in batches, several
//! of them at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use std::{fmt, mem, thread};

use futures::{StreamExt, stream};
use serde::Serialize;
use shared::use_cases::StoreError;
use shared::use_cases::importing::{Imported, RowRefused};
use tokio::signal;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::timeout;

use crate::cli::exit_code;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::rows::{Columns, Entry, FileProblem, Row, RowProblem, Rows};

/// Batches that are written at the same time.
const BATCHES_AT_ONCE: usize = 8;

/// How long an import that was interrupted may still go on.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often rows whose username was taken are written again.
const ROUNDS: usize = 3;

/// What became of a file's rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    created: u64,
    updated: u64,
    unchanged: u64,
    bad_lines: Vec<BadLine>,
    /// Kept events that had waited for what there is now; within a minute they
    /// are looked at.
    events_due: u64,
    /// Why the import was cut short, if it was. The numbers are then the least
    /// that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct BadLine {
    line: u64,
    problem: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            created,
            updated,
            unchanged,
            bad_lines,
            events_due,
            ..
        } = self;
        let bad_lines = bad_lines.len();
        write!(
            f,
            "{created} created, {updated} updated, {unchanged} unchanged, {bad_lines} bad line{}",
            if bad_lines == 1 { "" } else { "s" }
        )?;
        match events_due {
            0 => Ok(()),
            1 => f.write_str("; 1 kept event waited for this and is looked at within a minute"),
            n => write!(
                f,
                "; {n} kept events waited for this and are looked at within a minute"
            ),
        }
    }
}

/// What a row of a file can become.
pub trait Importable: Sized + Send + 'static {
    const COLUMNS: Columns;
    /// How many are written in one call.
    const AT_ONCE: usize;
    /// What must be remembered of the rows before.
    type Seen: Default + Send;

    fn read(row: &Row, line: u64, seen: &mut Self::Seen) -> Result<Self, RowProblem>;
}

/// What became of some rows, in their order.
pub type Answers = Result<Vec<Result<Imported, RowRefused>>, StoreError>;

/// Imports a file, `-` being standard input. `store` writes some rows;
/// `expect` makes the kept events due that have waited for them, and says how many.
pub async fn import<T: Importable>(
    file: &Path,
    output: Output,
    store: impl AsyncFn(&[T]) -> Answers,
    expect: impl AsyncFn() -> Result<u64, StoreError>,
) -> Result<ExitCode, Failure> {
    let in_file = |problem| in_file(file, problem);
    let (input, bytes) = open(file).map_err(|error| in_file(error.into()))?;
    let rows = Rows::new(input, &T::COLUMNS).map_err(in_file)?;
    let mut tally = Tally {
        done: Summary::default(),
        progress: Progress::new(bytes),
    };
    let result = tokio::select! {
        // First, so that Ctrl-C is heard before anything is written.
        biased;
        Ok(()) = signal::ctrl_c() => Err(Failure::Interrupted),
        written = write_all(rows, in_file, &store, &expect, &mut tally) => written,
    };

    // The bar goes before the summary comes.
    let Tally { mut done, progress } = tally;
    drop(progress);
    done.bad_lines.sort_by_key(|bad| bad.line);
    if let Err(reason) = result {
        // What is written is written, and events may have waited for it. Where
        // it is the table that fails, there is no use in trying.
        let is_written = done.created + done.updated + done.unchanged > 0;
        if is_written && !matches!(reason, Failure::Store(_)) {
            let expected = timeout(LAST_WORDS, expect()).await;
            done.events_due = expected.unwrap_or(Ok(0)).unwrap_or_default();
        }
        done.stopped = Some(reason.to_string());
        if output.is_json() {
            // Whether or not this can be written, the reason is what to tell.
            let _ = output.answer(&done, String::new);
        }
        let reason = Box::new(reason);
        return Err(Failure::Stopped { reason, done });
    }
    output.answer(&done, || done.to_string())?;
    Ok(if done.bad_lines.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

/// What is wrong with a file, with its name.
fn in_file(file: &Path, problem: FileProblem) -> Failure {
    let file = if is_standard_input(file) {
        "standard input".to_owned()
    } else {
        output::path(file)
    };
    Failure::File { file, problem }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn open(file: &Path) -> io::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    const BUFFER: usize = 64 * 1024;
    if is_standard_input(file) {
        return Ok((
            Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
            None,
        ));
    }
    let file = File::open(file)?;
    let about = file.metadata()?;
    let bytes = about.is_file().then_some(about.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), bytes))
}

/// Rows that are written together.
struct Batch<T> {
    lines: Vec<u64>,
    rows: Vec<T>,
    /// What they take in the file, with the bad lines among them.
    bytes: u64,
}

impl<T> Batch<T> {
    const fn new() -> Self {
        Self {
            lines: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
        }
    }
}

/// What the thread that reads has to say.
enum Read<T> {
    Batch(Batch<T>),
    Bad(u64, RowProblem),
    Unknown(Vec<String>),
    Broken(io::Error),
}

/// Reads until the end, or until nobody listens any more.
fn read_all<T: Importable>(
    mut rows: Rows,
    sender: &mpsc::Sender<Read<T>>,
) -> Result<(), SendError<Read<T>>> {
    let mut seen = T::Seen::default();
    let mut batch = Batch::new();
    let mut told = 0;
    loop {
        let entry = match rows.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return sender.blocking_send(Read::Broken(error)),
        };
        let names = rows.take_unknown();
        if !names.is_empty() {
            sender.blocking_send(Read::Unknown(names))?;
        }
        let Entry { line, row } = entry;
        match row.and_then(|row| T::read(&row, line, &mut seen)) {
            Ok(row) => {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            Err(problem) => sender.blocking_send(Read::Bad(line, problem))?,
        }
        if batch.rows.len() == T::AT_ONCE {
            batch.bytes = rows.bytes() - told;
            told = rows.bytes();
            sender.blocking_send(Read::Batch(mem::replace(&mut batch, Batch::new())))?;
        }
    }
    batch.bytes = rows.bytes() - told;
    sender.blocking_send(Read::Batch(batch))
}

/// Writes all rows that can be written.
async fn write_all<T: Importable>(
    rows: Rows,
    in_file: impl Fn(FileProblem) -> Failure,
    store: &impl AsyncFn(&[T]) -> Answers,
    expect: &impl AsyncFn() -> Result<u64, StoreError>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    // A thread of its own and not one of the runtime's, which would be waited
    // for: a read from a pipe may last for ever.
    let (sender, receiver) = mpsc::channel(BATCHES_AT_ONCE);
    let reader = thread::spawn(move || read_all(rows, &sender));

    let reads = stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let write = async |read| match read {
        Read::Batch(batch) if !batch.rows.is_empty() => {
            let answers = store(&batch.rows).await;
            (Read::Batch(batch), answers)
        }
        other => (other, Ok(Vec::new())),
    };
    let mut written = pin!(reads.map(write).buffer_unordered(BATCHES_AT_ONCE));
    let mut refused = Vec::new();
    while let Some((read, answers)) = written.next().await {
        match read {
            Read::Batch(batch) => refused.extend(tally.count(batch, answers?)),
            Read::Bad(line, problem) => tally.bad(line, &problem),
            Read::Unknown(names) => tally.progress.note(&format!(
                "warning: these columns are not known and passed over: {}",
                output::excerpt(&names.join(", "))
            )),
            Read::Broken(error) => return Err(in_file(error.into())),
        }
    }
    if let Err(panic) = reader.join() {
        std::panic::resume_unwind(panic);
    }
    write_again(refused, store, tally).await?;
    tally.done.events_due = expect().await?;
    Ok(())
}

/// Writes the rows whose username was taken, a few times and as long as some
/// of them succeed: its owner may have got another one by a later row of the
/// same file.
async fn write_again<T: Importable>(
    mut refused: Vec<Refused<T>>,
    store: &impl AsyncFn(&[T]) -> Answers,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let before = refused.len();
        let mut rows = refused.into_iter().peekable();
        refused = Vec::new();
        while rows.peek().is_some() {
            let mut batch = Batch::new();
            for Refused { line, row, .. } in rows.by_ref().take(T::AT_ONCE) {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            let answers = store(&batch.rows).await?;
            refused.extend(tally.count(batch, answers));
        }
        if refused.len() == before {
            break;
        }
    }
    for Refused { line, why, .. } in refused {
        tally.bad(line, &told(&why));
    }
    Ok(())
}

/// Why a row was refused, and what to do about it.
fn told(why: &RowRefused) -> String {
    match why {
        RowRefused::UsernameTaken { owner, email } => format!(
            "{}; if they are one person with a new address: coursehook users rename-email {} {}; \
             if another line of this file gives that address a new username, import the file again",
            output::printable(&why.to_string()),
            output::quoted(owner.as_str()),
            output::quoted(email.as_str()),
        ),
        _ => why.to_string(),
    }
}

struct Refused<T> {
    line: u64,
    row: T,
    why: RowRefused,
}

/// What is done so far, shown as it grows.
struct Tally {
    done: Summary,
    progress: Progress,
}

impl Tally {
    /// Counts the rows of a batch that are done, and hands back those that were refused.
    fn count<T>(
        &mut self,
        batch: Batch<T>,
        answers: Vec<Result<Imported, RowRefused>>,
    ) -> Vec<Refused<T>> {
        let mut refused = Vec::new();
        for ((line, row), answer) in batch.lines.into_iter().zip(batch.rows).zip(answers) {
            match answer {
                Ok(Imported::Created) => self.done.created += 1,
                Ok(Imported::Updated) => self.done.updated += 1,
                Ok(Imported::Unchanged) => self.done.unchanged += 1,
                Err(why) => refused.push(Refused { line, row, why }),
            }
        }
        self.progress.advance(batch.bytes, &self.done);
        refused
    }

    fn bad(&mut self, line: u64, problem: &impl fmt::Display) {
        let problem = problem.to_string();
        self.progress.note(&format!("line {line}: {problem}"));
        self.done.bad_lines.push(BadLine { line, problem });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::use_cases::importing::UserRow;

    /// So that the bar ends at 100 %.
    #[test]
    fn batches_account_for_every_byte() {
        let rows: String = (0..250)
            .map(|n| format!("learner{n}@example.org\n"))
            .collect();
        let file = format!("email\n{rows}no address\n\n \n");
        let bytes = file.len() as u64;
        let input = Box::new(io::Cursor::new(file.into_bytes()));
        let rows = Rows::new(input, &UserRow::COLUMNS).unwrap();
        let (sender, mut receiver) = mpsc::channel(100);
        assert!(read_all::<UserRow>(rows, &sender).is_ok());
        drop(sender);
        let mut told = 0;
        while let Some(read) = receiver.blocking_recv() {
            if let Read::Batch(batch) = read {
                told += batch.bytes;
            }
        }
        assert_eq!(told, bytes);
    }
}
