//! SMS: by AWS End User Messaging, by Amazon SNS, or by Twilio.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod sns;

use async_trait::async_trait;

use super::twilio::Twilio;
use super::{Channel, Greeting, SendResult};

/// SMS through Twilio.
#[derive(Debug)]
pub struct TwilioSms(Twilio);

impl TwilioSms {
    #[must_use]
    pub fn new(twilio: Twilio) -> Self {
        Self(twilio)
    }
}

#[async_trait]
impl Channel for TwilioSms {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        self.0.send(greeting, "", &[("Body", &greeting.message.text)]).await
    }
}
