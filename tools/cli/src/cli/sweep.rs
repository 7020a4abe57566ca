//! `coursehook sweep`

use app::sweeping::Wanted;
use clap::{Args, Subcommand};
use domain::LearnerRef;
use domain::{CourseId, SweepOptions, given};

use super::argument::learner;

#[derive(Debug, Subcommand)]
pub enum Sweep {
    /// Store the LMS's grades, and issue, restore and withdraw certificates by them
    ///
    /// Sweeps every run that is due, or those that the options select. A live run is due
    /// until $SWEEP_WINDOW_DAYS days after its certificates' date. Certificates are
    /// changed only if the run is self-paced or that date has passed. If more than 10
    /// certificates, and more than 2 % of those in force, would be withdrawn, the sweep is
    /// halted at its safety limit unless --confirm is given.
    ///
    /// The same command resumes a sweep that was interrupted or suspended. It sends as many requests to
    /// the LMS as $LMS_CONCURRENCY, $LMS_PER_SECOND and $LMS_ENROLLMENTS_PER_MINUTE allow
    /// in all, in addition to those of the functions. With --json it writes a line of
    /// JSON for each difference, for each run, and for all at the end.
    #[command(after_help = "\
Examples:
  coursehook sweep grades
  coursehook sweep grades --run course-v1:Org+Course+Run --dry-run
  coursehook sweep grades --learner ada@example.org --force")]
    Grades(SweepRuns),
    /// Make the enrollments match the LMS's list
    ///
    /// Sweeps every run that is due, or those that the options select. A live run is due
    /// until $SWEEP_WINDOW_DAYS days after its certificates' date. A learner who is not
    /// in the list is left unchanged, and so is a mode that an operator or an import has
    /// set. The first sweep of a run is a dry run. If more than 10 enrollments, and more
    /// than 2 % of the active ones, would be made inactive, the sweep is halted at its
    /// safety limit unless --confirm is given.
    ///
    /// The same command resumes a sweep that was interrupted or suspended. It sends as many requests to
    /// the LMS as $LMS_CONCURRENCY, $LMS_PER_SECOND and $LMS_ENROLLMENTS_PER_MINUTE allow
    /// in all, in addition to those of the functions. With --json it writes a line of
    /// JSON for each difference, for each run, and for all at the end.
    #[command(after_help = "\
Examples:
  coursehook sweep enrollments
  coursehook sweep enrollments --run course-v1:Org+Course+Run --dry-run
  coursehook sweep enrollments --run course-v1:Org+Course+Run --confirm")]
    Enrollments(SweepRuns),
    /// List how the last sweep of each run ended, and how far an unfinished one is, by
    /// run
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
    /// Write nothing; list the changes that a sweep would make
    #[arg(long, conflicts_with = "confirm")]
    pub dry_run: bool,
    /// Withdraw, or make inactive, however many there are, past the safety limit; asks
    /// first
    #[arg(long, requires = "run")]
    pub confirm: bool,
    /// Do not ask first
    #[arg(long, requires = "confirm")]
    pub yes: bool,
    /// Begin after this run, to resume an interrupted sweep of all runs
    #[arg(
        long,
        value_name = "COURSE_ID",
        value_parser = given::course_id,
        conflicts_with_all = ["run", "learner"]
    )]
    pub after: Option<CourseId>,
}

impl SweepRuns {
    /// Returns the runs, the learner and the options to sweep with.
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
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::Grades(sweep) | Self::Enrollments(sweep) => sweep.dry_run,
            Self::List => true,
        }
    }
}
