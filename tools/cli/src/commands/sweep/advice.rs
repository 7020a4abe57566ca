//! Explains how the sweep of a run ended, and what to do about it.

use app::sweeping::{Request, Wanted};
use domain::{Effect, Left, SweepEnd, SweepKind, SweepOptions, SweepOutcome};

use crate::commands::advice::Advice;
use crate::{lms_errors, shell};

/// Explains a sweep of a run that ended, or `None` if there is nothing to do about
/// it.
pub fn about(kind: SweepKind, request: &Request, end: &SweepEnd) -> Option<Advice> {
    let with = |dry_run, confirm| {
        let Request { run, learner, .. } = request;
        let wanted = Wanted {
            run: Some(run.clone()),
            learner: learner.clone(),
            options: SweepOptions {
                dry_run,
                confirm,
                ..request.options
            },
        };
        shell::sweep(kind, &wanted, None)
    };
    match end.outcome {
        SweepOutcome::Halted if end.options.dry_run => Some(Advice {
            why: format!(
                "{} learners would lose their {}: above the safety limit, at which a sweep is \
                 halted.",
                end.tally.losing(),
                at_stake(kind)
            ),
            help: "To do it anyway:".to_owned(),
            commands: vec![with(false, true)],
        }),
        SweepOutcome::Halted => {
            let losing = end.tally.of(&Effect::Left(Left::SafetyLimit));
            let what = at_stake(kind);
            Some(Advice {
                why: format!(
                    "{losing} learners would lose their {what}: above the safety limit, so \
                     none did."
                ),
                help: "To see who they are, and to do it anyway:".to_owned(),
                commands: vec![with(true, false), with(false, true)],
            })
        }
        SweepOutcome::Failed => {
            let (why, fix) = explain(kind, end.reason.as_deref().unwrap_or_default());
            Some(Advice {
                why,
                help: format!("{fix}, and then try again:"),
                commands: vec![with(request.options.dry_run, request.options.confirm)],
            })
        }
        SweepOutcome::Done if end.options.dry_run => Some(Advice {
            why: "Nothing was written.".to_owned(),
            help: "To do it:".to_owned(),
            commands: vec![with(false, false)],
        }),
        SweepOutcome::Done => None,
    }
}

/// Returns why a sweep failed, by its code, and the fix, the latter without a full stop.
fn explain(kind: SweepKind, code: &str) -> (String, String) {
    match code {
        "no_such_run" => (
            "The course run is gone.".to_owned(),
            "Import the run with `coursehook runs import`".to_owned(),
        ),
        "corrupt_item" => (
            "The item of the course run is not of the expected shape.".to_owned(),
            "Import the run with `coursehook runs import`".to_owned(),
        ),
        _ if kind == SweepKind::Enrollments => lms_errors::of_enrollments(code),
        _ => lms_errors::explain(code),
    }
}

/// Returns what a sweep of this kind may take from a learner.
pub const fn at_stake(kind: SweepKind) -> &'static str {
    match kind {
        SweepKind::Grades => "certificate",
        SweepKind::Enrollments => "enrollment",
    }
}
