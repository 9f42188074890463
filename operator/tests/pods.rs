//! Pods as engines: what is built, and what is read back from what a cluster makes of it.

mod first_pod;

use k8s_openapi::api::core::v1::Pod;
use lps_api::quantity::Micros;
use lps_api::resource::{Condition, EngineStatus, LlmProgramServingStatus, Manifest};
use lps_operator::checkpoint::Fetching;
use lps_operator::observe::{self, Trouble};
use lps_operator::plan::{EngineState, ObservedEngine};
use lps_operator::revision::Revision;
use lps_operator::status::{self, Context, Seen};
use lps_operator::validate::{Validated, validate};
use serde_json::{Value, json};

fn manifest(engine: Value) -> Manifest {
    first_pod::manifest(json!({"pvc": {"claim": "c", "path": "x/y"}}), engine)
}

fn pool() -> Validated {
    validate(&manifest(json!({}))).expect("makes sense")
}

fn pod(engine: Value) -> Pod {
    first_pod::pod(&manifest(engine), Fetching::default()).expect("is built")
}

/// A pod of this pool as the API server would show it.
fn shown(meta: Value, status: Value) -> Pod {
    let mut pod = serde_json::to_value(pod(json!({}))).expect("serialises");
    for (key, value) in meta.as_object().into_iter().flatten() {
        pod["metadata"][key] = value.clone();
    }
    pod["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:10Z");
    pod["status"] = status;
    serde_json::from_value(pod).expect("is a pod")
}

const NOW: Micros = Micros::from_secs(100);

fn state(meta: Value, status: Value) -> EngineState {
    let engine = observe::engine(&shown(meta, status), NOW).expect("is an engine");
    assert_eq!(engine.revision, pool().revision);
    engine.state
}

fn ended(exit_code: i32) -> Value {
    json!({"phase": "Failed", "containerStatuses": [{
        "name": "engine", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": exit_code, "message": "first\nthe last line\n",
                                 "startedAt": "1970-01-01T00:00:20Z", "finishedAt": "1970-01-01T00:00:50Z"}}}]})
}

const STARTING: EngineState = EngineState::Starting {
    placed: true,
    loaded: false,
};

#[test]
fn a_pod_is_given_what_the_resource_says() {
    let pod = pod(json!({
        "device": "cuda", "image": "j", "maxNumSeqs": 4, "resources": {"limits": {"memory": "1Gi"}},
        "pod": {"labels": {"team": "t", "llmprogram.dev/serving": "another"}, "env": [{"name": "A", "value": "b"}]},
    }));
    let labels = pod.metadata.labels.expect("labels");
    assert_eq!(labels["team"], "t");
    assert_eq!(
        labels["llmprogram.dev/serving"], "a",
        "the operator's labels are its own"
    );
    let spec = pod.spec.expect("a specification");
    assert_eq!(spec.termination_grace_period_seconds, Some(90));
    let container = &spec.containers[0];
    assert_eq!(container.image.as_deref(), Some("j"));
    let limits = container
        .resources
        .as_ref()
        .and_then(|it| it.limits.as_ref())
        .expect("limits");
    assert_eq!(
        (
            limits["nvidia.com/gpu"].0.as_str(),
            limits["memory"].0.as_str()
        ),
        ("1", "1Gi")
    );
    assert_eq!(
        container.args.as_ref().expect("flags").join(" "),
        "--model /model/x/y --engine-id a-0 --host 0.0.0.0 --port 8000 --model-name m --device cuda --max-num-seqs 4"
    );
}

