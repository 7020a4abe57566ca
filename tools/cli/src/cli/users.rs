//! `coursehook users`

use clap::Subcommand;
use domain::LearnerRef;
use domain::{Email, given};

use super::argument::learner;
use super::import::ImportFile;

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Import users from CSV or JSON Lines
    ///
    /// Columns: email (required), edx_username, name. An empty cell and an absent column
    /// leave the stored value. Importing a file again changes nothing.
    ///
    /// A line is refused if its username or name shows that its address is, or was,
    /// another person's; the error names both and the command that frees the address.
    #[command(after_help = "\
Examples:
  coursehook users import learners.csv
  export-learners | coursehook users import -")]
    Import(ImportFile),
    /// List all users, in no particular order
    #[command(after_help = "Example:\n  coursehook users list")]
    List,
    /// Show one user
    #[command(after_help = "Example:\n  coursehook users show ada@example.org")]
    Show {
        #[arg(value_parser = given::email)]
        email: Email,
    },
    /// Give a user another address
    ///
    /// All their records stay theirs, pending events included. The old address still
    /// finds the user, since the LMS may keep sending it. A user whose address no command
    /// accepts, since it has invisible characters, is named by the id that `coursehook
    /// users list` shows.
    #[command(after_help = "\
Examples:
  coursehook users rename-email ada@example.org ada.lovelace@example.org
  coursehook users rename-email ada@exmaple.org ada@example.org --forget
  coursehook users rename-email 3349ca65-ca93-44ef-9977-069eb88918d0 ada@example.org")]
    RenameEmail {
        /// The user's current or former address, or their id
        #[arg(value_name = "OLD|USER_ID", value_parser = learner)]
        old: LearnerRef,
        /// The user's new address
        new: String,
        /// The old address was never theirs: it no longer finds them
        #[arg(long)]
        forget: bool,
    },
    /// Erase all that is stored about a user
    ///
    /// Deletes the user, username, former addresses, enrollments, grades, histories and
    /// pending events; certificates stay, without a name and without a user. If no user
    /// has the address, what is pending for it is deleted. After 30 seconds the command
    /// checks once more for what a delivery in progress has written; if that was
    /// interrupted, run it again with the user's id, and with the address.
    #[command(after_help = "\
Examples:
  coursehook users erase ada@example.org
  coursehook users erase 3349ca65-ca93-44ef-9977-069eb88918d0")]
    Erase {
        /// The user's current or former address, or their id
        #[arg(value_name = "EMAIL|USER_ID", value_parser = learner)]
        learner: LearnerRef,
        /// Do not wait for deliveries in progress
        #[arg(long)]
        now: bool,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

impl Users {
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List | Self::Show { .. })
    }
}
