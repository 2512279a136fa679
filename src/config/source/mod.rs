//! Values that are stored outside the configuration: a variable, a file, an SSM parameter, a Secrets Manager secret.
//!
//! ```text
//!  config ──Reference──> Sources::open ──Source──> fetched every interval ──Followed──> watch channel
//! ```
//!
//! Guaranteed: no value reaches a log, an error or `Debug`; a valid value stays in effect until a newer valid one is
//! fetched. Not guaranteed: that a change takes effect at once; it does within the refresh interval.

#[cfg_attr(not(feature = "aws"), path = "without_aws.rs")]
mod aws;
mod followed;
mod local;
#[cfg(feature = "aws")]
mod rds;
mod reference;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::clock::SharedClock;
#[cfg(not(feature = "aws"))]
use aws::IamToken;
use aws::{Aws, Parameter, Secret};
use local::{EnvVariable, FileContent, Literal};
#[cfg(feature = "aws")]
use rds::IamToken;

pub use followed::Followed;
pub use reference::{Reference, ReferenceError};

/// The validity of an IAM token.
pub const IAM_TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// No variant contains a value.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("the {0} does not exist in AWS")]
    Missing(String),
    #[error("request to AWS failed: {0}")]
    Aws(String),
    #[error("this binary was built without the feature aws")]
    NoAws,
    #[error("the secret is not a JSON object with a text under the key {0:?}")]
    NoKey(String),
    #[error("the secret is binary: it must be text")]
    Binary,
}

#[async_trait]
pub trait Source: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the current value.
    async fn fetch(&self) -> Result<SecretString, SourceError>;
}

/// Opens sources. Sources in AWS share one set of credentials.
#[derive(Debug, Clone)]
pub struct Sources {
    aws: Aws,
    clock: SharedClock,
}

impl Sources {
    /// Sends no request before the first value is fetched.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { aws: Aws::default(), clock }
    }

    #[must_use]
    pub fn open(&self, reference: &Reference) -> Arc<dyn Source> {
        match reference {
            Reference::Literal(value) => Arc::new(Literal(value.clone())),
            Reference::Env(name) => Arc::new(EnvVariable(name.clone())),
            Reference::File(path) => Arc::new(FileContent(path.clone())),
            Reference::Ssm(name) => Arc::new(Parameter::new(self.aws.clone(), name.clone())),
            Reference::Secret { id, key } => Arc::new(Secret::new(self.aws.clone(), id.clone(), key.clone())),
        }
    }

    /// Opens a source of AWS IAM tokens, which replace a database password.
    #[must_use]
    pub fn iam_token(&self, host: &str, port: u16, user: &str) -> Arc<dyn Source> {
        Arc::new(IamToken::new(self.aws.clone(), Arc::clone(&self.clock), host, port, user))
    }
}