/// A status whose fetcher is in this state.
fn fetching(phase: &str, state: Value) -> Value {
    let waiting = json!({"waiting": {"reason": "PodInitializing"}});
    let status = |name: &str, state: Value| json!([{"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
    json!({"phase": phase, "initContainerStatuses": status("model", state),
           "containerStatuses": status("engine", waiting)})
}

#[test]
fn fetching_a_model_is_told_and_does_not_count_as_starting() {
    let observed = |status| observe::engine(&shown(json!({}), status), NOW).expect("an engine");
    let told = |status| observe::trouble(&shown(json!({}), status)).expect("is told");
    let running = fetching(
        "Pending",
        json!({"running": {"startedAt": "1970-01-01T00:00:11Z"}}),
    );
    assert_eq!(observed(running.clone()).created_at, NOW);
    assert_eq!(told(running).reason, "PullingModel");
    let ended = |exit_code: i32| {
        json!({"terminated": {"exitCode": exit_code, "message": "first\nlps: o/m does not exist\n",
               "startedAt": "1970-01-01T00:00:11Z", "finishedAt": "1970-01-01T00:00:40Z"}})
    };
    let came = fetching("Pending", ended(0));
    assert_eq!(observed(came.clone()).created_at, Micros::from_secs(40));
    assert_eq!(observe::trouble(&shown(json!({}), came)), None);
    let failed = fetching("Failed", ended(1));
    let state = EngineState::Failed {
        at: Micros::from_secs(40),
        ready_for: Micros::ZERO,
    };
    assert_eq!(observed(failed.clone()).state, state);
    let message = "fetching its model ended with 1: lps: o/m does not exist".to_owned();
    let reason = "ModelUnavailable";
    assert_eq!(told(failed), Trouble { reason, message });
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    let message = "its model cannot be fetched: no such image".to_owned();
    assert_eq!(
        told(fetching("Pending", waiting)),
        Trouble { reason, message }
    );
}

#[test]
fn what_a_pod_says_is_where_its_engine_stands() {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let unplaced =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]});
    let draining = json!({"annotations": {"llmprogram.dev/draining-since": "40000000"}});
    let deleted = json!({"deletionTimestamp": "1970-01-01T00:01:00Z"});
    let failed = EngineState::Failed {
        at: Micros::from_secs(50),
        ready_for: Micros::from_secs(30),
    };
    let since = Micros::from_secs(40);
    for (meta, status, expected) in [
        (json!({}), json!({}), STARTING),
        (
            json!({}),
            unplaced,
            EngineState::Starting {
                placed: false,
                loaded: false,
            },
        ),
        (json!({}), ready.clone(), EngineState::Ready),
        (
            draining.clone(),
            ready.clone(),
            EngineState::Draining { since },
        ),
        (draining, ended(1), failed),
        (deleted, ready, EngineState::Ending),
        (json!({}), ended(0), failed),
    ] {
        assert_eq!(state(meta, status), expected);
    }
}

#[test]
fn a_drain_is_over_when_the_router_says_so_of_this_drain() {
    let draining = json!({"annotations": {"llmprogram.dev/draining-since": "40900000"}});
    let load = |status: &str, reason: &str, second: u32| {
        let time = format!("1970-01-01T00:00:{second}Z");
        let conditions = json!([{
            "type": "llmprogram.dev/admitted", "status": status, "reason": reason, "lastTransitionTime": time,
        }]);
        let status = json!({"phase": "Running", "conditions": conditions});
        let engine = observe::engine(&shown(draining.clone(), status), NOW).expect("is an engine");
        engine.load.map(|load| load.calls)
    };
    assert_eq!(load("False", "Drained", 40), Some(0));
    assert_eq!(load("False", "Drained", 39), None, "of an earlier drain");
    assert_eq!(load("False", "Draining", 41), None);
    assert_eq!(load("True", "Admitted", 30), None);
}

#[test]
fn trouble_is_told_in_the_words_of_the_cluster() {
    let message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    let condition = json!({"type": "PodScheduled", "status": "False", "message": message});
    let trouble = |status| observe::trouble(&shown(json!({}), status));
    let expected = Trouble {
        reason: "InsufficientGPU",
        message: message.to_owned(),
    };
    assert_eq!(trouble(json!({"conditions": [condition]})), Some(expected));
    let message = "the engine ended with 70: the last line".to_owned();
    assert_eq!(
        trouble(ended(70)),
        Some(Trouble {
            reason: "CrashLoop",
            message
        })
    );
    assert_eq!(trouble(json!({"phase": "Running"})), None);
}

fn seen(state: EngineState, trouble: Option<Trouble>) -> Seen {
    let engine = ObservedEngine {
        state,
        ..observe::engine(&shown(json!({}), json!({})), NOW).expect("is an engine")
    };
    Seen {
        engine,
        node: None,
        trouble,
        is_new: true,
    }
}

fn told(status: &LlmProgramServingStatus) -> Vec<String> {
    let conditions = status.conditions.iter();
    conditions
        .map(|one| {
            format!(
                "{}={} {} @{}",
                one.kind, one.status, one.reason, one.last_transition_time
            )
        })
        .collect()
}

