//! Sweep of a run's grades: stores the LMS's grades, and issues, withdraws and restores
//! certificates.

use std::collections::HashMap;

use common::random;
use domain::certificate_rule::{
    CertificateChange, CertificateDecision, decide_certificate, is_zero_for_good,
};
use domain::{
    Certificate, CertificateEntry, CertificateState, CourseId, Cursor, Effect, Email, Enrollment,
    EventKind, Grade, GradeEntry, History, Left, PageCursor, PaidModes, SweepKind, User, Username,
};
use jiff::Timestamp;
use lms::InvalidResponse;
use lms::{About, GradeRow, LmsClient, LmsError, PAGE_TIME, Page};
use store::StoreError;
use store::enrollments::Enrollments;
use store::lookup::{Found, Lookup};
use store::pending_events::PendingEvents;
use store::records::{CertificateWrite, GradeWrite, LearnerRecords, Records, Written};

use super::{Kind, Learner, Losses, Recorder, SweepError, Task, Worked, carry_out, failed};

/// The resources of a sweep of grades.
pub struct GradeSweep {
    lookup: Lookup,
    records: Records,
    enrollments: Enrollments,
    pending_events: PendingEvents,
    paid_modes: PaidModes,
}

impl GradeSweep {
    /// Takes the tables, and the modes in which a pass earns a certificate. Makes no call.
    pub fn new(
        lookup: Lookup,
        records: Records,
        enrollments: Enrollments,
        pending_events: PendingEvents,
        paid_modes: PaidModes,
    ) -> Self {
        Self {
            lookup,
            records,
            enrollments,
            pending_events,
            paid_modes,
        }
    }
}

/// The planned changes for one learner.
struct Plan<'r> {
    grade: GradeWrite<'r>,
    certificate: Option<CertificateChange<'r>>,
    /// The differences that are left as they are.
    left: Vec<Effect>,
}

impl Plan<'_> {
    /// True if the learner loses a certificate.
    fn withdraws(&self) -> bool {
        matches!(self.certificate, Some(CertificateChange::Withdraw(_)))
    }

    /// Returns the effects of the plan.
    fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let GradeWrite::Put { before, after } = &self.grade
            && before.is_none_or(|before| before.score != after.score)
        {
            effects.push(Effect::GradeStored);
        }
        effects.extend(match self.certificate {
            Some(CertificateChange::Issue(_)) => Some(Effect::Issued),
            Some(CertificateChange::Restore(..)) => Some(Effect::Restored),
            Some(CertificateChange::Withdraw(_)) => Some(Effect::Withdrawn),
            None => None,
        });
        effects.extend(self.left.iter().cloned());
        effects
    }
}

impl Kind for GradeSweep {
    const KIND: SweepKind = SweepKind::Grades;

    type Row = GradeRow;

    const NAMES_AT_ONCE: usize = 1;

    // Each of them costs a request.
    const LEARNERS_AT_ONCE: u16 = 25;

