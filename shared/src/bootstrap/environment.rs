//! The environment, read here and nowhere else.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use thiserror::Error;

/// The variables that a program was started with.
#[derive(Debug, Clone, Default)]
pub struct Environment(HashMap<String, String>);

/// A variable that must be set is not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the environment variable {0} is not set")]
pub struct Missing(pub &'static str);

/// A variable that must be set is not, or it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// It is not set.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Its value, which is not repeated, has not the form that it must have.
    #[error("the environment variable {name} cannot be used: it {why}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// What is wrong with its value.
        why: String,
    },
}

impl Environment {
    /// The environment of this process. Variables that are not text are left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable; an empty one counts as not set.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn required(&self, name: &'static str) -> Result<String, Missing> {
        self.optional(name).map(str::to_owned).ok_or(Missing(name))
    }

    /// The value of a variable, read as what it stands for; an empty one
    /// counts as not set.
    ///
    /// # Errors
    /// Names the variable that is missing or of another form, and says what
    /// is wrong with it in the words of `T`, which must not repeat it.
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

    /// The value of a variable that need not be set; an empty one counts as not set.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// A variable that is there already takes the new value.
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
        let url = environment.parsed::<crate::adapters::lms::BaseUrl>("SET");
        assert_eq!(
            url.unwrap_err().to_string(),
            "the environment variable SET cannot be used: it is not a URL such as https://lms.example.org"
        );
    }
}
