//! The function reads the variables that the template gives it, all of them
//! and no other.

use std::sync::Arc;

use local::Template;
use shared::adapters::store::CallLimits;
use shared::clock::SystemClock;
use shared::startup::aws;

#[test]
fn the_template_gives_what_is_needed_and_no_more() {
    let template = Template::load().unwrap();
    let given = &template.functions["EnrollmentWebhookFunction"];
    let wired = |without: Option<&str>| {
        let nowhere = local::sdk::configuration("http://127.0.0.1:1");
        let environment = given
            .iter()
            .filter(|(name, _)| without != Some(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let dynamodb = aws::dynamodb(&nowhere, CallLimits::PRODUCTION);
        let secrets = aws::secrets_manager(&nowhere);
        let clock = Arc::new(SystemClock);
        crate::wire(&environment, dynamodb, secrets, clock, crate::STORE_TIME).map(drop)
    };
    assert_eq!(wired(None), Ok(()));
    for name in given.keys() {
        let missing = wired(Some(name)).unwrap_err();
        assert_eq!(missing.0, name);
    }
}
