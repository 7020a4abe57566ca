//! Rows of the enrollments list.

use domain::{CourseId, Mode, Username};
use serde_json::Value;

use crate::error::InvalidResponse;
use crate::pages;

/// The enrollments to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// All enrollments in a course run.
    Run(CourseId),
    /// All enrollments of a learner.
    Learner(Username),
    /// The enrollment of one learner in one course run.
    LearnerInRun(Username, CourseId),
    /// The enrollments of some learners (at most 100) in a course run. No username
    /// contains a comma.
    LearnersInRun(Vec<Username>, CourseId),
}

/// A learner and their enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentRow {
    /// The learner's username as the LMS spells it.
    pub username: Username,
    /// The course run.
    pub course_id: CourseId,
    /// The enrollment mode, also of an enrollment that has ended.
    pub mode: Mode,
    /// True if the learner is still enrolled.
    pub is_active: bool,
}

impl About {
    /// The course run that is asked for, or `None` if all runs are.
    pub fn course_id(&self) -> Option<&CourseId> {
        match self {
            Self::Run(course_id)
            | Self::LearnerInRun(_, course_id)
            | Self::LearnersInRun(_, course_id) => Some(course_id),
            Self::Learner(_) => None,
        }
    }

    /// The one learner who is asked for, or `None` if there are several.
    pub fn username(&self) -> Option<&Username> {
        match self {
            Self::Learner(username) | Self::LearnerInRun(username, _) => Some(username),
            Self::Run(_) | Self::LearnersInRun(..) => None,
        }
    }

    /// The learners who are asked for, separated by commas; `None` if all learners are.
    pub(crate) fn usernames(&self) -> Option<String> {
        match self {
            Self::Learner(username) | Self::LearnerInRun(username, _) => {
                Some(username.as_str().to_owned())
            }
            Self::LearnersInRun(usernames, _) => {
                let usernames: Vec<_> = usernames.iter().map(Username::as_str).collect();
                Some(usernames.join(","))
            }
            Self::Run(_) => None,
        }
    }
}

