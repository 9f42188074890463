//! What is told as events of a resource: that its number of engines was changed, and that someone else changes it too.
//! Owns: their reasons, on which users and alerts may rely, and their words. One that cannot be written keeps nothing
//! from being done.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::manager;

use super::Wanted;

/// Writes events.
#[derive(Clone)]
pub struct Teller {
    client: Client,
    reporter: Reporter,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

impl Teller {
    /// Tells in the name of the router.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: manager::ROUTER.to_owned(),
            instance: None,
        };
        Self { client, reporter }
    }

    pub(super) async fn tell(&self, resource: &LLMProgramServing, event: &Event) {
        let subject = resource.object_ref(&());
        // One that is used again counts what has the same reason, and keeps the first one's words.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(event, &subject).await {
            tracing::debug!(%error, reason = event.reason, "an event was not taken");
        }
    }
}

/// The number was changed.
pub(super) fn scaled(before: u32, number: u32, wanted: Option<&Wanted>) -> Event {
    let why = wanted.map(|wanted| format!(": {}: {}", wanted.reason.as_str(), wanted.text));
    Event {
        type_: EventType::Normal,
        reason: "Scaled".to_owned(),
        note: Some(format!(
            "engines {before} -> {number}{}",
            why.unwrap_or_default()
        )),
        action: "Scale".to_owned(),
        secondary: None,
    }
}

/// Someone else changes it too; `message` is the condition's.
pub(super) fn conflict(message: String) -> Event {
    Event {
        type_: EventType::Warning,
        reason: "ScalingConflict".to_owned(),
        note: Some(message),
        action: "Scale".to_owned(),
        secondary: None,
    }
}
