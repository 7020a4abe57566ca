//! A sweep of a run in progress, from its checkpoint on.

use std::time::Duration;

use common::AwsError;
use common::clock::within;
use domain::LearnerRef;
use domain::sweep::{certifies, exceeds_safety_limit};
use domain::{
    ByName, Change, Checkpoint, CourseRun, Effect, Left, Names, Stage, SweepEnd, SweepOutcome,
    Tally, Username,
};
use futures::future::join;
use jiff::{SignedDuration, Timestamp};
use lms::{InvalidResponse, LmsApiError};
use store::StoreError;
use store::sweeps::{HeldBy, HeldPage, SweepRecord, Which};
use tokio::time::timeout;
use uuid::Uuid;

use super::by_name::AskingError;
use super::{
    Asked, Kind, LmsError, Losses, Progress, Recorder, Request, SweepError, SweepEvent, Sweeping,
    Task, Worked,
};

/// The number of rows processed together: DynamoDB reads 100 keys a call.
const ROWS_AT_ONCE: usize = 100;

/// The time limit for the work on some rows. An erasure that runs at the same time looks for
/// the learner once more after 30 seconds; the work must not write the learner back after that.
const WORK_TIME: Duration = Duration::from_secs(25);

/// The first pause of requests to the LMS after it has given no answer; each further pause is
/// twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The first pause if the LMS throttles and does not say for how long: its throttles count
/// requests per minute.
const FIRST_PAUSE_OF_A_THROTTLE: Duration = Duration::from_mins(1);

/// The greatest number of pauses in a row; one more failure ends the sweep.
const PAUSES: u32 = 5;

/// The longest pause. If the LMS asks for a longer one, the sweep ends, and the next sweep asks
/// again.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The interval at which a running sweep saves its checkpoint.
const SAVED_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// A sweep of a run in progress.
pub(super) struct SweepRun<'a, K> {
    sweeping: &'a Sweeping<K>,
    request: &'a Request,
    /// The stored record of the sweeps before.
    record: SweepRecord,
    checkpoint: Checkpoint,
    /// True until the first page of this call: each call processes at least one page.
    is_first: bool,
    may_continue: &'a dyn Fn() -> bool,
    on_event: &'a dyn Fn(SweepEvent<'_>),
}

