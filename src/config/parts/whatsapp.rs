//! Builds the channel whatsapp.

use std::sync::Arc;

use super::built_channel::{BuiltChannel, Parts};
use super::twilio::{WHATSAPP_URL, twilio};
use crate::pipeline::channel::whatsapp::Whatsapp;

pub(super) async fn channel(parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    let whatsapp = &parts.config.channels.whatsapp;
    let (twilio, follower) =
        twilio(parts, WHATSAPP_URL, &whatsapp.url, &whatsapp.from, whatsapp.timeout).await?;
    Ok(BuiltChannel { channel: Arc::new(Whatsapp::new(twilio)), followers: vec![follower] })
}
