//! Sending spans by OTLP over HTTP. Owns: batches, and that a collector that is away costs spans, never calls.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use hyper_rustls::HttpsConnectorBuilder;
use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use opentelemetry::InstrumentationScope;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{Ended, Sink};
use crate::metrics::Metrics;

/// Spans that may wait to be sent.
const WAITING_MAX: usize = 8_192;
/// Spans sent at once.
const BATCH_MAX: usize = 512;
/// Longest time that a span waits for others.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// The wall's clock is read again where it was set by more than this; below it times of spans would only tremble.
const CLOCK_STEP: Duration = Duration::from_millis(100);
/// Longest time that a batch takes.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The collector: `http://HOST:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// Which share of programs is traced whose clients do not say, from 0 to 1.
    pub ratio: f64,
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system's certificates cannot be read.
    #[error("the certificates of this system cannot be read: {0}")]
    Certificates(#[from] std::io::Error),
    /// The collector's address is none, or a variable of OpenTelemetry makes no sense.
    #[error("--otlp-endpoint, or a variable OTEL_EXPORTER_OTLP_…: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Starts sending; it ends when the last sink is dropped.
///
/// # Errors
/// When the endpoint is none.
pub fn start(settings: &Settings, clock: Clock, metrics: Metrics) -> Result<Sink, Error> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .build();
    let endpoint = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(HyperClient::new(connector, SEND_LIMIT, None))
        .with_endpoint(endpoint)
        .with_timeout(SEND_LIMIT)
        .build()?;
    let resource = Resource::builder().with_service_name("lps-router");
    exporter.set_resource(&resource.build());
    let (spans, receiver) = mpsc::channel(WAITING_MAX);
    let sending = Sending {
        exporter,
        clock,
        zero: clock.zero_on_the_wall(),
        metrics: metrics.clone(),
        scope: InstrumentationScope::builder("lps").build(),
    };
    task::spawn("traces", sending.run(receiver));
    Ok(Sink {
        spans,
        ratio: settings.ratio,
        metrics,
    })
}

struct Sending {
    exporter: SpanExporter,
    clock: Clock,
    /// When the clock's zero was.
    zero: SystemTime,
    metrics: Metrics,
    scope: InstrumentationScope,
}

impl Sending {
    async fn run(mut self, spans: mpsc::Receiver<Ended>) {
        let batches = ReceiverStream::new(spans).chunks_timeout(BATCH_MAX, BATCH_TIME);
        let mut batches = std::pin::pin!(batches);
        let mut is_away = false;
        while let Some(batch) = StreamExt::next(&mut batches).await {
            let count = batch.len() as u64;
            self.look_at_the_wall();
            let batch = batch.into_iter().map(|span| self.data(span)).collect();
            let sent = self.exporter.export(batch).await;
            let outcome = if sent.is_ok() { "sent" } else { "failed" };
            self.metrics.spans(outcome, count);
            // Said once, when it changes: a collector may be away for long.
            let was_away = std::mem::replace(&mut is_away, sent.is_err());
            match sent {
                Err(error) if !was_away => tracing::warn!(%error, "traces cannot be sent"),
                Ok(()) if was_away => tracing::info!("traces are sent again"),
                _ => {}
            }
        }
    }

    fn look_at_the_wall(&mut self) {
        let zero = self.clock.zero_on_the_wall();
        let moved = match zero.duration_since(self.zero) {
            Ok(forth) => forth,
            Err(back) => back.duration(),
        };
        if moved > CLOCK_STEP {
            self.zero = zero;
        }
    }

    fn wall(&self, at: Micros) -> SystemTime {
        self.zero + Duration::from_micros(at.0)
    }

    fn data(&self, span: Ended) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = span.links;
        SpanData {
            span_context: span.context,
            parent_span_id: span.parent,
            parent_span_is_remote: span.parent_is_remote,
            span_kind: span.kind,
            name: span.name,
            start_time: self.wall(span.start),
            end_time: self.wall(span.end),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}
