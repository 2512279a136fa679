//! Builds the channel sms.

use std::sync::Arc;

use super::built_channel::{BuiltChannel, Follower, Parts};
use super::twilio::{SMS_URL, sms_url, twilio};
use crate::config::twilio::SmsUrl;
use crate::pipeline::channel::Channel;
use crate::pipeline::channel::sms::TwilioSms;
#[cfg(feature = "aws")]
use crate::pipeline::channel::sms::{aws::AwsSms, sns::SnsSms};

pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let sms = &parts.config.channels.sms;
    let (channel, followers): (Arc<dyn Channel>, Vec<Follower>) = match sms_url(parts).await? {
        SmsUrl::Twilio(_) => {
            let (twilio, follower) = twilio(parts, SMS_URL, &sms.url, &sms.from, sms.timeout).await?;
            (Arc::new(TwilioSms::new(twilio)), vec![follower])
        }
        #[cfg(feature = "aws")]
        SmsUrl::Aws => (Arc::new(AwsSms::connect(sms.from.clone(), sms.timeout).await), Vec::new()),
        #[cfg(feature = "aws")]
        SmsUrl::Sns => (Arc::new(SnsSms::connect(sms.from.clone(), sms.timeout).await), Vec::new()),
        #[cfg(not(feature = "aws"))]
        SmsUrl::Aws | SmsUrl::Sns => anyhow::bail!("{SMS_URL} needs the feature aws"),
    };
    Ok(BuiltChannel { channel, followers })
}
