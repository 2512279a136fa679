//! Sources in AWS. Region, endpoint and credentials come from the standard AWS environment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_ssm::error::DisplayErrorContext;
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::{Source, SourceError};

/// The configuration of the SDK, loaded on first use.
#[derive(Debug, Clone, Default)]
pub(super) struct Aws(Arc<OnceCell<SdkConfig>>);

impl Aws {
    #[cfg(test)]
    pub(super) fn loaded(config: SdkConfig) -> Self {
        Self(Arc::new(OnceCell::new_with(Some(config))))
    }

    pub(super) async fn config(&self) -> &SdkConfig {
        let load = || async {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                .operation_timeout(Duration::from_secs(10))
                .operation_attempt_timeout(Duration::from_secs(5))
                .build();
            aws_config::defaults(aws_config::BehaviorVersion::latest()).timeout_config(timeouts).load().await
        };
        self.0.get_or_init(load).await
    }
}

/// A parameter of AWS Systems Manager.
#[derive(Debug)]
pub(super) struct Parameter {
    aws: Aws,
    client: OnceCell<aws_sdk_ssm::Client>,
    name: String,
}

impl Parameter {
    pub(super) fn new(aws: Aws, name: String) -> Self {
        Self { aws, client: OnceCell::new(), name }
    }
}

#[async_trait]
impl Source for Parameter {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        let client = || async { aws_sdk_ssm::Client::new(self.aws.config().await) };
        let client = self.client.get_or_init(client).await;
        let missing = || SourceError::Missing(format!("parameter {}", self.name));
        let answer =
            client.get_parameter().name(&self.name).with_decryption(true).send().await.map_err(|error| {
                match error.as_service_error() {
                    Some(GetParameterError::ParameterNotFound(_)) => missing(),
                    _ => SourceError::Aws(DisplayErrorContext(error).to_string()),
                }
            })?;
        answer.parameter.and_then(|parameter| parameter.value).map(SecretString::from).ok_or_else(missing)
    }
}

/// A secret of AWS Secrets Manager, or one key of it.
#[derive(Debug)]
pub(super) struct Secret {
    aws: Aws,
    client: OnceCell<aws_sdk_secretsmanager::Client>,
    id: String,
    key: Option<String>,
}

impl Secret {
    pub(super) fn new(aws: Aws, id: String, key: Option<String>) -> Self {
        Self { aws, client: OnceCell::new(), id, key }
    }
}

#[async_trait]
impl Source for Secret {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        let client = || async { aws_sdk_secretsmanager::Client::new(self.aws.config().await) };
        let client = self.client.get_or_init(client).await;
        let answer =
            client.get_secret_value().secret_id(&self.id).send().await.map_err(|error| {
                match error.as_service_error() {
                    Some(GetSecretValueError::ResourceNotFoundException(_)) => {
                        SourceError::Missing(format!("secret {}", self.id))
                    }
                    _ => SourceError::Aws(DisplayErrorContext(error).to_string()),
                }
            })?;
        let whole = answer.secret_string.ok_or(SourceError::Binary)?;
        match &self.key {
            None => Ok(whole.into()),
            Some(key) => text_under(key, &whole).ok_or_else(|| SourceError::NoKey(key.clone())),
        }
    }
}

fn text_under(key: &str, json: &str) -> Option<SecretString> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    object.get(key)?.as_str().map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_picks_one_text_of_a_secret() {
        let secret = r#"{"username":"bday","password":"s3cret","port":5432}"#;
        let found = text_under("password", secret).expect("a text");
        assert_eq!(found.expose_secret(), "s3cret");
        assert!(text_under("port", secret).is_none());
        assert!(text_under("nothing", secret).is_none());
        assert!(text_under("password", "s3cret").is_none());
    }
}
