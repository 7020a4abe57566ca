//! Sweeps: corrections of course runs by the LMS's lists, independent of the events received.
//!
//! A sweep relies only on positive information. It leaves unchanged a learner who is not in a
//! list, and everything that changed after the list was requested. It takes nothing from
//! anybody before the whole list has been read and the losses are known to be within the safety
//! limit.

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
use common::clock::{SharedClock, within};
use common::random;
use domain::LearnerRef;
use domain::{
    Change, Checkpoint, CourseId, CourseRun, Cursor, Effect, Email, PageCursor, SweepEnd,
    SweepKind, SweepOptions, User, Username,
};
pub use enrollments::EnrollmentSweep;
pub use grades::GradeSweep;
pub use lms::LmsError;
use lms::{GradeRow, LmsClient, Page};
use lms::{InvalidResponse, LmsApiError};
pub use recorder::Recorder;
use recorder::{carry_out, failed};
use store::StoreError;
use store::course_runs::CourseRuns;
use store::enrollments::Enrollments;
use store::sweeps::{SweepRecord, Sweeps, Which};
use store::users::{Owner, Users};
use sweep_run::SweepRun;

/// The time before a sweep must stop at which it requests its last page: the LMS's attempts at
/// a page with the waits between them, then the work on the page.
pub const LAST_PAGE_TIME: Duration = Duration::from_secs(90);

/// The waits before each retry of a page that the LMS did not return.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The time after its last saved checkpoint within which an interrupted sweep is resumed.
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
    /// The course runs.
    pub runs: CourseRuns,
    /// The users with their usernames.
    pub users: Users,
    /// The checkpoints and ends of sweeps.
    pub sweeps: Sweeps,
}

/// A request to sweep one run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The run.
    pub run: CourseId,
    /// The one learner to sweep, if one is named; the same code works on a page of learners.
    pub learner: Option<LearnerRef>,
    /// The options of the sweep.
    pub options: SweepOptions,
    /// The operator who runs it at a terminal, for the histories.
    pub operator: Option<String>,
}

/// The state of a sweep at the end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is suspended. The next call, after this wait, resumes it from its checkpoint.
    Suspended {
        /// The wait; zero unless requests to the LMS are paused.
        wait: Duration,
        /// The reason why requests to the LMS are paused.
        reason: Option<String>,
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// It has ended.
    Ended(SweepEnd),
}

/// An event that a sweep reports while it runs.
#[derive(Debug, Clone, Copy)]
pub enum SweepEvent<'a> {
    /// A sweep begins, or one that was cut short is resumed.
    Begins {
        /// The checkpoint from which it starts.
        checkpoint: &'a Checkpoint,
        /// True if the sweep was cut short before and is resumed now.
        resumed: bool,
    },
    /// The effect on one learner, unless nothing changed.
    Learner {
        /// The sweep's own id.
        sweep_id: Uuid,
        /// The user's id; absent if no user with the username could be found.
        user_id: Option<Uuid>,
        /// The user's address, if it was read. It is for operators only, and never for a log.
        email: Option<&'a Email>,
        /// The learner's username in the LMS; absent if a row of the list cannot be used.
        username: Option<&'a Username>,
        /// The effect.
        effect: &'a Effect,
    },
    /// The LMS's list cannot be read to its end, so learners are asked for by name.
    ByName(&'a Checkpoint),
    /// One more page has been processed.
    Page(&'a Checkpoint),
}

/// One kind of sweep: the requests that it makes to the LMS, and the corrections that follow.
///
/// There are two kinds. Everything else is the same for both.
#[expect(async_fn_in_trait, reason = "nobody sends a sweep to another thread")]
pub trait Kind {
    /// The kind.
    const KIND: SweepKind;

    /// A row of the LMS's list.
    type Row;

    /// The number of learners who can be named in one request to the LMS.
    const NAMES_AT_ONCE: usize;

    /// The number of learners asked for by name before the sweep checks whether it may
    /// continue.
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

    /// True if a second answer of the LMS confirms that the learner may lose what `rows_of`
    /// takes from them.
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

    /// Asks for a page of the LMS's list of grades. Returns `None` if that list is the one
    /// being swept, because it then names no other learners.
    async fn graded(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        at: &PageCursor,
    ) -> Result<Option<Page<GradeRow>>, LmsError>;

    /// The portal's enrollments.
    fn enrollments(&self) -> &Enrollments;

    /// Returns the runs in which the LMS or the portal has the learner.
    async fn runs_of(&self, lms: &LmsClient, user: &User) -> Result<Vec<CourseId>, SweepError>;

    /// Returns the username of a row, as the LMS spells it.
    fn username(row: &Self::Row) -> &Username;

    /// Corrects the records of these learners. The task says how to treat those who would lose
    /// something.
    async fn work(
        &self,
        task: &Task<'_>,
        learners: Vec<Learner<Self::Row>>,
        recorder: &Recorder<'_>,
    ) -> Result<Worked, StoreError>;
}

/// The result of the work on some learners.
#[derive(Debug, Clone, Default)]
pub struct Worked {
    /// The learners whose losses are held back.
    pub held: Vec<Username>,
    /// The number of learners who have something to lose, those held back included.
    pub at_stake: u64,
}

/// Error of a call that could sweep nothing, or find no runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// A table could not be read or written. Earlier writes stay.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The LMS did not return a learner's runs.
    #[error(transparent)]
    Lms(#[from] LmsError),
    /// No user has the address or the id of the learner who was named.
    #[error("the portal knows no such user")]
    NoSuchUser,
    /// The learner who was named has no username of the LMS.
    #[error("the user has no username of the LMS")]
    NoUsername,
}

/// The treatment of learners who would lose something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Losses {
    /// They are held back until the whole list has been read.
    HeldBack,
    /// They lose it: the LMS was asked for them once more.
    Taken,
    /// They keep it: the LMS was asked once more, and did not confirm it.
    Unconfirmed,
}

