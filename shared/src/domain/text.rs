//! What all identifiers that are texts have in common.

/// Gives a type around a `String` its way out, `as_str`, and serde its way in,
/// through the one door: the type's own `FromStr`. The type says
/// `#[serde(try_from = "String", into = "String")]`.
macro_rules! text {
    ($name:ident, $error:ty) => {
        impl $name {
            /// The text in the form in which it is compared and stored.
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
