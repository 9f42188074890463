//! From a cluster's objects to pools and engines. Owns: which resource serves a model, and which calls a pod is to get.
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::resource::LLMProgramServing;
use lps_api::scheduling::Settings;
use lps_api::wellknown::{annotation, label, port};

use super::{EngineEndpoint, Pool, Scaling};
use crate::message::Intake;

/// Names a resource: its namespace and its name.
pub type ResourceName = (String, String);

/// What is served, and by what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// One pool for each model.
    pub pools: Vec<Pool>,
    /// The engines of these pools.
    pub engines: Vec<EngineEndpoint>,
    /// Which resource a model's pool is.
    pub serving: BTreeMap<ModelName, ResourceName>,
    /// Resources that serve nothing, each with the reason.
    pub refused: BTreeMap<ResourceName, String>,
}

/// The name of an engine's pod among all namespaces.
pub fn engine_id(pod: &Pod) -> Option<EngineId> {
    let namespace = pod.metadata.namespace.as_deref()?;
    EngineId::parse(&format!("{namespace}/{}", pod.metadata.name.as_deref()?)).ok()
}

/// Reads all of it. Of several resources with the same model the oldest serves it.
pub fn read(resources: &[Arc<LLMProgramServing>], pods: &[Arc<Pod>]) -> Found {
    let mut found = Found::default();
    let mut by_age: Vec<&Arc<LLMProgramServing>> = resources.iter().collect();
    by_age.sort_by_key(|it| (it.metadata.creation_timestamp.clone(), name(it)));
    let is_deleted = |it: &LLMProgramServing| it.metadata.deletion_timestamp.is_some();
    for resource in by_age.iter().filter(|it| !is_deleted(it)) {
        match pool(resource, &found.serving) {
            Ok(pool) => {
                found.serving.insert(pool.model.clone(), name(resource));
                found.pools.push(pool);
            }
            Err(why) => drop(found.refused.insert(name(resource), why)),
        }
    }
    found.pools.sort_by(|a, b| a.model.cmp(&b.model));
    for resource in by_age {
        let Ok(model) = ModelName::parse(&resource.spec.model.name) else {
            continue;
        };
        if found.refused.contains_key(&name(resource)) {
            continue;
        }
        let (namespace, serving) = name(resource);
        let own = pods.iter().filter(|pod| {
            pod.namespace().as_ref() == Some(&namespace)
                && pod.labels().get(label::SERVING) == Some(&serving)
        });
        let engines = own.filter_map(|pod| engine(pod, &model));
        found.engines.extend(engines.map(|engine| EngineEndpoint {
            // What a deleted resource's engines have they finish, and nothing comes after it.
            intake: if is_deleted(resource) {
                Intake::Nothing
            } else {
                engine.intake
            },
            ..engine
        }));
    }
    found.engines.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

fn name(resource: &LLMProgramServing) -> ResourceName {
    (
        resource.namespace().unwrap_or_default(),
        resource.name_any(),
    )
}

fn pool(
    resource: &LLMProgramServing,
    taken: &BTreeMap<ModelName, ResourceName>,
) -> Result<Pool, String> {
    let spec = &resource.spec;
    let model =
        ModelName::parse(&spec.model.name).map_err(|error| format!("spec.model.name: {error}"))?;
    if let Some((namespace, name)) = taken.get(&model) {
        return Err(format!(
            "model {model} is served by the older resource {namespace}/{name}; give this one another name"
        ));
    }
    let settings = Settings::from_spec(&spec.scheduling)
        .map_err(|error| format!("spec.scheduling: {error}"))?;
    let scaling = &spec.scaling;
    Ok(Pool {
        model,
        aliases: Vec::new(),
        settings,
        // No engine comes while it is suspended: its calls are refused at once.
        cold_start_hold: if spec.suspend {
            Micros(0)
        } else {
            scaling.cold_start_hold.micros()
        },
        scaling: if spec.suspend {
            Scaling::fixed(0)
        } else {
            Scaling {
                rule: scaling.rule,
                target: scaling.target_calls_per_engine,
                min: scaling.min,
                max: scaling.max.unwrap_or(scaling.min.max(1)),
                idle_after: scaling.idle_after.micros(),
                scale_down_delay: scaling.scale_down_delay.micros(),
                dry_run: scaling.dry_run,
            }
        },
    })
}

/// The engine of a pod that has an address and has not ended.
fn engine(pod: &Pod, model: &ModelName) -> Option<EngineEndpoint> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let address: std::net::IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let url = std::net::SocketAddr::new(address, port::ENGINE);
    let speaks_tls = pod.annotations().contains_key(annotation::TLS);
    let scheme = if speaks_tls { "https" } else { "http" };
    let revision = pod.labels().get(label::REVISION);
    Some(EngineEndpoint {
        id: engine_id(pod)?,
        uid: pod.uid()?,
        model: model.clone(),
        revision: revision
            .and_then(|text| Revision::parse(text))
            .unwrap_or_default(),
        url: format!("{scheme}://{url}").parse().ok()?,
        intake: intake(pod),
    })
}