impl<'a, K: Kind> SweepRun<'a, K> {
    /// Starts from `checkpoint`; `record` is the stored record of the sweeps before.
    pub(super) fn new(
        sweeping: &'a Sweeping<K>,
        request: &'a Request,
        checkpoint: Checkpoint,
        record: SweepRecord,
        may_continue: &'a dyn Fn() -> bool,
        on_event: &'a dyn Fn(SweepEvent<'_>),
    ) -> Self {
        Self {
            sweeping,
            request,
            record,
            checkpoint,
            is_first: true,
            may_continue,
            on_event,
        }
    }

    /// True if one more page may be processed in this call.
    fn may_continue(&mut self) -> bool {
        std::mem::take(&mut self.is_first) || (self.may_continue)()
    }

    fn held(&self) -> HeldBy<'_> {
        self.held_by(self.checkpoint.holder_id)
    }

    fn held_by(&self, holder_id: Uuid) -> HeldBy<'_> {
        HeldBy {
            course_id: &self.request.run,
            kind: K::KIND,
            holder_id,
        }
    }

    fn task<'r>(&self, run: &'r CourseRun, asked_at: Timestamp, losses: Losses) -> Task<'r> {
        let now = self.sweeping.clock.now();
        Task {
            run,
            options: self.checkpoint.options,
            losses,
            certifies: self.checkpoint.options.force || certifies(run, now),
            by: Change::Sweep {
                sweep_id: self.checkpoint.sweep_id,
                name: self.request.operator.clone(),
            },
            asked_at,
            now,
        }
    }

    /// Goes through the LMS's list of a run. While one page is processed, the next one is
    /// requested.
    pub(super) async fn list(mut self, run: &CourseRun) -> Result<Progress, SweepError> {
        let sweeping = self.sweeping;
        let mut next = None;
        while let Stage::Listing(cursor) = self.checkpoint.stage.clone() {
            if !self.may_continue() {
                return Ok(self.suspend(Duration::ZERO, None).await?);
            }
            let asked = match next.take() {
                Some(asked) => asked,
                None => sweeping.ask(run, &cursor).await,
            };
            let Asked { asked_at, page } = match asked {
                Ok(asked) => asked,
                Err(error) => return Ok(self.has_no_answer(&error).await?),
            };
            self.checkpoint.failures = 0;
            let is_itself = page.next.is_some() && page.next.as_ref() == cursor.cursor();
            let following = cursor.follow(page.next);
            let work = self.page(run, cursor.pages(), asked_at, page.rows);
            let (worked, asked) = join(work, async {
                match &following {
                    Ok(Some(cursor)) if (self.may_continue)() => {
                        Some(sweeping.ask(run, cursor).await)
                    }
                    _ => None,
                }
            })
            .await;
            let (tally, at_stake) = worked?;
            next = asked;
            self.checkpoint.tally.extend(&tally);
            self.checkpoint.at_stake += at_stake;
            self.checkpoint.stage = match following {
                Ok(Some(cursor)) => Stage::Listing(cursor),
                Ok(None) => Stage::Applying,
                Err(_) if is_itself => self.begins_by_name(cursor.pages() + 1).await?,
                Err(error) => {
                    let code = LmsApiError::from(InvalidResponse::from(error)).code();
                    return Ok(self.failed(&code).await?);
                }
            };
            (self.on_event)(SweepEvent::Page(&self.checkpoint));
            self.save_now_and_then().await?;
        }
        self.by_name(run).await
    }

    /// Starts the stage after a list that cannot be read to its end: all learners who may lose
    /// something are asked for by name, including those who were in the list.
    async fn begins_by_name(&mut self, pages: u32) -> Result<Stage, StoreError> {
        let sweeps = &self.sweeping.sweeps;
        loop {
            let held = sweeps.held(self.held(), None).await?.entries;
            if held.is_empty() {
                break;
            }
            for HeldPage { page, .. } in held {
                sweeps.release(self.held(), page).await?;
            }
        }
        self.checkpoint.at_stake = 0;
        if self.checkpoint.options.dry_run {
            // The effect on each learner is counted and reported once more.
            self.checkpoint.tally = Tally::default();
        }
        (self.on_event)(SweepEvent::ByName(&self.checkpoint));
        Ok(Stage::ByName(ByName {
            pages,
            names: Names::Enrolled(None),
        }))
    }

    /// Goes through the learners to be asked for by name, if the sweep is in that stage.
    async fn by_name(mut self, run: &CourseRun) -> Result<Progress, SweepError> {
        let sweeping = self.sweeping;
        while let Stage::ByName(by_name) = self.checkpoint.stage.clone() {
            if !self.may_continue() {
                return Ok(self.suspend(Duration::ZERO, None).await?);
            }
            let recorder = Recorder::new(self.checkpoint.sweep_id, self.on_event);
            let step = match sweeping.by_name(run, &by_name, &recorder).await {
                Ok(step) => step,
                Err(AskingError::Lms(error)) => return Ok(self.has_no_answer(&error).await?),
                Err(AskingError::Store(error)) => return Err(error.into()),
            };
            self.checkpoint.failures = 0;
            let work = self.page(run, by_name.pages, step.asked_at, step.rows);
            let (tally, at_stake) = work.await?;
            self.checkpoint.tally.extend(&recorder.tally.into_inner());
            self.checkpoint.tally.extend(&tally);
            self.checkpoint.at_stake += at_stake;
            self.checkpoint.stage = step.next.map_or(Stage::Applying, Stage::ByName);
            (self.on_event)(SweepEvent::Page(&self.checkpoint));
            self.save_now_and_then().await?;
        }
        self.apply(run).await
    }

    /// Processes the rows of one page, and holds back the losses. Returns the effects, and the
    /// number of learners who have something to lose.
    async fn page(
        &self,
        run: &CourseRun,
        page: u32,
        asked_at: Timestamp,
        rows: Vec<Result<K::Row, InvalidResponse>>,
    ) -> Result<(Tally, u64), SweepError> {
        let recorder = Recorder::new(self.checkpoint.sweep_id, self.on_event);
        recorder.tally.borrow_mut().list(rows.len() as u64);
        let task = self.task(run, asked_at, Losses::HeldBack);
        let Worked { held, at_stake } = self.rows(&task, rows, &recorder).await?;
        if !held.is_empty() {
            self.hold(page, held).await?;
        }
        Ok((recorder.tally.into_inner(), at_stake))
    }

    async fn hold(&self, page: u32, usernames: Vec<Username>) -> Result<(), StoreError> {
        let held = HeldPage { page, usernames };
        let now = self.sweeping.clock.now();
        self.sweeping.sweeps.hold(self.held(), &held, now).await
    }

    /// Processes the rows, a limited number at a time: an old site's list is one page.
    async fn rows(
        &self,
        task: &Task<'_>,
        rows: Vec<Result<K::Row, InvalidResponse>>,
        recorder: &Recorder<'_>,
    ) -> Result<Worked, StoreError> {
        let mut all = Worked::default();
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let some = rows.by_ref().take(ROWS_AT_ONCE).collect();
            let work = async {
                let learners = self.sweeping.learners(some, recorder).await?;
                self.sweeping.kind.work(task, learners, recorder).await
            };
            let worked = in_time(work).await?;
            all.held.extend(worked.held);
            all.at_stake += worked.at_stake;
        }
        Ok(all)
    }

    /// Applies the losses that were held back, if they are within the safety limit.
    async fn apply(mut self, run: &CourseRun) -> Result<Progress, SweepError> {
        let sweeping = self.sweeping;
        let losing = self.losing().await?;
        // A resumed sweep has fewer losses left than when it first passed this check, so it
        // passes again.
        if !self.checkpoint.options.confirm
            && exceeds_safety_limit(losing, self.checkpoint.at_stake)
        {
            if !self.checkpoint.options.dry_run {
                let left = Effect::Left(Left::SafetyLimit);
                self.checkpoint.tally.note_many(&left, losing);
            }
            return Ok(self.ended(SweepOutcome::Halted, None).await?);
        }
        loop {
            let held = sweeping.sweeps.held(self.held(), None).await?.entries;
            if held.is_empty() {
                return Ok(self.ended(SweepOutcome::Done, None).await?);
            }
            for HeldPage { page, usernames } in held {
                let mut left = usernames.as_slice();
                while let [username, others @ ..] = left {
                    if !self.may_continue() {
                        self.hold(page, left.to_vec()).await?;
                        return Ok(self.suspend(Duration::ZERO, None).await?);
                    }
                    match self.once_more(run, username).await {
                        Ok(()) => {}
                        Err(AskingError::Lms(error)) => {
                            self.hold(page, left.to_vec()).await?;
                            return Ok(self.has_no_answer(&error).await?);
                        }
                        Err(AskingError::Store(error)) => return Err(error.into()),
                    }
                    left = others;
                }
                sweeping.sweeps.release(self.held(), page).await?;
                self.save_now_and_then().await?;
            }
        }
    }

    /// Asks the LMS once more for a learner whose loss was held back, because much may have
    /// changed since it listed them, and applies the new answer.
    ///
    /// # Errors
    /// The LMS as a whole gives no answer, or the store failed.
    async fn once_more(&mut self, run: &CourseRun, username: &Username) -> Result<(), AskingError> {
        let recorder = Recorder::new(self.checkpoint.sweep_id, self.on_event);
        let asked_at = self.sweeping.clock.now();
        match self.asked_again(run, username).await {
            Ok((rows, losses)) => {
                let task = self.task(run, asked_at, losses);
                self.rows(&task, rows, &recorder).await?;
            }
            Err(error) if error.is_lms_wide() => return Err(error.into()),
            // A learner who cannot be asked for may still be there.
            Err(error @ LmsError::Api(LmsApiError::BadUsername)) => {
                recorder.record(None, Some(username), &Effect::Failed(error.code()));
            }
            // A learner who is gone from the LMS loses nothing.
            Err(_) => recorder.record(None, Some(username), &Effect::Left(Left::ChangedMeanwhile)),
        }
        self.checkpoint.failures = 0;
        self.checkpoint.tally.extend(&recorder.tally.into_inner());
        Ok(())
    }

    /// Returns the rows of a learner who was held back, and the treatment of their losses.
    async fn asked_again(
        &self,
        run: &CourseRun,
        username: &Username,
    ) -> Result<(Vec<Result<K::Row, InvalidResponse>>, Losses), LmsError> {
        let Sweeping { kind, lms, .. } = self.sweeping;
        let rows = self.rows_of(run, username).await?;
        let confirmed = kind.is_confirmed(lms, &run.course_id, username).await?;
        let losses = if confirmed {
            Losses::Taken
        } else {
            Losses::Unconfirmed
        };
        Ok((rows, losses))
    }

    async fn rows_of(
        &self,
        run: &CourseRun,
        username: &Username,
    ) -> Result<Vec<Result<K::Row, InvalidResponse>>, LmsError> {
        let Sweeping { kind, lms, .. } = self.sweeping;
        kind.rows_of(lms, &run.course_id, username).await
    }

    /// Returns the number of learners who are held back, or would be in a real sweep.
    async fn losing(&self) -> Result<u64, StoreError> {
        if self.checkpoint.options.dry_run {
            return Ok(self.checkpoint.tally.losing());
        }
        let (mut losing, mut start) = (0, None);
        loop {
            let page = self.sweeping.sweeps.held(self.held(), start).await?;
            let of_page = page.entries.iter().map(|held| held.usernames.len() as u64);
            losing += of_page.sum::<u64>();
            start = page.next;
            if start.is_none() {
                return Ok(losing);
            }
        }
    }

    /// Copies to this process's id the losses that were held back under `holder_id` before this
    /// checkpoint. Losses of later pages are not copied: those pages are processed again.
    pub(super) async fn acquire(&mut self, holder_id: Uuid) -> Result<(), StoreError> {
        let pages = match &self.checkpoint.stage {
            Stage::Listing(cursor) => cursor.pages(),
            Stage::ByName(by_name) => by_name.pages,
            Stage::Applying => u32::MAX,
        };
        let sweeps = &self.sweeping.sweeps;
        let (mut start, mut is_any) = (None, false);
        loop {
            let page = sweeps.held(self.held_by(holder_id), start).await?;
            for held in page.entries.iter().filter(|held| held.page < pages) {
                self.hold(held.page, held.usernames.clone()).await?;
                is_any = true;
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        if is_any { self.save().await } else { Ok(()) }
    }

    /// Sweeps one learner. No safety limit applies: one learner is below it.
    pub(super) async fn learner(
        mut self,
        run: &CourseRun,
        learner: &LearnerRef,
    ) -> Result<Progress, SweepError> {
        let user = self.sweeping.user(learner).await?;
        let username = user.edx_username.ok_or(SweepError::NoUsername)?;
        let recorder = Recorder::new(self.checkpoint.sweep_id, self.on_event);
        let asked_at = self.sweeping.clock.now();
        let mut worked = Worked::default();
        match self.rows_of(run, &username).await {
            Ok(rows) => {
                recorder.tally.borrow_mut().list(rows.len() as u64);
                let task = self.task(run, asked_at, Losses::HeldBack);
                worked = self.rows(&task, rows, &recorder).await?;
            }
            Err(error) if error.is_lms_wide() => return Err(error.into()),
            Err(error) => {
                let failed = Effect::Failed(error.code());
                recorder.record(Some(user.user_id), Some(&username), &failed);
            }
        }
        self.checkpoint.tally.extend(&recorder.tally.into_inner());
        for username in &worked.held {
            self.once_more(run, username).await?;
        }
        (self.on_event)(SweepEvent::Page(&self.checkpoint));
        Ok(self.ended(SweepOutcome::Done, None).await?)
    }

    /// Handles a missing answer of the LMS: suspends the sweep for a while, or ends it as
    /// failed.
    async fn has_no_answer(mut self, error: &LmsError) -> Result<Progress, StoreError> {
        self.checkpoint.failures += 1;
        let first = if error.is_throttled() {
            FIRST_PAUSE_OF_A_THROTTLE
        } else {
            FIRST_PAUSE
        };
        let pause = first * (1 << (self.checkpoint.failures - 1).min(PAUSES));
        let wait = error.retry_after().unwrap_or(pause);
        let may_pass = error.is_lms_wide() && !error.needs_operator();
        if may_pass && self.checkpoint.failures <= PAUSES && wait <= LONGEST_PAUSE {
            self.suspend(wait, Some(error.code())).await
        } else {
            self.failed(&error.code()).await
        }
    }

    async fn suspend(self, wait: Duration, reason: Option<String>) -> Result<Progress, StoreError> {
        let mut stopped = self;
        stopped.save().await?;
        let checkpoint = stopped.checkpoint;
        Ok(Progress::Suspended {
            wait,
            reason,
            checkpoint,
        })
    }

    pub(super) async fn failed(self, reason: &str) -> Result<Progress, StoreError> {
        let reason = Some(reason.to_owned());
        self.ended(SweepOutcome::Failed, reason).await
    }

    /// Ends the sweep and stores how it ended. The sweep of a single learner is not stored.
    async fn ended(
        self,
        outcome: SweepOutcome,
        reason: Option<String>,
    ) -> Result<Progress, StoreError> {
        let end = SweepEnd {
            sweep_id: self.checkpoint.sweep_id,
            began_at: self.checkpoint.began_at,
            ended_at: self.sweeping.clock.now(),
            options: self.checkpoint.options,
            outcome,
            reason,
            tally: self.checkpoint.tally,
        };
        if self.request.learner.is_none() {
            let is_complete = outcome != SweepOutcome::Failed;
            let record = SweepRecord {
                checkpoint: None,
                last: Some(end.clone()),
                complete_at: if is_complete {
                    Some(end.ended_at)
                } else {
                    self.record.complete_at
                },
            };
            let sweeps = &self.sweeping.sweeps;
            let which = Which {
                course_id: &self.request.run,
                kind: K::KIND,
                options: end.options,
            };
            sweeps.put(which, &record).await?;
        }
        Ok(Progress::Ended(end))
    }

    async fn save_now_and_then(&mut self) -> Result<(), StoreError> {
        let now = self.sweeping.clock.now();
        if within(SAVED_EVERY, self.checkpoint.saved_at, now) {
            return Ok(());
        }
        self.save().await
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.checkpoint.saved_at = self.sweeping.clock.now();
        let record = SweepRecord {
            checkpoint: Some(self.checkpoint.clone()),
            ..self.record.clone()
        };
        let which = Which {
            course_id: &self.request.run,
            kind: K::KIND,
            options: self.checkpoint.options,
        };
        self.sweeping.sweeps.put(which, &record).await
    }
}

/// Runs the work on some rows. If it takes too long, it returns the error of a store that timed
/// out.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let timed_out = Err(AwsError::Timeout.into());
    // Boxed because the future is large and moved often.
    let work = timeout(WORK_TIME, Box::pin(work));
    work.await.unwrap_or(timed_out)
}
