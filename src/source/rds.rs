//! AWS IAM in the place of a database password: RDS takes a token that whoever may connect signs himself.
//!
//! The token is a presigned request (Signature Version 4) to the database's own address, with its scheme cut off; see
//! "IAM database authentication" in the RDS user guide. It is good for 15 minutes to log in with; a connection that
//! is open then stays open.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ssm::config::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use reqwest::Url;
use secrecy::SecretString;

use super::aws::Aws;
use super::{Source, SourceError};
use crate::clock::SharedClock;

/// How long a token is good for.
pub const TOKEN_LIFE: Duration = Duration::from_mins(15);

/// Signs tokens for one user of one database.
#[derive(Debug)]
pub struct IamToken {
    aws: Aws,
    clock: SharedClock,
    host: String,
    port: u16,
    user: String,
}

impl IamToken {
    pub(super) fn new(aws: Aws, clock: SharedClock, host: &str, port: u16, user: &str) -> Self {
        Self {
            aws,
            clock,
            host: host.to_owned(),
            port,
            user: user.to_owned(),
        }
    }
}

#[async_trait]
impl Source for IamToken {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        let refuse = |error: &dyn std::fmt::Display| SourceError::Aws(error.to_string());
        let config = self.aws.config().await;
        let region = config
            .region()
            .ok_or_else(|| refuse(&"no region is set (AWS_REGION)"))?;
        let provider = config
            .credentials_provider()
            .ok_or_else(|| refuse(&"there are no credentials"))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| refuse(&aws_sdk_ssm::error::DisplayErrorContext(error)))?;

        let mut settings = SigningSettings::default();
        settings.expires_in = Some(TOKEN_LIFE);
        settings.signature_location = SignatureLocation::QueryParams;
        settings.percent_encoding_mode = PercentEncodingMode::Double;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name("rds-db")
            .time(self.clock.now().into())
            .settings(settings)
            .build()
            .map_err(|error| refuse(&error))?
            .into();
        let mut url =
            Url::parse(&format!("https://{}:{}/", self.host, self.port)).map_err(|error| refuse(&error))?;
        url.query_pairs_mut()
            .append_pair("Action", "connect")
            .append_pair("DBUser", &self.user);
        let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]))
            .map_err(|error| refuse(&error))?;
        let (instructions, _) = sign(request, &parameters)
            .map_err(|error| refuse(&error))?
            .into_parts();
        for (name, value) in instructions.params() {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(url.as_str().trim_start_matches("https://").into())
    }
}
