//! `coursehook users`

use std::process::ExitCode;

use app::erasing::{Erased, IN_FLIGHT, KnownLearner};
use app::renaming::{self, NewAddress, RenameError, Renamed};
use domain::LearnerRef;
use domain::{Email, User, Username, given};
use serde::Serialize;
use store::users::Users;
use uuid::Uuid;

use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::output::{self, Output, count};
use crate::{cli, import};

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
            let user = users.get(&email).await?.ok_or(Failure::NoSuchUser(email))?;
            let shown = UserView::from(&user);
            output.answer(&shown, || shown.fields())?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Users::RenameEmail { old, new, forget } => {
            let new = NewAddress {
                email: given::email(&new).map_err(Failure::Address)?,
                as_given: new.trim().to_owned(),
            };
            rename_email(old, &new, forget, context, output).await
        }
        cli::Users::Erase { learner, now, yes } => erase(&learner, now, yes, context, output).await,
    }
}

async fn list(users: &Users, output: Output) -> Result<(), Failure> {
    let headings = ["email", "edX username", "name", "user id"];
    let listing = Listing::new(output, headings);
    let read = async |start| users.page(start).await;
    let write = async |listing: &mut Listing<_>, users: Vec<User>| {
        let shown: Vec<_> = users.iter().map(UserView::from).collect();
        listing.page(&shown, |user| {
            [
                user.email.to_owned(),
                user.edx_username.unwrap_or_default().to_owned(),
                user.name.unwrap_or_default().to_owned(),
                user.user_id.clone(),
            ]
        })
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
            email.ok_or(Failure::NoUserOfId(id))?
        }
    };
    if old == new.email {
        return Err(Failure::SameAddress);
    }
    let now = context.clock().now();
    let renamed = renaming::rename_email(&users, &pending_events, &old, new, forget, now);
    let renamed = match renamed.await {
        Ok(renamed) => renamed,
        Err(RenameError::NoSuchUser) => return Err(Failure::NoSuchUser(old)),
        Err(RenameError::Taken(by)) => {
            let taken = new.email.clone();
            return Err(if by.email == taken {
                Failure::AddressTaken { taken, by }
            } else {
                Failure::AddressWasTheirs { taken, by }
            });
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
            return Err(Failure::NothingToErase(email.clone()));
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
            |learner: &str| format!("\n  {}", output::command("users erase", &[learner], &[]));
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
        let fields = [
            ("email", self.email.to_owned()),
            ("as given", self.email_as_given.to_owned()),
            ("user id", self.user_id.clone()),
            (
                "edX username",
                self.edx_username.unwrap_or_default().to_owned(),
            ),
            ("name", self.name.unwrap_or_default().to_owned()),
        ];
        let former = self.former_emails.join(", ");
        let former = (!former.is_empty()).then_some(("formerly", former));
        output::fields(fields.into_iter().chain(former))
    }
}
