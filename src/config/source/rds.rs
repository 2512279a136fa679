//! AWS IAM authentication: RDS accepts a token, signed by the client, instead of a password.
//!
//! The token is a presigned request (Signature Version 4) to the address of the database, without the scheme; see "IAM
//! database authentication" in the RDS user guide. Its expiry affects new connections only.

use async_trait::async_trait;
use aws_sdk_ssm::config::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use reqwest::Url;
use secrecy::SecretString;

use super::aws::Aws;
use super::{IAM_TOKEN_LIFETIME, Source, SourceError};
use crate::clock::SharedClock;

#[derive(Debug)]
pub(super) struct IamToken {
    aws: Aws,
    clock: SharedClock,
    host: String,
    port: u16,
    user: String,
}

impl IamToken {
    pub(super) fn new(aws: Aws, clock: SharedClock, host: &str, port: u16, user: &str) -> Self {
        Self { aws, clock, host: host.to_owned(), port, user: user.to_owned() }
    }
}

#[async_trait]
impl Source for IamToken {
    async fn fetch(&self) -> Result<SecretString, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Aws(error.to_string());
        let config = self.aws.config().await;
        let region = config.region().ok_or_else(|| failed(&"no region: set AWS_REGION"))?;
        let provider = config.credentials_provider().ok_or_else(|| failed(&"no credentials"))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| failed(&aws_sdk_ssm::error::DisplayErrorContext(error)))?;

        let mut settings = SigningSettings::default();
        settings.expires_in = Some(IAM_TOKEN_LIFETIME);
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
            .map_err(|error| failed(&error))?
            .into();
        let mut url =
            Url::parse(&format!("https://{}:{}/", self.host, self.port)).map_err(|error| failed(&error))?;
        url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", &self.user);
        let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]))
            .map_err(|error| failed(&error))?;
        let (instructions, _) = sign(request, &parameters).map_err(|error| failed(&error))?.into_parts();
        for (name, value) in instructions.params() {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(url.as_str().trim_start_matches("https://").into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_config::{Region, SdkConfig};
    use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
    use chrono::{TimeZone as _, Utc};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::clock::SettableClock;

    /// Signs with the credentials of the examples in the AWS documentation.
    async fn token(session: Option<&str>) -> String {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session.map(str::to_owned),
            None,
            "test",
        );
        let config = SdkConfig::builder()
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let now = Utc.with_ymd_and_hms(2026, 11, 24, 9, 0, 0).single().expect("a time");
        let clock = Arc::new(SettableClock::new(now));
        let host = "db.example.eu-central-1.rds.amazonaws.com";
        let source = IamToken::new(Aws::loaded(config), clock, host, 5432, "bday_app");
        let token = source.fetch().await.expect("a token");
        // The order of the parameters is irrelevant: the signature covers them sorted.
        let (start, query) = token.expose_secret().split_once('?').expect("a query");
        let mut parameters: Vec<&str> = query.split('&').collect();
        parameters.sort_unstable();
        format!("{start}?{}", parameters.join("&"))
    }

    #[tokio::test]
    async fn a_token_equals_that_of_boto3() {
        // `boto3.client("rds").generate_db_auth_token` at the same time, with the same credentials.
        let expected = "db.example.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=bday_app\
                        &X-Amz-Algorithm=AWS4-HMAC-SHA256\
                        &X-Amz-Credential=AKIDEXAMPLE%2F20261124%2Feu-central-1%2Frds-db%2Faws4_request\
                        &X-Amz-Date=20261124T090000Z&X-Amz-Expires=900";
        assert_eq!(
            token(None).await,
            format!(
                "{expected}&X-Amz-Signature=6a37b8c91fb3572c6b801b069eee9cf0a25cb2401d0a4de78a2ee0603bc4dfec\
                 &X-Amz-SignedHeaders=host"
            )
        );
        assert_eq!(
            token(Some("a/b+c=")).await,
            format!(
                "{expected}&X-Amz-Security-Token=a%2Fb%2Bc%3D\
                 &X-Amz-Signature=940c1eb002d6a5f4441ff5d5e984e4eaffaedb5d5c506b4a2af3369a1eab8ef0\
                 &X-Amz-SignedHeaders=host"
            )
        );
    }
}
