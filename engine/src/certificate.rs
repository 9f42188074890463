//! Gauges of the certificate that routers are shown. Owns: their names.

use prometheus::{IntGauge, Registry};

/// Name, what it says. They are there where the engine speaks TLS.
pub const METRICS: [(&str, &str); 2] = [
    (
        "lps_engine_certificate_valid",
        "Whether the certificates in use are those of the files: 1, or 0 while these make no sense and those of before are used",
    ),
    (
        "lps_engine_certificate_expires_timestamp_seconds",
        "When the certificate that routers are shown expires, in seconds since 1970",
    ),
];

/// The gauges.
#[derive(Debug)]
pub struct Certificate {
    valid: IntGauge,
    expires: IntGauge,
}

impl Certificate {
    /// Registers the gauges.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let [valid, expires] = METRICS.map(|(name, help)| IntGauge::new(name, help));
        let (valid, expires) = (valid?, expires?);
        registry.register(Box::new(valid.clone()))?;
        registry.register(Box::new(expires.clone()))?;
        Ok(Self { valid, expires })
    }

    /// When the certificate in use expires, in seconds since 1970; `None`: the one of before stays in use.
    pub fn told(&self, expires_unix_s: Option<u64>) {
        self.valid.set(i64::from(expires_unix_s.is_some()));
        if let Some(at) = expires_unix_s {
            self.expires.set(i64::try_from(at).unwrap_or(i64::MAX));
        }
    }
}
