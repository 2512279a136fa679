//! Checks of the provider that send nothing.

use lettre::Address;

use super::{Mail, Transport};

/// What the provider answers.
#[derive(Debug)]
pub enum MailCheck {
    /// Connection, TLS and login.
    Smtp(Result<(), String>),
    Ses {
        account: Result<SesAccount, String>,
        /// Of the sender's domain, or else of its address; none if SES has neither.
        identity: Result<Option<SesIdentity>, String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesAccount {
    pub is_sending_enabled: bool,
    /// In the sandbox, SES sends to verified addresses only.
    pub is_in_sandbox: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesIdentity {
    /// The sender's address, or its domain.
    pub name: String,
    pub is_verified: bool,
    pub has_dkim: bool,
}

impl Mail {
    /// Returns the domain of the sender, in ASCII.
    #[must_use]
    pub fn sender_domain(&self) -> &str {
        self.options.sender.from.email.domain()
    }

    /// Asks the provider whether it would accept messages of this sender. Sends none.
    ///
    /// # Errors
    /// The transport cannot be built.
    pub async fn check(&self) -> Result<MailCheck, String> {
        match &*self.transport()? {
            Transport::Smtp(client) => Ok(MailCheck::Smtp(client.check().await)),
            #[cfg(feature = "aws")]
            Transport::Ses(client) => Ok(ses::check(client, &self.options.sender.from.email).await),
        }
    }
}

/// Returns the names under which SES may have the sender.
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only SES has identities"))]
fn identities(sender: &Address) -> [String; 2] {
    [sender.domain().to_owned(), sender.to_string()]
}

#[cfg(feature = "aws")]
mod ses {
    use aws_sdk_sesv2::Client;
    use aws_sdk_sesv2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
    use aws_sdk_sesv2::types::DkimStatus;
    use lettre::Address;

    use super::super::ses::SesClient;
    use super::{MailCheck, SesAccount, SesIdentity, identities};

    pub(super) async fn check(client: &SesClient, sender: &Address) -> MailCheck {
        let client = client.client().await;
        MailCheck::Ses { account: account(client).await, identity: identity(client, sender).await }
    }

    async fn account(client: &Client) -> Result<SesAccount, String> {
        let account = client.get_account().send().await.map_err(|error| text("ses:GetAccount", error))?;
        Ok(SesAccount {
            is_sending_enabled: account.sending_enabled,
            is_in_sandbox: !account.production_access_enabled,
        })
    }

    async fn identity(client: &Client, sender: &Address) -> Result<Option<SesIdentity>, String> {
        for name in identities(sender) {
            match client.get_email_identity().email_identity(&name).send().await {
                Ok(found) => {
                    let dkim = found.dkim_attributes().and_then(|dkim| dkim.status());
                    return Ok(Some(SesIdentity {
                        name,
                        is_verified: found.verified_for_sending_status,
                        has_dkim: dkim == Some(&DkimStatus::Success),
                    }));
                }
                Err(error) if error.code() == Some("NotFoundException") => {}
                Err(error) => return Err(text("ses:GetEmailIdentity", error)),
            }
        }
        Ok(None)
    }

    fn text<E>(action: &str, error: SdkError<E>) -> String
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match error.code() {
            // The text of AWS names the role.
            Some("AccessDeniedException" | "AccessDenied") => format!("{action} is not permitted"),
            _ => format!("{action}: {}", DisplayErrorContext(error)),
        }
    }
}
