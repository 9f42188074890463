//! How a checkpoint comes into an engine's pod. Owns: its volume, and the containers that fill it before the engine
//! begins. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, HostPathVolumeSource,
    PersistentVolumeClaimVolumeSource, ResourceRequirements, SecretKeySelector, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use lps_api::resource::{HuggingFace, Pvc};

use crate::confinement::confined;
use crate::flags;
use crate::validate::Source;

/// The container that fetches the model.
pub const FETCHER: &str = "model";
/// The container that brings the program which copies the model out of a user's image.
pub const TOOL_BRINGER: &str = "tools";
/// The model's volume.
const VOLUME: &str = "model";
/// The branch that is meant where none is named.
const MAIN: &str = "main";
/// Where the model is in the engine's container.
const FOLDER: &str = "/model";
/// The same in the container that copies it: there `/model` may be the image's own folder.
const COPY_TO: &str = "/lps/model";
const TOOLS_FOLDER: &str = "/lps/tools";
const TOOL: &str = "/lps/tools/lps";

/// What the operator's release has to fetch models with.
#[derive(Debug, Clone, Default)]
pub struct Fetching {
    /// The image whose program is `lps`; without one no model is fetched.
    pub tools_image: Option<String>,
    /// Folder of the nodes where what was fetched stays; without one it goes with its pod.
    pub model_cache: Option<String>,
    /// The hub; unset: Hugging Face's own.
    pub hub_endpoint: Option<String>,
}

/// A checkpoint in a pod.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    /// What the engine calls it.
    pub(crate) name: String,
    /// The pod's volumes for it.
    pub(crate) volumes: Vec<Volume>,
    /// Where the engine finds it.
    pub(crate) mount: Option<VolumeMount>,
    /// The containers that bring it, in their order.
    pub(crate) fetchers: Vec<Container>,
}

/// The checkpoint of a source.
///
/// # Errors
/// When the release cannot bring it; the text says so to a user.
pub(crate) fn checkpoint(source: &Source, fetching: &Fetching) -> Result<Checkpoint, String> {
    Ok(match source {
        Source::Builtin(builtin) => Checkpoint {
            name: flags::builtin(*builtin).to_owned(),
            ..Checkpoint::default()
        },
        Source::HostPath(path) => present(FOLDER.to_owned(), host_path(path, "Directory")),
        Source::Pvc(claim) => present(pvc_folder(claim), pvc(claim)),
        Source::HuggingFace(repository) => {
            let image = tools_image(fetching, "huggingFace")?;
            pulled(repository, fetching, image)
        }
        Source::Image(reference) => copied(reference, tools_image(fetching, "image")?),
    })
}

fn tools_image<'a>(fetching: &'a Fetching, source: &str) -> Result<&'a str, String> {
    fetching.tools_image.as_deref().ok_or_else(|| {
        format!(
            "spec.model.source.{source}: the operator runs without --tools-image (LPS_TOOLS_IMAGE), \
             the image that fetches models; set it, or use pvc or hostPath"
        )
    })
}

/// One that is in its volume already.
fn present(folder: String, volume: Volume) -> Checkpoint {
    Checkpoint {
        name: folder,
        mount: Some(VolumeMount {
            read_only: Some(true),
            ..mount(&volume, FOLDER)
        }),
        volumes: vec![volume],
        fetchers: Vec::new(),
    }
}

/// One that is pulled from the hub, into the pod or into the node's cache.
fn pulled(repository: &HuggingFace, fetching: &Fetching, image: &str) -> Checkpoint {
    let revision = repository.revision.as_deref().unwrap_or(MAIN);
    let (volume, inside) = match &fetching.model_cache {
        None => (empty(VOLUME), None),
        Some(folder) => {
            let flat = |text: &str| text.replace('/', "--");
            let inside = format!("{}/{}", flat(&repository.repo), flat(revision));
            (host_path(folder, "DirectoryOrCreate"), Some(inside))
        }
    };
    let to = match &inside {
        None => FOLDER.to_owned(),
        Some(inside) => format!("{FOLDER}/{inside}"),
    };
    let fetcher = Container {
        args: Some(words(&[
            "model",
            "pull",
            "--revision",
            revision,
            "--to",
            &to,
            "--",
            &repository.repo,
        ])),
        env: Some(pull_environment(repository, fetching)),
        // All of the cache: the folder inside is the fetcher's to make, for what the node makes belongs to root.
        volume_mounts: Some(vec![mount(&volume, FOLDER)]),
        ..fetcher(FETCHER, image)
    };
    Checkpoint {
        fetchers: vec![fetcher],
        mount: Some(VolumeMount {
            // The engine sees its own model only.
            sub_path: inside,
            read_only: Some(true),
            ..mount(&volume, FOLDER)
        }),
        ..present(FOLDER.to_owned(), volume)
    }
}

/// What a user says of an engine's environment stays out: it could name another hub, and fill the cache of all from it.
fn pull_environment(repository: &HuggingFace, fetching: &Fetching) -> Vec<EnvVar> {
    let hub = fetching.hub_endpoint.iter().map(|endpoint| EnvVar {
        name: "HF_ENDPOINT".to_owned(),
        value: Some(endpoint.clone()),
        value_from: None,
    });
    let token = repository.token_secret.iter().map(|secret| EnvVar {
        name: "HF_TOKEN".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    });
    hub.chain(token).collect()
}

/// One that is copied out of a user's image, which need not have a program that copies.
fn copied(reference: &str, image: &str) -> Checkpoint {
    let (model, tools) = (empty(VOLUME), empty(TOOL_BRINGER));
    let bringer = Container {
        args: Some(words(&["model", "tool", "--to", TOOL])),
        volume_mounts: Some(vec![mount(&tools, TOOLS_FOLDER)]),
        ..fetcher(TOOL_BRINGER, image)
    };
    let copier = Container {
        command: Some(words(&[
            TOOL, "model", "copy", "--from", "/", "--to", COPY_TO,
        ])),
        volume_mounts: Some(vec![
            VolumeMount {
                read_only: Some(true),
                ..mount(&tools, TOOLS_FOLDER)
            },
            mount(&model, COPY_TO),
        ]),
        ..fetcher(FETCHER, reference)
    };
    let mut checkpoint = present(FOLDER.to_owned(), model);
    checkpoint.volumes.push(tools);
    checkpoint.fetchers = vec![bringer, copier];
    checkpoint
}

fn fetcher(name: &str, image: &str) -> Container {
    let requests = [("cpu", "100m"), ("memory", "128Mi")]
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from(requests)),
            ..ResourceRequirements::default()
        }),
        security_context: Some(confined()),
        // Its last line says why there is no model.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn mount(volume: &Volume, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn empty(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn host_path(path: &str, kind: &str) -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        host_path: Some(HostPathVolumeSource {
            path: path.to_owned(),
            type_: Some(kind.to_owned()),
        }),
        ..Volume::default()
    }
}

fn pvc_folder(claim: &Pvc) -> String {
    match &claim.path {
        Some(path) => format!("{FOLDER}/{}", path.trim_matches('/')),
        None => FOLDER.to_owned(),
    }
}

fn pvc(claim: &Pvc) -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.claim.clone(),
            read_only: Some(true),
        }),
        ..Volume::default()
    }
}
