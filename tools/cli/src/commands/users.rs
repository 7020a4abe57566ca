//! `coursehook users`

use std::process::ExitCode;

use app::erasing::{Erased, IN_FLIGHT, KnownLearner};
use app::renaming::{self, NewAddress, RenameError, Renamed};
use domain::given::{self, GivenError};
use domain::{Email, LearnerRef, User, Username};
use serde::Serialize;
use store::users::Users;
use thiserror::Error;
use uuid::Uuid;

use super::find::{self, FindError};
use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::listing::Listing;
use crate::output::{self, Output, count};
use crate::{cli, import, shell};

/// Error of a change of a user.
#[derive(Debug, Error)]
enum UserError {
    #[error("the new address {0}; write one such as ada@example.org")]
    Address(GivenError),
    #[error("both are the same address, as Coursehook compares them; nothing was changed")]
    SameAddress,
    #[error(
        "{} belongs to another user ({}); see `{}`: if they are the same person and the other \
         user has no records worth keeping, erase that user with `{}`, and then rename",
        .taken.as_str(), .by.user_id, shell::command("status", &[.taken.as_str()], &[]),
        shell::command("users erase", &[.taken.as_str()], &[])
    )]
    AddressTaken { taken: Email, by: Box<User> },
    #[error(
        "{} is a former address of {}; if it never belonged to them: {}",
        .taken.as_str(), .by.email.as_str(),
        shell::command(
            "users rename-email", &[.taken.as_str(), .by.email.as_str()], &["--forget"]
        )
    )]
    AddressWasTheirs { taken: Email, by: Box<User> },
    #[error(
        "there is no user {}, and nothing is pending for that address; `coursehook users list` \
         lists all users",
        .0.as_str()
    )]
    NothingToErase(Email),
}

impl CommandError for UserError {}

