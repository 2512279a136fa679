//! `WhatsApp` messages through Twilio.
//!
//! `WhatsApp` requires a content template for a message that the business begins; free text reaches only persons who wrote within the
//! last 24 hours.

use async_trait::async_trait;

use super::twilio::Twilio;
use super::{Channel, Greeting, SendResult};

pub const PREFIX: &str = "whatsapp:";

#[derive(Debug)]
pub struct Whatsapp(Twilio);

impl Whatsapp {
    #[must_use]
    pub fn new(twilio: Twilio) -> Self {
        Self(twilio)
    }
}

#[async_trait]
impl Channel for Whatsapp {
    async fn send(&self, greeting: &Greeting) -> SendResult {
        let message = &greeting.message;
        let Some(content) = &message.content else {
            return self.0.send(greeting, PREFIX, &[("Body", &message.text)]).await;
        };
        // A map of texts always serialises.
        let variables = serde_json::to_string(&content.variables).unwrap_or_default();
        let fields = [("ContentSid", content.sid.as_str()), ("ContentVariables", &variables)];
        let fields = if content.variables.is_empty() { &fields[..1] } else { &fields[..] };
        self.0.send(greeting, PREFIX, fields).await
    }
}