/// The work on some learners of a run.
pub struct Task<'a> {
    run: &'a CourseRun,
    options: SweepOptions,
    losses: Losses,
    /// True if certificates may be issued, withdrawn and restored now.
    certifies: bool,
    by: Change,
    /// The time at which the LMS was asked for these rows.
    asked_at: Timestamp,
    now: Timestamp,
}

/// A user, and the row of the LMS about them.
pub struct Learner<R> {
    owner: Owner,
    username: Username,
    row: R,
}

/// A page that the LMS returned, and the time at which it was requested.
struct Asked<R> {
    asked_at: Timestamp,
    page: Page<R>,
}

impl<K: Kind> Sweeping<K> {
    /// Takes the tables and the window: the time for which a run that is not named is swept
    /// after its certificates became available. Makes no call.
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

    /// Sweeps a run, starting from the checkpoint of the last sweep if that was cut short,
    /// until the sweep has ended or `may_continue` returns false. `may_continue` is called
    /// before each page, which takes at most [`LAST_PAGE_TIME`]. Progress is reported to
    /// `on_event`.
    ///
    /// Errors of the LMS are reported as [`Progress`]: the sweep is suspended, or it has
    /// failed. The failure of one learner never stops the others.
    ///
    /// # Errors
    /// The tables cannot be read or written at all. Earlier writes stay, and another call
    /// resumes from the last saved checkpoint.
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
            .map(|checkpoint| checkpoint.holder_id);
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
                if let Some(holder_id) = held_by
                    && resumed
                {
                    sweep_run.acquire(holder_id).await?;
                }
                sweep_run.list(&run).await
            }
        }
    }

    /// Returns the record of the sweeps with these options, the checkpoint to start from, and
    /// true if that is the checkpoint of a sweep that was cut short.
    async fn load_checkpoint(
        &self,
        request: &Request,
    ) -> Result<(SweepRecord, Checkpoint, bool), StoreError> {
        let now = self.clock.now();
        let mut options = request.options;
        let begin = |options| Checkpoint::new(random::id(), now, options);
        if request.learner.is_some() {
            return Ok((SweepRecord::default(), begin(options), false));
        }
        let mut record = self.record(&request.run, options).await?;
        // The first sweep of a run's enrollments is a dry run: nobody has seen its effects yet.
        let may_need_dry_run =
            K::KIND == SweepKind::Enrollments && !options.confirm && !options.dry_run;
        if may_need_dry_run && record.complete_at.is_none() {
            let dry_run = SweepOptions {
                dry_run: true,
                ..options
            };
            let dry_record = self.record(&request.run, dry_run).await?;
            let was_swept =
                dry_record.complete_at.is_some() || self.was_swept(&request.run).await?;
            if !was_swept {
                (options, record) = (dry_run, dry_record);
            }
        }
        let cut_short = record.checkpoint.clone();
        let cut_short = cut_short.filter(|checkpoint| checkpoint.options == options);
        let cut_short =
            cut_short.filter(|checkpoint| within(RESUMED_FOR, checkpoint.saved_at, now));
        let resumed = cut_short.is_some();
        let checkpoint = cut_short.map(|checkpoint| Checkpoint {
            holder_id: random::id(),
            ..checkpoint
        });
        Ok((
            record,
            checkpoint.unwrap_or_else(|| begin(options)),
            resumed,
        ))
    }

    /// True if a scheduled sweep of the run, or a dry run of one, has ever reached the end of
    /// the list.
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

    /// Returns the record of the sweeps of a run with these options.
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

    /// Asks for a page, and retries if the LMS returns none.
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

    /// Returns the learners of these rows. If a list contains a learner twice, only the first
    /// row counts.
    async fn learners(
        &self,
        rows: Vec<Result<K::Row, InvalidResponse>>,
        recorder: &Recorder<'_>,
    ) -> Result<Vec<Learner<K::Row>>, StoreError> {
        let mut sound = Vec::new();
        let mut seen = HashSet::new();
        for row in rows {
            let invalid = match row {
                Ok(row) if seen.insert(K::username(&row).key()) => {
                    sound.push(row);
                    continue;
                }
                Ok(_) => InvalidResponse::Twice,
                Err(invalid) => invalid,
            };
            let code = LmsApiError::from(invalid).code();
            recorder.record(None, None, &Effect::Failed(code));
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