fn intake(pod: &Pod) -> Intake {
    if pod.metadata.deletion_timestamp.is_some() {
        // It finishes what it has and takes nothing new.
        Intake::Nothing
    } else if pod.annotations().contains_key(annotation::DRAINING_SINCE) {
        Intake::Pinned
    } else {
        Intake::All
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(name: &str, model: &str, age: &str) -> Arc<LLMProgramServing> {
        let json = json!({
            "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing",
            "metadata": {"name": name, "namespace": "n", "creationTimestamp": age},
            "spec": {"model": {"name": model, "source": {"builtin": "sim"}}, "scaling": {"min": 2}},
        });
        Arc::new(serde_json::from_value(json).unwrap())
    }

    fn pod(name: &str, more: &Value) -> Arc<Pod> {
        let mut json = json!({
            "metadata": {
                "name": name, "namespace": "n", "uid": format!("uid-{name}"),
                "labels": {label::SERVING: "a", label::REVISION: "00000000000000ff"},
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        });
        for part in ["metadata", "status"] {
            for (key, value) in more[part].as_object().into_iter().flatten() {
                json[part][key] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_oldest_resource_serves_its_model() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let found = read(
            &[
                resource("b", "m", new),
                resource("a", "m", old),
                resource("c", "bad name", old),
            ],
            &[],
        );
        assert_eq!(found.pools.len(), 1);
        let model = ModelName::parse("m").unwrap();
        assert_eq!(found.serving[&model], ("n".to_owned(), "a".to_owned()));
        let why = |name: &str| &found.refused[&("n".to_owned(), name.to_owned())];
        assert!(why("b").contains("older resource n/a"), "{}", why("b"));
        assert!(why("c").contains("spec.model.name"), "{}", why("c"));
        assert_eq!(
            (found.pools[0].scaling.min, found.pools[0].scaling.max),
            (2, 2)
        );
    }

    #[test]
    fn calls_of_a_suspended_resource_are_not_held() {
        let mut suspended = (*resource("a", "m", "2026-01-01T00:00:00Z")).clone();
        suspended.spec.suspend = true;
        let found = read(&[Arc::new(suspended)], &[]);
        let pool = &found.pools[0];
        assert_eq!((pool.cold_start_hold, pool.scaling.max), (Micros(0), 0));
    }

    #[test]
    fn a_deleted_resource_is_served_no_more_and_its_engines_finish() {
        let mut deleted = (*resource("a", "m", "2026-01-01T00:00:00Z")).clone();
        let now = deleted.metadata.creation_timestamp.clone();
        deleted.metadata.deletion_timestamp = now;
        let younger = resource("b", "m", "2026-01-02T00:00:00Z");
        let found = read(&[Arc::new(deleted), younger], &[pod("a-0", &json!({}))]);
        let model = ModelName::parse("m").unwrap();
        assert_eq!(found.serving[&model], ("n".to_owned(), "b".to_owned()));
        assert_eq!(found.engines[0].intake, Intake::Nothing);
    }

    #[test]
    fn a_pod_gets_the_calls_that_its_state_allows() {
        let resources = [resource("a", "m", "2026-01-01T00:00:00Z")];
        let seen = |more: &Value| {
            let found = read(&resources, &[pod("a-0", more)]);
            found.engines.first().map(|engine| engine.intake)
        };
        let annotated = json!({"metadata": {"annotations": {annotation::DRAINING_SINCE: "1"}}});
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        for (more, expected) in [
            (json!({}), Some(Intake::All)),
            (annotated, Some(Intake::Pinned)),
            (deleted, Some(Intake::Nothing)),
            (json!({"status": {"podIP": null}}), None),
            (json!({"status": {"phase": "Failed"}}), None),
            (
                json!({"metadata": {"labels": {label::SERVING: "other"}}}),
                None,
            ),
            (json!({"metadata": {"namespace": "other"}}), None),
        ] {
            assert_eq!(seen(&more), expected, "{more}");
        }
        let found = read(&resources, &[pod("a-0", &json!({}))]);
        let engine = &found.engines[0];
        assert_eq!(engine.id.as_str(), "n/a-0");
        assert_eq!(
            (engine.url.to_string(), engine.revision),
            ("http://10.0.0.1:8000".to_owned(), Revision(0xff))
        );
    }
}
