//! Certificates for learners who have passed: stores the grade and issues the certificate.

use std::time::Duration;

use common::clock::SharedClock;
use common::{AwsError, random};
use domain::certificate_rule::{CertificateChange, CertificateDecision, decide_certificate};
use domain::{
    Blocked, BlockedReason, Certificate, CertificateEntry, CertificateState, Change, CourseId,
    Email, Enrollment, EventKey, EventKind, Grade, GradeEntry, History, Ineligible, PaidModes,
    Score,
};
use jiff::{SignedDuration, Timestamp};
use lms::{LmsClient, LmsError};
use store::StoreError;
use store::lookup::{Found, FoundRun, FoundUser, Lookup};
use store::pending_events::{NewPendingEvent, PendingEvents};
use store::records::{CertificateWrite, GradeWrite, LearnerRecords, Records, Written};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{DeliveryError, blocked_by};

/// The time limit of certifying. An answer to the LMS may take a second more.
pub const CERTIFYING_TIME: Duration = Duration::from_secs(24);

/// The time limit of the request to the LMS, token and retry included.
const LMS_TIME: Duration = Duration::from_secs(15);

/// The least time for a request to the LMS; with less time left, none is made.
const LEAST_LMS_TIME: Duration = Duration::from_millis(500);

/// The time that must remain after the request to the LMS: the longest time of one call to the
/// store.
const KEEPING_TIME: Duration = Duration::from_secs(8);

/// The number of times a decision is made while other writers keep changing the records.
const ROUNDS: u32 = 10;

/// Issues certificates to learners who have passed.
#[derive(Clone)]
pub struct Certifying {
    lookup: Lookup,
    records: Records,
    pending_events: PendingEvents,
    paid_modes: PaidModes,
    clock: SharedClock,
}

/// The announcement that a learner has passed a run.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The learner's address. There may be no user with it yet.
    pub email: Email,
    /// The run, or `None` if the text that was sent cannot be a course id.
    pub course_id: Option<CourseId>,
    /// The author, written into the histories.
    pub by: Change,
    /// The time to be stored in the histories or in the pending event.
    pub at: Timestamp,
}

/// The source of the grade that decides.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The LMS, unless an operator has set the grade.
    Lms {
        /// The client for the request.
        lms: &'a LmsClient,
        /// Called with the learner's user id before the LMS is asked.
        asking: &'a (dyn Fn(Uuid) + Sync),
    },
    /// The stored grade; no request is made.
    Record,
}

/// The result of an announcement.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The user's id; absent if no user has the address.
    pub user_id: Option<Uuid>,
    /// The learner's current address, even if a former one was announced.
    pub email: Email,
    /// The outcome.
    pub outcome: CertifyOutcome,
    /// The key of the pending event. `None` if none was stored because the announcement took
    /// effect, no course id was sent, or the caller stores the event itself.
    pub pending: Option<EventKey>,
    /// The error if a pending event that has taken effect could not be removed. Its next
    /// attempt will find it done.
    pub left_over: Option<StoreError>,
}

/// The outcome of an announcement, final or for now.
#[derive(Debug, Clone)]
pub enum CertifyOutcome {
    /// A certificate was already in force.
    Exists(Uuid),
    /// The certificate was issued, or a withdrawn one was restored.
    Created(Uuid),
    /// An operator has revoked the certificate, and only an operator restores it.
    Revoked,
    /// The certificate is blocked, and the event must wait.
    Blocked(BlockedBy),
}

/// The cause that blocks a certificate.
#[derive(Debug, Clone)]
pub enum BlockedBy {
    /// No user has the address.
    NoSuchUser,
    /// The portal does not have the run.
    NoSuchRun,
    /// The user has no username of the LMS.
    NoUsername,
    /// The LMS gave no grade that can be used.
    Lms(LmsError),
    /// The grade is not a pass.
    NotPassed,
    /// The grade is a pass, but the enrollment earns no certificate.
    NotEligible(Ineligible),
}

impl BlockedBy {
    /// Returns the blocked reason to be stored in a pending event. `now` is the time at which
    /// the LMS has answered.
    pub fn blocked(&self, now: Timestamp) -> Blocked {
        match self {
            Self::NoSuchUser => BlockedReason::NoSuchUser.into(),
            Self::NoSuchRun => BlockedReason::NoSuchRun.into(),
            Self::NoUsername => BlockedReason::NoUsername.into(),
            Self::Lms(error) => Blocked {
                reason: BlockedReason::LmsUnavailable,
                error: Some(error.code()),
                not_before: error
                    .retry_after()
                    .and_then(|wait| now.checked_add(SignedDuration::try_from(wait).ok()?).ok()),
            },
            Self::NotPassed => BlockedReason::NotPassed.into(),
            Self::NotEligible(why) => Blocked {
                error: Some(why.as_str().to_owned()),
                ..BlockedReason::NotEligible.into()
            },
        }
    }
}

