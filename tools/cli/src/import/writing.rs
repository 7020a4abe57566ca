//! Writes the rows of a file, in batches, several at once.

use std::cell::Cell;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use app::StoreError;
use app::importing::{Answers, RowRefusedError};
use futures::{StreamExt, stream};
use tokio::signal;
use tokio::time::timeout;

use super::reading::{self, Batch, Input, Message, Reader, open};
use super::summary::{ImportMode, Refused, Summary, Tally};
use crate::cli::{ImportFile, exit_code};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::rows::{FileError, NamedFileError, Rows};

/// The number of batches that are written at the same time.
const BATCHES_AT_ONCE: usize = 8;

/// The time that an interrupted import may take to finish.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The number of times that rows are written again which other rows of the file blocked.
const ROUNDS: usize = 3;

/// Writes rows.
pub trait Writer {
    type Parsed;

    /// Writes some rows; the answers are in their order.
    async fn write(&self, rows: &[Self::Parsed]) -> Result<Answers, StoreError>;

    /// Makes the pending events due that were blocked on the imported records, unless
    /// `write` has already done so; returns how many there were in all.
    async fn expect(&self) -> Result<u64, StoreError>;

    /// Describes why a row was refused, and how to fix it.
    fn describe(row: &Self::Parsed, why: &RowRefusedError) -> String;
}

/// Imports a file; `-` is standard input.
pub async fn import<R: Reader, W: Writer<Parsed = R::Parsed>>(
    file: &ImportFile,
    mode: ImportMode,
    reader: R,
    writer: &W,
    output: Output,
) -> Result<ExitCode, Failure> {
    let input = open(&file.file).map_err(|error| NamedFileError::new(&file.file, error))?;
    import_input(input, file, mode, reader, writer, output).await
}

/// Imports an opened file.
pub async fn import_input<R: Reader, W: Writer<Parsed = R::Parsed>>(
    Input {
        reader: input,
        bytes,
    }: Input,
    ImportFile { file, allow_empty }: &ImportFile,
    mode: ImportMode,
    reader: R,
    writer: &W,
    output: Output,
) -> Result<ExitCode, Failure> {
    let in_file = |problem| NamedFileError::new(file, problem);
    let rows = Rows::new(input, &R::COLUMNS, *allow_empty).map_err(in_file)?;
    let mut tally = Tally {
        done: Summary::new(mode),
        progress: Progress::new(bytes),
    };
    let has_begun = Cell::new(false);
    let result = tokio::select! {
        // First, so that Ctrl-C takes effect before anything is written.
        biased;
        Ok(()) = signal::ctrl_c() => Err(Failure::Interrupted),
        written = write_all(rows, in_file, reader, writer, &mut tally, &has_begun) => written,
    };

    // The bar is removed before the summary is written.
    let Tally { mut done, progress } = tally;
    drop(progress);
    done.sort();
    for warning in done.warnings.lines() {
        output::note(&warning);
    }
    if let Err(reason) = result {
        // Rows may be written that are not counted yet, and events may have been blocked on them.
        // If the table fails, another call is of no use.
        if has_begun.get() && !matches!(reason, Failure::Store(_)) {
            let expected = timeout(LAST_WORDS, writer.expect()).await;
            done.expects(expected.unwrap_or(Ok(0)).unwrap_or_default());
        }
        done.stop(reason.to_string());
        if output.is_json() {
            // The reason is reported even if this cannot be written.
            let _ = output.answer(&done, String::new);
        }
        return Err(Failure::CutShort {
            reason: Box::new(reason),
            done: format!(
                "so far {done}, and perhaps some more; \
                 import the file again: records that are already stored stay as they are"
            ),
        });
    }
    output.answer(&done, || done.to_string())?;
    Ok(if done.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

/// Writes all rows that can be written; if the file breaks off, those before that point.
async fn write_all<R: Reader, W: Writer<Parsed = R::Parsed>>(
    rows: Rows,
    in_file: impl Fn(FileError) -> NamedFileError,
    reader: R,
    writer: &W,
    tally: &mut Tally,
    has_begun: &Cell<bool>,
) -> Result<(), Failure> {
    let (receiver, thread) = reading::start(rows, reader, BATCHES_AT_ONCE);
    let reads = stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let write = async |read| match read {
        Message::Batch(batch) if !batch.rows.is_empty() => {
            has_begun.set(true);
            let answers = writer.write(&batch.rows).await;
            (Message::Batch(batch), answers)
        }
        other => (other, Ok(Vec::new())),
    };
    let mut written = pin!(reads.map(write).buffer_unordered(BATCHES_AT_ONCE));
    let (mut refused, mut broken) = (Vec::new(), None);
    while let Some((read, answers)) = written.next().await {
        match read {
            Message::Batch(batch) => refused.extend(tally.count(batch, answers?, W::describe)),
            Message::Bad(bad) => tally.bad(bad.line, &bad),
            Message::Unknown(names) => tally.progress.note(&format!(
                "warning: these columns are not known and are ignored: {}",
                output::excerpt(&names.join(", "))
            )),
            Message::Broken(problem) => broken = Some(problem),
        }
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
    write_again(refused, R::AT_ONCE, writer, tally).await?;
    if let Some(problem) = broken {
        return Err(in_file(problem).into());
    }
    tally.done.expects(writer.expect().await?);
    Ok(())
}

/// Writes the rows that others were in the way of, a few times and as long as
/// some of them succeed: the owner of a username may have got another one by a
/// later row of the same file.
async fn write_again<W: Writer>(
    mut refused: Vec<Refused<W::Parsed>>,
    at_once: usize,
    writer: &W,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let before = refused.len();
        let mut rows = refused.into_iter().peekable();
        refused = Vec::new();
        while rows.peek().is_some() {
            let mut batch = Batch::new();
            for Refused { line, row, .. } in rows.by_ref().take(at_once) {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            let answers = writer.write(&batch.rows).await?;
            refused.extend(tally.count(batch, answers, W::describe));
        }
        if refused.len() == before {
            break;
        }
    }
    for Refused { line, row, why } in refused {
        tally.bad(line, &W::describe(&row, &why));
    }
    Ok(())
}
