//! Recording of a sweep's effects on learners.

use std::cell::RefCell;

use common::panic::caught;
use domain::{Effect, Email, Tally, Username};
use futures::{StreamExt, stream};
use store::StoreError;
use uuid::Uuid;

use super::{Learner, SweepEvent};

/// The number of learners whose writes run at once.
const WRITES_AT_ONCE: usize = 16;

/// Counts the effects on learners, and reports each of them to a callback.
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

    /// Records the effect on a learner when only these values are known.
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

    /// Records all effects on a learner; an empty list is recorded as `unchanged`.
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

/// Carries out the plan of each learner, several at the same time, and records its effects. The
/// failure of one learner does not affect the others.
///
/// # Errors
/// The store is unavailable: not a single write succeeded.
pub(super) async fn carry_out<R, P>(
    plans: &[(&Learner<R>, P)],
    recorder: &Recorder<'_>,
    one: impl AsyncFn(&Learner<R>, &P) -> Result<Vec<Effect>, StoreError>,
) -> Result<(), StoreError> {
    let panicked = |location| Ok(vec![Effect::Failed(format!("panic:{location}"))]);
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

/// Returns the effect to record for a learner whose reads or writes failed.
pub(super) fn failed(error: &StoreError) -> Effect {
    Effect::Failed(error.code().to_owned())
}