impl Certifying {
    /// Takes the function's tables, and the modes in which a pass earns a certificate. Makes no
    /// call.
    pub fn new(
        lookup: Lookup,
        records: Records,
        pending_events: PendingEvents,
        paid_modes: PaidModes,
        clock: SharedClock,
    ) -> Self {
        Self {
            lookup,
            records,
            pending_events,
            paid_modes,
            clock,
        }
    }

    /// Issues the certificate, or stores a pending event until it can be issued. Ends by
    /// `until`, whatever the LMS does.
    ///
    /// The cost is two reads, the request to the LMS, and one transaction. Storing a pending
    /// event costs one more call, and so does removing one with the same key that took effect.
    ///
    /// # Errors
    /// The store failed, or did not answer in time. If the error is not temporary, the event is
    /// stored as a pending event with the reason `failed`.
    pub async fn certify(
        &self,
        pass: &Pass,
        source: Source<'_>,
        until: Instant,
    ) -> Result<Certified, DeliveryError> {
        let mut certified = match self.attempt(pass, source, until).await {
            Ok(certified) => certified,
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => {
                let pending = self
                    .add_pending(pass, &pass.email, &blocked_by(&error), until)
                    .await;
                // If the event cannot be stored either, the first error is reported.
                let pending = pending.unwrap_or_default();
                return Err(DeliveryError { error, pending });
            }
        };
        if let CertifyOutcome::Blocked(why) = &certified.outcome {
            let blocked = why.blocked(self.clock.now());
            certified.pending = self
                .add_pending(pass, &certified.email, &blocked, until)
                .await?;
        }
        Ok(certified)
    }

    /// Stores a pending event, unless no course id was sent.
    async fn add_pending(
        &self,
        pass: &Pass,
        email: &Email,
        blocked: &Blocked,
        until: Instant,
    ) -> Result<Option<EventKey>, StoreError> {
        let Some(course_id) = &pass.course_id else {
            return Ok(None);
        };
        let waiting = NewPendingEvent {
            kind: EventKind::Certificate,
            email,
            course_id,
            role: None,
            mode: None,
            blocked,
            delivered_at: pass.at,
        };
        in_time(until, self.pending_events.add(&waiting))
            .await
            .map(Some)
    }

    /// Issues the certificate, if it can be issued. Stores no pending event. A pending event
    /// with the same key that has taken effect is removed.
    ///
    /// # Errors
    /// The store failed, or did not answer in time.
    pub async fn attempt(
        &self,
        pass: &Pass,
        source: Source<'_>,
        until: Instant,
    ) -> Result<Certified, StoreError> {
        let (found, outcome) = in_time(until, self.decide(pass, source, until)).await?;
        // The decision stands, even if the removal takes too long.
        let mut left_over = None;
        if !matches!(outcome, CertifyOutcome::Blocked(_)) {
            for pending in found.pending(EventKind::Certificate) {
                let removed = in_time(until, self.pending_events.remove(pending)).await;
                left_over = removed.err().or(left_over);
            }
        }
        let user = found.user.as_ref();
        Ok(Certified {
            user_id: user.map(|user| user.user_id),
            email: user.map_or(&pass.email, |user| &user.email).clone(),
            outcome,
            pending: None,
            left_over,
        })
    }

    async fn decide(
        &self,
        pass: &Pass,
        source: Source<'_>,
        until: Instant,
    ) -> Result<(Found, CertifyOutcome), StoreError> {
        let course_id = pass.course_id.as_ref();
        let kinds = [EventKind::Certificate];
        let found = self.lookup.find(&pass.email, course_id, &kinds).await?;
        let outcome = match (&found, course_id) {
            (Found { user: None, .. }, _) => CertifyOutcome::Blocked(BlockedBy::NoSuchUser),
            (
                Found {
                    user: Some(user),
                    run: Some(run),
                    ..
                },
                Some(course_id),
            ) => {
                let decision = Decision::new(self, user, run, course_id, pass);
                decision.make(source, until).await?
            }
            _ => CertifyOutcome::Blocked(BlockedBy::NoSuchRun),
        };
        Ok((found, outcome))
    }

    /// Opens the connection to the tables.
    pub async fn warm_up(&self) {
        // A failure is ignored here: the first request meets the same failure and reports it.
        let _ = self.lookup.warm_up().await;
    }
}

