//! What became of learners, counted and told.

use std::cell::RefCell;

use futures::{StreamExt, stream};
use uuid::Uuid;

use super::{Learner, SweepEvent};
use crate::adapters::store::StoreError;
use crate::domain::{Effect, Email, Tally, Username};
use crate::panic::caught;

/// How many learners' writes are under way at once.
const WRITES_AT_ONCE: usize = 16;

/// Counts and tells what becomes of learners.
pub struct Recorder<'a> {
    sweep_id: Uuid,
    on_event: &'a dyn Fn(SweepEvent<'_>),
    pub(super) tally: RefCell<Tally>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(sweep_id: Uuid, on_event: &'a dyn Fn(SweepEvent<'_>)) -> Self {
        Self {
            sweep_id,
            on_event,
            tally: RefCell::default(),
        }
    }

    /// Recorder what became of somebody of whom no more is known than this.
    pub(super) fn record(
        &self,
        user_id: Option<Uuid>,
        username: Option<&Username>,
        effect: &Effect,
    ) {
        self.notify(user_id, None, username, effect);
    }

    fn notify(
        &self,
        user_id: Option<Uuid>,
        email: Option<&Email>,
        username: Option<&Username>,
        effect: &Effect,
    ) {
        self.tally.borrow_mut().note(effect);
        if *effect != Effect::Unchanged {
            (self.on_event)(SweepEvent::Learner {
                sweep_id: self.sweep_id,
                user_id,
                email,
                username,
                effect,
            });
        }
    }

    /// Recorder all that became of a learner; nothing is `unchanged`.
    pub(super) fn record_all<R>(&self, learner: &Learner<R>, effects: &[Effect]) {
        let owner = &learner.owner;
        let (id, email) = (Some(owner.user_id), Some(&owner.email));
        let username = Some(&learner.username);
        for effect in effects {
            self.notify(id, email, username, effect);
        }
        if effects.is_empty() {
            self.notify(id, email, username, &Effect::Unchanged);
        }
    }
}

/// Does what is planned for each of these learners, some at the same time, and
/// recorder what it did. One learner's failure is not the others'.
///
/// # Errors
/// The store is away: not one write came through.
pub(super) async fn carry_out<R, P>(
    plans: &[(&Learner<R>, P)],
    recorder: &Recorder<'_>,
    one: impl AsyncFn(&Learner<R>, &P) -> Result<Vec<Effect>, StoreError>,
) -> Result<(), StoreError> {
    let panicked = |checkpoint| Ok(vec![Effect::Failed(format!("panic:{checkpoint}"))]);
    let results = stream::iter(plans).map(async |(learner, plan)| {
        let result = caught(one(learner, plan)).await;
        (*learner, result.unwrap_or_else(panicked))
    });
    let results: Vec<_> = results.buffer_unordered(WRITES_AT_ONCE).collect().await;
    let is_outage = |result: &Result<_, StoreError>| match result {
        Err(error) => error.is_outage(),
        Ok(_) => false,
    };
    if let Some((_, Err(error))) = results.first()
        && results.iter().all(|(_, result)| is_outage(result))
    {
        return Err(error.clone());
    }
    for (learner, result) in results {
        recorder.record_all(
            learner,
            &result.unwrap_or_else(|error| vec![failed(&error)]),
        );
    }
    Ok(())
}

/// What is told of a learner whom the store failed.
pub(super) fn failed(error: &StoreError) -> Effect {
    Effect::Failed(error.code().to_owned())
}
