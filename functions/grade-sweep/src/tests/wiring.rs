//! The function reads exactly the variables that the template gives it.

use std::sync::Arc;

use harness::FAST_RETRIES;
use harness::wiring::needs_all_and_no_more;
use shared::bootstrap::{aws, lms};
use shared::clock::SystemClock;

#[test]
fn the_template_gives_exactly_the_variables_that_are_read() {
    needs_all_and_no_more("GradeSweepFunction", |environment| {
        let nowhere = "http://127.0.0.1:1";
        let dynamodb = harness::client(nowhere, FAST_RETRIES);
        let secrets = aws::secrets_manager(&local::sdk::configuration(nowhere));
        let clock = Arc::new(SystemClock);
        crate::wire(
            environment,
            dynamodb,
            secrets,
            lms::client().unwrap(),
            clock,
        )
        .map(drop)
    });
}
