//! Values that live elsewhere: a variable, a file, an SSM parameter, a Secrets Manager secret.
//!
//! ```text
//!  config ──Reference──> Sources::open ──Source──> fetch, again and again ──> follow: a watch channel
//! ```
//!
//! Guaranteed: no value reaches a log, an error or `Debug`; a value that was good stays in force until a newer one is
//! good too. Not guaranteed: that a change is seen at once. It is within the refresh interval.

#[cfg_attr(not(feature = "aws"), path = "without_aws.rs")]
mod aws;
mod follow;
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

pub use follow::Follow;
pub use reference::{Reference, ReferenceError};

/// The validity of an IAM token.
pub const TOKEN_LIFE: Duration = Duration::from_mins(15);

/// Why a value could not be had. No variant repeats a value.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such variable.
    #[error("the environment has no variable {0}")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// AWS does not know the parameter or secret.
    #[error("AWS has no {0}")]
    Missing(String),
    /// AWS refused, or is unavailable.
    #[error("AWS refused the request or is unavailable: {0}")]
    Aws(String),
    /// The binary was built without the feature `aws`.
    #[error("this binary was built without the feature aws")]
    NoAws,
    /// A secret with a key is not a JSON object, or has no text under that key.
    #[error("the secret is not a JSON object with a text under {0:?}")]
    NoKey(String),
    /// The value is there, but holds no text.
    #[error("the secret is binary; it must be text")]
    Binary,
}

/// A place that a value can be fetched from, again and again.
#[async_trait]
pub trait Source: std::fmt::Debug + Send + Sync + 'static {
    /// The value as it is now.
    async fn fetch(&self) -> Result<SecretString, SourceError>;
}

/// Opens sources. Those in AWS share one set of credentials.
#[derive(Debug, Clone)]
pub struct Sources {
    aws: Aws,
    clock: SharedClock,
}

impl Sources {
    /// Nothing is fetched, and AWS is not asked for anything, before it is needed.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { aws: Aws::default(), clock }
    }

    /// The source that `reference` names.
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

    /// Tokens of AWS IAM in the place of a database password.
    #[must_use]
    pub fn iam_token(&self, host: &str, port: u16, user: &str) -> Arc<dyn Source> {
        let clock = Arc::clone(&self.clock);
        Arc::new(IamToken::new(self.aws.clone(), clock, host, port, user))
    }
}
