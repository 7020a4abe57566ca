//! Checks that `PaidModes` has the modes in which the LMS awards certificates.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::{BlockedReason, Enrollment, Ineligible, Mode, PaidModes, PendingEvent};

use super::finding::Finding;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::count;

/// The limit on the number of enrollments, and of events, that are checked.
const CHECKED: i32 = 1_000;

/// The number of keys that DynamoDB reads in one call.
const KEYS_AT_ONCE: usize = 100;

/// The counts of a mode that is eligible and not paid.
#[derive(Default)]
struct Seen {
    enrollments: u64,
    /// Passes that are pending, since the enrollment is in this mode.
    passes: u64,
}

pub const CHECK: &str = "certificate modes";

pub async fn check(context: &Context) -> Result<Finding, Failure> {
    let (checked, paid_modes, seen) = look(context).await?;
    Ok(if seen.is_empty() {
        Finding::ok(
            CHECK,
            format!(
                "{paid_modes}: no other certificate-eligible mode among {}",
                count(checked, "active enrollment")
            ),
        )
    } else {
        Finding::warn(
            CHECK,
            describe(checked, &seen),
            setting(context, &paid_modes, seen),
        )
    })
}

/// Returns the number of active enrollments that were checked, the paid modes, and the
/// eligible modes that are not among them.
async fn look(context: &Context) -> Result<(u64, PaidModes, BTreeMap<Mode, Seen>), Failure> {
    let tables = context.tables().await;
    let (paid_modes, enrollments) = (tables.paid_modes()?, tables.enrollments()?);
    let is_lacking = |mode: &Mode| mode.is_certificate_eligible() && !paid_modes.contain(mode);
    let mut seen: BTreeMap<Mode, Seen> = BTreeMap::new();
    let modes = enrollments.modes_of_some(CHECKED).await?;
    let checked = modes.len() as u64;
    for mode in modes.into_iter().filter(is_lacking) {
        seen.entry(mode).or_default().enrollments += 1;
    }
    for Enrollment { mode, .. } in waiting(context).await? {
        if is_lacking(&mode) {
            seen.entry(mode).or_default().passes += 1;
        }
    }
    Ok((checked, paid_modes, seen))
}

/// Returns the active enrollments of learners whose passes are pending as `unpaid_mode`.
async fn waiting(context: &Context) -> Result<Vec<Enrollment>, Failure> {
    let tables = context.tables().await;
    let (users, events) = (tables.users()?, tables.pending_events()?);
    let enrollments = tables.enrollments()?;
    let mut waiting = Vec::new();
    for keys in events.due_last(CHECKED).await?.chunks(KEYS_AT_ONCE) {
        let events = events.get_many(keys).await?.into_iter().flatten();
        let events = Vec::from_iter(events.filter(is_in_unpaid_mode));
        // Two runs of one learner are two events with one address.
        let emails: BTreeSet<_> = events.iter().map(|event| &event.email).collect();
        let found = users.find(&Vec::from_iter(emails), &[]).await?;
        let keys = events.iter().filter_map(|event| {
            let user = found.by_email.get(&event.email)?;
            Some((user.user_id, event.course_id.clone()))
        });
        // A user with two addresses may yield the same enrollment twice; it is read once.
        let keys: BTreeSet<_> = keys.collect();
        let found = enrollments.get_many(&Vec::from_iter(keys)).await?;
        waiting.extend(found.into_iter().filter(|enrollment| enrollment.active));
    }
    Ok(waiting)
}

fn is_in_unpaid_mode(event: &PendingEvent) -> bool {
    event.kind.certifies()
        && event.reason == BlockedReason::NotEligible
        && event.last_error.as_deref() == Some(Ineligible::UnpaidMode.as_str())
}

/// Describes each mode, the most frequent first.
fn describe(checked: u64, seen: &BTreeMap<Mode, Seen>) -> String {
    let mut modes = Vec::from_iter(seen);
    modes.sort_by_key(|(_, seen)| Reverse(seen.enrollments + seen.passes));
    let checked = count(checked, "active enrollment");
    let modes = modes.into_iter().map(|(mode, seen)| {
        let passes = match seen.passes {
            0 => String::new(),
            1 => ", 1 pass waits".to_owned(),
            passes => format!(", {passes} passes wait"),
        };
        let enrollments = seen.enrollments;
        format!("{mode} ({enrollments} of {checked}{passes})")
    });
    let modes = Vec::from_iter(modes).join(", ");
    format!("PaidModes lacks modes in which Open edX awards certificates: {modes}")
}

/// Returns the setting that has all these modes, if the template accepts them.
fn setting(context: &Context, paid_modes: &PaidModes, seen: BTreeMap<Mode, Seen>) -> String {
    // The template's pattern of PaidModes.
    let is_plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    let modes = seen.into_keys();
    let (modes, others): (Vec<_>, Vec<_>) =
        modes.partition(|mode| mode.as_str().chars().all(is_plain));
    let mut advice =
        "a pass in such a mode earns nothing here, and is given up after 30 days".to_owned();
    if !modes.is_empty() {
        let all = paid_modes.and(modes);
        let setting = if context.deployed().is_some() {
            format!("deploy with PARAMETERS=\"PaidModes={all}\"")
        } else {
            format!("set PAID_MODES={all}, in a deployment PARAMETERS=\"PaidModes={all}\"")
        };
        advice.push_str(&format!(
            "; if all of them should earn a certificate, {setting}, and then: coursehook events \
             retry --reason not_eligible"
        ));
    }
    if !others.is_empty() {
        advice.push_str("; PaidModes accepts no mode with characters other than a-z, 0-9, _ and -");
    }
    advice
}
