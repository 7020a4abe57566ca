//! The list of webhook tokens in Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::update_secret_version_stage::UpdateSecretVersionStageError;
use common::AwsError;
use domain::token::TokenList;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{MAX_BYTES, SecretError, Value};

/// The label of the version that readers get.
const CURRENT: &str = "AWSCURRENT";

/// Prefix of the labels under which new versions are written. The Unix time in seconds
/// and the version follow.
const LABEL: &str = "writing-";

/// The secret that holds the [`TokenList`].
#[derive(Debug, Clone)]
pub struct TokenSecret {
    client: Client,
    secret_id: String,
}

/// A version of the list.
#[derive(Debug, Clone, Default)]
pub struct StoredTokens {
    /// The version that was current; `None` if the secret never had one.
    pub version: Option<String>,
    /// The list; `None` if the secret has no value yet.
    pub list: Option<TokenList>,
}

/// The result of replacing the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Readers now get the new list.
    Done,
    /// The list that was read is no longer current. The caller reads again and repeats
    /// the change if it is still needed.
    Moved,
}

impl TokenSecret {
    /// Returns the secret whose name or ARN is `secret_id`. Makes no call.
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { client, secret_id }
    }

    /// Reads the current list.
    pub async fn read(&self) -> Result<StoredTokens, SecretError> {
        let Value { version, text } = super::current(&self.client, &self.secret_id).await?;
        let list = text
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| SecretError::Malformed)?;
        Ok(StoredTokens { version, list })
    }

    /// Makes `list` current if `read` still is.
    ///
    /// The list is first written as a version under a label of its own, which no reader
    /// asks for. AWSCURRENT is then moved from the version that was read to the new one.
    /// If two callers do so at once, one of the moves is refused.
    pub async fn replace(
        &self,
        read: &StoredTokens,
        list: &TokenList,
        now: Timestamp,
    ) -> Result<Replaced, SecretError> {
        let text = serde_json::to_string(list).map_err(|_| SecretError::Malformed)?;
        if text.len() > MAX_BYTES {
            return Err(SecretError::TooLarge);
        }
        let version = Uuid::new_v4().to_string();
        let label = format!("{LABEL}{}-{version}", now.as_second());
        let mut put = self.put(&text, &version, &label).await;
        if matches!(&put, Err(failure) if failure.code() == "LimitExceededException") {
            self.remove_stale_labels(now).await;
            put = self.put(&text, &version, &label).await;
        }
        // The first version of a secret becomes current under any label.
        let replaced = if put? {
            Ok(Replaced::Done)
        } else {
            self.make_current(read.version.as_deref(), &version).await
        };
        // If this fails, the label is left until AWS allows no more of them.
        let _ = self.remove_label(&label, &version).await;
        replaced
    }

    /// Writes a version. Returns true if it is the current one after that.
    async fn put(&self, text: &str, version: &str, label: &str) -> Result<bool, AwsError> {
        let answer = self
            .client
            .put_secret_value()
            .secret_id(&self.secret_id)
            .client_request_token(version)
            .version_stages(label)
            .secret_string(text)
            .send()
            .await
            .map_err(|error| AwsError::from(&error))?;
        Ok(answer.version_stages().iter().any(|stage| stage == CURRENT))
    }

    async fn remove_label(&self, label: &str, version: &str) -> Result<(), AwsError> {
        self.client
            .update_secret_version_stage()
            .secret_id(&self.secret_id)
            .version_stage(label)
            .remove_from_version_id(version)
            .send()
            .await
            .map(drop)
            .map_err(|error| AwsError::from(&error))
    }

    /// Removes the labels of changes that were interrupted an hour ago or longer, because
    /// AWS allows a secret only twenty labels. If that fails, the next step fails too and
    /// reports the error.
    async fn remove_stale_labels(&self, now: Timestamp) {
        const INTERRUPTED_AFTER_SECONDS: i64 = 3600;
        let is_stale = |label: &str| {
            let rest = label
                .strip_prefix(LABEL)
                .and_then(|rest| rest.split_once('-'));
            let began = rest.and_then(|(began, _)| began.parse::<i64>().ok());
            began.is_some_and(|began| now.as_second() - began >= INTERRUPTED_AFTER_SECONDS)
        };
        let described = self
            .client
            .describe_secret()
            .secret_id(&self.secret_id)
            .send()
            .await;
        let versions = described.map(|secret| secret.version_ids_to_stages.unwrap_or_default());
        for (version, labels) in versions.unwrap_or_default() {
            for label in labels.iter().filter(|label| is_stale(label)) {
                let _ = self.remove_label(label, &version).await;
            }
        }
    }

    async fn make_current(
        &self,
        from: Option<&str>,
        version: &str,
    ) -> Result<Replaced, SecretError> {
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(&self.secret_id)
            .version_stage(CURRENT)
            .move_to_version_id(version)
            .set_remove_from_version_id(from.map(str::to_owned))
            .send()
            .await;
        let Err(error) = moved else {
            return Ok(Replaced::Done);
        };
        match error.as_service_error() {
            // AWSCURRENT is not where it was read. It may be on our version, if the
            // answer to a first attempt was lost. A caller that reads again then finds
            // the change made.
            Some(
                UpdateSecretVersionStageError::InvalidParameterException(_)
                | UpdateSecretVersionStageError::InvalidRequestException(_),
            ) => Ok(Replaced::Moved),
            _ => Err(AwsError::from(&error).into()),
        }
    }
}
