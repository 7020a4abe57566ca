//! Course runs, put right by what the LMS lists of them, whatever events came or did not.
//!
//! A sweep believes nothing that it was not told: who is not in a list is left
//! alone, and so is what changed after the list was asked for. It takes nothing
//! from anybody before the whole list is through and they are known to be few.

mod by_name;
mod choosing;
mod enrollments;
mod grades;
mod recorder;
mod sweep_run;

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub use choosing::{Chosen, Wanted};
pub use enrollments::EnrollmentSweep;
pub use grades::GradeSweep;
pub use recorder::Recorder;
use recorder::{carry_out, failed};
use sweep_run::SweepRun;

pub use super::lms::LmsError;
use super::lms::{GradeRow, LmsClient, Page};
use crate::adapters::lms::{InvalidResponse, LmsApiError};
use crate::adapters::store::StoreError;
use crate::adapters::store::course_runs::CourseRuns;
use crate::adapters::store::enrollments::Enrollments;
use crate::adapters::store::sweeps::{SweepRecord, Sweeps, Which};
use crate::adapters::store::users::{Owner, Users};
use crate::clock::{SharedClock, within};
use crate::domain::LearnerRef;
use crate::domain::{
    Change, Checkpoint, CourseId, CourseRun, Cursor, Effect, Email, PageCursor, SweepEnd,
    SweepKind, SweepOptions, User, Username,
};

/// How long before a sweep is to stop its last page is asked for: the LMS's
/// attempts at a page with the waits between them, then the work on it.
pub const LAST_PAGE_TIME: Duration = Duration::from_secs(90);

/// The waits before a page is asked for again that the LMS did not give.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// For how long after it was last written down where it stands a sweep that was
/// cut short is resumed.
const RESUMED_FOR: SignedDuration = SignedDuration::from_hours(12);

/// Sweeps of one kind.
pub struct Sweeping<K> {
    kind: K,
    lms: LmsClient,
    runs: CourseRuns,
    users: Users,
    sweeps: Sweeps,
    window: SignedDuration,
    clock: SharedClock,
}

/// The tables that every sweep uses.
pub struct SweepTables {
    /// The runs that there are.
    pub runs: CourseRuns,
    /// Who has which username.
    pub users: Users,
    /// Where sweeps stand.
    pub sweeps: Sweeps,
}

/// One run that is to be swept.
#[derive(Debug, Clone)]
pub struct Request {
    /// The run.
    pub run: CourseId,
    /// This learner alone, where one is named: by the code that works on a page of them.
    pub learner: Option<LearnerRef>,
    /// What the sweep may do.
    pub options: SweepOptions,
    /// The operator who makes it at a terminal, for the histories.
    pub operator: Option<String>,
}

/// How far a sweep came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It goes on from where it stands when it is asked for again, after this wait.
    Suspended {
        /// Zero, unless the LMS is to be left alone.
        wait: Duration,
        /// What requests to the LMS are paused for.
        reason: Option<String>,
        /// Where it stands.
        checkpoint: Checkpoint,
    },
    /// It has ended.
    Ended(SweepEnd),
}