/// Runs work on the store. If it does not end in time, it returns the error of a store that
/// timed out.
async fn in_time<T>(
    until: Instant,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let timed_out = Err(AwsError::Timeout.into());
    // Boxed because the future, which waits for three parties, is large and moved often.
    timeout_at(until, Box::pin(work)).await.unwrap_or(timed_out)
}

/// A learner, a run, and the change of the learner's records in it.
struct Decision<'a> {
    certifying: &'a Certifying,
    user: &'a FoundUser,
    run: &'a FoundRun,
    course_id: &'a CourseId,
    pass: &'a Pass,
    /// The id by which our own writes are recognised.
    change_id: Uuid,
    new_certificate_id: Uuid,
}

/// The LMS's grade, and the version of the stored grade for which it was requested.
struct LmsGrade {
    version: Option<u64>,
    score: Score,
}

impl<'a> Decision<'a> {
    fn new(
        certifying: &'a Certifying,
        user: &'a FoundUser,
        run: &'a FoundRun,
        course_id: &'a CourseId,
        pass: &'a Pass,
    ) -> Self {
        Self {
            certifying,
            user,
            run,
            course_id,
            pass,
            change_id: random::id(),
            new_certificate_id: random::id(),
        }
    }

    /// Reads the records, asks the LMS, decides and writes; starts again if another write came
    /// in between.
    ///
    /// The records behind the decision are read before the LMS is asked, and are checked by the
    /// write's conditions, so that an old answer never replaces a newer one.
    async fn make(&self, source: Source<'_>, until: Instant) -> Result<CertifyOutcome, StoreError> {
        let records = &self.certifying.records;
        let mut answer = None;
        let mut unclear: Option<AwsError> = None;
        for _ in 0..ROUNDS {
            let record = records.find(self.user.user_id, self.course_id).await?;
            // Without a score, a certificate that is in force stays so: the LMS is not asked.
            if let CertificateDecision::InForce(held) = self.decide(&record, None) {
                return Ok(self.held(held));
            }
            let score = match self.score(&record, source, &mut answer, until).await {
                Ok(score) => score,
                Err(ScoreError::Blocked(by)) => return Ok(CertifyOutcome::Blocked(by)),
                Err(ScoreError::Store(error)) => return Err(error),
            };
            let earned = self.earned(&record, &score);
            let grade = self.grade(&record, score);
            let write = match (&earned, &grade) {
                (Err(outcome), GradeWrite::Same(_)) => return Ok(outcome.clone()),
                (Err(_), GradeWrite::Put { before, after }) => Write::Grade(*before, after),
                (Ok(earned), grade) => Write::Certificate(earned, grade),
            };
            // A write whose outcome was unclear, and which was not made, is not retried.
            if let Some(failure) = unclear {
                return Err(failure.into());
            }
            let written = match write {
                Write::Grade(before, after) => records.write_grade(before, after).await,
                Write::Certificate(earned, grade) => {
                    let enrollment = Some(earned.enrollment);
                    records.write(enrollment, grade, &earned.write).await
                }
            };
            match written {
                Ok(Written::Done) => {
                    return Ok(match earned {
                        Ok(Earned { id, .. }) => CertifyOutcome::Created(id),
                        Err(outcome) => outcome,
                    });
                }
                Ok(Written::Moved) => {}
                Err(StoreError::Aws(failure)) if failure.is_outage() => unclear = Some(failure),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::contended())
    }

    /// Returns the grade that decides: an operator's, else the LMS's.
    ///
    /// # Errors
    /// The certificate is blocked, or the store has left no time for the request.
    async fn score(
        &self,
        record: &LearnerRecords,
        source: Source<'_>,
        answer: &mut Option<LmsGrade>,
        until: Instant,
    ) -> Result<Score, ScoreError> {
        let stored = record.grade.as_ref();
        let Source::Lms { lms, asking } = source else {
            let stored = stored.map(|grade| grade.score.clone());
            return Ok(stored.ok_or(BlockedBy::NotPassed)?);
        };
        if let Some(grade) = stored.filter(|grade| grade.set_by_admin) {
            return Ok(grade.score.clone());
        }
        let version = stored.map(|grade| grade.version);
        if let Some(answer) = answer.as_ref().filter(|answer| answer.version == version) {
            return Ok(answer.score.clone());
        }
        let Some(username) = &self.user.edx_username else {
            return Err(BlockedBy::NoUsername.into());
        };
        let left = until.saturating_duration_since(Instant::now());
        let within = left.saturating_sub(KEEPING_TIME).min(LMS_TIME);
        if within < LEAST_LMS_TIME {
            // The store has used up the time; this is not an error of the LMS.
            return Err(ScoreError::Store(AwsError::Timeout.into()));
        }
        if answer.is_none() {
            asking(self.user.user_id);
        }
        let score = lms.grade(self.course_id, username, within);
        let score = score.await.map_err(BlockedBy::Lms)?;
        *answer = Some(LmsGrade {
            version,
            score: score.clone(),
        });
        Ok(score)
    }

    fn grade<'r>(&self, record: &'r LearnerRecords, score: Score) -> GradeWrite<'r> {
        match &record.grade {
            Some(grade) if grade.score == score => GradeWrite::Same(grade),
            before => {
                let before = before.as_ref();
                // The first write was made, its answer was lost, and somebody has changed the
                // grade since: this is another write.
                let is_ours = before.is_some_and(|grade| grade.holds(self.change_id));
                let entry = GradeEntry {
                    at: self.pass.at,
                    change_id: if is_ours {
                        random::id()
                    } else {
                        self.change_id
                    },
                    by: self.pass.by.clone(),
                    score,
                    set_by_admin: false,
                };
                let after = Grade::after(before, self.user.user_id, self.course_id, entry);
                GradeWrite::Put { before, after }
            }
        }
    }

    fn decide<'r>(
        &self,
        record: &'r LearnerRecords,
        score: Option<&Score>,
    ) -> CertificateDecision<'r> {
        decide_certificate(
            score,
            record.enrollment.as_ref(),
            record.certificate.as_ref(),
            &self.certifying.paid_modes,
        )
    }

    /// Returns the outcome for a certificate that is in force: this pass created it, or it was
    /// there before.
    fn held(&self, certificate: &Certificate) -> CertifyOutcome {
        let id = certificate.certificate_id;
        if certificate.holds(self.change_id) {
            CertifyOutcome::Created(id)
        } else {
            CertifyOutcome::Exists(id)
        }
    }

    /// Returns the certificate that the grade earns, or the outcome of the event without one.
    fn earned<'r>(
        &self,
        record: &'r LearnerRecords,
        score: &Score,
    ) -> Result<Earned<'r>, CertifyOutcome> {
        let entry = CertificateEntry {
            at: self.pass.at,
            change_id: self.change_id,
            by: self.pass.by.clone(),
            state: CertificateState::InForce,
            renamed: None,
        };
        match self.decide(record, Some(score)) {
            CertificateDecision::Change(CertificateChange::Issue(enrollment)) => Ok(Earned {
                enrollment,
                id: self.new_certificate_id,
                write: CertificateWrite::Issue(Certificate {
                    certificate_id: self.new_certificate_id,
                    user_id: self.user.user_id,
                    course_id: self.course_id.clone(),
                    state: CertificateState::InForce,
                    issued_at: self.pass.at,
                    learner_name: self.user.name.clone(),
                    run_title: self.run.title.clone(),
                    version: 1,
                    history: History::new(entry),
                }),
            }),
            CertificateDecision::Change(CertificateChange::Restore(enrollment, before)) => {
                Ok(Earned {
                    enrollment,
                    id: before.certificate_id,
                    write: CertificateWrite::Change {
                        before,
                        after: before.after(entry),
                    },
                })
            }
            // Only sweeps withdraw.
            CertificateDecision::Change(CertificateChange::Withdraw(held))
            | CertificateDecision::InForce(held) => Err(self.held(held)),
            CertificateDecision::Revoked { .. } => Err(CertifyOutcome::Revoked),
            CertificateDecision::NotPassed(_) => Err(CertifyOutcome::Blocked(BlockedBy::NotPassed)),
            CertificateDecision::NotEligible(why) => {
                Err(CertifyOutcome::Blocked(BlockedBy::NotEligible(why)))
            }
        }
    }
}

/// Error of a decision that has no grade.
enum ScoreError {
    /// The certificate is blocked.
    Blocked(BlockedBy),
    /// The store has left no time for the request to the LMS.
    Store(StoreError),
}

impl From<BlockedBy> for ScoreError {
    fn from(by: BlockedBy) -> Self {
        Self::Blocked(by)
    }
}

/// The items to write.
enum Write<'w, 'r> {
    /// Only the grade: as it was read, and as it is to be.
    Grade(Option<&'r Grade>, &'w Grade),
    /// The certificate and the grade.
    Certificate(&'w Earned<'r>, &'w GradeWrite<'r>),
}

/// A certificate that is earned, and the enrollment in which it is earned.
struct Earned<'r> {
    enrollment: &'r Enrollment,
    id: Uuid,
    write: CertificateWrite<'r>,
}
