//! Explains why a learner has a certificate in a course run, or has none.

use domain::certificate_rule::{CertificateChange, CertificateDecision, decide_certificate};
use domain::{
    BlockedReason, Certificate, CertificateState, CourseId, CourseRun, Email, Enrollment,
    EventKind, EventState, Grade, Ineligible, PaidModes, PendingEvent, SweepEnd, SweepOutcome,
    User,
};
use jiff::Timestamp;

use crate::commands::advice::{self, Advice};
use crate::commands::{certificates, grades};
use crate::{output, shell, time};

/// The records of a learner in one course run.
pub struct Diagnosis<'a> {
    pub email: &'a Email,
    /// The user; `None` if no user has the address.
    pub user: Option<&'a User>,
    pub course_id: &'a CourseId,
    /// The course run; `None` if the portal does not know it.
    pub run: Option<&'a CourseRun>,
    pub enrollment: Option<&'a Enrollment>,
    pub grade: Option<&'a Grade>,
    pub certificate: Option<&'a Certificate>,
    /// Pending events of both kinds.
    pub events: Vec<&'a PendingEvent>,
    /// The end of the run's last sweep of grades.
    pub swept: Option<&'a SweepEnd>,
}

impl Diagnosis<'_> {
    /// Explains why there is a certificate or none. If one could be issued, adds a last
    /// sweep of the run that was halted or failed.
    pub fn advice(&self, paid_modes: &PaidModes, now: Timestamp) -> Advice {
        let advice = self.with_a_name(self.deciding(paid_modes, now));
        let could_be_issued = self
            .certificate
            .is_none_or(|certificate| certificate.state == CertificateState::Withdrawn);
        match self.swept.and_then(about_sweep) {
            Some(sweep) if could_be_issued => Advice {
                why: format!("{} {sweep}", advice.why),
                ..advice
            },
            _ => advice,
        }
    }

    /// Explains the first thing that decides: the certificate, then the pending pass,
    /// then what is missing for one.
    fn deciding(&self, paid_modes: &PaidModes, now: Timestamp) -> Advice {
        let lead = match self.certificate {
            None => "There is no certificate".to_owned(),
            Some(certificate) => {
                let id = certificate.certificate_id;
                let lead = format!(
                    "The certificate {id} is {}",
                    certificates::stands(certificate)
                );
                match certificate.state {
                    CertificateState::InForce => {
                        let revoke = shell::revoke(self.email, self.course_id);
                        return advise(format!("{lead}."), "To revoke it:", [revoke]);
                    }
                    CertificateState::Revoked => return self.revoked(&lead, certificate),
                    CertificateState::Withdrawn => format!("{lead}, until a pass restores it"),
                }
            }
        };
        if let Some(event) = self.pending(EventKind::Certificate) {
            return self.with_the_run(about_pass(&lead, event, now));
        }
        if self.user.is_none() {
            let email = self.email.as_str();
            let why =
                format!("{lead}: there is no user {email}, and no pass of theirs is pending.");
            let help = "Import the user with `coursehook users import`.";
            return self.with_the_run(self.to_import(why, help, BlockedReason::NoSuchUser, now));
        }
        if self.run.is_none() {
            let course_id = self.course_id;
            let why =
                format!("{lead}: there is no course run {course_id}, and no pass is pending.");
            let help = "Import the run with `coursehook runs import`.";
            return self.to_import(why, help, BlockedReason::NoSuchRun, now);
        }
        let score = self.grade.map(|grade| &grade.score);
        let lacking = match decide_certificate(score, self.enrollment, self.certificate, paid_modes)
        {
            CertificateDecision::NotEligible(why) => Some(why),
            CertificateDecision::NotPassed(lacking) => lacking,
            CertificateDecision::Change(
                CertificateChange::Issue(_)
                | CertificateChange::Restore(..)
                | CertificateChange::Withdraw(_),
            )
            | CertificateDecision::InForce(_)
            | CertificateDecision::Revoked { .. } => None,
        };
        self.without_a_pass(&lead, lacking, now)
    }

    /// Adds how to name a certificate without a name.
    fn with_a_name(&self, advice: Advice) -> Advice {
        let certificate = self.certificate.filter(|c| c.learner_name.is_none());
        if certificate.is_none() {
            return advice;
        }
        let rename = shell::rename(self.email, self.course_id);
        let help = if advice.commands.is_empty() {
            format!("{} To give the certificate a name:", advice.help)
        } else {
            format!(
                "The first command gives the certificate a name. {}",
                advice.help
            )
        };
        Advice {
            why: format!("{} The certificate has no name.", advice.why),
            help,
            commands: [rename].into_iter().chain(advice.commands).collect(),
        }
    }

    fn pending(&self, kind: EventKind) -> Option<&PendingEvent> {
        let mut events = self.events.iter().copied();
        events.find(|event| event.kind == kind)
    }

    /// Explains a missing import. An enrollment that is pending for the same reason may
    /// have ended, and then also has to be retried.
    fn to_import(&self, why: String, help: &str, reason: BlockedReason, now: Timestamp) -> Advice {
        let enrollment = self.pending(EventKind::Enrollment);
        match enrollment.filter(|event| event.reason == reason) {
            Some(event) => Advice {
                why,
                ..Advice::about(event, now)
            },
            None => advise(why, help, []),
        }
    }

    /// Adds the missing run: an event that is blocked on its user does not say that it
    /// will then be blocked on its run.
    fn with_the_run(&self, advice: Advice) -> Advice {
        if self.user.is_some() || self.run.is_some() {
            return advice;
        }
        let then = if advice.commands.is_empty() {
            "."
        } else {
            ", and then retry the event:"
        };
        Advice {
            why: format!(
                "{} There is no course run {} either.",
                advice.why, self.course_id
            ),
            help: format!(
                "Import the user with `coursehook users import` and the run with \
                 `coursehook runs import`{then}"
            ),
            ..advice
        }
    }

    fn revoked(&self, lead: &str, certificate: &Certificate) -> Advice {
        let help = match certificate.state_unless_revoked() {
            CertificateState::Withdrawn => {
                "To return it to withdrawn, as it was before, so that a pass restores it:"
            }
            CertificateState::InForce | CertificateState::Revoked => "To restore it:",
        };
        let restore = shell::restore(self.email, self.course_id);
        advise(format!("{lead}, and no pass restores it."), help, [restore])
    }

    /// Explains the state when user and run are known, and no announcement of a pass is
    /// pending.
    fn without_a_pass(&self, lead: &str, lacking: Option<Ineligible>, now: Timestamp) -> Advice {
        let passed = self.grade.is_some_and(|grade| grade.score.is_pass());
        let by_operator = self.grade.is_some_and(|grade| grade.set_by_admin);
        let lacks = lacking.map(|why| advice::lacking(Some(why)));
        let is_so = match (self.grade, lacks) {
            (Some(_), Some(lacks)) if passed => {
                format!("the grade is a pass, but the learner {lacks}")
            }
            (Some(_), None) if passed => {
                let but = if by_operator {
                    "nothing is pending that would issue it"
                } else {
                    "the LMS has not announced it, or the announcement was dropped"
                };
                format!("the grade is a pass and the enrollment earns a certificate, but {but}")
            }
            (Some(grade), _) => {
                let percent = grade.score.percent.get();
                let by = grades::whose(grade);
                let then = if by_operator {
                    "the LMS's grade does not replace it"
                } else {
                    "no pass was announced since"
                };
                format!("the grade is not a pass ({percent}, by the {by}), and {then}")
            }
            (None, _) => "there is no grade, and no pass was announced".to_owned(),
        };
        let also = match lacks {
            Some(lacks) if !passed => {
                format!("; a pass would not be enough, since the learner {lacks}")
            }
            _ => String::new(),
        };
        // An operator's grade decides, whatever the LMS announces.
        let paced = match self.run.and_then(|run| not_yet(run, now)) {
            Some(paced) if !by_operator => paced,
            _ => String::new(),
        };
        let certify = if passed {
            shell::issue(self.email, self.course_id)
        } else {
            shell::pass(self.email, self.course_id)
        };
        let enroll = lacking.map(|_| shell::enroll(self.email, self.course_id));
        let announce = match (passed, by_operator) {
            (true, false) => "ask the LMS again, and issue the certificate:",
            (true, true) => "issue the certificate:",
            (false, false) => {
                "let the LMS announce the pass, once there is one, or set the grade by hand:"
            }
            (false, true) => "set another grade, if it should be a pass:",
        };
        let help = if enroll.is_some() {
            format!("If the learner has paid, set a paid mode; then {announce}")
        } else {
            let first = announce.chars().next().map(|c| c.to_ascii_uppercase());
            String::from_iter(first) + announce.get(1..).unwrap_or_default()
        };
        advise(
            format!("{lead}: {is_so}{also}.{paced}"),
            &help,
            enroll.into_iter().chain([certify]),
        )
    }
}

