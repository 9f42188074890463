//! What a resource has in a cluster beside its engines. Owns: what these objects look like, and when one in the cluster
//! is as it should be. Pure: the same owner gives the same objects.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lps_api::wellknown::{label, port};
use serde_json::Value;

use crate::build::{Owner, selector, service_account_name};

/// The `app.kubernetes.io/name` of routers.
const ROUTER: &str = "lps-router";
/// The `app.kubernetes.io/name` of those that read metrics.
const PROMETHEUS: &str = "prometheus";

fn engines_name(serving: &str) -> String {
    format!("{serving}-engines")
}

fn metadata(owner: &Owner, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(owner.namespace.clone()),
        labels: Some(selector(&owner.name)),
        owner_references: Some(vec![owner.reference.clone()]),
        ..ObjectMeta::default()
    }
}

/// A Service without an address of its own, by which people and monitors find the engines; the router finds pods.
pub fn service(owner: &Owner) -> Service {
    let ports =
        [("http", port::ENGINE), ("admin", port::ENGINE + 1)].map(|(name, port)| ServicePort {
            name: Some(name.to_owned()),
            port: i32::from(port),
            target_port: Some(IntOrString::String(name.to_owned())),
            ..ServicePort::default()
        });
    Service {
        metadata: metadata(owner, engines_name(&owner.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(selector(&owner.name)),
            ports: Some(ports.into()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The engines' account.
pub fn service_account(owner: &Owner) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(owner, service_account_name(&owner.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Evictions take one engine at a time: the programs of two at once might not fit into the others.
pub fn disruption_budget(owner: &Owner) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(owner, engines_name(&owner.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labelled(selector(&owner.name))),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Engines obey whoever reaches them, so only routers do; Prometheus reads their metrics besides.
pub fn network_policy(owner: &Owner) -> NetworkPolicy {
    let rule = |port: u16, from: &[&str]| NetworkPolicyIngressRule {
        from: Some(from.iter().map(|name| peer(name)).collect()),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(i32::from(port))),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    };
    NetworkPolicy {
        metadata: metadata(owner, engines_name(&owner.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labelled(selector(&owner.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(port::ENGINE, &[ROUTER]),
                rule(port::ENGINE + 1, &[ROUTER, PROMETHEUS]),
            ]),
            egress: None,
        }),
    }
}

/// Pods of this name in any namespace.
fn peer(name: &str) -> NetworkPolicyPeer {
    let labels = [(label::NAME.to_owned(), name.to_owned())];
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(labelled(labels.into())),
        ip_block: None,
    }
}

fn labelled(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// Lists of which others may have elements too: the API server merges these by a key and not as a whole.
const SHARED_LISTS: [&str; 2] = [".metadata.ownerReferences", ".spec.ports"];

/// Whether the object has every field that is wanted with that value. What it has besides is the API server's or
/// somebody else's.
pub fn is_as_wanted(live: &Value, wanted: &Value) -> bool {
    covers("", live, wanted)
}

fn covers(path: &str, live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        // An empty selector selects all: one that is not empty says something else.
        (Value::Object(live), Value::Object(wanted)) if wanted.is_empty() => live.is_empty(),
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            live.get(key)
                .is_some_and(|live| covers(&format!("{path}.{key}"), live, wanted))
        }),
        (Value::Array(live), Value::Array(wanted)) if SHARED_LISTS.contains(&path) => wanted
            .iter()
            .all(|wanted| live.iter().any(|live| covers(path, live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            let path = format!("{path}[]");
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| covers(&path, live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner {
            namespace: "n".to_owned(),
            name: "a".to_owned(),
            reference: OwnerReference {
                uid: "u".to_owned(),
                ..OwnerReference::default()
            },
        }
    }

    fn value(object: &impl Serialize) -> Value {
        serde_json::to_value(object).expect("serialises")
    }

    #[test]
    fn every_object_goes_with_its_resource_and_is_found_by_its_label() {
        let owner = owner();
        for (object, name) in [
            (value(&service(&owner)), "a-engines"),
            (value(&service_account(&owner)), "a-engine"),
            (value(&disruption_budget(&owner)), "a-engines"),
            (value(&network_policy(&owner)), "a-engines"),
        ] {
            let metadata = &object["metadata"];
            assert_eq!(metadata["name"], name);
            assert_eq!(metadata["ownerReferences"][0]["uid"], "u");
            assert_eq!(metadata["labels"], value(&selector("a")));
            assert!(is_as_wanted(&object, &object));
        }
    }

    #[test]
    fn only_routers_reach_engines_and_prometheus_their_metrics() {
        let policy = value(&network_policy(&owner()));
        let who = |rule: usize| {
            let from = policy["spec"]["ingress"][rule]["from"].as_array();
            let names = from.into_iter().flatten().map(|peer| {
                assert_eq!(peer["namespaceSelector"], json!({}));
                peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"].clone()
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(who(0), ["lps-router"]);
        assert_eq!(who(1), ["lps-router", "prometheus"]);
        assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], 8000);
    }

    /// Changes the value at a JSON pointer.
    fn with(object: &Value, pointer: &str, to: Value) -> Value {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let mut object = object.clone();
        object.pointer_mut(parent).expect("it is there")[key] = to;
        object
    }

    #[test]
    fn what_others_add_is_theirs_and_what_they_change_is_put_back() {
        let policy = value(&network_policy(&owner()));
        let service = value(&service(&owner()));
        let other = json!({"name": "debug", "port": 1});
        let mut ports = service["spec"]["ports"].as_array().cloned().expect("ports");
        ports.insert(0, other);
        for (wanted, pointer, to, is_as) in [
            (&service, "/spec/clusterIP", json!("10.0.0.1"), false),
            (&service, "/spec/sessionAffinity", json!("None"), true),
            (&service, "/spec/ports", json!(ports), true),
            (&service, "/spec/ports", json!([]), false),
            (&service, "/metadata/labels", json!({}), false),
            (&service, "/metadata/resourceVersion", json!("7"), true),
            (&policy, "/spec/policyTypes", json!(["Egress"]), false),
            (&policy, "/spec/ingress", json!([{}]), false),
            (
                &policy,
                "/spec/podSelector/matchLabels",
                json!({"x": "y"}),
                false,
            ),
        ] {
            let live = with(wanted, pointer, to);
            assert_eq!(is_as_wanted(&live, wanted), is_as, "{pointer}: {live}");
        }
        let mut wider = policy.clone();
        wider["spec"]["ingress"][0]["from"]
            .as_array_mut()
            .expect("peers")
            .push(json!({"podSelector": {}}));
        assert!(!is_as_wanted(&wider, &policy), "one more may not come in");
        let mut narrower = policy.clone();
        narrower["spec"]["ingress"][0]["from"][0]["namespaceSelector"] =
            json!({"matchLabels": {"a": "b"}});
        assert!(!is_as_wanted(&narrower, &policy));
    }
}
