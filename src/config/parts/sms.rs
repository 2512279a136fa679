//! Builds the channel sms.

use std::sync::Arc;

use super::built_channel::{BuiltChannel, Parts};
use super::twilio::{SMS_URL, sms_url, twilio};
use crate::config::twilio::SmsUrl;
use crate::pipeline::channel::Channel;
use crate::pipeline::channel::sms::TwilioSms;
#[cfg(feature = "aws")]
use crate::pipeline::channel::sms::{aws::AwsSms, sns::SnsSms};

pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let sms = &parts.config.channels.sms;
    let channel: Arc<dyn Channel> = match sms_url(parts).await? {
        SmsUrl::Twilio(_) => {
            let (twilio, follower) = twilio(parts, SMS_URL, &sms.url, &sms.from, sms.timeout).await?;
            return Ok(BuiltChannel { channel: Arc::new(TwilioSms::new(twilio)), followers: vec![follower] });
        }
        #[cfg(feature = "aws")]
        SmsUrl::Aws => Arc::new(AwsSms::connect(sms.from.clone(), sms.timeout).await),
        #[cfg(feature = "aws")]
        SmsUrl::Sns => Arc::new(SnsSms::connect(sms.from.clone(), sms.timeout).await),
        #[cfg(not(feature = "aws"))]
        SmsUrl::Aws | SmsUrl::Sns => anyhow::bail!("{SMS_URL} needs the feature aws"),
    };
    Ok(BuiltChannel { channel, followers: Vec::new() })
}