#[test]
fn conditions_change_their_time_only_with_their_status() {
    let pool = pool();
    let tell = |desired, seen: &[Seen], before: &LlmProgramServingStatus, now| {
        let context = Context {
            generation: Some(1),
            before,
            now,
            url: None,
            met: None,
        };
        status::of(&pool, desired, seen, context)
    };
    let starting = seen(STARTING, None);
    let one = tell(
        1,
        std::slice::from_ref(&starting),
        &LlmProgramServingStatus::default(),
        "t1",
    );
    assert_eq!(
        told(&one),
        [
            "Ready=False EnginesStarting @t1",
            "Reconciling=True EnginesStarting @t1",
            "ModelResolved=True Resolved @t1",
            "EnginesAvailable=False EnginesStarting @t1",
            "RolloutComplete=True Complete @t1",
        ]
    );
    let trouble = Trouble {
        reason: "ImagePull",
        message: "no such image".to_owned(),
    };
    let two = tell(1, &[seen(starting.engine.state, Some(trouble))], &one, "t2");
    assert_eq!(
        told(&two),
        [
            "Ready=False ImagePull @t1",
            "Reconciling=True ImagePull @t1",
            "ModelResolved=True Resolved @t1",
            "EnginesAvailable=False ImagePull @t1",
            "RolloutComplete=True Complete @t1",
        ]
    );
    assert_eq!(
        two.conditions[0].message,
        "0 of 1 engines serve; engine a-0: no such image"
    );
    let three = tell(1, &[seen(EngineState::Ready, None)], &two, "t3");
    assert_eq!(
        told(&three),
        [
            "Ready=True EnginesReady @t3",
            "ModelResolved=True Resolved @t1",
            "EnginesAvailable=True EnginesServe @t3",
            "RolloutComplete=True Complete @t1",
        ]
    );
    assert_eq!((three.ready_replicas, three.updated_replicas), (1, 1));
    let none = tell(0, &[], &three, "t4");
    assert!(none.engines.is_empty());
    assert_eq!(
        told(&none)[0..3],
        [
            "Ready=True ScaledToZero @t3",
            "ModelResolved=True Resolved @t1",
            "EnginesAvailable=True ScaledToZero @t3",
        ]
    );
}

#[test]
fn an_engine_that_the_api_server_refuses_is_told_where_no_pod_tells_more() {
    let (pool, none) = (pool(), LlmProgramServingStatus::default());
    let refused = Trouble {
        reason: "PodRefused",
        message: "engine a-0: forbidden".to_owned(),
    };
    let context = Context {
        met: Some(&refused),
        ..context(&none)
    };
    let status = status::of(&pool, 1, &[], context);
    assert_eq!(told(&status)[0], "Ready=False PodRefused @t");
    assert_eq!(told(&status)[3], "EnginesAvailable=False PodRefused @t");
    let message = "0 of 1 engines serve; engine a-0: forbidden";
    assert_eq!(status.conditions[0].message, message);
    let image = Trouble {
        reason: "ImagePull",
        message: String::new(),
    };
    let status = status::of(&pool, 1, &[seen(STARTING, Some(image))], context);
    assert_eq!(told(&status)[0], "Ready=False ImagePull @t");
    let status = status::of(&pool, 1, &[seen(EngineState::Ready, None)], context);
    assert_eq!(told(&status)[0], "Ready=True EnginesReady @t");
}

#[test]
fn why_engines_fail_is_told_on_while_the_next_one_tries() {
    let (pool, none) = (pool(), LlmProgramServingStatus::default());
    let trouble = |reason| Trouble {
        reason,
        message: format!("{reason} told"),
    };
    let reason = |status: &LlmProgramServingStatus| status.conditions[0].reason.clone();
    let pulling = || Some(trouble(observe::PULLING_MODEL));
    let failed = EngineState::Failed {
        at: NOW,
        ready_for: Micros::ZERO,
    };
    let lost = seen(failed, Some(trouble(observe::MODEL_UNAVAILABLE)));
    let met = status::ended(&[seen(STARTING, pulling()), lost]);
    let context_of = |before| Context {
        met: None,
        ..context(before)
    };
    // The pod that failed is gone already, and its successor pulls.
    let mut next = seen(STARTING, pulling());
    let first = Context {
        met: met.as_ref(),
        ..context(&none)
    };
    let told = status::of(&pool, 1, std::slice::from_ref(&next), first);
    assert_eq!(reason(&told), observe::MODEL_UNAVAILABLE);
    next.engine.failures_before = 1;
    let again = status::of(&pool, 1, std::slice::from_ref(&next), context_of(&told));
    assert_eq!(again.conditions[0], told.conditions[0]);
    let resolved = |status: &LlmProgramServingStatus| {
        let mut conditions = status.conditions.iter();
        let one = conditions.find(|one| one.kind == "ModelResolved");
        one.is_some_and(|one| one.status == "True")
    };
    assert!(!resolved(&told) && !resolved(&again));
    // One that has pulled for so long has got further than the one before.
    let old = Seen {
        is_new: false,
        ..next.clone()
    };
    let later = status::of(&pool, 1, &[old], context_of(&told));
    assert_eq!(reason(&later), observe::PULLING_MODEL);
    assert!(resolved(&later));
    // A first try, another version of the resource, and another trouble have nothing to do with it.
    let fresh = seen(STARTING, None);
    let status = status::of(&pool, 1, &[fresh], context_of(&told));
    assert_eq!(reason(&status), "EnginesStarting");
    let changed = Context {
        generation: Some(3),
        ..context_of(&told)
    };
    let status = status::of(&pool, 1, std::slice::from_ref(&next), changed);
    assert_eq!(reason(&status), observe::PULLING_MODEL);
    next.trouble = Some(trouble("ImagePull"));
    let status = status::of(&pool, 1, &[next], context_of(&told));
    assert_eq!(reason(&status), "ImagePull");
}

