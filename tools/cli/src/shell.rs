//! Commands of this program, for people to copy into a shell.

use app::sweeping::Wanted;
use domain::{CourseId, Email, LearnerRef, SweepKind, SweepOptions};

/// Quotes a text for a command that people copy into a shell: an address may have
/// characters that are special there.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns a command of this program for people to copy into a shell. An operand may
/// begin with -, as an address can, and must not be taken for an option.
pub fn command(name: &str, operands: &[&str], options: &[&str]) -> String {
    let words = if operands.iter().any(|operand| operand.starts_with('-')) {
        [options, &["--"], operands].concat()
    } else {
        [operands, options].concat()
    };
    let words = words.into_iter().map(|word| format!(" {}", quoted(word)));
    format!("coursehook {name}{}", String::from_iter(words))
}

/// Returns the command that makes a learner eligible.
pub fn enroll(email: &Email, course_id: &CourseId) -> String {
    about("enrollments set", email, course_id, &["--mode", "verified"])
}

/// Returns the command that sets an enrollment's mode, which the operator has to fill in.
pub fn set_mode(email: &Email, course_id: &CourseId) -> String {
    about("enrollments set", email, course_id, &["--mode", "MODE"])
}

/// Returns the command that makes a grade a pass, which the operator has to fill in.
pub fn pass(email: &Email, course_id: &CourseId) -> String {
    about(
        "grades override",
        email,
        course_id,
        &["--percent", "P", "--letter", "L", "--passed"],
    )
}

/// Returns the command that hands a grade back to the LMS.
pub fn release(email: &Email, course_id: &CourseId) -> String {
    about("grades release", email, course_id, &[])
}

/// Returns the command that issues an earned certificate.
pub fn issue(email: &Email, course_id: &CourseId) -> String {
    about("certificates issue", email, course_id, &[])
}

/// Returns the command that revokes a certificate.
pub fn revoke(email: &Email, course_id: &CourseId) -> String {
    about("certificates revoke", email, course_id, &[])
}

/// Returns the command that restores a certificate that an operator has revoked.
pub fn restore(email: &Email, course_id: &CourseId) -> String {
    about("certificates restore", email, course_id, &[])
}

/// Returns the command that sets the name on a certificate, which the operator has to
/// fill in.
pub fn rename(email: &Email, course_id: &CourseId) -> String {
    about("certificates rename", email, course_id, &["--name", "NAME"])
}

/// Returns a command about a learner in a course run.
pub fn about(name: &str, email: &Email, course_id: &CourseId, options: &[&str]) -> String {
    command(name, &[email.as_str(), course_id.as_str()], options)
}

/// Returns the command of a sweep; of all runs, those after `after`.
pub fn sweep(kind: SweepKind, wanted: &Wanted, after: Option<&CourseId>) -> String {
    let SweepOptions {
        force,
        dry_run,
        confirm,
    } = wanted.options;
    let named = [
        ("--run", wanted.run.as_ref().map(CourseId::to_string)),
        (
            "--learner",
            wanted.learner.as_ref().map(LearnerRef::to_text),
        ),
        ("--after", after.map(CourseId::to_string)),
    ];
    let flags = [
        ("--force", force),
        ("--dry-run", dry_run),
        ("--confirm", confirm),
    ];
    let named = named.into_iter().flat_map(|(name, value)| match value {
        // Without `=` the value would be taken for an option.
        Some(value) if value.starts_with('-') => vec![format!("{name}={value}")],
        Some(value) => vec![name.to_owned(), value],
        None => Vec::new(),
    });
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
    let words: Vec<_> = named
        .chain(flags.map(|(name, _)| name.to_owned()))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    command(&format!("sweep {}", kind.as_str()), &[], &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_special_in_a_shell_is_quoted() {
        for (text, expected) in [
            ("ada.l+x@example.org", "ada.l+x@example.org"),
            ("course-v1:Org+Bees+2026", "course-v1:Org+Bees+2026"),
            ("a;reboot@b", "'a;reboot@b'"),
            ("o'hara@b", r"'o'\''hara@b'"),
            ("$(x)@b", "'$(x)@b'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        for (email, run, expected) in [
            ("a@b", "Org/C/1", "coursehook x y a@b Org/C/1 --z 'a b'"),
            (
                "a;b@c",
                "~Org/C/1",
                "coursehook x y 'a;b@c' '~Org/C/1' --z 'a b'",
            ),
            (
                "-a@b",
                "Org/C/1",
                "coursehook x y --z 'a b' -- -a@b Org/C/1",
            ),
            (
                "a@b",
                "-Org/C/1",
                "coursehook x y --z 'a b' -- a@b -Org/C/1",
            ),
        ] {
            assert_eq!(command("x y", &[email, run], &["--z", "a b"]), expected);
        }
    }

    #[test]
    fn a_sweep_command_has_all_requested_options() {
        let email: Email = "ada@example.org".parse().unwrap();
        let (run, dashed) = ("course-v1:Org+Bees+2026", "-Org/C/1");
        let wanted = |run: Option<&str>, learner, dry_run, confirm| Wanted {
            run: run.map(|run| run.parse().unwrap()),
            learner,
            options: SweepOptions {
                force: dry_run || confirm,
                dry_run,
                confirm,
            },
        };
        let grades = |wanted, after: Option<&str>| {
            let after = after.map(|run| run.parse().unwrap());
            sweep(SweepKind::Grades, &wanted, after.as_ref())
        };
        let learner = Some(LearnerRef::Address(email));
        for (command, expected) in [
            (grades(wanted(None, None, false, false), None), ""),
            (
                grades(wanted(None, None, true, false), Some(run)),
                " --after course-v1:Org+Bees+2026 --force --dry-run",
            ),
            (
                grades(wanted(Some(run), learner, false, true), None),
                " --run course-v1:Org+Bees+2026 --learner ada@example.org --force --confirm",
            ),
            (
                grades(wanted(Some(dashed), None, false, false), None),
                " --run=-Org/C/1",
            ),
        ] {
            assert_eq!(command, format!("coursehook sweep grades{expected}"));
        }
    }
}
