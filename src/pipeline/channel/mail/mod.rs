//! Mail by SMTP or Amazon SES.
//!
//! Not guaranteed: that a repeat is harmless. No provider drops repeats; by SMTP, they have the same Message-ID, by which a mailbox may.

mod check;
mod codes;
mod compose;
#[cfg(feature = "aws")]
mod ses;
mod ses_codes;
mod smtp;
mod unsubscribe;
mod url;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::Address;
use lettre::address::Envelope;
#[cfg(feature = "tls")]
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use tokio::sync::watch;

use super::{Channel, Disposition, Greeting, SendResult};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, ContactStatus, Reason};
use smtp::SmtpClient;

pub use check::{MailCheck, SesAccount, SesIdentity};
pub use codes::{Phase, SMTP_ROWS, SmtpRow};
pub use compose::MailSender;
#[cfg(feature = "aws")]
pub use ses::EVENT_TAG;
pub use ses_codes::{SES_ROWS, SesRow};
pub use unsubscribe::{UNSUBSCRIBE_PATH, UnsubscribeLinks};
pub use url::{Encryption, MailUrl, MailUrlError, SmtpServer};

#[derive(Debug)]
pub struct MailOptions {
    pub sender: MailSender,
    /// Certificates (PEM) of authorities that are trusted in addition to those of the system.
    pub root_certificates: Option<Vec<u8>>,
    /// Empty: none.
    pub configuration_set: String,
    /// The deadline of an attempt.
    pub timeout: Duration,
    /// None: from the usual AWS variables.
    #[cfg(feature = "aws")]
    pub ses: Option<aws_sdk_sesv2::Client>,
}

#[derive(Debug)]
enum Transport {
    Smtp(SmtpClient),
    #[cfg(feature = "aws")]
    Ses(ses::SesClient),
}

/// Sends mail to a URL that may change while the process runs.
#[derive(Debug)]
pub struct Mail {
    options: MailOptions,
    url: watch::Receiver<MailUrl>,
    clock: SharedClock,
    current: Mutex<Option<(MailUrl, Arc<Transport>)>>,
}

impl Mail {
    /// # Errors
    /// The root certificates are invalid, or the binary lacks a feature.
    pub fn new(
        options: MailOptions,
        url: watch::Receiver<MailUrl>,
        clock: SharedClock,
    ) -> Result<Self, String> {
        let mail = Self { options, url, clock, current: Mutex::default() };
        mail.transport()?;
        Ok(mail)
    }

    /// Returns the transport for the current URL. Attempts in progress keep the previous one.
    fn transport(&self) -> Result<Arc<Transport>, String> {
        let url = self.url.borrow().clone();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, transport)) = &*current
            && *of == url
        {
            return Ok(Arc::clone(transport));
        }
        let transport = Arc::new(self.build(&url)?);
        *current = Some((url, Arc::clone(&transport)));
        Ok(transport)
    }

    fn build(&self, url: &MailUrl) -> Result<Transport, String> {
        let options = &self.options;
        match url {
            MailUrl::Smtp(server) => Ok(Transport::Smtp(SmtpClient::new(
                server.clone(),
                options.sender.from.email.domain(),
                #[cfg(feature = "tls")]
                tls_parameters(server, options.root_certificates.as_deref())?,
                options.timeout,
                Arc::clone(&self.clock),
            ))),
            #[cfg(feature = "aws")]
            MailUrl::Ses => {
                let set = options.configuration_set.clone();
                Ok(Transport::Ses(ses::SesClient::new(options.ses.clone(), set, options.timeout)))
            }
            #[cfg(not(feature = "aws"))]
            MailUrl::Ses => Err(MailUrlError::NoAws.to_string()),
        }
    }

    async fn send_by_smtp(&self, client: &SmtpClient, to: Address, greeting: &Greeting) -> SendResult {
        let sender = &self.options.sender;
        let message = compose::compose(sender, &to, greeting, self.clock.now());
        let envelope = Envelope::new(Some(sender.from.email.clone()), vec![to]);
        match (message, envelope) {
            (Ok(message), Ok(envelope)) => client.send(&envelope, &message.formatted()).await,
            (Err(error), _) => rejected(format!("the message cannot be built: {error}")),
            (_, Err(error)) => rejected(format!("the message cannot be built: {error}")),
        }
    }
}

#[async_trait]
impl Channel for Mail {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let Some(recipient) = &greeting.recipient else {
            return rejected("the greeting has no address".to_owned());
        };
        let Ok(to) = recipient.address.parse::<Address>() else {
            let (outcome, disposition) =
                (AttemptOutcome::Failed, Disposition::Unreachable(ContactStatus::Bounced));
            let text = "the contact's address is not a mail address".to_owned();
            return SendResult::failed(outcome, disposition, Reason::Bounced, text);
        };
        let transport = match self.transport() {
            Ok(transport) => transport,
            Err(error) => {
                let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Defer(None));
                return SendResult::failed(outcome, disposition, Reason::ChannelDown, error);
            }
        };
        match &*transport {
            Transport::Smtp(client) => self.send_by_smtp(client, to, greeting).await,
            #[cfg(feature = "aws")]
            Transport::Ses(client) => client.send(&self.options.sender, &recipient.address, greeting).await,
        }
    }
}

fn rejected(error: String) -> SendResult {
    SendResult::failed(AttemptOutcome::Failed, Disposition::Dead, Reason::Rejected, error)
}

#[cfg(feature = "tls")]
fn tls_parameters(server: &SmtpServer, roots: Option<&[u8]>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(server.host.clone());
    match roots {
        Some(pem) => {
            let roots = Certificate::from_pem(pem).map_err(|error| error.to_string())?;
            builder = builder.add_root_certificate(roots);
        }
        // A mail server on this machine has often a certificate that it issued itself, and traffic to it does not leave the machine.
        None if server.encryption == Encryption::Opportunistic => {
            builder = builder.dangerous_accept_invalid_certs(true).dangerous_accept_invalid_hostnames(true);
        }
        None => {}
    }
    builder.build().map_err(|error| error.to_string())
}
