//! Common code of the imports of enrollments, grades and certificates, which only add records.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use domain::{Change, CourseId, CourseRun, Email, User};
use jiff::Timestamp;
use store::StoreError;
use store::course_runs::CourseRuns;
use store::records::Written;
use store::users::Users;
use uuid::Uuid;

use super::{ATTEMPTS, Answers, Difference, Imported, RowError, RowRefusedError, settle};

/// The greatest number of rows in one call of an import of enrollments, grades or certificates:
/// DynamoDB reads 100 keys a call and writes 100 items a transaction.
pub const RECORDS_AT_ONCE: usize = 100;

/// Key of the one record that a learner has in each table for a course run.
pub type RecordKey = (Uuid, CourseId);

/// A table of learners' records in course runs, and the conversion of rows into records.
pub trait RecordTable {
    /// A row of a file.
    type Row;
    /// A record of the table.
    type Record: Clone;
    /// The name of a record, with its article.
    const WHAT: &'static str;

    fn about(row: &Self::Row) -> (&Email, &CourseId);
    /// Returns the record that a row becomes if there is none yet, with new ids of its own.
    fn record(row: &Self::Row, owner: &Owner<'_>) -> Self::Record;
    /// Returns the differences between the row and the stored record.
    fn differences(row: &Self::Row, there: &Self::Record) -> Vec<Difference>;
    fn key(record: &Self::Record) -> RecordKey;
    /// Returns the id of the change that made the record.
    fn made_by(record: &Self::Record) -> Option<Uuid>;

    fn get_many(
        &self,
        keys: &[RecordKey],
    ) -> impl Future<Output = Result<Vec<Self::Record>, StoreError>> + Send;
    /// Adds all records or none, on the condition that none of them exists yet.
    fn add(
        &self,
        records: &[Self::Record],
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;
}

/// The user, run, author and time for a new record.
pub struct Owner<'a> {
    pub user: &'a User,
    pub run: &'a CourseRun,
    pub by: &'a Change,
    pub at: Timestamp,
}

/// The decision on a row.
pub(super) enum Decision<T> {
    /// Nothing is written.
    Settled(Result<Imported, RowRefusedError>),
    Add(Addition<T>),
}

/// A record to be added.
pub(super) struct Addition<T> {
    /// The user's own address, which may differ from the row's.
    pub email: Email,
    pub record: T,
}

/// Adds learners' records in course runs to a table, as a file contains them.
///
/// An existing record is never changed; the answer says whether it agrees with the row. So
/// importing a file again changes nothing, and compares.
pub struct RecordImport<T> {
    users: Users,
    course_runs: CourseRuns,
    pub(super) table: T,
    by: Change,
    dry_run: bool,
}

impl<T> RecordImport<T> {
    /// Takes the tables and the author of the changes. With `dry_run`, everything is decided
    /// and nothing is written. Makes no call.
    pub fn new(users: Users, course_runs: CourseRuns, table: T, by: Change, dry_run: bool) -> Self {
        Self {
            users,
            course_runs,
            table,
            by,
            dry_run,
        }
    }
}

impl<T: RecordTable> RecordImport<T> {
    /// Decides what to write for each row (at most [`RECORDS_AT_ONCE`]). The cost is three
    /// BatchGetItem calls.
    pub(super) async fn decide(
        &self,
        rows: &[T::Row],
        at: Timestamp,
    ) -> Result<Vec<Decision<T::Record>>, StoreError> {
        let about = || rows.iter().map(T::about);
        let emails: BTreeSet<_> = about().map(|(email, _)| email).collect();
        let emails = Vec::from_iter(emails);
        let ids: BTreeSet<_> = about().map(|(_, course_id)| course_id).collect();
        let ids: Vec<_> = ids.into_iter().cloned().collect();
        let found = futures::try_join!(
            self.users.find(&emails, &[]),
            self.course_runs.get_many(&ids)
        );
        let (users, runs) = found?;
        let runs: HashMap<_, _> = runs.iter().map(|run| (&run.course_id, run)).collect();

        let mut additions = Vec::with_capacity(rows.len());
        for row in rows {
            let (email, course_id) = T::about(row);
            let owner = match (users.by_email.get(email), runs.get(course_id)) {
                (None, _) => Err(RowRefusedError::NoSuchUser(email.clone())),
                (_, None) => Err(RowRefusedError::NoSuchRun(course_id.clone())),
                (Some(user), Some(run)) => Ok(Owner {
                    user,
                    run,
                    by: &self.by,
                    at,
                }),
            };
            additions.push(owner.map(|owner| Addition {
                email: owner.user.email.clone(),
                record: T::record(row, &owner),
            }));
        }

        let keys = additions.iter().flatten().map(|a| T::key(&a.record));
        // Two addresses may belong to one user.
        let keys: HashSet<_> = keys.collect();
        let there = self.table.get_many(&Vec::from_iter(keys)).await?;
        let there: HashMap<_, _> = there.iter().map(|r| (T::key(r), r)).collect();
        let decisions = rows.iter().zip(additions).map(|(row, addition)| {
            let addition = match addition {
                Err(refused) => return Decision::Settled(Err(refused)),
                Ok(addition) => addition,
            };
            match there.get(&T::key(&addition.record)) {
                Some(there) => Decision::Settled(compare::<T>(row, there)),
                None => Decision::Add(addition),
            }
        });
        Ok(decisions.collect())
    }

