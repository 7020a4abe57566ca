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
pub fn eligible<'a>(
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

/// The change that a grade requires of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChange<'a> {
    /// There is none, and the grade earns one in this enrollment.
    Issue(&'a Enrollment),
    /// The certificate was withdrawn and is earned again in this enrollment.
    Restore(&'a Enrollment, &'a Certificate),
    /// The grade has become 0.
    Withdraw(&'a Certificate),
    /// The certificate is earned, but an operator has revoked it.
    Revoked,
}

/// Returns the change that a grade requires of a certificate, or `None` if it stays as it
/// is.
///
/// A grade between 0 and a pass withdraws nothing: the learner has passed once.
pub fn certificate_change<'a>(
    score: &Score,
    enrollment: Option<&'a Enrollment>,
    certificate: Option<&'a Certificate>,
    paid_modes: &PaidModes,
) -> Option<CertificateChange<'a>> {
    let state = certificate.map(|certificate| certificate.state);
    match (certificate, state) {
        (Some(held), Some(CertificateState::InForce)) => {
            score.is_zero().then_some(CertificateChange::Withdraw(held))
        }
        (Some(_), Some(CertificateState::Revoked)) => {
            score.is_pass().then_some(CertificateChange::Revoked)
        }
        _ if !score.is_pass() => None,
        (held, _) => {
            let enrollment = eligible(enrollment, paid_modes).ok()?;
            Some(held.map_or(CertificateChange::Issue(enrollment), |held| {
                CertificateChange::Restore(enrollment, held)
            }))
        }
    }
}
