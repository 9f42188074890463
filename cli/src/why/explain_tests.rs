//! Tables of facts and what is explained from them.

use serde_json::{Value, json};

use super::explain::explain;
use super::lines;
use super::reasons::{REASONS, find};

const NOW: &str = "2026-01-01T01:00:00Z";

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("{reason} told"),
           "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:57:00Z"})
}

/// A pod whose container is in this state, with these conditions.
fn pod(state: Value, conditions: Value) -> Value {
    json!({
        "metadata": {"name": "demo-0", "creationTimestamp": "2026-01-01T00:59:30Z",
                     "labels": {"llmprogram.dev/revision": "00ab"}},
        "spec": {"nodeName": "node1"},
        "status": {"conditions": conditions, "containerStatuses": [{"name": "engine", "state": state}]},
    })
}

fn facts(conditions: Value, pods: Value) -> Value {
    let up = json!([{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]);
    json!({
        "now": NOW, "namespace": "team", "name": "demo",
        "resource": {
            "metadata": {"generation": 2},
            "spec": {"model": {"name": "m"}},
            "status": {"conditions": conditions, "readyReplicas": 0, "scaling": {"desired": 1},
                       "engines": [{"pod": "demo-0", "state": "Failed"}]},
        },
        "pods": pods, "routers": up, "operators": up, "events": [], "logs": {}, "unread": [],
    })
}

fn words(facts: &Value) -> Vec<String> {
    explain(facts)
        .fixes
        .into_iter()
        .map(|fix| fix.reason)
        .collect()
}

#[test]
fn every_reason_of_a_resource_that_is_not_ready_has_a_fix() {
    for reason in [
        "InvalidSpec",
        "NotAvailable",
        "ModelUnavailable",
        "PullingModel",
        "PodRefused",
        "VolumeMissing",
        "ImagePull",
        "ContainerError",
        "InsufficientGPU",
        "Unschedulable",
        "CrashLoop",
        "EnginesStarting",
        "Suspended",
        "Deleting",
    ] {
        let pods = json!([pod(json!({}), json!([]))]);
        let facts = facts(json!([condition("Ready", "False", reason)]), pods);
        let explained = explain(&facts);
        assert!(!explained.ready, "{reason}");
        assert_eq!(
            explained.summary,
            format!("team/demo is not Ready ({reason}, for 3 min): {reason} told")
        );
        assert_eq!(words(&facts), [reason]);
        let fix = &explained.fixes[0].fix;
        let is_filled = !fix.contains("{name") && !fix.is_empty();
        assert!(is_filled, "{reason}: {fix}");
    }
}

#[test]
fn what_else_is_wrong_is_found() {
    let starting = || condition("Ready", "False", "EnginesStarting");
    let up = |conditions: Value| pod(json!({"running": {}}), conditions);
    let containers_ready = json!({"type": "ContainersReady", "status": "True"});
    let refused =
        json!({"type": "llmprogram.dev/admitted", "status": "False", "reason": "NotAnswering"});
    let mut no_router = facts(json!([starting()]), json!([up(json!([containers_ready]))]));
    no_router["routers"] = json!([]);
    let mut no_operator = facts(json!([]), json!([]));
    no_operator["operators"] = json!([{"status": {}}]);
    let mut unknown_processes = facts(json!([starting()]), json!([up(json!([]))]));
    unknown_processes["routers"] = Value::Null;
    let mut outdated = facts(
        json!([condition("Ready", "True", "EnginesReady")]),
        json!([]),
    );
    outdated["resource"]["metadata"]["generation"] = json!(3);
    for (name, facts, expected) in [
        ("no router", no_router, &["NoRouter"][..]),
        ("no operator", no_operator, &["NotObserved", "NoOperator"]),
        (
            "who may not look knows nothing",
            unknown_processes,
            &["EnginesStarting"],
        ),
        ("an older generation", outdated, &["Outdated"]),
        (
            "an engine that does not answer",
            facts(
                json!([starting()]),
                json!([up(json!([containers_ready, refused]))]),
            ),
            &["NotAnswering"],
        ),
        (
            "no pod",
            facts(json!([starting()]), json!([])),
            &["NoEngines"],
        ),
        (
            "a model that another one serves",
            facts(
                json!([starting(), condition("ScalingActive", "False", "NotServed")]),
                json!([up(json!([]))]),
            ),
            &["NotServed"],
        ),
        (
            "one reason twice",
            facts(
                json!([
                    condition("Ready", "False", "InvalidSpec"),
                    condition("Stalled", "True", "InvalidSpec")
                ]),
                json!([]),
            ),
            &["InvalidSpec"],
        ),
    ] {
        assert!(!explain(&facts).ready, "{name}");
        assert_eq!(words(&facts), expected, "{name}");
    }
}

#[test]
fn a_ready_resource_is_told_in_short() {
    let conditions = json!([
        condition("Ready", "True", "EnginesReady"),
        condition("EnginesAvailable", "True", "EnginesServe"),
    ]);
    let mut facts = facts(conditions, json!([pod(json!({"running": {}}), json!([]))]));
    let status = &mut facts["resource"]["status"];
    status["readyReplicas"] = json!(1);
    status["url"] = json!("http://r:8080/v1");
    status["programs"] = json!({"live": 3});
    status["engines"] = json!([{"pod": "demo-0", "state": "Ready", "loadPercent": 40}]);
    let explained = explain(&facts);
    assert!(explained.ready);
    assert_eq!(
        lines(&explained),
        [
            "team/demo is Ready (EnginesReady, for 3 min): EnginesReady told",
            "  model m at http://r:8080/v1: 1 engines serve, 1 are wanted, 0 drain",
            "  3 programs are live; slots in use: demo-0 40 %",
        ]
    );
}

#[test]
fn what_is_ready_may_still_have_something_to_say() {
    let conflict = facts(
        json!([
            condition("Ready", "True", "EnginesReady"),
            condition("ScalingConflict", "True", "OtherWriter"),
        ]),
        json!([]),
    );
    assert!(explain(&conflict).ready);
    assert_eq!(words(&conflict), ["OtherWriter"]);
    let asleep = facts(
        json!([condition("Ready", "True", "ScaledToZero")]),
        json!([]),
    );
    assert!(explain(&asleep).ready);
    assert_eq!(words(&asleep), ["ScaledToZero"]);
}

#[test]
fn an_engine_is_told_with_its_last_words() {
    let ended = json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "Error: no \u{1b}[31mflag\nusage\n"}});
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    let scheduled = json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]);
    let ready = json!({"type": "ContainersReady", "status": "True"});
    let admitted = json!({"type": "llmprogram.dev/admitted", "status": "True"});
    for (pod, container, router, words) in [
        (
            pod(ended, json!([])),
            "ended with 2 (Error)",
            "waits until the engine answers",
            Some("Error: no \u{fffd}[31mflag"),
        ),
        (
            pod(waiting, json!([])),
            "waits: ImagePullBackOff: no such image",
            "waits until the engine answers",
            Some("from the log"),
        ),
        (
            pod(json!({}), scheduled),
            "has no node: 0/1 nodes",
            "waits until the engine answers",
            Some("from the log"),
        ),
        (
            pod(json!({"running": {}}), json!([ready])),
            "runs and answers its probe",
            "has not admitted it",
            Some("from the log"),
        ),
        (
            pod(json!({"running": {}}), json!([ready, admitted])),
            "runs and answers its probe",
            "sends calls here",
            Some("from the log"),
        ),
    ] {
        let mut facts = facts(
            json!([condition("Ready", "False", "CrashLoop")]),
            json!([pod]),
        );
        facts["logs"] = json!({"demo-0": "from the log"});
        let engine = explain(&facts).engines.remove(0);
        assert_eq!(
            engine.state,
            "Failed, on node node1, revision 00ab, 30 s old"
        );
        assert_eq!(
            (engine.container.as_str(), engine.router.as_str()),
            (container, router)
        );
        assert_eq!(engine.last_words.as_deref(), words);
    }
}

