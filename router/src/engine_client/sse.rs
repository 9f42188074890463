//! A streamed answer, event by event. Owns: what of it may go on at once and what is held back: from the event on that
//! closes the answer, says an error or carries the call's figures, everything waits until the figures are folded, `[DONE]`
//! included.
//! Events are never changed; the engine's checkpoints before them are for the router and do not go on.

use bytes::{Bytes, BytesMut};
use lps_api::protocol::{Beginning, CHECKPOINT, CallUsage, Checkpoint, ENGINE_FAILED};
use memchr::memmem;
use serde::Deserialize;

/// Longest single event.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// An event has no end within the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// What the stream has shown so far.
#[derive(Debug, Default)]
pub struct Scan {
    /// The beginning of an event whose end has not come.
    partial: Vec<u8>,
    held: BytesMut,
    beginning: Option<Beginning>,
    usage: Option<CallUsage>,
    closes: bool,
    is_done: bool,
    has_error: bool,
    is_lost: bool,
}

/// What may go on now.
#[derive(Debug, Default)]
pub struct Passed {
    /// Whole events.
    pub forward: Vec<u8>,
    /// The checkpoints of those events.
    pub reached: Vec<Checkpoint>,
}

/// The figures in an answer's JSON, streamed or not.
#[derive(Debug, Deserialize)]
struct Figures {
    lps: Option<CallUsage>,
}

/// The call's figures in a JSON object, where it has them.
pub fn figures(json: &[u8]) -> Option<CallUsage> {
    serde_json::from_slice::<Figures>(json).ok()?.lps
}

impl Scan {
    /// Takes bytes in; gives back what may go on now.
    ///
    /// # Errors
    /// When an event does not end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Passed, TooLong> {
        let mut passed = Passed::default();
        if self.partial.is_empty() {
            // What comes is mostly whole events: they are looked at where they are.
            let rest = self.take_events((bytes, 0), &mut passed);
            self.partial = rest.to_vec();
        } else {
            // Bytes before `searched` are known to hold no end of an event.
            let searched = self.partial.len() - 1;
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let rest = self.take_events((&partial, searched), &mut passed).len();
            partial.drain(..partial.len() - rest);
            self.partial = partial;
        }
        if self.partial.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(passed)
    }

    /// Takes the whole events, of which the first ends at or after `searched`; gives back what is left.
    fn take_events<'a>(
        &mut self,
        (mut bytes, mut searched): (&'a [u8], usize),
        passed: &mut Passed,
    ) -> &'a [u8] {
        while let Some(end) = event_end(bytes, searched) {
            let (event, rest) = bytes.split_at(end);
            let (checkpoint, event) = split_checkpoint(event);
            let told = checkpoint.as_ref().and_then(|told| told.beginning);
            self.beginning = self.beginning.or(told);
            self.closes |= checkpoint
                .as_ref()
                .is_some_and(|checkpoint| checkpoint.closes);
            self.look_at(event);
            if self.is_holding() {
                self.held.extend_from_slice(event);
            } else {
                passed.forward.extend_from_slice(event);
                passed.reached.extend(checkpoint);
            }
            (bytes, searched) = (rest, 0);
        }
        bytes
    }

    fn look_at(&mut self, event: &[u8]) {
        let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            return;
        };
        if data == b"[DONE]" {
            self.is_done = true;
        } else if memmem::find(data, b"\"lps\":").is_some() {
            // Inside a JSON text the quotes would be escaped, so this is a key.
            self.usage = figures(data).or(self.usage);
        }
        if data.starts_with(b"{\"error\"") {
            self.has_error = true;
            self.is_lost |= error_code(data).as_deref() == Some(ENGINE_FAILED);
        }
    }

    fn is_holding(&self) -> bool {
        self.is_done || self.closes || self.has_error || self.usage.is_some()
    }

    /// What the engine says that the answer began with.
    pub const fn beginning(&self) -> Option<Beginning> {
        self.beginning
    }

    /// Whether no event comes after those that came.
    pub const fn is_over(&self) -> bool {
        self.is_done || self.has_error
    }

    /// Whether `[DONE]` came.
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the engine itself ended the stream with an error event.
    pub const fn has_error(&self) -> bool {
        self.has_error
    }

    /// Whether that event says that the engine ends: others may answer instead.
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The call's final figures, where they came.
    pub const fn usage(&self) -> Option<CallUsage> {
        self.usage
    }

    /// What was held back.
    pub fn into_held(self) -> Bytes {
        self.held.freeze()
    }
}