    /// Writes the additions in one transaction, or each on its own if one of them now exists.
    pub(super) async fn carry_out(
        &self,
        rows: &[T::Row],
        decisions: Vec<Decision<T::Record>>,
    ) -> Result<Answers, StoreError> {
        let mut answers = Vec::with_capacity(rows.len());
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        // A transaction accepts no item twice, and two addresses may belong to one user.
        let mut firsts = HashMap::new();
        for decision in decisions {
            let index = answers.len();
            answers.push(match decision {
                Decision::Settled(answer) => answer,
                Decision::Add(Addition { record, .. }) => {
                    match firsts.entry(T::key(&record)) {
                        Entry::Vacant(entry) => {
                            entry.insert(together.len());
                            together.push((index, record));
                        }
                        Entry::Occupied(_) => alone.push((index, record)),
                    }
                    Ok(Imported::Created)
                }
            });
        }
        if self.dry_run {
            for (index, record) in alone {
                let first = firsts
                    .get(&T::key(&record))
                    .map(|first| &together[*first].1);
                if let Some(first) = first {
                    answers[index] = compare::<T>(&rows[index], first);
                }
            }
            return Ok(answers);
        }
        let records: Vec<_> = together.iter().map(|(_, record)| record.clone()).collect();
        if !records.is_empty() && self.table.add(&records).await? == Written::Moved {
            together.append(&mut alone);
            alone = together;
        }
        for (index, record) in alone {
            let added = self.add_alone(&rows[index], record).await;
            settle(&mut answers[index], added)?;
        }
        Ok(answers)
    }

    /// Adds one record, unless one exists by now. That may be this one, if the answer of its
    /// write was lost.
    async fn add_alone(&self, row: &T::Row, record: T::Record) -> Result<Imported, RowError> {
        let key = [T::key(&record)];
        for attempt in 0..ATTEMPTS {
            match self.table.get_many(&key).await?.pop() {
                Some(there) if T::made_by(&there) == T::made_by(&record) => {
                    return Ok(Imported::Created);
                }
                Some(there) => return Ok(compare::<T>(row, &there)?),
                None => {}
            }
            if self.table.add(std::slice::from_ref(&record)).await? == Written::Done {
                return Ok(Imported::Created);
            }
            tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        }
        Err(RowRefusedError::Contended.into())
    }

    pub(super) const fn is_dry(&self) -> bool {
        self.dry_run
    }
}

fn compare<T: RecordTable>(row: &T::Row, there: &T::Record) -> Result<Imported, RowRefusedError> {
    let differences = T::differences(row, there);
    if differences.is_empty() {
        Ok(Imported::Unchanged)
    } else {
        let what = T::WHAT;
        Err(RowRefusedError::Differs { what, differences })
    }
}
