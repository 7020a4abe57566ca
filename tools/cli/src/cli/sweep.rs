//! `coursehook sweep`

use clap::{Args, Subcommand};
use shared::domain::LearnerRef;
use shared::domain::{CourseId, SweepOptions, given};
use shared::use_cases::sweeping::Wanted;

use super::argument::learner;

#[derive(Debug, Subcommand)]
pub enum Sweep {
    /// Store the LMS's grades, and issue, restore and withdraw certificates by them
    ///
    /// Of every run that is due, or of those that the options mean. A run is
    /// due that is live, until $SWEEP_WINDOW_DAYS days after its certificates'
    /// date. Certificates are touched only where the run is self-paced or that
    /// date has come. More than 10 certificates that are more than 2 % of the
    /// run are withdrawn only with --confirm.
    ///
    /// A sweep that was cut short is resumed by the same command. It asks
    /// as much of the LMS as $LMS_CONCURRENCY, $LMS_PER_SECOND and
    /// $LMS_ENROLLMENTS_PER_MINUTE allow in all,
    /// beside what the functions ask. With --json there is a line of JSON for
    /// each difference, for each run, and for all at the end.
    #[command(after_help = "\
Examples:
  coursehook sweep grades
  coursehook sweep grades --run course-v1:Org+Course+Run --dry-run
  coursehook sweep grades --learner ada@example.org --force")]
    Grades(SweepRuns),
    /// Make the enrollments what the LMS's list says
    ///
    /// Of every run that is due, or of those that the options mean. A run is
    /// due that is live, until $SWEEP_WINDOW_DAYS days after its certificates'
    /// date. Who is not in the list is left alone, and so is a mode that an
    /// operator or an import has set. The first sweep of a run is a dry run. More
    /// than 10 enrollments that are more than 2 % of the run are made inactive
    /// only with --confirm.
    ///
    /// A sweep that was cut short is resumed by the same command. It asks
    /// as much of the LMS as $LMS_CONCURRENCY, $LMS_PER_SECOND and
    /// $LMS_ENROLLMENTS_PER_MINUTE allow in all,
    /// beside what the functions ask. With --json there is a line of JSON for
    /// each difference, for each run, and for all at the end.
    #[command(after_help = "\
Examples:
  coursehook sweep enrollments
  coursehook sweep enrollments --run course-v1:Org+Course+Run --dry-run
  coursehook sweep enrollments --run course-v1:Org+Course+Run --confirm")]
    Enrollments(SweepRuns),
    /// List how the last sweep of each run ended, and where one stands that has not, by run
    #[command(after_help = "Example:\n  coursehook sweep list")]
    List,
}

#[derive(Debug, Args)]
pub struct SweepRuns {
    /// Only this run, whether or not it is due
    #[arg(long, value_name = "COURSE_ID", value_parser = given::course_id)]
    pub run: Option<CourseId>,
    /// Only this learner, in all of their runs or in the one that is named
    #[arg(long, value_name = "EMAIL_OR_USER_ID", value_parser = learner)]
    pub learner: Option<LearnerRef>,
    /// Also runs that are not due, and certificates before their date
    #[arg(long)]
    pub force: bool,
    /// Write nothing; list what would be done
    #[arg(long, conflicts_with = "confirm")]
    pub dry_run: bool,
    /// Withdraw, or make inactive, however many that are; asks first
    #[arg(long, requires = "run")]
    pub confirm: bool,
    /// Do not ask first
    #[arg(long, requires = "confirm")]
    pub yes: bool,
    /// Begin after this run, where a sweep of all runs was interrupted
    #[arg(
        long,
        value_name = "COURSE_ID",
        value_parser = given::course_id,
        conflicts_with_all = ["run", "learner"]
    )]
    pub after: Option<CourseId>,
}

impl SweepRuns {
    /// What is to be swept.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            run: self.run.clone(),
            learner: self.learner.clone(),
            options: SweepOptions {
                force: self.force,
                dry_run: self.dry_run,
                confirm: self.confirm,
            },
        }
    }
}

impl Sweep {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::Grades(sweep) | Self::Enrollments(sweep) => sweep.dry_run,
            Self::List => true,
        }
    }
}
