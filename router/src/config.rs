//! Configuration. Owns: the router's flags and environment variables, their defaults and their ranges.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lps_api::wellknown::{self, port};
use lps_runtime::tls::Pair;

/// Settings of one router. Where it is embedded, [`Config::default`] is what the flags default to.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Config {
    /// Address to listen on.
    #[arg(long, env = "LPS_ROUTER_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the OpenAI endpoint; 0 takes a free one.
    #[arg(long, env = "LPS_ROUTER_PORT", default_value_t = port::ROUTER)]
    pub port: u16,
    /// Address of the admin endpoint; unset: the same.
    #[arg(long, env = "LPS_ROUTER_ADMIN_HOST")]
    pub admin_host: Option<IpAddr>,
    /// Port of the admin endpoint (metrics, health, log level, the page `/ui`); 0 takes a free one.
    #[arg(long, env = "LPS_ROUTER_ADMIN_PORT", default_value_t = port::ROUTER_ADMIN)]
    pub admin_port: u16,
    /// Certificates for clients that speak TLS, the router's own first, as PEM; read again when they change. Unset: HTTP.
    #[arg(
        long,
        env = "LPS_ROUTER_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The key of the first of these certificates, as PEM.
    #[arg(
        long,
        env = "LPS_ROUTER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// File of API keys, read again when it changes; unset: no key is asked for.
    #[arg(long, env = "LPS_ROUTER_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Ask for a key with the role `metrics` before `/metrics`, too, where there are keys.
    #[arg(long, env = "LPS_ROUTER_METRICS_NEED_KEY", requires = "keys")]
    pub metrics_need_key: bool,
    /// Let tenants share cached prefixes, where there are keys: how fast an answer begins then tells one what others sent.
    #[arg(long, env = "LPS_ROUTER_SHARE_PREFIX_CACHE", requires = "keys")]
    pub share_prefix_cache: bool,
    /// Largest request body in bytes; more is refused with 413.
    #[arg(long, env = "LPS_ROUTER_BODY_LIMIT", default_value_t = 32 << 20,
          value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    pub body_limit_bytes: u32,
    /// Most bytes of request bodies held at once, over all calls; more is refused with 429.
    #[arg(long, env = "LPS_ROUTER_BODIES_LIMIT", default_value_t = 1 << 30,
          value_parser = clap::value_parser!(u32).range(1024..=i64::from(u32::MAX)))]
    pub bodies_limit_bytes: u32,
    /// Most bytes of responses that are kept for clients to go on from; the oldest go first. 0: none is kept.
    #[arg(long, env = "LPS_ROUTER_RESPONSES_LIMIT", default_value_t = 128 << 20)]
    pub responses_limit_bytes: u32,
    /// Most calls that wait for an engine, over all tenants; more is refused with 429.
    #[arg(long, env = "LPS_ROUTER_READY_LIMIT", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub ready_limit: u32,
    /// Most calls of one tenant that wait for an engine; more is refused with 429.
    #[arg(long, env = "LPS_ROUTER_READY_LIMIT_PER_TENANT", default_value_t = 8_192,
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub ready_limit_per_tenant: u32,
    /// Most programs of one tenant that have not ended; a call that would begin another is refused with 429.
    #[arg(long, env = "LPS_ROUTER_LIVE_LIMIT_PER_TENANT", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub live_limit_per_tenant: u32,
    /// Most client connections at once; further ones wait in the listener's backlog.
    #[arg(long, env = "LPS_ROUTER_CONNECTION_LIMIT", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub connection_limit: u32,
    /// How long a client that does not read may block its stream before it is dropped.
    #[arg(long, env = "LPS_ROUTER_STALL_LIMIT", default_value = "60s", value_parser = duration)]
    pub stall_limit: Duration,
    /// How long the client of a streamed answer hears nothing, while its call waits, before it gets a comment; and again.
    #[arg(long, env = "LPS_ROUTER_HEARTBEAT", default_value = "10s", value_parser = duration)]
    pub heartbeat: Duration,
    /// How long a client may take to send a request's header, and how long an idle connection is kept.
    #[arg(long, env = "LPS_ROUTER_HEADER_LIMIT", default_value = "30s", value_parser = duration)]
    pub header_limit: Duration,
    /// After the first SIGTERM: how long calls of live programs are still let in.
    #[arg(long, env = "LPS_ROUTER_DRAIN_GRACE", default_value = "5s", value_parser = duration)]
    pub drain_grace: Duration,
    /// Time between two evaluations of the scaling rule `Queue`; `Programs` looks every second.
    #[arg(long, env = "LPS_ROUTER_SCALE_PERIOD", default_value = "10s", value_parser = duration)]
    pub scale_period: Duration,
    /// Time between two writes of what was learned from finished programs, where there is something new and a folder for it.
    #[arg(long, env = "LPS_ROUTER_KEEP_PERIOD", default_value = "60s", value_parser = duration)]
    pub keep_period: Duration,
    /// File to which each program that ended is appended as a line of JSON, with its calls; made anew where it was moved
    /// away. Unset: none is written.
    #[arg(long, env = "LPS_ROUTER_PROGRAMS_LOG", value_name = "FILE")]
    pub programs_log: Option<PathBuf>,
    /// OpenTelemetry collector that takes traces by OTLP over HTTP, as http://HOST:4318; unset: there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    pub otlp_endpoint: Option<String>,
    /// Share of programs that are traced where their clients do not say, from 0 to 1.
    #[arg(long, env = "LPS_ROUTER_TRACE_RATIO", default_value_t = 1.0, value_parser = share)]
    pub trace_ratio: f64,
}