/// Explains a pass that was announced and has not taken effect.
fn about_pass(lead: &str, event: &PendingEvent, now: Timestamp) -> Advice {
    let delivered = time::show(event.delivered_at);
    let fate = if event.state == EventState::Waiting {
        "waits"
    } else {
        "was given up"
    };
    let error = match &event.last_error {
        // For a waiting event, the reason is given in words.
        Some(error) if event.state != EventState::Waiting => {
            format!(" (last error: {})", output::printable(error))
        }
        _ => String::new(),
    };
    let advice = Advice::about(event, now);
    Advice {
        why: format!(
            "{lead}; the pass that came at {delivered} {fate}{error}. {}",
            advice.why
        ),
        ..advice
    }
}

/// Reports a last sweep of grades that did not finish its work.
fn about_sweep(end: &SweepEnd) -> Option<String> {
    let how = match end.outcome {
        SweepOutcome::Done => return None,
        SweepOutcome::Halted => "was halted at its safety limit and waits for an operator",
        SweepOutcome::Failed => "failed",
    };
    let at = time::show(end.ended_at);
    Some(format!(
        "The run's last sweep of grades {how} ({at}); see `coursehook sweep list`."
    ))
}

/// Explains that a run's certificates are not due yet.
fn not_yet(run: &CourseRun, now: Timestamp) -> Option<String> {
    let date = match run.certificate_available_date {
        _ if run.is_self_paced => return None,
        None => "have no date yet".to_owned(),
        Some(date) if date > now => format!("become available at {}", time::show(date)),
        Some(_) => return None,
    };
    Some(format!(
        " The LMS announces a pass at once only in a run that is self-paced or shows its \
         certificates early; this one is not self-paced, and certificates of this run {date}."
    ))
}

fn advise(why: String, help: &str, commands: impl IntoIterator<Item = String>) -> Advice {
    Advice {
        why,
        help: help.to_owned(),
        commands: commands.into_iter().collect(),
    }
}
