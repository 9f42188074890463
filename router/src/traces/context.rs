//! W3C Trace Context: `VERSION-TRACE-SPAN-FLAGS`. Owns: reading and writing it, and what is sampled.

use opentelemetry::trace::{SpanId, TraceId};

/// What a client's `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Its trace.
    pub(super) trace: TraceId,
    /// The span in which it asks.
    pub(super) span: SpanId,
    /// Whether the trace is recorded.
    pub(super) is_sampled: bool,
}

impl Said {
    /// Reads a header; what is none is passed over, as the standard wants.
    pub fn read(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let has_form = [(version, 2), (trace, 32), (span, 16), (flags, 2)]
            .iter()
            .all(|(text, len)| text.len() == *len && text.bytes().all(is_lower_hex));
        // Later versions may have more parts, this one has not.
        if !has_form || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let said = Self {
            trace: TraceId::from_hex(trace).ok()?,
            span: SpanId::from_hex(span).ok()?,
            is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (said.trace != TraceId::INVALID && said.span != SpanId::INVALID).then_some(said)
    }
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// As a header.
pub(super) fn written(trace: TraceId, span: SpanId, is_sampled: bool) -> String {
    format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(is_sampled))
}

/// Whether a trace is among those of the ratio, by a hash of it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of all hashes: its last bits do not matter, and the conversion saturates"
)]
pub(super) fn is_sampled(hash: u64, ratio: f64) -> bool {
    ratio >= 1.0 || hash < (ratio * u64::MAX as f64) as u64
}
