//! The function reads the variables that the template gives it, all of them
//! and no other.

use std::sync::Arc;

use local::Template;
use shared::adapters::store::CallLimits;
use shared::clock::SystemClock;
use shared::startup::environment::{Missing, SettingError};
use shared::startup::{aws, lms};

#[test]
fn the_template_gives_what_is_needed_and_no_more() {
    let template = Template::load().unwrap();
    let mut given = template.functions["CertificateWebhookFunction"].clone();
    // A parameter that has no default.
    let url = given.get_mut("LMS_URL").unwrap();
    *url = "https://lms.example.org".to_owned();
    let wired = |without: Option<&str>| {
        let nowhere = local::sdk::configuration("http://127.0.0.1:1");
        let given = given.iter().filter(|(name, _)| without != Some(name));
        let environment = given.map(|(name, value)| (name.clone(), value.clone()));
        crate::wire(
            &environment.collect(),
            aws::dynamodb(&nowhere, CallLimits::PRODUCTION),
            aws::secrets_manager(&nowhere),
            lms::client().unwrap(),
            Arc::new(SystemClock),
            crate::ACTING_TIME,
        )
        .map(drop)
    };
    assert_eq!(wired(None), Ok(()));
    for name in given.keys() {
        let Err(SettingError::Missing(Missing(missing))) = wired(Some(name)) else {
            panic!("{name} is not read");
        };
        assert_eq!(missing, name);
    }
}
