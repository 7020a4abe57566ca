//! The rule that decides who gets a certificate and who loses it.

use jiff::{SignedDuration, Timestamp};

use super::{Certificate, CertificateState, Enrollment, Grade, PaidModes, Score};

/// The time for which the LMS must answer 0 before a certificate is withdrawn.
const ZERO_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The reason why an enrollment earns no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ineligible {
    /// There is no enrollment.
    NotEnrolled,
    /// The enrollment is not active.
    Inactive,
    /// The mode of the enrollment is not a paid mode.
    UnpaidMode,
}

impl Ineligible {
    /// Returns the name of the reason in answers, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotEnrolled => "not_enrolled",
            Self::Inactive => "inactive",
            Self::UnpaidMode => "unpaid_mode",
        }
    }
}

/// Returns the enrollment if a pass in it earns a certificate.
///
/// # Errors
/// The reason why it earns none.
fn eligible<'a>(
    enrollment: Option<&'a Enrollment>,
    paid_modes: &PaidModes,
) -> Result<&'a Enrollment, Ineligible> {
    match enrollment {
        None => Err(Ineligible::NotEnrolled),
        Some(enrollment) if !enrollment.active => Err(Ineligible::Inactive),
        Some(enrollment) if !paid_modes.contain(&enrollment.mode) => Err(Ineligible::UnpaidMode),
        Some(enrollment) => Ok(enrollment),
    }
}

/// True if the LMS, asked at `asked_at`, has answered 0 for so long that a certificate is
/// withdrawn. A lost row of its grades looks the same as a 0.
pub fn is_zero_for_good(stored: &Grade, asked_at: Timestamp) -> bool {
    stored
        .zero_since
        .is_some_and(|since| asked_at.duration_since(since) >= ZERO_FOR)
}