fn error_code(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        error: Coded,
    }
    #[derive(Deserialize)]
    struct Coded {
        code: Option<String>,
    }
    serde_json::from_slice::<Envelope>(json).ok()?.error.code
}

/// The checkpoint before an event, and the event.
fn split_checkpoint(event: &[u8]) -> (Option<Checkpoint>, &[u8]) {
    let split = event
        .strip_prefix(CHECKPOINT.as_bytes())
        .and_then(|rest| Some(rest.split_at(memchr::memchr(b'\n', rest)? + 1)));
    match split {
        None => (None, event),
        Some((json, rest)) => (serde_json::from_slice(json).ok(), rest),
    }
}

/// The end of the first event at or after `from`: past its empty line.
pub fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut lines = memchr::memchr_iter(b'\n', &bytes[from..]);
    let at = lines.find(|at| bytes.get(from + at + 1) == Some(&b'\n'))?;
    Some(from + at + 2)
}

#[cfg(test)]
mod tests {
    use lps_api::quantity::{Micros, Tokens};
    use proptest::prelude::*;

    use super::*;
    use crate::engine_client::given::Given;

    const STREAM: &str = concat!(
        ": lps {\"beginning\":{\"created\":7,\"seed\":9},\"tokens\":[1,2]}\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        ": comment\n\n",
        ": lps {\"tokens\":[3]}\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"lps\\\": {}\"}}]}\n\n",
    );
    const CLOSING: &str = concat!(
        ": lps {\"tokens\":[4],\"closes\":true}\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"last\"}}]}\n\n",
    );
    const END: &str = concat!(
        "data: {\"choices\":[],\"lps\":{\"prompt_tokens\":5,\"cached_tokens\":1,\"output_tokens\":2,",
        "\"executor_us\":900}}\n\n",
        "data: [DONE]\n\n",
    );

    fn without_checkpoints(stream: &str) -> String {
        let lines = stream.split_inclusive('\n');
        lines.filter(|line| !line.starts_with(CHECKPOINT)).collect()
    }

    proptest! {
        #[test]
        fn wherever_the_stream_is_cut_the_same_is_held_and_nothing_is_changed(
            cuts in proptest::collection::vec(0..(STREAM.len() + CLOSING.len() + END.len()), 0..12),
        ) {
            let whole = format!("{STREAM}{CLOSING}{END}");
            let mut cuts = cuts;
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let mut scan = Scan::default();
            let (mut forwarded, mut given) = (Vec::new(), Given::default());
            for pair in cuts.windows(2) {
                let passed = scan.push(&whole.as_bytes()[pair[0]..pair[1]]).unwrap();
                forwarded.extend_from_slice(&passed.forward);
                passed.reached.iter().for_each(|checkpoint| given.add(checkpoint));
                // What went on and what is told of it are never apart.
                let tokens = given.clone().into_resume().map_or(0, |resume| resume.tokens.len());
                let events = without_checkpoints(STREAM)[..forwarded.len()].matches("choices").count();
                prop_assert_eq!(tokens, [0, 2, 3][events]);
            }
            prop_assert!(scan.is_done() && !scan.has_error());
            let usage = CallUsage {
                prompt_tokens: Tokens(5),
                cached_tokens: Tokens(1),
                output_tokens: Tokens(2),
                executor_us: Micros(900),
            };
            prop_assert_eq!(scan.usage(), Some(usage));
            let (stream, held) = (without_checkpoints(STREAM), without_checkpoints(CLOSING) + END);
            prop_assert_eq!(&forwarded[..], stream.as_bytes());
            prop_assert_eq!(&scan.into_held()[..], held.as_bytes());
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut scan = Scan::default();
        let block = vec![b'x'; 1 << 20];
        let refused = (0..32).any(|_| scan.push(&block).is_err());
        assert!(refused);
    }

    #[test]
    fn an_error_event_of_the_engine_is_seen() {
        let mut scan = Scan::default();
        let error = b"data: {\"error\":{\"message\":\"out of memory\"}}\n\n";
        assert!(scan.push(error).unwrap().forward.is_empty());
        assert!(scan.has_error() && scan.is_over() && !scan.is_lost());
        assert_eq!(&scan.into_held()[..], error);
        let mut scan = Scan::default();
        let lost = b"data: {\"error\":{\"message\":\"it ends\",\"code\":\"engine_failed\"}}\n\n";
        assert!(scan.push(lost).unwrap().forward.is_empty() && scan.is_lost());
    }
}
