//! What tests and benchmarks stand on: the world around the daemon, real but private, and able to misbehave.

pub(crate) mod browser;
pub(crate) mod inbox;
pub(crate) mod wait;
