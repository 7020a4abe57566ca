//! Checks that a function reads the variables that the template gives it.

use infra::Template;
use shared::bootstrap::environment::{Environment, Missing, SettingError};

/// Wires a function of the template with all of its variables, and without each of them.
///
/// # Panics
/// A variable is missing in the template, or is there and not read.
pub fn needs_all_and_no_more(
    function: &str,
    wire: impl Fn(&Environment) -> Result<(), SettingError>,
) {
    let template = Template::load().unwrap();
    let mut given = template.functions[function].clone();
    // This parameter has no default.
    if let Some(url) = given.get_mut("LMS_URL") {
        "https://lms.example.org".clone_into(url);
    }
    let wired = |without: Option<&str>| {
        let given = given.iter().filter(|(name, _)| without != Some(name));
        let given = given.map(|(name, value)| (name.clone(), value.clone()));
        wire(&given.collect())
    };
    assert_eq!(wired(None), Ok(()));
    for name in given.keys() {
        let missing = match wired(Some(name)) {
            Err(SettingError::Missing(Missing(missing))) => Some(missing),
            _ => None,
        };
        assert_eq!(missing, Some(name.as_str()));
    }
}