/// What is told while a sweep goes on.
#[derive(Debug, Clone, Copy)]
pub enum SweepEvent<'a> {
    /// A sweep begins, or one that was cut short is resumed.
    Begins {
        /// Where it stands.
        checkpoint: &'a Checkpoint,
        /// Whether it was cut short.
        resumed: bool,
    },
    /// What became of one learner, other than nothing.
    Learner {
        /// The sweep's own id.
        sweep_id: Uuid,
        /// Absent where the portal knows nobody of the username.
        user_id: Option<Uuid>,
        /// The user's address, which is for operators and no log; absent as the
        /// two others are.
        email: Option<&'a Email>,
        /// The learner's name in the LMS; absent where the list is through.
        username: Option<&'a Username>,
        /// What became of them.
        effect: &'a Effect,
    },
    /// The LMS's list cannot be read to its end, and learners are asked for by name.
    ByName(&'a Checkpoint),
    /// One more page is through.
    Page(&'a Checkpoint),
}

/// One kind of sweep: what it asks the LMS for, and what it does about it.
///
/// Two there are, and a sweep is the same for both but for this.
#[expect(async_fn_in_trait, reason = "nobody sends a sweep to another thread")]
pub trait Kind {
    /// Which it is.
    const KIND: SweepKind;

    /// A row of the LMS's list.
    type Row;

    /// How many learners the LMS can be asked for in one request.
    const NAMES_AT_ONCE: usize;

    /// How many learners are asked for by name before it is checked whether to go on.
    const LEARNERS_AT_ONCE: u16;

    /// Asks for a page of the LMS's list of a run.
    async fn page(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Self::Row>, LmsError>;

    /// Asks for the rows of one learner in a run.
    async fn rows_of(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<Vec<Result<Self::Row, InvalidResponse>>, LmsError>;

    /// Whether the LMS also says otherwise that the learner of a run may lose what
    /// `rows_of` takes from them.
    async fn is_confirmed(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<bool, LmsError>;

    /// Asks for the rows of some learners in a run, at most [`Kind::NAMES_AT_ONCE`].
    async fn rows_by_name(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        usernames: &[Username],
    ) -> Result<Vec<Result<Self::Row, InvalidResponse>>, LmsError>;

    /// Asks for a page of the LMS's list of grades, where that is another list and so
    /// may name learners whom this one does not.
    async fn graded(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        at: &PageCursor,
    ) -> Result<Option<Page<GradeRow>>, LmsError>;

    /// The portal's enrollments.
    fn enrollments(&self) -> &Enrollments;

    /// The runs that the LMS or the portal has a learner in.
    async fn runs_of(&self, lms: &LmsClient, user: &User) -> Result<Vec<CourseId>, SweepError>;

    /// Whose a row is, as the LMS spells it.
    fn username(row: &Self::Row) -> &Username;

    /// Puts right what these learners have. What becomes of those who would lose
    /// something by it is in the task.
    async fn work(
        &self,
        task: &Task<'_>,
        learners: Vec<Learner<Self::Row>>,
        recorder: &Recorder<'_>,
    ) -> Result<Worked, StoreError>;
}

/// What the work on some learners leaves to be done.
#[derive(Debug, Clone, Default)]
pub struct Worked {
    /// Those who would lose something.
    pub held: Vec<Username>,
    /// How many have what they might lose, those who are held back included.
    pub at_stake: u64,
}

/// Why nothing could be swept, or no runs found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// A table could not be read or written; what was written stays.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The LMS did not on_event a learner's runs.
    #[error(transparent)]
    Lms(#[from] LmsError),
    /// Nobody has the address or the id of the learner who was named.
    #[error("the portal knows no such user")]
    NoSuchUser,
    /// The learner who was named has no username of the LMS.
    #[error("the user has no username of the LMS")]
    NoUsername,
}

/// What becomes of those who would lose something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Losses {
    /// They are held back until the whole list is through.
    HeldBack,
    /// They lose it: the LMS was asked once more for them.
    Taken,
    /// They keep it: the LMS was asked once more, and does not confirm it.
    Unconfirmed,
}

/// What is done to some learners of a run.
pub struct Task<'a> {
    run: &'a CourseRun,
    options: SweepOptions,
    losses: Losses,
    /// Whether certificates are issued, withdrawn and restored by now.
    certifies: bool,
    by: Change,
    /// When the LMS was asked for what is done now.
    asked_at: Timestamp,
    now: Timestamp,
}

/// A user, and what the LMS says of them.
pub struct Learner<R> {
    owner: Owner,
    username: Username,
    row: R,
}

/// A page that the LMS gave, and when it was asked for.
struct Asked<R> {
    asked_at: Timestamp,
    page: Page<R>,
}

impl<K: Kind> Sweeping<K> {
    /// `window` is for how long after its certificates became available a run is
    /// swept that is not named. Makes no call.
    pub fn new(
        kind: K,
        lms: LmsClient,
        tables: SweepTables,
        window: SignedDuration,
        clock: SharedClock,
    ) -> Self {
        let SweepTables {
            runs,
            users,
            sweeps,
        } = tables;
        Self {
            kind,
            lms,
            runs,
            users,
            sweeps,
            window,
            clock,
        }
    }

    /// Sweeps a run, from where the last sweep stands that was cut short, until
    /// it has ended or `may_continue` says no; that is asked before each page, which
    /// takes [`LAST_PAGE_TIME`] at most. `on_event` is told on the way.
    ///
    /// What the LMS gets wrong ends in [`Progress`]: it is waited for, or the
    /// sweep has failed. One learner's failure never stops the others.
    ///
    /// # Errors
    /// The tables cannot be read or written at all. What was done stays, and
    /// another call goes on from the last place that was written down.
    pub async fn sweep(
        &self,
        request: &Request,
        may_continue: &dyn Fn() -> bool,
        on_event: &dyn Fn(SweepEvent<'_>),
    ) -> Result<Progress, SweepError> {
        self.lms.begin_invocation();
        let (record, checkpoint, resumed) = self.load_checkpoint(request).await?;
        on_event(SweepEvent::Begins {
            checkpoint: &checkpoint,
            resumed,
        });
        let held_by = record
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.lease_id);
        let mut sweep_run =
            SweepRun::new(self, request, checkpoint, record, may_continue, on_event);
        let found = self.runs.get_many(std::slice::from_ref(&request.run));
        let run = match found.await.map(|mut runs| runs.pop()) {
            Ok(Some(run)) => run,
            Ok(None) => return Ok(sweep_run.failed("no_such_run").await?),
            Err(StoreError::Corrupt(_)) => return Ok(sweep_run.failed("corrupt_item").await?),
            Err(error) => return Err(error.into()),
        };
        match &request.learner {
            Some(learner) => sweep_run.learner(&run, learner).await,
            None => {
                if let Some(lease_id) = held_by.filter(|_| resumed) {
                    sweep_run.acquire(lease_id).await?;
                }
                sweep_run.list(&run).await
            }
        }
    }

    /// What is known of such sweeps, where the one that is asked for stands, and
    /// whether it was cut short.
    async fn load_checkpoint(
        &self,
        request: &Request,
    ) -> Result<(SweepRecord, Checkpoint, bool), StoreError> {
        let now = self.clock.now();
        let mut options = request.options;
        let begin = |options| Checkpoint::new(Uuid::new_v4(), now, options);
        if request.learner.is_some() {
            return Ok((SweepRecord::default(), begin(options), false));
        }
        let mut record = self.record(&request.run, options).await?;
        // Nobody has seen yet what a sweep would make of these enrollments.
        let may_report = K::KIND == SweepKind::Enrollments && !options.confirm && !options.dry_run;
        if may_report && record.complete_at.is_none() {
            let dry_run = SweepOptions {
                dry_run: true,
                ..options
            };
            let reports = self.record(&request.run, dry_run).await?;
            let was_seen = reports.complete_at.is_some() || self.was_swept(&request.run).await?;
            if !was_seen {
                (options, record) = (dry_run, reports);
            }
        }
        let cut_short = record.checkpoint.clone();
        let cut_short = cut_short.filter(|checkpoint| checkpoint.options == options);
        let cut_short =
            cut_short.filter(|checkpoint| within(RESUMED_FOR, checkpoint.saved_at, now));
        let resumed = cut_short.is_some();
        let checkpoint = cut_short.map(|checkpoint| Checkpoint {
            lease_id: Uuid::new_v4(),
            ..checkpoint
        });
        Ok((
            record,
            checkpoint.unwrap_or_else(|| begin(options)),
            resumed,
        ))
    }

    /// Whether the schedule's sweeps of a run, or a dry run of them, have ever come
    /// to the end of the list.
    async fn was_swept(&self, course_id: &CourseId) -> Result<bool, StoreError> {
        for dry_run in [false, true] {
            let options = SweepOptions {
                dry_run,
                ..SweepOptions::default()
            };
            let record = self.record(course_id, options).await?;
            if record.complete_at.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is known of the sweeps of a run that may do this.
    async fn record(
        &self,
        course_id: &CourseId,
        options: SweepOptions,
    ) -> Result<SweepRecord, StoreError> {
        let which = Which {
            course_id,
            kind: K::KIND,
            options,
        };
        self.sweeps.get(which).await
    }

    /// Asks for a page, again where the LMS gives none.
    async fn ask(&self, run: &CourseRun, cursor: &PageCursor) -> Result<Asked<K::Row>, LmsError> {
        let mut waits = AGAIN_AFTER.into_iter();
        loop {
            let asked_at = self.clock.now();
            let page = self.kind.page(&self.lms, &run.course_id, cursor.cursor());
            let error = match page.await {
                Ok(page) => return Ok(Asked { asked_at, page }),
                Err(error) => error,
            };
            match waits.next() {
                Some(wait) if error.is_retryable() => self.clock.sleep(wait).await,
                _ => return Err(error),
            }
        }
    }

    /// Who these rows are about. A learner whom a list has twice is believed once.
    async fn learners(
        &self,
        rows: Vec<Result<K::Row, InvalidResponse>>,
        recorder: &Recorder<'_>,
    ) -> Result<Vec<Learner<K::Row>>, StoreError> {
        let mut sound = Vec::new();
        let mut seen = HashSet::new();
        for row in rows {
            let row = row.and_then(|row| {
                let is_new = seen.insert(K::username(&row).key());
                is_new.then_some(row).ok_or(InvalidResponse::Twice)
            });
            match row {
                Ok(row) => sound.push(row),
                Err(invalid) => {
                    let code = LmsApiError::from(invalid).code();
                    recorder.record(None, None, &Effect::Failed(code));
                }
            }
        }
        let usernames: Vec<_> = sound.iter().map(|row| K::username(row).key()).collect();
        let mut owners = self.users.owners(&usernames).await?;
        let mut learners = Vec::new();
        for row in sound {
            let username = K::username(&row).clone();
            match owners.remove(&username.key()) {
                None => recorder.record(None, Some(&username), &Effect::NoUser),
                Some(Ok(owner)) => learners.push(Learner {
                    owner,
                    username,
                    row,
                }),
                Some(Err(error)) => recorder.record(None, Some(&username), &failed(&error)),
            }
        }
        Ok(learners)
    }
}
