//! `coursehook users`

use clap::Subcommand;
use shared::domain::LearnerRef;
use shared::domain::{Email, given};

use super::ImportFile;
use super::argument::learner;

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Import users from CSV or JSON Lines
    ///
    /// Columns: email (required), edx_username, name. An empty cell and an absent
    /// column leave what is there. Importing a file again changes nothing.
    ///
    /// A line is refused if username or name say that its address is, or was,
    /// another person's; it names both and the command that frees the address.
    #[command(after_help = "\
Examples:
  coursehook users import learners.csv
  export-learners | coursehook users import -")]
    Import(ImportFile),
    /// List all users, in no order
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
    /// All that is theirs stays so, pending events included. The old address goes
    /// on finding them, since the LMS may go on sending it. A user whose address
    /// no command takes, since it has characters that nobody sees, is named by
    /// the id that `coursehook users list` shows.
    #[command(after_help = "\
Examples:
  coursehook users rename-email ada@example.org ada.lovelace@example.org
  coursehook users rename-email ada@exmaple.org ada@example.org --forget
  coursehook users rename-email 3349ca65-ca93-44ef-9977-069eb88918d0 ada@example.org")]
    RenameEmail {
        /// The address that they have, or had before, or their id
        #[arg(value_name = "OLD|USER_ID", value_parser = learner)]
        old: LearnerRef,
        /// The address that they have by now
        new: String,
        /// The old address was never theirs: it finds them no more
        #[arg(long)]
        forget: bool,
    },
    /// Erase all that is known of a user
    ///
    /// User, username, former addresses, enrollments, grades, histories and
    /// pending events go; certificates stay, without a name and no user's. Where
    /// there is no user of the address, what is pending for it goes. After 30
    /// seconds it is looked once more, for what a delivery that was under way
    /// has written; where that was interrupted, the user's id and the address do
    /// it again.
    #[command(after_help = "\
Examples:
  coursehook users erase ada@example.org
  coursehook users erase 3349ca65-ca93-44ef-9977-069eb88918d0")]
    Erase {
        /// The address, or one before, or the user's id
        #[arg(value_name = "EMAIL|USER_ID", value_parser = learner)]
        learner: LearnerRef,
        /// Do not wait for deliveries that are under way
        #[arg(long)]
        now: bool,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

impl Users {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List | Self::Show { .. })
    }
}
