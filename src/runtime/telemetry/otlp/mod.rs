//! Exports spans to a collector by OTLP/HTTP.
//!
//! Guaranteed: no stage waits for the collector, and no failure of the export ends the process. Spans that the collector does not
//! accept in time are dropped and counted.

mod span_data;
mod transport;

use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use metrics::counter;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::config::source::{Followed, Sources};
use crate::config::{Config, TracesConfig, parse_headers};
use crate::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use crate::pipeline::trace::{Span, Tracer};
use span_data::span_data;
use transport::Transport;

const MAX_BATCH: usize = 512;
/// How long a batch waits for more spans.
const LINGER: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For a batch, retries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// For all spans that are left at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The task that exports spans; none if traces are off.
#[derive(Debug, Default)]
pub(crate) struct TraceExport {
    /// Not a task of the lifecycle: its end must not end the process, and it exports the spans of all other tasks.
    task: JoinSet<()>,
    stop: CancellationToken,
}

struct Exporter {
    exporter: SpanExporter,
    scope: InstrumentationScope,
}

impl TraceExport {
    /// Starts the export. If traces are off, so is the tracer.
    pub(crate) fn start(
        config: &Config,
        sources: &Sources,
        clock: &SharedClock,
    ) -> anyhow::Result<(Tracer, Self)> {
        let mut export = Self::default();
        let Some(url) = config.traces.collector() else {
            return Ok((Tracer::default(), export));
        };
        let (tracer, spans) = Tracer::new(config.traces.sample_ratio);
        let client = HttpClient::new(HttpClientOptions {
            timeout: REQUEST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            ..HttpClientOptions::default()
        });
        let client = client.context("cannot create the client of traces.url")?;
        let (traces, sources, clock) = (config.traces.clone(), sources.clone(), SharedClock::clone(clock));
        let (refresh, stop) = (config.source.refresh, export.stop.clone());
        export.task.spawn(async move {
            let Some(headers) = stop.run_until_cancelled(first_headers(&traces, &sources)).await else {
                return;
            };
            let transport = Transport::new(client, headers.watch(), clock);
            match Exporter::new(&traces, &url, transport) {
                Ok(exporter) => tokio::select! {
                    () = exporter.run(spans, &stop) => {}
                    never = headers.run(refresh) => match never {},
                },
                Err(error) => tracing::error!(error = format!("{error:#}"), "no traces are exported"),
            }
        });
        Ok((tracer, export))
    }

    /// Exports the spans that are left, and ends the export.
    pub(crate) async fn flush(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_TIMEOUT, self.task.join_next()).await.is_err() {
            tracing::warn!("spans are lost: the collector did not accept them before the exit");
        }
    }
}

/// Waits until the source of the headers is available.
async fn first_headers(traces: &TracesConfig, sources: &Sources) -> Followed<HeaderMap> {
    let start = || Followed::start(sources, "traces.headers", &traces.headers, parse_headers);
    let backoff = ExponentialBuilder::new().with_max_delay(MAX_RETRY_DELAY).without_max_times();
    let log =
        |error: &anyhow::Error, _| tracing::warn!(error = format!("{error:#}"), "no traces are exported yet");
    loop {
        if let Ok(headers) = start.retry(backoff).notify(log).await {
            return headers;
        }
    }
}

impl Exporter {
    fn new(traces: &TracesConfig, url: &Url, transport: Transport) -> anyhow::Result<Self> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_timeout(EXPORT_TIMEOUT)
            .with_http_client(transport)
            .build()?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(traces.service_name.clone())
            .with_attribute(KeyValue::new("service.version", version))
            .with_attribute(KeyValue::new("service.instance.id", Uuid::now_v7().to_string()));
        exporter.set_resource(&resource.build());
        Ok(Self { exporter, scope: InstrumentationScope::builder("bday").with_version(version).build() })
    }

    /// Exports spans until `stop` is cancelled, and then those that are left.
    async fn run(&self, mut spans: mpsc::Receiver<Span>, stop: &CancellationToken) {
        let mut batch = Vec::new();
        while stop.run_until_cancelled(fill(&mut spans, &mut batch)).await == Some(true) {
            self.export(std::mem::take(&mut batch)).await;
        }
        spans.close();
        while spans.recv_many(&mut batch, MAX_BATCH).await > 0 || !batch.is_empty() {
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&self, batch: Vec<Span>) {
        let all = batch.len() as u64;
        let batch = batch.into_iter().map(|span| span_data(span, &self.scope)).collect();
        let exported = tokio::time::timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await;
        // The transport logs the reason.
        if !matches!(exported, Ok(Ok(()))) {
            counter!("bday_spans_dropped_total", "reason" => "not_exported").increment(all);
        }
    }
}

/// Waits for a span, then [`LINGER`] for more. Returns `false` if there will be none. If it is cancelled, `batch` keeps the spans.
async fn fill(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) -> bool {
    if spans.recv_many(batch, MAX_BATCH).await == 0 {
        return false;
    }
    if batch.len() < MAX_BATCH {
        tokio::time::sleep(LINGER).await;
        while batch.len() < MAX_BATCH
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
    }
    true
}
