//! Sweep of a run's enrollments by the LMS's list.

use std::collections::HashMap;

use common::random;
use domain::sweep::{Correction, correction};
use domain::{
    CourseId, Cursor, Effect, Enrollment, EnrollmentChange, EventKey, EventKind, Left, PageCursor,
    PaidModes, PendingEvent, SweepKind, User, Username,
};
use lms::InvalidResponse;
use lms::{About, EnrollmentRow, GradeRow, LmsClient, LmsError, Page};
use store::StoreError;
use store::enrollments::Enrollments;
use store::pending_events::PendingEvents;
use store::records::Written;
use uuid::Uuid;

use super::{Kind, Learner, Losses, Recorder, SweepError, Task, Worked, carry_out, failed};
use crate::enrolling::{schedule_retry, waits_for_enrollment, wake_now};

/// The resources of a sweep of enrollments.
pub struct EnrollmentSweep {
    enrollments: Enrollments,
    pending_events: PendingEvents,
    paid_modes: PaidModes,
}

impl EnrollmentSweep {
    /// Takes the tables, and the modes in which a pass earns a certificate. Makes no call.
    pub fn new(
        enrollments: Enrollments,
        pending_events: PendingEvents,
        paid_modes: PaidModes,
    ) -> Self {
        Self {
            enrollments,
            pending_events,
            paid_modes,
        }
    }
}

/// An enrollment as it was read, if there is one, and the correction of it.
type Plan<'a> = (Option<&'a Enrollment>, Correction);

impl Kind for EnrollmentSweep {
    const KIND: SweepKind = SweepKind::Enrollments;

    type Row = EnrollmentRow;

    const NAMES_AT_ONCE: usize = 100;

    const LEARNERS_AT_ONCE: u16 = 100;