pub async fn run(
    command: cli::Users,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Users::Import(file) => import::users(&file, context, output).await,
        cli::Users::List => {
            list(&context.tables().await.users()?, output).await?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Users::Show { email } => {
            let users = context.tables().await.users()?;
            let user = find::user(&users, &email).await?;
            let shown = UserView::from(&user);
            output.answer(&shown, || shown.fields())?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Users::RenameEmail { old, new, forget } => {
            let new = NewAddress {
                email: given::email(&new).map_err(UserError::Address)?,
                as_given: new.trim().to_owned(),
            };
            rename_email(old, &new, forget, context, output).await
        }
        cli::Users::Erase { learner, now, yes } => erase(&learner, now, yes, context, output).await,
    }
}

async fn list(users: &Users, output: Output) -> Result<(), Failure> {
    let listing = Listing::new(output);
    let read = async |start| users.page(start).await;
    let write = async |listing: &mut Listing, users: Vec<User>| {
        let rows: Vec<_> = users.iter().map(UserView::from).collect();
        listing.page(
            &rows,
            &[
                ("email", |user| user.email.to_owned()),
                ("edX username", |user| text(user.edx_username)),
                ("name", |user| text(user.name)),
                ("user id", |user| user.user_id.clone()),
            ],
        )?;
        Ok(())
    };
    listing.pages(read, write).await
}

async fn rename_email(
    old: LearnerRef,
    new: &NewAddress,
    forget: bool,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, pending_events) = (tables.users()?, tables.pending_events()?);
    let old = match old {
        LearnerRef::Address(email) => email,
        LearnerRef::User(id) => {
            let email = users.email_of(id).await?;
            email.ok_or(FindError::UserId(id))?
        }
    };
    if old == new.email {
        return Err(UserError::SameAddress.into());
    }
    let now = context.clock().now();
    let renamed = renaming::rename_email(&users, &pending_events, &old, new, forget, now);
    let renamed = match renamed.await {
        Ok(renamed) => renamed,
        Err(RenameError::NoSuchUser) => return Err(FindError::User(old).into()),
        Err(RenameError::Taken(by)) => {
            let taken = new.email.clone();
            let error = if by.email == taken {
                UserError::AddressTaken { taken, by }
            } else {
                UserError::AddressWasTheirs { taken, by }
            };
            return Err(error.into());
        }
        Err(RenameError::Store(error)) => return Err(error.into()),
    };
    let Renamed {
        user,
        changed,
        events_moved,
        events_due,
    } = renamed;
    let done = DoneRenaming {
        changed,
        user: UserView::from(&user),
        events_moved,
        events_due,
    };
    output.answer(&done, || {
        let (old, new) = (old.as_str(), user.email.as_str());
        let mut message = match (changed, forget) {
            (false, _) => format!("nothing to change: {old} leads to {new}"),
            (true, true) => format!("renamed to {new}; {old} no longer finds them"),
            (true, false) => format!("renamed to {new}; {old} still finds them"),
        };
        if events_moved > 0 {
            message.push_str(&format!(
                "; {} moved along",
                count(events_moved, "pending event")
            ));
        }
        if events_due > 0 {
            let events = count(events_due, "pending event");
            message.push_str(&format!(
                "; {events} waited for this and will be retried within a minute"
            ));
        }
        message
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn erase(
    learner: &LearnerRef,
    now: bool,
    yes: bool,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let erasing = context.tables().await.erasing()?;
    // No confirmation is asked for an address about which nothing is stored.
    let KnownLearner { user, events } = erasing.known(learner).await?;
    let who = match (&user, learner) {
        (Some(user), _) => format!("the user {} ({})", user.email.as_str(), user.user_id),
        (None, LearnerRef::Address(email)) if events == 0 => {
            return Err(UserError::NothingToErase(email.clone()).into());
        }
        (None, LearnerRef::Address(email)) => {
            format!("what is pending for {}, who is not a user,", email.as_str())
        }
        (None, LearnerRef::User(id)) => {
            format!("what may be left of the user {id}, who is not found,")
        }
    };
    let question = format!(
        "Erase {who} with enrollments, grades, histories and {}? Certificates stay, without a \
         name. This cannot be undone.",
        count(events as u64, "pending event")
    );
    confirm(&question, yes)?;
    let gone = |user_id: Uuid| {
        let erase =
            |learner: &str| format!("\n  {}", shell::command("users erase", &[learner], &[]));
        // Events that are pending by then are found by the address only.
        let email = user.as_ref().map(|user| erase(user.email.as_str()));
        output::note(&format!(
            "the user is gone; what a delivery in progress still writes is erased in {} seconds. \
             If this is interrupted, run that part again later:{}{}",
            IN_FLIGHT.as_secs(),
            erase(&user_id.to_string()),
            email.unwrap_or_default()
        ));
    };
    let erased = erasing.erase(learner, now, gone).await?;
    let shown = ErasedView::from(&erased);
    output.answer(&shown, || shown.describe())?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct DoneRenaming<'a> {
    changed: bool,
    user: UserView<'a>,
    events_moved: u64,
    events_due: u64,
}

#[derive(Serialize)]
struct ErasedView {
    user_id: Option<String>,
    former_emails: usize,
    enrollments: u64,
    grades: u64,
    events: u64,
    /// The certificates that stay.
    certificates: Vec<String>,
}

impl From<&Erased> for ErasedView {
    fn from(erased: &Erased) -> Self {
        Self {
            user_id: erased.user.map(|id| id.to_string()),
            former_emails: erased.former_emails,
            enrollments: erased.enrollments,
            grades: erased.grades,
            events: erased.events,
            certificates: erased.certificates.clone(),
        }
    }
}

impl ErasedView {
    fn describe(&self) -> String {
        let user = if self.user_id.is_some() {
            "the user, "
        } else {
            ""
        };
        let former = match self.former_emails as u64 {
            0 => String::new(),
            1 => "1 former address, ".to_owned(),
            n => format!("{n} former addresses, "),
        };
        let mut message = format!(
            "erased: {user}{former}{}, {}, {}",
            count(self.enrollments, "enrollment"),
            count(self.grades, "grade"),
            count(self.events, "pending event"),
        );
        for id in &self.certificates {
            message.push_str(&format!(
                "\nthe certificate {id} stays, and belongs to no user"
            ));
        }
        message
    }
}

#[derive(Serialize)]
pub struct UserView<'a> {
    email: &'a str,
    email_as_given: &'a str,
    user_id: String,
    edx_username: Option<&'a str>,
    name: Option<&'a str>,
    former_emails: Vec<&'a str>,
}

impl<'a> From<&'a User> for UserView<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            email: user.email.as_str(),
            email_as_given: &user.email_as_given,
            user_id: user.user_id.to_string(),
            edx_username: user.edx_username.as_ref().map(Username::as_str),
            name: user.name.as_deref(),
            former_emails: user.former_emails.iter().map(Email::as_str).collect(),
        }
    }
}

impl UserView<'_> {
    pub fn fields(&self) -> String {
        let mut fields = vec![
            ("email", self.email.to_owned()),
            ("as given", self.email_as_given.to_owned()),
            ("user id", self.user_id.clone()),
            ("edX username", text(self.edx_username)),
            ("name", text(self.name)),
        ];
        if !self.former_emails.is_empty() {
            fields.push(("formerly", self.former_emails.join(", ")));
        }
        output::fields(fields)
    }
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
