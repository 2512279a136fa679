//! A channel that was built from the configuration.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::source::Sources;
use crate::pipeline::channel::Channel;
use crate::store::Store;

/// What channels are built from.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub config: &'a Config,
    pub sources: &'a Sources,
    pub store: &'a Store,
    pub clock: &'a SharedClock,
}

/// Follows the value of a key until the process stops.
pub type Follower = (&'static str, Pin<Box<dyn Future<Output = Infallible> + Send>>);

pub(super) struct BuiltChannel {
    pub channel: Arc<dyn Channel>,
    pub followers: Vec<Follower>,
}
