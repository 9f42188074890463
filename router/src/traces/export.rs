//! Sending spans by OTLP over HTTP. Owns: what they are sent as, and that a collector that is away costs spans, never calls.

use std::time::{Duration, SystemTime};

use hyper_rustls::HttpsConnectorBuilder;
use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use opentelemetry::InstrumentationScope;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use super::{Ended, Sink};
use crate::batches::{self, Batches, Taking};
use crate::metrics::Metrics;

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

/// Starts sending.
///
/// # Errors
/// When the endpoint is none.
pub(crate) fn start(
    settings: &Settings,
    clock: Clock,
    metrics: Metrics,
) -> Result<(Sink, Taking), Error> {
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
    let sending = Sending {
        exporter,
        clock,
        zero: clock.zero_on_the_wall(),
        metrics: metrics.clone(),
        scope: InstrumentationScope::builder("lps").build(),
    };
    let (spans, taking) = batches::start("traces", |batches| sending.run(batches));
    let sink = Sink {
        spans,
        ratio: settings.ratio,
        metrics,
    };
    Ok((sink, taking))
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
    async fn run(mut self, mut batches: Batches<Ended>) {
        let mut is_away = false;
        while let Some(batch) = batches.next().await {
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