#[test]
fn what_the_router_writes_is_not_the_operators_to_repeat() {
    let (pool, none) = (pool(), LlmProgramServingStatus::default());
    let own = status::of(&pool, 1, &[seen(EngineState::Ready, None)], context(&none));
    let mut shared = own.clone();
    shared.programs = Some(lps_api::resource::Programs { live: 7 });
    shared.engines[0].load_percent = Some(50);
    shared.engines.push(EngineStatus {
        pod: "gone".to_owned(),
        load_percent: Some(1),
        ..EngineStatus::default()
    });
    shared.conditions.push(Condition {
        kind: "ScalingActive".to_owned(),
        ..shared.conditions[0].clone()
    });
    assert_eq!(status::own(&shared), own);
}

fn context(before: &LlmProgramServingStatus) -> Context<'_> {
    Context {
        generation: Some(2),
        before,
        now: "t",
        url: Some("http://router"),
        met: None,
    }
}

#[test]
fn a_missing_model_and_an_old_engine_are_told_by_their_conditions() {
    let (pool, none) = (pool(), LlmProgramServingStatus::default());
    let missing = Trouble {
        reason: "VolumeMissing",
        message: "no such folder".to_owned(),
    };
    let mut old = seen(EngineState::Ready, None);
    old.engine.revision = Revision(1);
    let starting = STARTING;
    let status = status::of(
        &pool,
        1,
        &[old.clone(), seen(starting, Some(missing))],
        context(&none),
    );
    assert_eq!(
        told(&status),
        [
            "Ready=True EnginesReady @t",
            "Reconciling=True EnginesReady @t",
            "ModelResolved=False VolumeMissing @t",
            "EnginesAvailable=True EnginesServe @t",
            "RolloutComplete=False RollingOut @t",
        ]
    );
    assert_eq!(status.url.as_deref(), Some("http://router"));
    let selector = "app.kubernetes.io/name=lps-engine,llmprogram.dev/serving=a";
    assert_eq!(status.selector.as_deref(), Some(selector));
    let deleting = status::deleting("a", &[old], context(&status));
    assert_eq!(
        told(&deleting),
        ["Ready=False Deleting @t", "Reconciling=True Deleting @t"]
    );
    assert_eq!((deleting.ready_replicas, deleting.engines.len()), (1, 1));
}

#[test]
fn what_cannot_be_carried_out_leaves_what_was_said_of_the_engines() {
    let (pool, none) = (pool(), LlmProgramServingStatus::default());
    let serving = status::of(&pool, 1, &[seen(EngineState::Ready, None)], context(&none));
    let stalled = |reason| told(&status::stalled(reason, String::new(), context(&serving)));
    assert_eq!(
        stalled(status::INVALID_SPEC),
        [
            "Ready=False InvalidSpec @t",
            "Stalled=True InvalidSpec @t",
            "ModelResolved=True Resolved @t",
            "EnginesAvailable=True EnginesServe @t",
            "RolloutComplete=True Complete @t",
        ]
    );
    let not_available = stalled(status::NOT_AVAILABLE);
    assert_eq!(not_available.len(), 5);
    assert_eq!(not_available[2], "ModelResolved=False NotAvailable @t");
}
