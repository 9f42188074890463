//! From a pool to the objects of a cluster. Owns: what an engine's pod looks like. Pure: the same input
//! gives the same object, so that applying it again changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, LocalObjectReference,
    Pod, PodReadinessGate, PodResourceClaim, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lps_api::quantity::Micros;
use lps_api::resource::{Device, EngineSettings, PodSettings};
use lps_api::wellknown::{annotation, condition, label, manager, port};

use crate::certificates::Certificates;
use crate::checkpoint::{Checkpoint, Fetching, checkpoint};
use crate::confinement::confined;
use crate::flags::flags;
use crate::plan::EngineSpec;

/// The engine's container.
pub const CONTAINER: &str = "engine";
/// The volume that an engine may write to.
const SCRATCH: &str = "scratch";
/// Where that is.
const SCRATCH_FOLDER: &str = "/tmp";
/// Time between two probes.
const PROBE_PERIOD_S: i32 = 2;
/// How long a pod stays bound to a node that does not answer.
const LOST_NODE_S: i64 = 30;
/// Seconds that an engine gets to end when it hangs.
const HANGING_GRACE_S: i64 = 5;
/// Not root; the images have this user.
const USER: i64 = 65532;

/// What a resource's objects have in common.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The resource's namespace.
    pub namespace: String,
    /// The resource's name.
    pub name: String,
    /// The resource itself: what belongs to it goes with it.
    pub reference: OwnerReference,
}

/// What engines get from the operator's release.
#[derive(Debug, Clone)]
pub struct Release {
    /// The engine's image, where the resource names none.
    pub engine_image: String,
    /// The Secret of each resource's namespace by which engines and routers know each other; `None`: by nothing.
    pub engine_tls_secret: Option<String>,
    /// With what models are fetched.
    pub fetching: Fetching,
}

/// What all pods of one resource are made from.
#[derive(Debug, Clone, Copy)]
pub struct Mould<'a> {
    /// The resource.
    pub owner: &'a Owner,
    /// What the operator's release adds.
    pub release: &'a Release,
    /// What the resource says of its engines.
    pub settings: &'a EngineSettings,
    /// How long an engine may finish what it has.
    pub drain_timeout: Micros,
}

/// Labels that select a resource's engines.
pub fn selector(serving: &str) -> BTreeMap<String, String> {
    let labels = [(label::NAME, "lps-engine"), (label::SERVING, serving)];
    labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The same as Kubernetes writes a selector.
pub fn selector_text(serving: &str) -> String {
    let labels: Vec<String> = selector(serving)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(",")
}

/// The account that a resource's engines run under; it has no rights and no token.
pub fn service_account_name(serving: &str) -> String {
    format!("{serving}-engine")
}

/// A pod for the engine.
///
/// # Errors
/// When this version cannot bring the model to a pod; the text says so to a user.
pub fn pod(mould: Mould<'_>, spec: &EngineSpec) -> Result<Pod, String> {
    let Mould {
        owner, settings, ..
    } = mould;
    let custom = settings.pod.clone().unwrap_or_default();
    let mut checkpoint = checkpoint(&spec.template.source, &mould.release.fetching)?;
    let mut volumes = vec![Volume {
        name: SCRATCH.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }];
    volumes.append(&mut checkpoint.volumes);
    let secret = mould.release.engine_tls_secret.as_deref();
    let mut certificates = secret.map(Certificates::of).unwrap_or_default();
    volumes.append(&mut certificates.volumes);
    let fetchers = std::mem::take(&mut checkpoint.fetchers);
    let mut annotations = custom.annotations.clone();
    annotations.insert(
        annotation::FAILURES_BEFORE.to_owned(),
        spec.failures_before.to_string(),
    );
    if secret.is_some() {
        annotations.insert(annotation::TLS.to_owned(), "true".to_owned());
    }
    let container = container(mould, spec, (&custom, checkpoint, certificates));
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(spec.id.to_string()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels(&custom, owner, spec)),
            annotations: Some(annotations),
            owner_references: Some(vec![owner.reference.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            init_containers: (!fetchers.is_empty()).then_some(fetchers),
            containers: vec![container],
            volumes: Some(volumes),
            // An engine that ends is replaced by a new pod: the operator knows how long to wait, and with what.
            restart_policy: Some("Never".to_owned()),
            // On SIGTERM an engine finishes what it has.
            termination_grace_period_seconds: Some((mould.drain_timeout.0 / 1_000_000) as i64),
            service_account_name: Some(service_account_name(&owner.name)),
            automount_service_account_token: Some(false),
            // Ready is what the router uses.
            readiness_gates: Some(vec![PodReadinessGate {
                condition_type: condition::ADMITTED.to_owned(),
            }]),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            tolerations: Some(tolerations(&custom)),
            ..placement(custom)?
        }),
        status: None,
    })
}

