//! The environment variables, which only this module reads.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use thiserror::Error;

/// The variables that a program was started with.
#[derive(Debug, Clone, Default)]
pub struct Environment(HashMap<String, String>);

/// Error: a required variable is not set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the environment variable {0} is not set")]
pub struct Missing(pub &'static str);

/// Error: a required variable is not set, or its value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// The variable is not set.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The value does not have the required form. The error does not repeat the value.
    #[error("the environment variable {name} cannot be used: it {why}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// The defect of its value.
        why: String,
    },
}

impl Environment {
    /// Reads the environment of this process. Variables that are not text are left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a required variable. An empty value counts as not set.
    ///
    /// # Errors
    /// Names the missing variable.
    pub fn required(&self, name: &'static str) -> Result<String, Missing> {
        self.optional(name).map(str::to_owned).ok_or(Missing(name))
    }

    /// The parsed value of a required variable. An empty value counts as not set.
    ///
    /// # Errors
    /// Names the variable that is missing or malformed, and describes the defect in the
    /// words of `T`'s error, which must not repeat the value.
    pub fn parsed<T>(&self, name: &'static str) -> Result<T, SettingError>
    where
        T: FromStr<Err: Display>,
    {
        let malformed = |error: T::Err| SettingError::Malformed {
            name,
            why: error.to_string(),
        };
        self.required(name)?.parse().map_err(malformed)
    }

    /// The value of an optional variable, or `None` if it is not set. An empty value
    /// counts as not set.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Adds variables. A variable that is already set takes the new value.
impl Extend<(String, String)> for Environment {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, variables: I) {
        self.0.extend(variables);
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_variable() {
        let variables = [("SET", "x"), ("EMPTY", "")];
        let environment: Environment = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        assert_eq!(environment.required("SET"), Ok("x".to_owned()));
        assert_eq!(environment.required("EMPTY"), Err(Missing("EMPTY")));
        assert_eq!(
            environment.required("ABSENT").unwrap_err().to_string(),
            "the environment variable ABSENT is not set"
        );
        assert_eq!(environment.parsed("SET"), Ok('x'));
        assert_eq!(
            environment.parsed::<char>("ABSENT"),
            Err(Missing("ABSENT").into())
        );
        let url = environment.parsed::<lms::BaseUrl>("SET");
        assert_eq!(
            url.unwrap_err().to_string(),
            "the environment variable SET cannot be used: it is not a URL such as https://lms.example.org"
        );
    }
}
