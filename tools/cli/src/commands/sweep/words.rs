//! Describes a sweep and its effects in words.

use domain::{
    Checkpoint, CourseId, Effect, Email, Left, Stage, SweepEnd, SweepOptions, SweepOutcome, Tally,
};
use store::sweeps::KnownSweep;

use crate::output::{count, printable};
use crate::{shell, time};

/// Returns the kind and the options of a sweep, as on the command line.
pub fn which(known: &KnownSweep) -> String {
    let SweepOptions { force, dry_run, .. } = known.options;
    let flags = [(" --force", force), (" --dry-run", dry_run)];
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
    let flags = flags.map(|(flag, _)| flag);
    known.kind.as_str().to_owned() + &String::from_iter(flags)
}

/// Describes how a sweep ended.
pub fn how(end: &SweepEnd) -> String {
    match (end.outcome, &end.reason) {
        (SweepOutcome::Done, _) if end.options.dry_run => "dry run: nothing was written".to_owned(),
        (SweepOutcome::Halted, _) if end.options.dry_run => {
            "dry run: nothing was written, and the safety limit would halt a sweep".to_owned()
        }
        (SweepOutcome::Done, _) => "done".to_owned(),
        (SweepOutcome::Halted, _) => "halted: waits for --confirm".to_owned(),
        (SweepOutcome::Failed, reason) => {
            format!("failed: {}", reason.as_deref().unwrap_or_default())
        }
    }
}

/// Describes the progress of a sweep that has not ended.
pub fn stands(checkpoint: &Checkpoint) -> String {
    format!(
        "{}, since {}",
        progress(checkpoint),
        time::show(checkpoint.began_at)
    )
}

/// Describes how far a sweep got.
pub fn progress(checkpoint: &Checkpoint) -> String {
    match &checkpoint.stage {
        Stage::Listing(cursor) => format!("after {}", count(cursor.pages().into(), "page")),
        Stage::ByName(by_name) => format!("after {}", count(by_name.pages.into(), "page")),
        Stage::Applying => "after the last page".to_owned(),
    }
}

/// Returns the counts, each with its name.
pub fn rows(tally: &Tally) -> Vec<(String, u64)> {
    /// The beginnings of the names, in the order in which they are shown.
    const ORDER: [&str; 14] = [
        "listed",
        "created",
        "reactivated",
        "deactivated",
        "mode_changed",
        "confirmed",
        "grade_stored",
        "issued",
        "restored",
        "withdrawn",
        "left:",
        "failed:",
        "no_user",
        "unchanged",
    ];
    let rank = |word: &str| ORDER.iter().position(|begin| word.starts_with(begin));
    let mut words: Vec<_> = tally.iter().collect();
    words.sort_by_key(|(word, _)| rank(word).unwrap_or(ORDER.len()));
    let name = |word: &str| word.replace('_', " ").replacen(':', ": ", 1);
    let rows = words.into_iter().map(|(word, count)| (name(word), count));
    rows.collect()
}

/// Returns the counts in one line.
pub fn in_short(tally: &Tally) -> String {
    let is_named = |(name, _): &(String, u64)| !name.contains(':') && name != "unchanged";
    let sums = [("left", tally.left()), ("failed", tally.failed())];
    let sums = sums.map(|(name, count)| (name.to_owned(), count));
    let all = rows(tally).into_iter().filter(is_named).chain(sums);
    let all = all.filter(|(_, count)| *count > 0);
    let all: Vec<_> = all.map(|(name, count)| format!("{name} {count}")).collect();
    all.join(", ")
}

/// Describes the effect on a learner, or that of a dry run, as the rest of a line about
/// them.
pub fn effect(effect: &Effect) -> String {
    let text = match effect {
        Effect::GradeStored => "the grade would be stored",
        Effect::Issued => "a certificate would be issued",
        Effect::Restored => "the certificate would be restored",
        Effect::Withdrawn => "the certificate would be withdrawn",
        Effect::Created => "an enrollment would be created",
        Effect::Reactivated => "the enrollment would be active again",
        Effect::Deactivated => "the enrollment would be inactive",
        Effect::ModeChanged => "the mode would change",
        Effect::Confirmed => "the enrollment would be marked as known to the LMS",
        Effect::Unchanged => "nothing would change",
        Effect::NoUser => "the portal has no user of this name",
        Effect::Left(left) => match left {
            Left::ChangedMeanwhile => "it changed in the meantime, and is left as it is",
            Left::GradeOverridden => "the LMS has another grade than the operator's, which stays",
            Left::Revoked => "the learner has passed, and an operator has revoked the certificate",
            Left::ModeSetInPortal => {
                "the LMS has another mode than the one set by an operator or an import, which stays"
            }
            Left::ZeroSeenOnce => {
                "the LMS gives a grade of 0, as it also does for a grade that it lost; the \
                 certificate stays unless a sweep at least 24 hours later finds the same"
            }
            Left::Unconfirmed => {
                "the LMS gives a grade of 0, and does not list the learner as enrolled or does not \
                 let us check; the certificate stays"
            }
            Left::InactiveByOperator => {
                "it is active in the LMS, and an operator has made it inactive here"
            }
            Left::SafetyLimit => "it is not taken away, because of the safety limit",
        },
        Effect::Failed(code) if code.starts_with("InvalidResponse:") => {
            return format!("the LMS gave an invalid response ({})", printable(code));
        }
        Effect::Failed(code) => return format!("failed ({})", printable(code)),
    };
    text.to_owned()
}

/// Returns the command that would change what is left as it is.
pub fn remedy(effect: &Effect, email: &Email, course_id: &CourseId) -> Option<String> {
    match effect {
        Effect::Left(Left::GradeOverridden) => Some(shell::release(email, course_id)),
        Effect::Left(Left::Revoked) => Some(shell::restore(email, course_id)),
        Effect::Left(Left::ModeSetInPortal | Left::InactiveByOperator) => {
            Some(shell::set_mode(email, course_id))
        }
        _ => None,
    }
}