/// The decision about a learner's certificate in a course run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateDecision<'a> {
    /// The certificate changes.
    Change(CertificateChange<'a>),
    /// The certificate is in force and stays so.
    InForce(&'a Certificate),
    /// An operator has revoked the certificate, and only an operator restores it.
    Revoked {
        /// The grade is a pass.
        passed: bool,
    },
    /// There is no grade, or it is not a pass. The reason is set if a pass would not be enough.
    NotPassed(Option<Ineligible>),
    /// The grade is a pass, in an enrollment that earns no certificate.
    NotEligible(Ineligible),
}

/// A change of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChange<'a> {
    /// There is none, and the pass earns one in this enrollment.
    Issue(&'a Enrollment),
    /// The certificate was withdrawn, and the pass earns it again in this enrollment.
    Restore(&'a Enrollment, &'a Certificate),
    /// The grade has become 0. Only sweeps withdraw, and only after they have confirmed it.
    Withdraw(&'a Certificate),
}

/// Decides about a certificate by the grade, the enrollment and the certificate that there are.
///
/// This is the only place that decides it: for the webhook, the retry, the sweep and `status`.
/// A grade between 0 and a pass withdraws nothing: the learner has passed once.
pub fn decide_certificate<'a>(
    score: Option<&Score>,
    enrollment: Option<&'a Enrollment>,
    certificate: Option<&'a Certificate>,
    paid_modes: &PaidModes,
) -> CertificateDecision<'a> {
    use CertificateChange::{Issue, Restore, Withdraw};
    use CertificateDecision::{Change, InForce, NotEligible, NotPassed, Revoked};

    let passed = score.is_some_and(Score::is_pass);
    let is_zero = score.is_some_and(Score::is_zero);
    let held = certificate.map(|certificate| (certificate.state, certificate));
    match (held, passed, eligible(enrollment, paid_modes)) {
        (Some((CertificateState::InForce, held)), _, _) if is_zero => Change(Withdraw(held)),
        (Some((CertificateState::InForce, held)), _, _) => InForce(held),
        (Some((CertificateState::Revoked, _)), passed, _) => Revoked { passed },
        (_, false, eligible) => NotPassed(eligible.err()),
        (_, true, Err(why)) => NotEligible(why),
        (None, true, Ok(enrollment)) => Change(Issue(enrollment)),
        (Some((CertificateState::Withdrawn, held)), true, Ok(enrollment)) => {
            Change(Restore(enrollment, held))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CertificateEntry, Change, CourseId, History, HistoryEntry, Mode, Percent};

    fn course_id() -> CourseId {
        "course-v1:Org+Bees+2026".parse().unwrap()
    }

    fn by() -> Change {
        Change::Operator {
            name: "grace".to_owned(),
        }
    }

    fn score(percent: f64, passed: bool) -> Score {
        Score {
            percent: Percent::try_from(percent).unwrap(),
            passed,
            letter_grade: None,
        }
    }

    fn enrollment(mode: &str, active: bool) -> Enrollment {
        let mode: Mode = mode.parse().unwrap();
        let entry = HistoryEntry {
            at: Timestamp::UNIX_EPOCH,
            change_id: uuid::Uuid::nil(),
            by: by(),
            active,
            edx_enrolled: None,
            mode: Some(mode.clone()),
            announced_mode: None,
            announced_roles: [].into(),
            removed_roles: [].into(),
        };
        Enrollment {
            enrollment_id: uuid::Uuid::nil(),
            user_id: uuid::Uuid::nil(),
            course_id: course_id(),
            mode,
            mode_set_by: None,
            active,
            inactive_by_operator: false,
            edx_enrolled: true,
            roles: [].into(),
            change_status: None,
            changed_at: Timestamp::UNIX_EPOCH,
            version: 1,
            history: History::new(entry),
        }
    }

    fn certificate(state: CertificateState) -> Certificate {
        Certificate {
            certificate_id: uuid::Uuid::nil(),
            user_id: uuid::Uuid::nil(),
            course_id: course_id(),
            state,
            issued_at: Timestamp::UNIX_EPOCH,
            learner_name: None,
            run_title: None,
            version: 1,
            history: History::new(CertificateEntry {
                at: Timestamp::UNIX_EPOCH,
                change_id: uuid::Uuid::nil(),
                by: by(),
                state,
                renamed: None,
            }),
        }
    }

    /// Describes a decision in the words of the test's table.
    fn describe(decision: CertificateDecision<'_>) -> String {
        use CertificateChange::{Issue, Restore, Withdraw};

        match decision {
            CertificateDecision::Change(Issue(_)) => "issue".to_owned(),
            CertificateDecision::Change(Restore(..)) => "restore".to_owned(),
            CertificateDecision::Change(Withdraw(_)) => "withdraw".to_owned(),
            CertificateDecision::InForce(_) => "in force".to_owned(),
            CertificateDecision::Revoked { passed: true } => "revoked, passed".to_owned(),
            CertificateDecision::Revoked { passed: false } => "revoked".to_owned(),
            CertificateDecision::NotPassed(None) => "not passed".to_owned(),
            CertificateDecision::NotPassed(Some(why)) => format!("not passed, {}", why.as_str()),
            CertificateDecision::NotEligible(why) => format!("not eligible: {}", why.as_str()),
        }
    }

    /// Every grade in every enrollment with every certificate is decided as this table says.
    #[test]
    fn each_combination_is_decided() {
        use CertificateState::{InForce, Revoked, Withdrawn};

        // The grade, the enrollment, and the decisions if there is no certificate, or one in force,
        // withdrawn or revoked.
        let table = [
            "no grade              | none     | not passed, not_enrolled  | in force | not passed, not_enrolled  | revoked",
            "no grade              | inactive | not passed, inactive      | in force | not passed, inactive      | revoked",
            "no grade              | unpaid   | not passed, unpaid_mode   | in force | not passed, unpaid_mode   | revoked",
            "no grade              | paid     | not passed                | in force | not passed                | revoked",
            "zero                  | none     | not passed, not_enrolled  | withdraw | not passed, not_enrolled  | revoked",
            "zero                  | inactive | not passed, inactive      | withdraw | not passed, inactive      | revoked",
            "zero                  | unpaid   | not passed, unpaid_mode   | withdraw | not passed, unpaid_mode   | revoked",
            "zero                  | paid     | not passed                | withdraw | not passed                | revoked",
            "zero marked as passed | none     | not passed, not_enrolled  | in force | not passed, not_enrolled  | revoked",
            "zero marked as passed | inactive | not passed, inactive      | in force | not passed, inactive      | revoked",
            "zero marked as passed | unpaid   | not passed, unpaid_mode   | in force | not passed, unpaid_mode   | revoked",
            "zero marked as passed | paid     | not passed                | in force | not passed                | revoked",
            "no pass               | none     | not passed, not_enrolled  | in force | not passed, not_enrolled  | revoked",
            "no pass               | inactive | not passed, inactive      | in force | not passed, inactive      | revoked",
            "no pass               | unpaid   | not passed, unpaid_mode   | in force | not passed, unpaid_mode   | revoked",
            "no pass               | paid     | not passed                | in force | not passed                | revoked",
            "pass                  | none     | not eligible: not_enrolled | in force | not eligible: not_enrolled | revoked, passed",
            "pass                  | inactive | not eligible: inactive    | in force | not eligible: inactive    | revoked, passed",
            "pass                  | unpaid   | not eligible: unpaid_mode | in force | not eligible: unpaid_mode | revoked, passed",
            "pass                  | paid     | issue                     | in force | restore                   | revoked, passed",
        ];
        let scores = [
            None,
            Some(score(0.0, false)),
            Some(score(0.0, true)),
            Some(score(0.4, false)),
            Some(score(0.8, true)),
        ];
        let enrollments = [
            None,
            Some(enrollment("verified", false)),
            Some(enrollment("audit", true)),
            Some(enrollment("verified", true)),
        ];
        let certificates = [None, Some(InForce), Some(Withdrawn), Some(Revoked)];
        let paid_modes: PaidModes = "verified".parse().unwrap();
        let cases = scores.iter().flat_map(|score| {
            enrollments
                .iter()
                .map(move |enrollment| (score, enrollment))
        });
        for ((score, enrollment), row) in cases.zip(table) {
            let words = row.split(" | ").skip(2).map(str::trim);
            let expected = Vec::from_iter(words);
            let found = certificates.map(|state| {
                let held = state.map(certificate);
                let held = held.as_ref();
                let (score, enrollment) = (score.as_ref(), enrollment.as_ref());
                describe(decide_certificate(score, enrollment, held, &paid_modes))
            });
            assert_eq!(found.as_slice(), expected, "{row}");
        }
    }
}
