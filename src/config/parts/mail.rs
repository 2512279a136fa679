//! Builds the channel mail.

use super::built_channel::{BuiltChannel, Parts};

pub(super) async fn channel(_parts: &Parts<'_>) -> anyhow::Result<BuiltChannel> {
    anyhow::bail!("the channel mail is not built")
}
