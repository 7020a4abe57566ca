//! Writes lists of any length, page by page, in little memory.

use app::StoreError;
use comfy_table::{ColumnConstraint, Table, Width};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use store::page::{Page, Start};
use store::users::Users;
use uuid::Uuid;

use crate::failure::Failure;
use crate::output::{self, COLUMN_GAP, Column, Output, OutputError, aligned, cells, line};

/// The number of addresses that are looked up at the same time.
const ADDRESSES_AT_ONCE: usize = 16;

/// A list that is written page by page, since it may be of any length: as a table, whose
/// columns are at least as wide as the first page needs them, or as one JSON array with
/// an element per line.
pub struct Listing {
    output: Output,
    /// The widths of the columns, once the first page is written.
    widths: Option<Vec<u16>>,
}

impl Listing {
    pub const fn new(output: Output) -> Self {
        Self {
            output,
            widths: None,
        }
    }

    /// Reads all pages, one after the other, and calls `write` with the entries of each
    /// that have the expected shape.
    pub async fn pages<T>(
        mut self,
        read: impl AsyncFn(Option<Start>) -> Result<Page<Result<T, StoreError>>, StoreError>,
        write: impl AsyncFn(&mut Self, Vec<T>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut start = None;
        loop {
            let page = read(start).await?;
            write(&mut self, sound(page.entries)?).await?;
            start = page.next;
            if start.is_none() {
                return Ok(self.end()?);
            }
        }
    }

    /// Writes some rows, as JSON or as lines of a table.
    pub fn page<R: Serialize>(
        &mut self,
        rows: &[R],
        columns: &[Column<R>],
    ) -> Result<(), OutputError> {
        if self.output.is_json() {
            return self.elements(rows);
        }
        let mut table = Table::new();
        if self.widths.is_none() {
            table.set_header(columns.iter().map(|(heading, _)| *heading));
        }
        for row in rows {
            table.add_row(cells(columns, row));
        }
        let columns = table.column_iter_mut();
        for (column, width) in columns.zip(self.widths.iter().flatten()) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
        if self.widths.is_none() {
            let widths = table.column_max_content_widths().into_iter();
            self.widths = Some(widths.map(|width| width + COLUMN_GAP).collect());
        } else if rows.is_empty() {
            return Ok(());
        }
        line(&aligned(table))
    }

    fn elements(&mut self, rows: &[impl Serialize]) -> Result<(), OutputError> {
        for row in rows {
            let element = output::json_line(row)?;
            let before = match self.widths.replace(Vec::new()) {
                None => "[",
                Some(_) => ",",
            };
            line(&format!("{before}{element}"))?;
        }
        Ok(())
    }

    /// Writes the end of the list.
    fn end(self) -> Result<(), OutputError> {
        match (self.output.is_json(), self.widths) {
            (true, None) => line("[]"),
            (true, Some(_)) => line("]"),
            (false, _) => Ok(()),
        }
    }
}

/// A record of a learner, with their address.
#[derive(Serialize)]
pub struct Listed<T> {
    /// The address; `None` if the user is gone.
    pub email: Option<String>,
    #[serde(flatten)]
    pub record: T,
}

/// Returns the addresses of these users, in their order, with `None` for a user who is
/// gone.
pub async fn emails_of(
    users: &Users,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<Option<String>>, StoreError> {
    let email_of = async |id| Ok(users.email_of(id).await?.map(String::from));
    let emails = stream::iter(ids).map(email_of).buffered(ADDRESSES_AT_ONCE);
    emails.try_collect().await
}

/// Returns the entries of a page that have the expected shape; warns of the others.
fn sound<T>(entries: Vec<Result<T, StoreError>>) -> Result<Vec<T>, StoreError> {
    let mut sound = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => sound.push(entry),
            Err(error @ StoreError::Corrupt(_)) => output::note(&format!(
                "warning: {error}; it is skipped, and another program may have written it"
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(sound)
}
