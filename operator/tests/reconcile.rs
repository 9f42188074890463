//! One round against a home that is only a list: what is planned is done, and one failure does not stop the rest.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;
use lps_operator::home::EngineHome;
use lps_operator::plan::{DeleteReason, EngineLoad, EngineSpec, EngineState, ObservedEngine};
use lps_operator::reconcile::reconcile;
use lps_operator::validate::{Validated, validate};

#[derive(Debug, Default)]
struct ListHome {
    engines: Vec<ObservedEngine>,
    /// Names that cannot be created.
    refused: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
#[error("no room for {0}")]
struct NoRoom(EngineId);

impl ListHome {
    fn set(&mut self, id: &EngineId, state: EngineState) {
        let engine = self.engines.iter_mut().find(|engine| engine.id == *id);
        engine.expect("it is there").state = state;
    }
}

impl EngineHome for ListHome {
    type Error = NoRoom;

    async fn list(&mut self) -> Result<Vec<ObservedEngine>, NoRoom> {
        Ok(self.engines.clone())
    }

    async fn create(&mut self, spec: EngineSpec) -> Result<(), NoRoom> {
        if self.refused.contains(&spec.id.as_str()) {
            return Err(NoRoom(spec.id));
        }
        self.engines.push(ObservedEngine {
            id: spec.id,
            revision: spec.revision,
            failures_before: spec.failures_before,
            created_at: Micros::ZERO,
            state: EngineState::Ready,
            load: Some(EngineLoad::default()),
        });
        Ok(())
    }

    async fn drain(&mut self, id: &EngineId, drain: bool) -> Result<(), NoRoom> {
        let state = if drain {
            EngineState::Draining {
                since: Micros::ZERO,
            }
        } else {
            EngineState::Ready
        };
        self.set(id, state);
        Ok(())
    }

    async fn delete(&mut self, id: &EngineId, _: DeleteReason) -> Result<(), NoRoom> {
        self.engines.retain(|engine| engine.id != *id);
        Ok(())
    }
}

/// A list never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a list never waits"),
    }
}

fn pool() -> Validated {
    let resource = r#"{"apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": "p"},
        "spec": {"model": {"name": "m", "source": {"builtin": "sim"}}, "scaling": {"max": 8}}}"#;
    validate(&serde_json::from_str(resource).expect("parses")).expect("makes sense")
}

fn names(home: &ListHome) -> Vec<&str> {
    home.engines
        .iter()
        .map(|engine| engine.id.as_str())
        .collect()
}

#[test]
fn rounds_lead_to_what_is_wanted_and_then_do_nothing() {
    let (pool, mut home) = (pool(), ListHome::default());
    let mut round = |desired| {
        let actions = now(reconcile(&pool, desired, &mut home, Micros::ZERO)).expect("done");
        (actions.len(), names(&home).join(" "))
    };
    assert_eq!(round(3), (3, "p-0 p-1 p-2".to_owned()));
    assert_eq!(round(3), (0, "p-0 p-1 p-2".to_owned()));
    assert_eq!(round(2), (1, "p-0 p-1 p-2".to_owned()));
    assert_eq!(round(2), (1, "p-1 p-2".to_owned()));
    assert_eq!(round(2), (0, "p-1 p-2".to_owned()));
}

#[test]
fn a_failed_action_is_told_and_the_others_are_done() {
    let mut home = ListHome {
        refused: vec!["p-0"],
        ..ListHome::default()
    };
    let error = now(reconcile(&pool(), 2, &mut home, Micros::ZERO)).expect_err("one is refused");
    assert_eq!(error.to_string(), "no room for p-0");
    assert_eq!(names(&home), ["p-1"]);
}
