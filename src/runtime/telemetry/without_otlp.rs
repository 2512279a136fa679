//! Without the feature `otlp`, there are no traces: a configuration with `traces.url` is rejected.

use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::source::Sources;
use crate::pipeline::trace::Tracer;

#[derive(Debug)]
pub(crate) struct TraceExport;

impl TraceExport {
    #[expect(clippy::unnecessary_wraps, reason = "the signature with the feature")]
    pub(crate) fn start(_: &Config, _: &Sources, _: &SharedClock) -> anyhow::Result<(Tracer, Self)> {
        Ok((Tracer::default(), Self))
    }

    #[expect(clippy::unused_async, reason = "the signature with the feature")]
    pub(crate) async fn flush(self) {}
}
