//! Builds the channel sms.

use super::built_channel::{BuiltChannel, Parts};

pub(super) async fn channel(_parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    anyhow::bail!("the channel sms is not built")
}