#[test]
fn what_brings_the_model_is_told_before_the_engine_begins() {
    let brought =
        json!({"name": "tools", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let model = |state: Value| json!({"name": "model", "state": state});
    for (before, container, words) in [
        (
            json!([
                brought,
                model(json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}))
            ]),
            "not begun; model: waits: ErrImagePull: no such image",
            None,
        ),
        (
            json!([model(json!({"running": {}}))]),
            "not begun; model: runs and is not ready yet",
            None,
        ),
        (
            json!([model(
                json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "lps: o/m does not exist\n"}})
            )]),
            "not begun; model: ended with 1 (Error)",
            Some("lps: o/m does not exist"),
        ),
        (json!([brought]), "waits: PodInitializing", None),
    ] {
        let mut pod = pod(json!({"waiting": {"reason": "PodInitializing"}}), json!([]));
        pod["status"]["initContainerStatuses"] = before;
        let facts = facts(
            json!([condition("Ready", "False", "ModelUnavailable")]),
            json!([pod]),
        );
        let engine = explain(&facts).engines.remove(0);
        assert_eq!(
            (engine.container.as_str(), engine.last_words.as_deref()),
            (container, words)
        );
    }
}

#[test]
fn conditions_of_one_reason_stand_in_one_line() {
    let conditions = json!([
        condition("Ready", "False", "CrashLoop"),
        condition("Reconciling", "True", "CrashLoop"),
        condition("ModelResolved", "True", "Resolved"),
    ]);
    assert_eq!(
        explain(&facts(conditions, json!([]))).conditions,
        [
            "Ready is False, Reconciling is True (CrashLoop, for 3 min)",
            "ModelResolved is True (Resolved, for 3 min): Resolved told",
        ]
    );
}

#[test]
fn recent_warnings_are_told_newest_first() {
    let event = |time: &str, message: &str| {
        json!({"involvedObject": {"kind": "Pod", "name": "demo-0"}, "reason": "Failed", "message": message,
               "lastTimestamp": time})
    };
    let mut facts = facts(json!([]), json!([]));
    facts["events"] = json!([
        event("2026-01-01T00:10:00Z", "older"),
        event("2026-01-01T00:09:00Z", "older"),
        event("2025-12-31T00:00:00Z", "too old"),
        event("2026-01-01T00:59:00Z", "newer\nof two lines"),
    ]);
    assert_eq!(
        explain(&facts).warnings,
        [
            "60 s ago, pod/demo-0: Failed: newer of two lines",
            "50 min ago, pod/demo-0: Failed: older",
        ]
    );
}

#[test]
fn reasons_are_known_once_and_unknown_ones_do_no_harm() {
    for (index, known) in REASONS.iter().enumerate() {
        let again = REASONS[..index]
            .iter()
            .any(|earlier| earlier.reason == known.reason);
        assert!(!again, "{}", known.reason);
    }
    assert_eq!(find("Sunspots"), None);
    let facts = facts(json!([condition("Ready", "False", "Sunspots")]), json!([]));
    assert_eq!(explain(&facts).fixes[0].fix, "its message says more");
}