    async fn page(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<EnrollmentRow>, LmsError> {
        let about = About::Run(course_id.clone());
        lms.enrollments_page(&about, cursor).await
    }

    async fn rows_of(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<Vec<Result<EnrollmentRow, InvalidResponse>>, LmsError> {
        let about = About::LearnerInRun(username.clone(), course_id.clone());
        Ok(lms.enrollments_page(&about, None).await?.rows)
    }

    /// Always true: the row itself says that the learner was un-enrolled.
    async fn is_confirmed(
        &self,
        _: &LmsClient,
        _: &CourseId,
        _: &Username,
    ) -> Result<bool, LmsError> {
        Ok(true)
    }

    async fn rows_by_name(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        usernames: &[Username],
    ) -> Result<Vec<Result<EnrollmentRow, InvalidResponse>>, LmsError> {
        let about = About::LearnersInRun(usernames.to_vec(), course_id.clone());
        all_pages(lms, &about).await
    }

    async fn graded(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        at: &PageCursor,
    ) -> Result<Option<Page<GradeRow>>, LmsError> {
        lms.grades_page(course_id, at.cursor()).await.map(Some)
    }

    fn enrollments(&self) -> &Enrollments {
        &self.enrollments
    }

    /// Reads the LMS's list of the learner's enrollments: the portal may lack some.
    async fn runs_of(&self, lms: &LmsClient, user: &User) -> Result<Vec<CourseId>, SweepError> {
        let username = user.edx_username.clone().ok_or(SweepError::NoUsername)?;
        let rows = all_pages(lms, &About::Learner(username)).await?;
        let rows = rows.into_iter().flatten();
        Ok(rows.map(|row| row.course_id).collect())
    }

    fn username(row: &EnrollmentRow) -> &Username {
        &row.username
    }

    async fn work(
        &self,
        task: &Task<'_>,
        learners: Vec<Learner<EnrollmentRow>>,
        recorder: &Recorder<'_>,
    ) -> Result<Worked, StoreError> {
        let ids: Vec<_> = learners.iter().map(|l| l.owner.user_id).collect();
        let ours = self.enrollments.in_run(&task.run.course_id, &ids).await?;
        let (mut plans, mut worked) = (Vec::new(), Worked::default());
        for learner in &learners {
            let ours = match ours.get(&learner.owner.user_id) {
                Some(Ok(enrollment)) => Some(enrollment),
                None => None,
                Some(Err(error)) => {
                    recorder.record_all(learner, &[failed(error)]);
                    continue;
                }
            };
            worked.at_stake += u64::from(ours.is_some_and(|ours| ours.active));
            let EnrollmentRow {
                mode, is_active, ..
            } = &learner.row;
            let correction = correction(ours, mode, *is_active, &self.paid_modes);
            if !correction.is_any() {
                recorder.record_all(learner, &correction.effects);
            } else if ours.is_some_and(|ours| ours.is_newer(task.asked_at)) {
                recorder.record_all(learner, &[Effect::Left(Left::ChangedMeanwhile)]);
            } else if task.options.dry_run {
                recorder.record_all(learner, &correction.effects);
            } else if correction.deactivates()
                && task.losses == Losses::HeldBack
                && !task.options.confirm
            {
                worked.held.push(learner.username.clone());
            } else {
                plans.push((learner, (ours, correction)));
            }
        }
        let waiting = self.waiting(task, &plans).await?;
        let one = async |learner: &_, plan: &_| self.one(task, learner, plan, &waiting).await;
        carry_out(&plans, recorder, one).await?;
        Ok(worked)
    }
}

impl EnrollmentSweep {
    /// Returns the pending certificate events that wait for enrollments which may become paid
    /// and active now.
    async fn waiting(
        &self,
        task: &Task<'_>,
        plans: &[(&Learner<EnrollmentRow>, Plan<'_>)],
    ) -> Result<HashMap<EventKey, PendingEvent>, StoreError> {
        let may_pay = plans.iter().filter(|(_, (_, to))| !to.deactivates());
        let keys: Vec<_> = may_pay.map(|(learner, _)| key(task, learner)).collect();
        let found = self.pending_events.get_many(&keys).await?;
        let waiting = found.into_iter().flatten().filter(waits_for_enrollment);
        Ok(waiting
            .map(|event| (event.event_key.clone(), event))
            .collect())
    }

    /// Writes the correction of one learner, and returns its effects.
    async fn one(
        &self,
        task: &Task<'_>,
        learner: &Learner<EnrollmentRow>,
        (ours, correction): &Plan<'_>,
        waiting: &HashMap<EventKey, PendingEvent>,
    ) -> Result<Vec<Effect>, StoreError> {
        let waiting = waiting.get(&key(task, learner));
        if let Some(event) = waiting {
            schedule_retry(&self.pending_events, event, task.now).await?;
        }
        let written = self.write(task, learner.owner.user_id, *ours, correction);
        let written = written.await?;
        if let Some(event) = waiting {
            wake_now(&self.pending_events, event, task.now).await;
        }
        Ok(match written {
            Written::Done => correction.effects.clone(),
            Written::Moved => vec![Effect::Left(Left::ChangedMeanwhile)],
        })
    }

    async fn write(
        &self,
        task: &Task<'_>,
        user_id: Uuid,
        ours: Option<&Enrollment>,
        correction: &Correction,
    ) -> Result<Written, StoreError> {
        let (course_id, by) = (task.run.course_id.clone(), task.by.clone());
        let change = EnrollmentChange::new(user_id, course_id, by, task.now, random::id);
        let after = change.correct(ours, correction);
        self.enrollments.replace(&change, ours, &after).await
    }
}

/// Returns the rows of all pages of a short list.
async fn all_pages(
    lms: &LmsClient,
    about: &About,
) -> Result<Vec<Result<EnrollmentRow, InvalidResponse>>, LmsError> {
    let mut rows = Vec::new();
    let mut cursor = Some(PageCursor::default());
    while let Some(at) = cursor {
        let page = lms.enrollments_page(about, at.cursor()).await?;
        rows.extend(page.rows);
        cursor = at.follow(page.next).map_err(InvalidResponse::from)?;
    }
    Ok(rows)
}

/// Returns the key of the learner's certificate event, which may be pending.
fn key(task: &Task<'_>, learner: &Learner<EnrollmentRow>) -> EventKey {
    let (email, run) = (&learner.owner.email, &task.run.course_id);
    EventKey::of(EventKind::Certificate, email, run)
}
