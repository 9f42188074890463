//! Logs. Owns: their format and level, both changeable by configuration and the level while the process runs.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(Error::Format(text.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Json => "json",
        })
    }
}

/// Why logs cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown format.
    #[error("log format is plain or json, not {0:?}")]
    Format(String),
    /// The level does not parse.
    #[error(
        "log level {level:?} is not error, warn, info, debug, trace or a list of module=level: {source}"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs were set up before.
    #[error("logs are already set up: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The subscriber is gone.
    #[error("the log level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Changes the level of the running process.
#[derive(Debug, Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Handle {
    /// Sets the level, in the syntax of [`init`].
    ///
    /// # Errors
    /// When the level does not parse.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        Ok(self.filter.reload(parse(level)?)?)
    }

    /// The level in force.
    pub fn level(&self) -> String {
        self.filter
            .with_current(ToString::to_string)
            .unwrap_or_default()
    }
}

/// Libraries that log what their callers tell better; a level of one's own for them comes after this and counts.
const QUIET: &str = "kube_client=off,kube_runtime=off,kube_lease_manager=off";

fn parse(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|source| Error::Level {
            level: level.to_owned(),
            source,
        })
}

/// Sets up logs on standard error. `level` is `info` or a list such as `info,lps_router=debug`.
///
/// # Errors
/// When the level does not parse, or logs were set up before.
pub fn init(format: Format, level: &str) -> Result<Handle, Error> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Plain => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_target(false).with_ansi(ansi).boxed()
        }
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(Handle { filter: handle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_or_level_is_named() {
        let format = "xml".parse::<Format>().expect_err("unknown");
        assert_eq!(
            format.to_string(),
            "log format is plain or json, not \"xml\""
        );
        assert!(parse("info,lps_router=loud").is_err());
        assert!(parse("info,lps_router=debug").is_ok());
    }
}
