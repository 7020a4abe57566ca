//! The actions of senders, operators and schedules. Each file covers one area; they run in this
//! order, and each continues with the state that the one before left.

mod certificates;
mod contract;
mod enrollments;
mod gateway;
mod learners;
mod pending_events;
mod sweeps;

use local::lms::{CLIENT_ID, CLIENT_SECRET};

use self::contract::Tokens;
use crate::failure::Failure;
use crate::portal::Portal;
use crate::step;

/// Calls the API from an address that is not allowed.
pub async fn from_elsewhere(portal: &Portal<'_>) -> Result<(), Failure> {
    gateway::refuses(portal).await
}

/// Runs all steps; returns the texts that must not be in any log.
pub async fn all(portal: &Portal<'_>) -> Result<Vec<String>, Failure> {
    step("deliver while there is no token yet");
    contract::before_tokens(portal).await?;
    step("issue tokens, import users and course runs");
    let tokens = Tokens::issue(portal).await?;
    learners::import(portal).await?;
    step("hold all webhooks to the contract, in both spellings");
    contract::hold(portal, &tokens).await?;
    step("hold the gateway's own answers to the contract");
    gateway::hold(portal, &tokens.staff).await?;
    step("enroll");
    enrollments::drive(portal, &tokens.staff).await?;
    step("certify");
    certificates::drive(portal, &tokens.staff).await?;
    step("retry what was pending");
    pending_events::drive(portal, &tokens.staff).await?;
    step("sweep grades and enrollments");
    sweeps::drive(portal, &tokens.staff).await?;
    contract::is_whole(portal)?;
    let mut planted = Vec::from(learners::PLANTED.map(str::to_owned));
    planted.extend(tokens.all());
    planted.extend([CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned()]);
    Ok(planted)
}
