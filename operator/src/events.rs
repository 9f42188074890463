//! What is told as events of a resource, for `kubectl describe` and `kubectl events`. Owns: their reasons, which users
//! and alerts may rely on, and their words. An event that cannot be written keeps nothing from being done.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use lps_api::resource::{Condition, LlmProgramServingStatus};
use lps_api::wellknown::manager;

use crate::plan::Action;

/// Bytes of a text that the API server takes at most.
const NOTE_BYTES_MAX: usize = 1024;

/// Reasons of a false `Ready` that nobody has to look at.
const EXPECTED: [&str; 3] = ["EnginesStarting", "Suspended", "Deleting"];

/// Why an engine that serves has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There are more than are wanted.
    FewerWanted,
    /// Another one replaces it.
    OldRevision,
    /// Its resource goes.
    ResourceDeleted,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `Normal` or `Warning`.
    pub kind: EventType,
    /// In one word.
    pub reason: String,
    /// What was done.
    pub action: &'static str,
    /// In a sentence.
    pub text: String,
    /// The engine that it is about.
    pub engine: Option<String>,
}

/// What was done to an engine; `cause` is why one that serves has to go.
pub fn of_action(action: &Action, cause: Cause) -> Note {
    let (id, reason, action, text) = match action {
        Action::Create(spec) => {
            let text = match spec.failures_before {
                0 => format!("engine {} of revision {}", spec.id, spec.revision),
                n => format!(
                    "engine {} of revision {}, after {n} that failed in a row",
                    spec.id, spec.revision
                ),
            };
            (&spec.id, "EngineCreated", "Create", text)
        }
        Action::Drain(id) => {
            let why = match cause {
                Cause::FewerWanted => "fewer engines are wanted",
                Cause::OldRevision => "it is of an old revision",
                Cause::ResourceDeleted => "its resource is deleted",
            };
            let text = format!("engine {id} gets no new calls: {why}");
            (id, "EngineDraining", "Drain", text)
        }
        Action::CancelDrain(id) => {
            let text = format!("engine {id} gets calls again: it is wanted after all");
            (id, "DrainCancelled", "CancelDrain", text)
        }
        Action::Delete(id, why) => {
            let text = format!("engine {id}: {why}");
            (id, "EngineDeleted", "Delete", text)
        }
    };
    Note {
        kind: EventType::Normal,
        reason: reason.to_owned(),
        action,
        text,
        engine: Some(id.to_string()),
    }
}

/// A warning, when `Ready` is false for a reason for which it was not false before.
pub fn of_ready(before: &LlmProgramServingStatus, after: &LlmProgramServingStatus) -> Option<Note> {
    let unready = |status: &'_ LlmProgramServingStatus| -> Option<Condition> {
        let mut conditions = status.conditions.iter();
        let ready = conditions.find(|one| one.kind == "Ready" && one.status == "False");
        ready.cloned()
    };
    let now = unready(after).filter(|now| !EXPECTED.contains(&now.reason.as_str()))?;
    if unready(before).is_some_and(|before| before.reason == now.reason) {
        return None;
    }
    Some(Note {
        kind: EventType::Warning,
        reason: now.reason,
        action: "Reconcile",
        text: now.message,
        engine: None,
    })
}

/// Writes events.
#[derive(Clone)]
pub struct Teller {
    client: Client,
    reporter: Reporter,
    /// Counts what is told again within minutes, instead of telling it anew.
    repeated: Recorder,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

impl Teller {
    /// Tells in the name of this pod.
    pub fn new(client: Client, pod: Option<String>) -> Self {
        let reporter = Reporter {
            controller: manager::OPERATOR.to_owned(),
            instance: pod,
        };
        Self {
            repeated: Recorder::new(client.clone(), reporter.clone()),
            client,
            reporter,
        }
    }

    /// Tells it of the resource.
    pub async fn tell(&self, regarding: &ObjectReference, note: Note) {
        let engine = note.engine.map(|name| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: regarding.namespace.clone(),
            name: Some(name),
            ..ObjectReference::default()
        });
        // What was done to an engine is done once: counted with the next one it would keep the first one's words.
        let recorder = match engine {
            Some(_) => &Recorder::new(self.client.clone(), self.reporter.clone()),
            None => &self.repeated,
        };
        let event = Event {
            type_: note.kind,
            reason: note.reason,
            note: Some(cut(note.text)),
            action: note.action.to_owned(),
            secondary: engine,
        };
        if let Err(error) = recorder.publish(&event, regarding).await {
            tracing::debug!(%error, reason = event.reason, "an event was not taken");
        }
    }
}

fn cut(mut text: String) -> String {
    let end = (0..=NOTE_BYTES_MAX)
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use lps_api::ids::EngineId;

    use super::*;
    use crate::plan::DeleteReason;

    fn status(ready: &str, reason: &str) -> LlmProgramServingStatus {
        LlmProgramServingStatus {
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: ready.to_owned(),
                observed_generation: None,
                last_transition_time: String::new(),
                reason: reason.to_owned(),
                message: "why".to_owned(),
            }],
            ..LlmProgramServingStatus::default()
        }
    }

    #[test]
    fn a_new_reason_is_a_warning_once() {
        let none = LlmProgramServingStatus::default();
        let (starting, ready) = (
            status("False", "EnginesStarting"),
            status("True", "EnginesReady"),
        );
        let (crash, pull) = (status("False", "CrashLoop"), status("False", "ImagePull"));
        for (before, after, warned) in [
            (&none, &starting, None),
            (&none, &crash, Some("CrashLoop")),
            (&starting, &crash, Some("CrashLoop")),
            (&crash, &crash, None),
            (&crash, &pull, Some("ImagePull")),
            (&ready, &crash, Some("CrashLoop")),
            (&crash, &ready, None),
            (&ready, &status("False", "Suspended"), None),
            (&crash, &status("False", "Deleting"), None),
        ] {
            let note = of_ready(before, after);
            let reason = note.as_ref().map(|note| note.reason.as_str());
            assert_eq!(reason, warned, "{before:?} {after:?}");
            assert!(note.is_none_or(|note| note.kind == EventType::Warning && note.text == "why"));
        }
    }

    #[test]
    fn an_action_is_told_with_its_engine_and_why() {
        let id = || EngineId::parse("a-0").expect("parses");
        for (action, reason, text) in [
            (
                Action::Drain(id()),
                "EngineDraining",
                "engine a-0 gets no new calls: it is of an old revision",
            ),
            (
                Action::CancelDrain(id()),
                "DrainCancelled",
                "engine a-0 gets calls again: it is wanted after all",
            ),
            (
                Action::Delete(id(), DeleteReason::StartTimeout),
                "EngineDeleted",
                "engine a-0: it was not ready in startTimeout",
            ),
        ] {
            let note = of_action(&action, Cause::OldRevision);
            assert_eq!((note.reason.as_str(), note.text.as_str()), (reason, text));
            assert_eq!(note.engine.as_deref(), Some("a-0"));
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = cut("é".repeat(1000));
        assert_eq!((text.len(), text.chars().last()), (1024, Some('é')));
        assert_eq!(cut("a".repeat(2000)).len(), 1024);
        assert_eq!(cut("short".to_owned()), "short");
    }
}
