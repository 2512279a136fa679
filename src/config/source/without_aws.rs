//! Takes the place of `aws` and `rds` in a build without the feature `aws`. `Config::validate` rejects references to AWS before
//! one of these is opened.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Source, SourceError};
use crate::clock::SharedClock;

#[derive(Debug, Clone, Default)]
pub(super) struct Aws {}

#[derive(Debug)]
pub(super) struct Parameter;

impl Parameter {
    pub(super) fn new(_: Aws, _: String) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct Secret;

impl Secret {
    pub(super) fn new(_: Aws, _: String, _: Option<String>) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct IamToken;

impl IamToken {
    pub(super) fn new(_: Aws, _: SharedClock, _: &str, _: u16, _: &str) -> Self {
        Self
    }
}

macro_rules! unavailable {
    ($($source:ty),*) => {$(
        #[async_trait]
        impl Source for $source {
            async fn fetch(&self) -> Result<SecretString, SourceError> {
                Err(SourceError::NoAws)
            }
        }
    )*};
}

unavailable!(Parameter, Secret, IamToken);
