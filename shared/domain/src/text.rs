//! Common code of the identifiers that are texts.

/// Implements the conversions of a type around a `String`: `as_str`, `Into<String>`, and
/// `TryFrom<String>`, which calls the type's own `FromStr`. The type declares
/// `#[serde(try_from = "String", into = "String")]`, so that serde uses the same check.
macro_rules! text {
    ($name:ident, $error:ty) => {
        impl $name {
            /// Returns the text in the form in which it is compared and stored.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

pub(super) use text;
