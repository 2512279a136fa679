//! The settings that every channel has.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Channel;
use crate::model::ChannelName;

/// What to do when a request may have been accepted and no response arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The greeting may arrive twice.
    Retry,
    /// The greeting may not arrive.
    GiveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    pub timeout: Duration,
    /// 0 is no limit.
    pub max_per_second: u32,
    pub on_unknown: OnUnknown,
}

#[derive(Debug, Clone)]
pub struct ConfiguredChannel {
    pub name: ChannelName,
    pub channel: Arc<dyn Channel>,
    pub limits: ChannelLimits,
}
