//! The table `sweeps`. For each course run it holds the checkpoints of its sweeps and the
//! results of the last ones. For each running sweep it holds the held-back learners.

use aws_sdk_dynamodb::Client;
use domain::{Checkpoint, CourseId, SweepEnd, SweepKind, SweepOptions, Username};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::expression::{names, number, text};
use super::page::{self, Page, Start};
use super::{Item, StoreError, read, write};

/// The time for which the table keeps the held-back learners of a sweep. By then the
/// sweep is finished or was abandoned.
const HELD_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Sweeps of course runs.
#[derive(Debug, Clone)]
pub struct Sweeps {
    client: Client,
    table: String,
}

/// The identity of a run's sweep record. Sweeps that force and dry runs have records of
/// their own. A sweep that an operator confirms has the same record as the unconfirmed
/// one, and finishes what waited for the confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which<'a> {
    /// The run.
    pub course_id: &'a CourseId,
    /// The kind of sweep.
    pub kind: SweepKind,
    /// The options of the sweep.
    pub options: SweepOptions,
}

impl<'a> Which<'a> {
    /// Returns the record that scheduled sweeps use.
    pub fn scheduled(course_id: &'a CourseId, kind: SweepKind) -> Self {
        Self {
            course_id,
            kind,
            options: SweepOptions::default(),
        }
    }

    /// The sort key, for example `grades` or `enrollments+dry_run`.
    fn part(&self) -> String {
        let flags = [
            ("force", self.options.force),
            ("dry_run", self.options.dry_run),
        ];
        let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
        let flags = flags.map(|(name, _)| format!("+{name}"));
        self.kind.as_str().to_owned() + &String::from_iter(flags)
    }
}

/// The record of such sweeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRecord {
    /// The checkpoint of a sweep that has not ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checkpoint: Option<Checkpoint>,
    /// The result of the last sweep that ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<SweepEnd>,
    /// The time at which a sweep last reached the end of the LMS's list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub complete_at: Option<Timestamp>,
}

/// A sweep record with its run, kind and options.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownSweep {
    /// The run.
    pub course_id: CourseId,
    /// The kind of sweep.
    pub kind: SweepKind,
    /// The options of the sweeps, without the confirmation.
    pub options: SweepOptions,
    /// The record.
    #[serde(flatten)]
    pub record: SweepRecord,
}

/// Learners of one page who would lose something in a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPage {
    /// The number of pages before theirs.
    pub page: u32,
    /// Their usernames in the LMS.
    pub usernames: Vec<Username>,
}

/// The sweep that holds learners back; part of the key of their items.
#[derive(Debug, Clone, Copy)]
pub struct HeldBy<'a> {
    /// The run.
    pub course_id: &'a CourseId,
    /// The kind of sweep.
    pub kind: SweepKind,
    /// The id of the process that holds them back.
    pub holder_id: Uuid,
}

impl HeldBy<'_> {
    fn prefix(&self) -> String {
        format!("{}/{}/", self.kind.as_str(), self.holder_id)
    }

    fn part(&self, page: u32) -> String {
        // Texts of equal width sort in the order of their numbers.
        format!("{}{page:06}", self.prefix())
    }
}

fn key(course_id: &CourseId, part: &str) -> Item {
    Item::from([
        ("course_id".to_owned(), text(course_id.as_str())),
        ("part".to_owned(), text(part)),
    ])
}

impl Sweeps {
    /// Returns the sweeps in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the record of such sweeps. A record of an unexpected shape, for example
    /// after a rollback to an earlier version, counts as absent: the sweeps start again.
    pub async fn get(&self, which: Which<'_>) -> Result<SweepRecord, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(which.course_id, &which.part())))
            .consistent_read(true)
            .send()
            .await?;
        let item = answer.item.unwrap_or_default();
        Ok(read(&self.table, item)
            .map_or_else(|_| SweepRecord::default(), |sweep: KnownSweep| sweep.record))
    }

    /// Writes the record of such sweeps.
    pub async fn put(&self, which: Which<'_>, record: &SweepRecord) -> Result<(), StoreError> {
        let sweep = KnownSweep {
            course_id: which.course_id.clone(),
            kind: which.kind,
            options: SweepOptions {
                confirm: false,
                ..which.options
            },
            record: record.clone(),
        };
        let mut item = write(&self.table, sweep)?;
        item.extend(key(which.course_id, &which.part()));
        self.put_item(item).await
    }

    /// Writes the held-back learners of a page, and replaces any earlier ones of that
    /// page.
    pub async fn hold(
        &self,
        of: HeldBy<'_>,
        held: &HeldPage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let expires_at = now.saturating_add(HELD_FOR);
        let expires_at = expires_at.map_or(i64::MAX, Timestamp::as_second);
        let mut item = write(&self.table, held)?;
        item.extend(key(of.course_id, &of.part(held.page)));
        item.insert("expires_at".to_owned(), number(expires_at));
        self.put_item(item).await
    }

    async fn put_item(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Reads the pages on which a sweep holds learners back, a few at a time, ordered by
    /// page.
    pub async fn held(
        &self,
        of: HeldBy<'_>,
        start: Option<Start>,
    ) -> Result<Page<HeldPage>, StoreError> {
        const OF_SWEEP: &str = "#course_id = :course_id AND begins_with(#part, :prefix)";
        const AT_ONCE: i32 = 50;
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression(OF_SWEEP)
            .set_expression_attribute_names(Some(names(&[OF_SWEEP])))
            .expression_attribute_values(":course_id", text(of.course_id.as_str()))
            .expression_attribute_values(":prefix", text(of.prefix()))
            .limit(AT_ONCE)
            .set_exclusive_start_key(start.map(|Start(key)| key))
            .send()
            .await?;
        let items = answer.items.unwrap_or_default().into_iter();
        // An unreadable item holds nobody back. The next sweep will hold them back again.
        let held = items.filter_map(|item| read(&self.table, item).ok());
        Ok(Page {
            entries: held.collect(),
            next: answer.last_evaluated_key.map(Start),
        })
    }

    /// Removes the held-back learners of a page.
    pub async fn release(&self, of: HeldBy<'_>, page: u32) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let key = key(of.course_id, &of.part(page));
        delete.set_key(Some(key)).send().await?;
        Ok(())
    }

    /// Reads one page of the sweep records of all runs, in no order. A malformed record
    /// is an error within the page.
    pub async fn page(
        &self,
        start: Option<Start>,
    ) -> Result<Page<Result<KnownSweep, StoreError>>, StoreError> {
        const IS_RECORD: &str = "attribute_exists(#kind)";
        let page = page::of_table(&self.client, &self.table, Some(IS_RECORD), start).await?;
        Ok(page.map(|item| read(&self.table, item)))
    }
}