fn labels(custom: &PodSettings, owner: &Owner, spec: &EngineSpec) -> BTreeMap<String, String> {
    let mut labels = custom.labels.clone();
    labels.extend(selector(&owner.name));
    labels.extend(
        [
            (label::INSTANCE, owner.name.clone()),
            (label::MANAGED_BY, manager::OPERATOR.to_owned()),
            (label::REVISION, spec.revision.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    labels
}

fn container(
    mould: Mould<'_>,
    spec: &EngineSpec,
    (custom, checkpoint, certificates): (&PodSettings, Checkpoint, Certificates),
) -> Container {
    let Mould {
        settings, release, ..
    } = mould;
    let image = settings.image.as_ref().unwrap_or(&release.engine_image);
    let mut args = vec!["--model".to_owned(), checkpoint.name];
    args.extend(["--engine-id".to_owned(), spec.id.to_string()]);
    args.extend(["--host".to_owned(), "0.0.0.0".to_owned()]);
    args.extend(["--port".to_owned(), port::ENGINE.to_string()]);
    args.extend(certificates.flags);
    args.extend(flags(&spec.template));
    let scratch = VolumeMount {
        name: SCRATCH.to_owned(),
        mount_path: SCRATCH_FOLDER.to_owned(),
        ..VolumeMount::default()
    };
    let mounts = [Some(scratch), checkpoint.mount, certificates.mount];
    let mounts = mounts.into_iter().flatten();
    let environment = custom.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: Some(variable.value.clone()),
        value_from: None,
    });
    let start_s = spec.template.start_timeout.0 / 1_000_000;
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.clone()),
        args: Some(args),
        ports: Some(vec![
            container_port("http", port::ENGINE),
            container_port("admin", port::ENGINE + 1),
        ]),
        env: Some(environment.collect()),
        resources: Some(resources(settings)),
        volume_mounts: Some(mounts.collect()),
        startup_probe: Some(Probe {
            failure_threshold: Some((start_s as i32 / PROBE_PERIOD_S).max(1)),
            ..probe("/readyz")
        }),
        readiness_probe: Some(probe("/readyz")),
        liveness_probe: Some(Probe {
            failure_threshold: Some(10),
            // One that hangs finishes nothing, however long it is given.
            termination_grace_period_seconds: Some(HANGING_GRACE_S),
            ..probe("/healthz")
        }),
        security_context: Some(confined()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(PROBE_PERIOD_S),
        timeout_seconds: Some(PROBE_PERIOD_S),
        ..Probe::default()
    }
}

fn resources(settings: &EngineSettings) -> ResourceRequirements {
    let quantities = |from: &BTreeMap<String, String>| -> BTreeMap<String, Quantity> {
        from.iter()
            .map(|(name, amount)| (name.clone(), Quantity(amount.clone())))
            .collect()
    };
    let mut limits = quantities(&settings.resources.limits);
    if settings.device == Device::Cuda {
        let gpus = settings.gpus.unwrap_or(1).to_string();
        limits
            .entry("nvidia.com/gpu".to_owned())
            .or_insert(Quantity(gpus));
    }
    ResourceRequirements {
        requests: Some(quantities(&settings.resources.requests)),
        limits: Some(limits),
        claims: None,
    }
}

fn tolerations(custom: &PodSettings) -> Vec<Toleration> {
    let written = custom.tolerations.iter().map(|written| Toleration {
        key: written.key.clone(),
        operator: written.operator.clone(),
        value: written.value.clone(),
        effect: written.effect.clone(),
        toleration_seconds: written.toleration_seconds,
    });
    let lost = ["not-ready", "unreachable"].map(|state| Toleration {
        key: Some(format!("node.kubernetes.io/{state}")),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(LOST_NODE_S),
        value: None,
    });
    written.chain(lost).collect()
}

/// The part of a pod's specification that a user decides alone.
fn placement(custom: PodSettings) -> Result<PodSpec, String> {
    let affinity = custom
        .affinity
        .map(|affinity| serde_json::from_value(affinity.0.into()))
        .transpose()
        .map_err(|error| format!("spec.engine.pod.affinity: {error}"))?;
    let secrets = custom
        .image_pull_secrets
        .into_iter()
        .map(|secret| LocalObjectReference { name: secret.name });
    let claims = custom
        .resource_claims
        .into_iter()
        .map(|claim| PodResourceClaim {
            name: claim.name,
            resource_claim_name: claim.resource_claim_name,
            resource_claim_template_name: claim.resource_claim_template_name,
        });
    Ok(PodSpec {
        node_selector: Some(custom.node_selector),
        affinity,
        priority_class_name: custom.priority_class_name,
        runtime_class_name: custom.runtime_class_name,
        image_pull_secrets: Some(secrets.collect()),
        resource_claims: Some(claims.collect()),
        ..PodSpec::default()
    })
}
