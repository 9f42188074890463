//! The operator's options. Owns: their names, environment variables and defaults.

use clap::Args;
use lps_runtime::telemetry::Format;

/// How the operator works.
#[derive(Debug, Args)]
pub struct Config {
    /// The engines' image, where a resource names none.
    #[arg(long, env = "LPS_ENGINE_IMAGE")]
    pub engine_image: String,
    /// The one namespace to work in; unset: all.
    #[arg(long, env = "LPS_WATCH_NAMESPACE")]
    pub namespace: Option<String>,
    /// How log lines look: plain or json.
    #[arg(long, env = "LPS_LOG_FORMAT", default_value = "plain")]
    pub log_format: Format,
    /// Which log lines are written: error, warn, info, debug, trace, or a list of module=level.
    #[arg(long, env = "LPS_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}
