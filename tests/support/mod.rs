//! What tests and benchmarks stand on: the world around the daemon, real but private, and able to misbehave.

pub(crate) mod api;
pub(crate) mod browser;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod inbox;
pub(crate) mod pgbouncer;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod relay;
pub(crate) mod sqs;
pub(crate) mod tls;
pub(crate) mod wait;
pub(crate) mod world;
