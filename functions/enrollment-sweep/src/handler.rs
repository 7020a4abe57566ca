//! Handles one call of the state machine.

use app::sweeping::EnrollmentSweep;
use common::clock::SharedClock;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use web::sweep::{Invocation, SweepFunction};

/// Answers the state machine.
pub struct Handler {
    function: SweepFunction<EnrollmentSweep>,
    clock: SharedClock,
}

impl Handler {
    pub fn new(function: SweepFunction<EnrollmentSweep>, clock: SharedClock) -> Self {
        Self { function, clock }
    }

    /// Lists the due runs, or sweeps one until the time is over.
    ///
    /// # Errors
    /// The call cannot be parsed, or failed.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let LambdaEvent { payload, context } = event;
        let invocation = Invocation::new(context.request_id, context.deadline, self.clock.now());
        Ok(self.function.answer(&payload, &invocation).await?)
    }
}