impl Config {
    /// Where the admin endpoint listens.
    pub fn admin_ip(&self) -> IpAddr {
        self.admin_host.unwrap_or(self.host)
    }

    /// What clients are shown, where they speak TLS.
    pub fn tls(&self) -> Option<Pair> {
        pair(&self.tls_cert, &self.tls_key)
    }
}

fn pair(cert: &Option<PathBuf>, key: &Option<PathBuf>) -> Option<Pair> {
    Some(Pair {
        cert: cert.clone()?,
        key: key.clone()?,
    })
}

/// What a router on its own needs beside: `lps up` has a folder already, and its engines on the same machine.
#[derive(Debug, Clone, Default, Args)]
pub struct Alone {
    /// How engines are spoken to.
    #[command(flatten)]
    pub engine_tls: EngineTls,
    /// Folder of this router alone, in which what finished programs taught is kept over restarts; unset: it is not kept.
    #[arg(long, env = "LPS_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// How engines are known, and what they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EngineTls {
    /// Authorities of the engines' certificates, as PEM; read again when they change. Unset: engines speak plain HTTP.
    #[arg(long, env = "LPS_ROUTER_ENGINE_TLS_CA", value_name = "FILE", requires_all = ["engine_tls_cert", "engine_tls_key"])]
    pub engine_tls_ca: Option<PathBuf>,
    /// Certificates that engines are shown, the router's own first, as PEM; read again when they change.
    #[arg(
        long,
        env = "LPS_ROUTER_ENGINE_TLS_CERT",
        value_name = "FILE",
        requires = "engine_tls_ca"
    )]
    pub engine_tls_cert: Option<PathBuf>,
    /// The key of the first of these certificates, as PEM.
    #[arg(
        long,
        env = "LPS_ROUTER_ENGINE_TLS_KEY",
        value_name = "FILE",
        requires = "engine_tls_ca"
    )]
    pub engine_tls_key: Option<PathBuf>,
    /// The DNS name that every engine's certificate has, whatever its address is.
    #[arg(long, env = "LPS_ROUTER_ENGINE_TLS_NAME", value_name = "NAME", default_value = wellknown::ENGINE_TLS_NAME)]
    pub engine_tls_name: String,
}

impl Default for EngineTls {
    fn default() -> Self {
        Self {
            engine_tls_ca: None,
            engine_tls_cert: None,
            engine_tls_key: None,
            engine_tls_name: wellknown::ENGINE_TLS_NAME.to_owned(),
        }
    }
}

impl EngineTls {
    /// The authorities, and what engines are shown, where they speak TLS.
    pub fn files(&self) -> Option<(PathBuf, Pair)> {
        let own = pair(&self.engine_tls_cert, &self.engine_tls_key)?;
        Some((self.engine_tls_ca.clone()?, own))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: port::ROUTER,
            admin_host: None,
            admin_port: port::ROUTER_ADMIN,
            tls_cert: None,
            tls_key: None,
            keys: None,
            metrics_need_key: false,
            share_prefix_cache: false,
            body_limit_bytes: 32 << 20,
            bodies_limit_bytes: 1 << 30,
            responses_limit_bytes: 128 << 20,
            ready_limit: 16_384,
            ready_limit_per_tenant: 8_192,
            live_limit_per_tenant: 16_384,
            connection_limit: 16_384,
            stall_limit: Duration::from_secs(60),
            heartbeat: Duration::from_secs(10),
            header_limit: Duration::from_secs(30),
            drain_grace: Duration::from_secs(5),
            scale_period: Duration::from_secs(10),
            keep_period: Duration::from_secs(60),
            programs_log: None,
            otlp_endpoint: None,
            trace_ratio: 1.0,
        }
    }
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<hyper::Uri>().ok();
    let is_one = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    is_one
        .then(|| text.to_owned())
        .ok_or("an endpoint is http://HOST:PORT or https://HOST:PORT")
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or("a share is a number from 0 to 1")
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a number with ms, s, m or h (10s, 250ms), at most a week, not {0:?}")]
pub struct DurationError(String);

/// Reads `250ms`, `10s`, `5m`, `1h`; a bare number is seconds.
///
/// # Errors
/// When it is none of these, or longer than a week.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    const WEEK_MS: u64 = 7 * 24 * 3_600_000;
    let refused = || DurationError(text.to_owned());
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    let milliseconds = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit_ms));
    milliseconds
        .filter(|ms| *ms <= WEEK_MS)
        .map(Duration::from_millis)
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_default_is_what_the_flags_default_to() {
        assert_eq!(Cli::parse_from(["router"]).config, Config::default());
    }

    #[test]
    fn durations_have_units_and_a_bound() {
        for (text, expected) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("7", 7_000),
            ("5m", 300_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)));
        }
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "999999999h",
            "99999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