impl EnrollmentRow {
    pub(crate) fn parse(row: &Value, about: &About) -> Result<Self, InvalidResponse> {
        let username = pages::username(&row["user"])?;
        let asked = about.username();
        if asked.is_some_and(|asked| asked.key() != username.key()) {
            return Err(InvalidResponse::AnotherLearner);
        }
        let course_id = row["course_id"]
            .as_str()
            .ok_or(InvalidResponse::AnotherRun)?;
        let course_id: CourseId = course_id.parse().map_err(|_| InvalidResponse::AnotherRun)?;
        if about.course_id().is_some_and(|asked| *asked != course_id) {
            return Err(InvalidResponse::AnotherRun);
        }
        let mode = row["mode"].as_str().ok_or(InvalidResponse::Mode)?;
        Ok(Self {
            username,
            course_id,
            mode: mode.trim().parse().map_err(|_| InvalidResponse::Mode)?,
            is_active: row["is_active"]
                .as_bool()
                .ok_or(InvalidResponse::IsActive)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUN: &str = "course-v1:Org+Course+Run";
    const OTHER_RUN: &str = "course-v1:Org+Course+run";

    fn good(username: &str, course_id: &str, mode: &str, is_active: bool) -> EnrollmentRow {
        EnrollmentRow {
            username: username.parse().unwrap(),
            course_id: course_id.parse().unwrap(),
            mode: mode.parse().unwrap(),
            is_active,
        }
    }

    #[test]
    fn a_row_is_parsed_or_rejected_by_its_fields() {
        let (run, ada) = (RUN.parse().unwrap(), "ada".parse().unwrap());
        let both = About::LearnerInRun(ada, run);
        let (longest, too_long) = ("é".repeat(100), "é".repeat(101));
        for (field, value, expected) in [
            (
                "created",
                Some(json!(7)),
                Ok(good("ada", RUN, "verified", true)),
            ),
            ("created", None, Ok(good("ada", RUN, "verified", true))),
            (
                "mode",
                Some(json!("honor")),
                Ok(good("ada", RUN, "honor", true)),
            ),
            (
                "mode",
                Some(json!(" honor\t")),
                Ok(good("ada", RUN, "honor", true)),
            ),
            (
                "mode",
                Some(json!("unpaid-executive-education")),
                Ok(good("ada", RUN, "unpaid-executive-education", true)),
            ),
            (
                "mode",
                Some(json!(longest)),
                Ok(good("ada", RUN, &longest, true)),
            ),
            ("mode", Some(json!("")), Err(InvalidResponse::Mode)),
            ("mode", Some(json!(" ")), Err(InvalidResponse::Mode)),
            ("mode", Some(json!(too_long)), Err(InvalidResponse::Mode)),
            ("mode", Some(json!(7)), Err(InvalidResponse::Mode)),
            ("mode", Some(json!(null)), Err(InvalidResponse::Mode)),
            ("mode", None, Err(InvalidResponse::Mode)),
            (
                "is_active",
                Some(json!(false)),
                Ok(good("ada", RUN, "verified", false)),
            ),
            (
                "is_active",
                Some(json!("yes")),
                Err(InvalidResponse::IsActive),
            ),
            ("is_active", Some(json!(1)), Err(InvalidResponse::IsActive)),
            (
                "is_active",
                Some(json!(null)),
                Err(InvalidResponse::IsActive),
            ),
            ("is_active", None, Err(InvalidResponse::IsActive)),
            (
                "user",
                Some(json!("Ada")),
                Ok(good("Ada", RUN, "verified", true)),
            ),
            (
                "user",
                Some(json!("ADA")),
                Ok(good("ADA", RUN, "verified", true)),
            ),
            (
                "user",
                Some(json!("ada2")),
                Err(InvalidResponse::AnotherLearner),
            ),
            (
                "user",
                Some(json!("Áda")),
                Err(InvalidResponse::AnotherLearner),
            ),
            (
                "user",
                Some(json!("ada ")),
                Err(InvalidResponse::NotAsExpected),
            ),
            ("user", Some(json!("")), Err(InvalidResponse::NotAsExpected)),
            ("user", Some(json!(7)), Err(InvalidResponse::NotAsExpected)),
            ("user", None, Err(InvalidResponse::NotAsExpected)),
            (
                "course_id",
                Some(json!(OTHER_RUN)),
                Err(InvalidResponse::AnotherRun),
            ),
            (
                "course_id",
                Some(json!("None")),
                Err(InvalidResponse::AnotherRun),
            ),
            (
                "course_id",
                Some(json!(null)),
                Err(InvalidResponse::AnotherRun),
            ),
            ("course_id", None, Err(InvalidResponse::AnotherRun)),
        ] {
            let mut row = json!({
                "created": "2026-11-22T09:00:00Z", "mode": "verified", "is_active": true,
                "user": "ada", "course_id": RUN,
            });
            match value {
                Some(value) => row[field] = value,
                None => drop(row.as_object_mut().unwrap().remove(field)),
            }
            assert_eq!(EnrollmentRow::parse(&row, &both), expected, "{row}");
        }
    }

    /// A row of a run or learner that was not asked for is accepted only if that part was
    /// left open.
    #[test]
    fn rows_of_another_run_or_learner_are_rejected() {
        let [run, ada] = [
            About::Run(RUN.parse().unwrap()),
            About::Learner("ada".parse().unwrap()),
        ];
        for (about, username, course_id, expected) in [
            (&run, "eve", RUN, Ok(())),
            (&run, "ada", OTHER_RUN, Err(InvalidResponse::AnotherRun)),
            (&ada, "ada", OTHER_RUN, Ok(())),
            (&ada, "eve", RUN, Err(InvalidResponse::AnotherLearner)),
        ] {
            let row = json!({
                "user": username, "course_id": course_id, "mode": "audit", "is_active": true,
            });
            let expected = expected.map(|()| good(username, course_id, "audit", true));
            assert_eq!(EnrollmentRow::parse(&row, about), expected, "{row}");
        }
    }
}
