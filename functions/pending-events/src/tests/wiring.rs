//! Each function reads exactly the variables that the template gives it.

use harness::wiring::needs_all_and_no_more;

#[test]
fn the_template_gives_exactly_the_variables_that_are_read() {
    needs_all_and_no_more("OwnEventsFunction", |environment, clients| {
        crate::own_events(environment, clients.dynamodb, clients.clock)
    });
    needs_all_and_no_more("LmsEventsFunction", |environment, clients| {
        crate::lms_events(
            environment,
            clients.dynamodb,
            clients.secrets,
            clients.lms,
            clients.clock,
        )
    });
}
