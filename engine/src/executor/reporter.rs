//! What event streams are told, and when. Owns: the streams, and what each open call was last reported with. Figures
//! are cumulative, so a report replaces the one before.

use std::collections::BTreeMap;

use lps_api::ids::CallId;
use lps_api::protocol::{CallProgress, EngineEvent};
use lps_api::quantity::Micros;
use lps_engine_core::core::KvEvents;
use lps_engine_core::report::Reported;
use tokio::sync::mpsc;

/// The streams and what they know.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    streams: Vec<mpsc::Sender<EngineEvent>>,
    reported: BTreeMap<CallId, Reported>,
    pending: Vec<CallProgress>,
}

impl Reporter {
    /// Adds a stream and tells it all that is.
    pub(super) fn subscribe(
        &mut self,
        stream: mpsc::Sender<EngineEvent>,
        open: Vec<CallProgress>,
        hashes: &[u64],
    ) {
        let kv = EngineEvent::Kv {
            stored: hexadecimal(hashes),
            evicted: Vec::new(),
        };
        let sent = stream.try_send(EngineEvent::Progress { calls: open });
        if sent.is_ok() && stream.try_send(kv).is_ok() {
            self.streams.push(stream);
        }
    }

    /// Notes a call's figures; they go out with the next [`Reporter::flush`] where they are news.
    pub(super) fn note(&mut self, progress: CallProgress, now: Micros) {
        let next = Reported::new(progress.state, &progress.usage, now);
        let last = self.reported.get(&progress.call);
        if last.is_some_and(|last| !last.is_old_beside(&next)) {
            return;
        }
        if progress.state.is_end() {
            self.reported.remove(&progress.call);
        } else {
            self.reported.insert(progress.call.clone(), next);
        }
        self.pending.push(progress);
    }

    /// Sends what is pending. A stream that is full or closed is let go.
    pub(super) fn flush(&mut self, kv: KvEvents) {
        let mut events = Vec::with_capacity(2);
        if !self.pending.is_empty() {
            events.push(EngineEvent::Progress {
                calls: std::mem::take(&mut self.pending),
            });
        }
        let is_quiet = kv.stored.is_empty() && kv.evicted.is_empty();
        if !is_quiet && !self.streams.is_empty() {
            let (stored, evicted) = (hexadecimal(&kv.stored), hexadecimal(&kv.evicted));
            events.push(EngineEvent::Kv { stored, evicted });
        }
        for event in events {
            self.streams
                .retain(|stream| stream.try_send(event.clone()).is_ok());
        }
    }
}

fn hexadecimal(hashes: &[u64]) -> Vec<String> {
    hashes.iter().map(|hash| format!("{hash:016x}")).collect()
}

#[cfg(test)]
mod tests {
    use lps_api::protocol::{CallState, CallUsage};
    use lps_api::quantity::{Attempt, Tokens};
    use lps_engine_core::report::TOKENS_MAX;

    use super::*;

    fn progress(state: CallState, output_tokens: u32) -> CallProgress {
        CallProgress {
            call: CallId::parse("c").expect("an id"),
            attempt: Attempt(0),
            state,
            usage: CallUsage {
                output_tokens: Tokens(output_tokens),
                ..CallUsage::default()
            },
        }
    }

    #[test]
    fn a_call_is_reported_by_state_tokens_and_time() {
        let mut reporter = Reporter::default();
        let (stream, mut events) = mpsc::channel(64);
        reporter.subscribe(stream, Vec::new(), &[]);
        let mut reports = |state, tokens, at_ms| {
            while events.try_recv().is_ok() {}
            reporter.note(progress(state, tokens), Micros::from_millis(at_ms));
            reporter.flush(KvEvents::default());
            events.try_recv().is_ok()
        };
        for (state, tokens, at_ms, expected) in [
            (CallState::Waiting, 0, 0, true),
            (CallState::Running, 1, 1, true),
            (CallState::Running, 32, 2, false),
            (CallState::Running, 33, 3, true),
            (CallState::Running, 34, 252, false),
            (CallState::Running, 35, 253, true),
            (CallState::Preempted, 35, 254, true),
            (CallState::Finished, 36, 255, true),
        ] {
            assert_eq!(
                reports(state, tokens, at_ms),
                expected,
                "{state:?} {tokens} {at_ms}"
            );
        }
        assert!(reporter.reported.is_empty());
    }

    #[test]
    fn a_stream_that_lags_is_let_go() {
        let mut reporter = Reporter::default();
        let (stream, _events) = mpsc::channel(3);
        reporter.subscribe(stream, Vec::new(), &[]);
        for tokens in 0..4 {
            reporter.note(
                progress(CallState::Running, tokens * TOKENS_MAX),
                Micros::ZERO,
            );
            reporter.flush(KvEvents::default());
        }
        assert!(reporter.streams.is_empty());
    }
}