    async fn page(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<GradeRow>, LmsError> {
        lms.grades_page(course_id, cursor).await
    }

    async fn rows_of(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<Vec<Result<GradeRow, InvalidResponse>>, LmsError> {
        let score = lms.grade(course_id, username, PAGE_TIME).await?;
        let username = username.clone();
        Ok(vec![Ok(GradeRow { username, score })])
    }

    /// True if the LMS's list of enrollments has the learner as active. The LMS also answers 0
    /// if it has lost a grade or no longer has the learner. If our credential may not read that
    /// list, nothing is confirmed.
    async fn is_confirmed(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<bool, LmsError> {
        let about = About::LearnerInRun(username.clone(), course_id.clone());
        match lms.enrollments_page(&about, None).await {
            Ok(page) => Ok(page.rows.iter().flatten().any(|row| row.is_active)),
            Err(error) if error.is_lms_wide() && !error.needs_operator() => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn rows_by_name(
        &self,
        lms: &LmsClient,
        course_id: &CourseId,
        usernames: &[Username],
    ) -> Result<Vec<Result<GradeRow, InvalidResponse>>, LmsError> {
        let mut rows = Vec::new();
        for username in usernames {
            rows.extend(self.rows_of(lms, course_id, username).await?);
        }
        Ok(rows)
    }

    async fn graded(
        &self,
        _: &LmsClient,
        _: &CourseId,
        _: &PageCursor,
    ) -> Result<Option<Page<GradeRow>>, LmsError> {
        Ok(None)
    }

    fn enrollments(&self) -> &Enrollments {
        &self.enrollments
    }

    async fn runs_of(&self, _: &LmsClient, user: &User) -> Result<Vec<CourseId>, SweepError> {
        Ok(self.enrollments.runs_of(user.user_id).await?)
    }

    fn username(row: &GradeRow) -> &Username {
        &row.username
    }

    async fn work(
        &self,
        task: &Task<'_>,
        learners: Vec<Learner<GradeRow>>,
        recorder: &Recorder<'_>,
    ) -> Result<Worked, StoreError> {
        let ids: Vec<_> = learners.iter().map(|l| l.owner.user_id).collect();
        let records = self.records.find_many(&task.run.course_id, &ids).await?;
        let (mut plans, mut worked) = (Vec::new(), Worked::default());
        for learner in &learners {
            match records.get(&learner.owner.user_id) {
                Some(Ok(record)) => {
                    let mut plan = self.plan(task, learner, record);
                    let certificate = record.certificate.as_ref();
                    let is_at_stake =
                        certificate.is_some_and(|c| c.state == CertificateState::InForce);
                    worked.at_stake += u64::from(is_at_stake);
                    let is_held_back = task.losses == Losses::HeldBack;
                    if plan.withdraws() && !task.options.dry_run && is_held_back {
                        worked.held.push(learner.username.clone());
                        plan.certificate = None;
                        // A loss that is held back is reported when it is applied or kept.
                        if plan.effects().is_empty() {
                            continue;
                        }
                    }
                    plans.push((learner, plan));
                }
                Some(Err(error)) => {
                    recorder.record_all(learner, &[failed(error)]);
                }
                None => {}
            }
        }
        if task.options.dry_run {
            for (learner, plan) in &plans {
                recorder.record_all(learner, &plan.effects());
            }
            return Ok(worked);
        }
        let (to_do, rest): (Vec<_>, Vec<_>) = plans.into_iter().partition(|(_, plan)| {
            plan.certificate.is_some() || matches!(plan.grade, GradeWrite::Put { .. })
        });
        for (learner, plan) in &rest {
            recorder.record_all(learner, &plan.effects());
        }
        let found = self.found(task, &to_do).await?;
        let one = async |learner: &_, plan: &_| self.one(task, learner, plan, &found).await;
        carry_out(&to_do, recorder, one).await?;
        Ok(worked)
    }
}

/// Returns the grade's write extended by the time since which the LMS answers 0.
fn found_zero(grade: GradeWrite<'_>, moment: Timestamp) -> GradeWrite<'_> {
    match grade {
        GradeWrite::Same(stored) if stored.zero_since.is_some() => GradeWrite::Same(stored),
        GradeWrite::Same(stored) => GradeWrite::Put {
            before: Some(stored),
            after: stored.found_zero(moment),
        },
        GradeWrite::Put { before, after } => GradeWrite::Put {
            before,
            after: Grade {
                zero_since: Some(moment),
                ..after
            },
        },
    }
}

impl GradeSweep {
    /// Returns the planned changes for a learner. An operator's grade takes precedence over the
    /// LMS's.
    fn plan<'r>(
        &self,
        task: &Task<'_>,
        learner: &Learner<GradeRow>,
        record: &'r LearnerRecords,
    ) -> Plan<'r> {
        let score = &learner.row.score;
        let mut left = Vec::new();
        let mut grade = match &record.grade {
            Some(stored) if stored.score == *score => GradeWrite::Same(stored),
            Some(stored) if stored.set_by_admin => {
                left.push(Effect::Left(Left::GradeOverridden));
                GradeWrite::Same(stored)
            }
            Some(stored) if stored.is_newer(task.asked_at) => {
                return Plan {
                    grade: GradeWrite::Same(stored),
                    certificate: None,
                    left: vec![Effect::Left(Left::ChangedMeanwhile)],
                };
            }
            before => {
                let entry = GradeEntry {
                    at: task.now,
                    change_id: random::id(),
                    by: task.by.clone(),
                    score: score.clone(),
                    set_by_admin: false,
                };
                let before = before.as_ref();
                let (user_id, course_id) = (learner.owner.user_id, &task.run.course_id);
                let after = Grade::after(before, user_id, course_id, entry);
                GradeWrite::Put { before, after }
            }
        };
        let score = match &grade {
            GradeWrite::Same(grade) => &grade.score,
            GradeWrite::Put { after, .. } => &after.score,
        };
        let (enrollment, held) = (record.enrollment.as_ref(), record.certificate.as_ref());
        let is_newer = held.is_some_and(|held| held.is_newer(task.asked_at));
        let mut certificate = None;
        match decide_certificate(Some(score), enrollment, held, &self.paid_modes) {
            CertificateDecision::Change(_) | CertificateDecision::Revoked { passed: true }
                if !task.certifies => {}
            CertificateDecision::Change(_) | CertificateDecision::Revoked { passed: true }
                if is_newer =>
            {
                left.push(Effect::Left(Left::ChangedMeanwhile));
            }
            CertificateDecision::Change(change) => certificate = Some(change),
            CertificateDecision::Revoked { passed: true } => {
                left.push(Effect::Left(Left::Revoked));
            }
            CertificateDecision::Revoked { passed: false }
            | CertificateDecision::InForce(_)
            | CertificateDecision::NotPassed(_)
            | CertificateDecision::NotEligible(_) => {}
        }
        // A 0 set by an operator is not a lost grade.
        let is_by_admin = record
            .grade
            .as_ref()
            .is_some_and(|grade| grade.set_by_admin);
        if matches!(certificate, Some(CertificateChange::Withdraw(_))) && !is_by_admin {
            let stored = match &grade {
                GradeWrite::Same(stored) => *stored,
                GradeWrite::Put { after, .. } => after,
            };
            if !is_zero_for_good(stored, task.asked_at) {
                left.push(Effect::Left(Left::ZeroSeenOnce));
                certificate = None;
                grade = found_zero(grade, task.asked_at);
            } else if task.losses == Losses::Unconfirmed {
                left.push(Effect::Left(Left::Unconfirmed));
                certificate = None;
            }
        }
        Plan {
            grade,
            certificate,
            left,
        }
    }

    /// Returns the users who earn a certificate, with the pending events of their passes.
    async fn found(
        &self,
        task: &Task<'_>,
        plans: &[(&Learner<GradeRow>, Plan<'_>)],
    ) -> Result<HashMap<Email, Found>, StoreError> {
        let earns = |plan: &Plan<'_>| {
            use CertificateChange::{Issue, Restore};
            matches!(plan.certificate, Some(Issue(_) | Restore(..)))
        };
        let emails = plans.iter().filter(|(_, plan)| earns(plan));
        let emails: Vec<_> = emails.map(|(learner, _)| &learner.owner.email).collect();
        if emails.is_empty() {
            return Ok(HashMap::new());
        }
        let kind = EventKind::Certificate;
        self.lookup
            .find_many(&emails, &task.run.course_id, kind)
            .await
    }

    /// Writes the planned changes of one learner, and returns their effects.
    async fn one<'a>(
        &self,
        task: &Task<'_>,
        learner: &Learner<GradeRow>,
        plan: &Plan<'a>,
        found: &HashMap<Email, Found>,
    ) -> Result<Vec<Effect>, StoreError> {
        let found = found.get(&learner.owner.email);
        let moved = Ok(vec![Effect::Left(Left::ChangedMeanwhile)]);
        let entry = |state| CertificateEntry {
            at: task.now,
            change_id: random::id(),
            by: task.by.clone(),
            state,
            renamed: None,
        };
        let change = |before: &'a Certificate, state| CertificateWrite::Change {
            before,
            after: before.after(entry(state)),
        };
        let (enrollment, write): (Option<&Enrollment>, _) = match plan.certificate {
            Some(CertificateChange::Issue(enrollment)) => {
                let user = found.and_then(|found| found.user.as_ref());
                // The user was renamed or erased since the username was looked up.
                let Some(user) = user.filter(|user| user.user_id == learner.owner.user_id) else {
                    return moved;
                };
                let issued = Certificate {
                    certificate_id: random::id(),
                    user_id: user.user_id,
                    course_id: task.run.course_id.clone(),
                    state: CertificateState::InForce,
                    issued_at: task.now,
                    learner_name: user.name.clone(),
                    run_title: Some(task.run.title.clone()),
                    version: 1,
                    history: History::new(entry(CertificateState::InForce)),
                };
                (Some(enrollment), CertificateWrite::Issue(issued))
            }
            Some(CertificateChange::Restore(enrollment, before)) => {
                (Some(enrollment), change(before, CertificateState::InForce))
            }
            Some(CertificateChange::Withdraw(before)) => {
                (None, change(before, CertificateState::Withdrawn))
            }
            None => {
                let GradeWrite::Put { before, after } = &plan.grade else {
                    return Ok(plan.effects());
                };
                return match self.records.write_grade(*before, after).await? {
                    Written::Done => Ok(plan.effects()),
                    Written::Moved => moved,
                };
            }
        };
        match self.records.write(enrollment, &plan.grade, &write).await? {
            Written::Done => {}
            Written::Moved => return moved,
        }
        // The certificate also settles a pending event of the pass. If the event cannot be
        // removed, its next attempt finds the certificate.
        for pending in found.iter().flat_map(|found| &found.pending) {
            let _ = self.pending_events.remove(pending).await;
        }
        Ok(plan.effects())
    }
}
