//! The credential for the LMS in Secrets Manager.

use aws_sdk_secretsmanager::Client;
use common::AwsError;
use domain::Credential;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use crate::{SecretError, SecretSource};

/// The secret that holds the [`Credential`] for the LMS.
///
/// Its value is JSON that an operator stores: `{"client_id": "...", "client_secret":
/// "..."}` for an OAuth2 client, or `{"token": "..."}` for a static service token, and no
/// other field.
#[derive(Debug, Clone)]
pub struct CredentialSecret {
    client: Client,
    secret_id: String,
}

/// The two forms of the value.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Stored {
    Client {
        client_id: String,
        client_secret: String,
    },
    Static {
        token: String,
    },
}

impl CredentialSecret {
    /// Returns the secret whose name or ARN is `secret_id`. Makes no call.
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { client, secret_id }
    }

    /// Reads the credential; `None` if none has been stored yet.
    ///
    /// # Errors
    /// [`SecretError::Malformed`] if the value has neither of the two forms, if a part of
    /// it is empty, or if a token cannot be sent in a header; otherwise the error of
    /// Secrets Manager.
    pub async fn read(&self) -> Result<Option<Credential>, SecretError> {
        let value = super::current(&self.client, &self.secret_id).await?;
        value.text.as_deref().map(parse).transpose()
    }

    /// Writes `credential` as the current version. Secrets Manager keeps the previous
    /// one.
    ///
    /// # Errors
    /// [`SecretError::Malformed`], with nothing written, if [`CredentialSecret::read`]
    /// would not accept it; otherwise the error of Secrets Manager.
    pub async fn write(&self, credential: &Credential) -> Result<(), SecretError> {
        let text = text(credential);
        parse(&text)?;
        let put = self.client.put_secret_value().secret_id(&self.secret_id);
        let put = put.secret_string(text).send().await;
        put.map(drop).map_err(|error| AwsError::from(&error).into())
    }
}

fn text(credential: &Credential) -> String {
    let value = match credential {
        Credential::Client { id, secret } => {
            json!({"client_id": id, "client_secret": secret.expose_secret()})
        }
        Credential::Static { token } => json!({"token": token.expose_secret()}),
    };
    value.to_string()
}

/// Parses a credential from either of the two forms.
///
/// # Errors
/// [`SecretError::Malformed`].
pub fn parse(text: &str) -> Result<Credential, SecretError> {
    match serde_json::from_str(text) {
        Ok(Stored::Client {
            client_id,
            client_secret,
        }) if !client_id.is_empty() && !client_secret.is_empty() => Ok(Credential::Client {
            id: client_id,
            secret: client_secret.into(),
        }),
        Ok(Stored::Static { token })
            if !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()) =>
        {
            Ok(Credential::Static {
                token: token.into(),
            })
        }
        _ => Err(SecretError::Malformed),
    }
}

impl SecretSource for CredentialSecret {
    type Value = Credential;

    async fn read_value(&self) -> Result<Option<Credential>, SecretError> {
        self.read().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_forms_are_accepted() {
        let client = Credential::Client {
            id: "i".to_owned(),
            secret: "s\"".into(),
        };
        let of_site = Credential::Static { token: "t".into() };
        for (written, credential) in [
            (r#"{"client_id": "i", "client_secret": "s\""}"#, client),
            (r#" {"token": "t"} "#, of_site),
        ] {
            assert_eq!(
                parse(&text(&credential)).as_ref(),
                Ok(&credential),
                "{written}"
            );
            assert_eq!(parse(written), Ok(credential), "{written}");
        }
        for text in [
            "t",
            r#""t""#,
            "{}",
            r#"{"token": ""}"#,
            r#"{"token": "t\n"}"#,
            r#"{"token": "é"}"#,
            r#"{"token": 1}"#,
            r#"{"client_id": "i"}"#,
            r#"{"client_id": "", "client_secret": "s"}"#,
            r#"{"client_id": "i", "client_secret": ""}"#,
            r#"{"client_id": "i", "client_secret": "s", "token": "t"}"#,
        ] {
            assert_eq!(parse(text), Err(SecretError::Malformed), "{text}");
        }
    }
}
