//! An engine's certificates in its pod. Owns: which Secret they come from, where they are there, and how the engine is told.

use k8s_openapi::api::core::v1::{SecretVolumeSource, Volume, VolumeMount};

/// The pod's volume for them.
const VOLUME: &str = "tls";
/// Where that is in the engine's container. A folder, not a file of it: that would stay as it is when the Secret changes.
const FOLDER: &str = "/etc/lps/tls";

/// What an engine shows to routers, and by what it knows them.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    /// The pod's volumes for it.
    pub(crate) volumes: Vec<Volume>,
    /// Where the engine finds it.
    pub(crate) mount: Option<VolumeMount>,
    /// The engine's flags.
    pub(crate) flags: Vec<String>,
}

impl Certificates {
    /// Those of a Secret of the type kubernetes.io/tls, with `ca.crt`, in the pod's namespace.
    pub(crate) fn of(secret: &str) -> Self {
        let source = SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            ..SecretVolumeSource::default()
        };
        let flag = |name: &str, entry: &str| [name.to_owned(), format!("{FOLDER}/{entry}")];
        Self {
            volumes: vec![Volume {
                name: VOLUME.to_owned(),
                secret: Some(source),
                ..Volume::default()
            }],
            mount: Some(VolumeMount {
                name: VOLUME.to_owned(),
                mount_path: FOLDER.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }),
            flags: [
                flag("--tls-cert", "tls.crt"),
                flag("--tls-key", "tls.key"),
                flag("--tls-client-ca", "ca.crt"),
            ]
            .concat(),
        }
    }
}
