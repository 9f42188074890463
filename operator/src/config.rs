//! The operator's options. Owns: their names, environment variables and defaults.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use lps_api::wellknown::port;
use lps_runtime::lease::Claim;
use lps_runtime::telemetry::Format;

use crate::checkpoint::Fetching;

/// How the operator works.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The engines' image, where a resource names none.
    #[arg(long, env = "LPS_ENGINE_IMAGE")]
    pub engine_image: String,
    /// Secret of the type kubernetes.io/tls, with `ca.crt`, in the namespace of each resource: engines show its certificate,
    /// and take calls only of who has one of the same authority; unset: plain HTTP. It is for engines that are made from
    /// then on.
    #[arg(long, env = "LPS_ENGINE_TLS_SECRET", value_name = "NAME")]
    pub engine_tls_secret: Option<String>,
    /// The image whose program is `lps`, which fetches models; unset: the sources huggingFace and image are not
    /// available. For the source image its `lps` must be linked statically: it runs inside the user's image.
    #[arg(long, env = "LPS_TOOLS_IMAGE")]
    pub tools_image: Option<String>,
    /// Folder of every node in which fetched models stay for other pods, of all namespaces; unset: they go with their
    /// pod. Make it so that user 65532 may write to it. Pods with it have a hostPath volume, so their namespaces may not
    /// enforce the restricted or the baseline pod security level.
    #[arg(long, env = "LPS_MODEL_CACHE", value_name = "DIR", value_parser = absolute)]
    pub model_cache: Option<String>,
    /// A mirror of the Hugging Face hub; unset: https://huggingface.co.
    #[arg(long, env = "LPS_HUB_ENDPOINT", value_name = "URL", value_parser = address)]
    pub hub_endpoint: Option<String>,
    /// The one namespace to work in; unset: all.
    #[arg(long, env = "LPS_WATCH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Where clients reach the router; shown in every resource's status.
    #[arg(long, env = "LPS_ROUTER_URL")]
    pub router_url: Option<String>,
    /// The Lease whose holder works while others stand by; unset: work at once.
    #[arg(long, env = "LPS_LEASE", requires_all = ["pod_name", "pod_namespace"])]
    pub lease: Option<String>,
    /// The pod that this process runs in: its name in the Lease and in events.
    #[arg(long, env = "LPS_POD_NAME")]
    pub pod_name: Option<String>,
    /// The namespace of the pod and of the Lease.
    #[arg(long, env = "LPS_POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
    /// Address of the admin endpoint.
    #[arg(long, env = "LPS_ADMIN_HOST", default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
    /// Port of the admin endpoint (metrics, health, log level); 0 takes a free one.
    #[arg(long, env = "LPS_ADMIN_PORT", default_value_t = port::OPERATOR_ADMIN)]
    pub admin_port: u16,
    /// How log lines look: plain or json.
    #[arg(long, env = "LPS_LOG_FORMAT", default_value = "plain")]
    pub log_format: Format,
    /// Which log lines are written: error, warn, info, debug, trace, or a list of module=level.
    #[arg(long, env = "LPS_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Config {
    /// Where the admin endpoint listens.
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.admin_host, self.admin_port)
    }

    /// With what models are fetched.
    pub fn fetching(&self) -> Fetching {
        Fetching {
            tools_image: self.tools_image.clone(),
            model_cache: self.model_cache.clone(),
            hub_endpoint: self.hub_endpoint.clone(),
        }
    }

    /// The Lease to work under; `None`: work without one.
    pub fn claim(&self) -> Option<Claim> {
        Some(Claim {
            namespace: self.pod_namespace.clone()?,
            name: self.lease.clone()?,
            identity: self.pod_name.clone()?,
        })
    }
}

fn absolute(path: &str) -> Result<String, String> {
    let is_absolute = path.starts_with('/') && !path.split('/').any(|part| part == "..");
    if is_absolute {
        Ok(path.to_owned())
    } else {
        Err("it is not absolute; start it with /, without ..".to_owned())
    }
}

fn address(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let is_address = host.is_some_and(|host| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        !host.is_empty() && !host.starts_with('/') && host.bytes().all(plain)
    });
    if is_address {
        Ok(text.to_owned())
    } else {
        Err("it is no address of a hub; write http(s)://HOST[:PORT][/PATH]".to_owned())
    }
}

/// What is to be left alone, and by whom.
#[derive(Debug, Clone, Args)]
pub struct Departure {
    /// The operator's Deployment.
    #[arg(long)]
    pub deployment: String,
    /// The namespace of the Deployment.
    #[arg(long, env = "LPS_POD_NAMESPACE")]
    pub pod_namespace: String,
    /// The one namespace of resources to let go; unset: all.
    #[arg(long, env = "LPS_WATCH_NAMESPACE")]
    pub namespace: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn parse(flags: &str) -> Result<Config, clap::Error> {
        let flags = ["lps-operator", "--engine-image", "i"]
            .into_iter()
            .chain(flags.split_whitespace());
        Cli::try_parse_from(flags).map(|cli| cli.config)
    }

    #[test]
    fn the_cache_is_an_absolute_path() {
        assert!(parse("--model-cache models").is_err());
        assert!(parse("--model-cache /var/../etc").is_err());
        let config = parse("--tools-image t --model-cache /var/models").expect("parses");
        assert_eq!(config.model_cache.as_deref(), Some("/var/models"));
    }

    #[test]
    fn the_hub_is_an_address() {
        for bad in [
            "mirror:8080",
            "ftp://mirror",
            "http://",
            "http:///x",
            "https://mirror?a",
        ] {
            assert!(parse(&format!("--hub-endpoint {bad}")).is_err(), "{bad}");
        }
        let config = parse("--hub-endpoint https://mirror:8443/hub").expect("parses");
        assert_eq!(
            config.hub_endpoint.as_deref(),
            Some("https://mirror:8443/hub")
        );
    }

    #[test]
    fn a_lease_needs_to_know_who_holds_it() {
        assert!(parse("").expect("parses").claim().is_none());
        for lacking in ["", "--pod-name p", "--pod-namespace n"] {
            assert!(parse(&format!("--lease l {lacking}")).is_err(), "{lacking}");
        }
        let claim = parse("--lease l --pod-name p --pod-namespace n")
            .expect("parses")
            .claim()
            .expect("a claim");
        assert_eq!(
            (
                claim.namespace.as_str(),
                claim.name.as_str(),
                claim.identity.as_str()
            ),
            ("n", "l", "p")
        );
    }
}
