//! A streamed answer, event by event. Owns: what of it may go on at once and what is held back: from the event that
//! carries the call's figures on, everything waits until the figures are folded, `[DONE]` included. Bytes are never
//! changed.

use bytes::{Bytes, BytesMut};
use lps_api::protocol::CallUsage;
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
    partial: BytesMut,
    held: BytesMut,
    usage: Option<CallUsage>,
    is_done: bool,
    has_error: bool,
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
    /// Takes bytes in; gives back those that may go on now.
    ///
    /// # Errors
    /// When an event does not end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, TooLong> {
        // Bytes before `searched` are known to hold no end of an event.
        let mut searched = self.partial.len().saturating_sub(1);
        self.partial.extend_from_slice(bytes);
        let mut forward_end = 0;
        let mut event_start = 0;
        while let Some(end) = event_end(&self.partial, searched) {
            self.look_at(event_start, end);
            if !self.is_holding() {
                forward_end = end;
            }
            (event_start, searched) = (end, end);
        }
        if self.partial.len() - event_start > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        let forward = self.partial.split_to(forward_end).freeze();
        let hold = self.partial.split_to(event_start - forward_end);
        self.held.extend_from_slice(&hold);
        Ok(forward)
    }

    fn look_at(&mut self, start: usize, end: usize) {
        let event = &self.partial[start..end];
        let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            return;
        };
        if data == b"[DONE]" {
            self.is_done = true;
        } else if contains(data, b"\"lps\":") {
            // Inside a JSON text the quotes would be escaped, so this is a key.
            self.usage = figures(data).or(self.usage);
        }
        if data.starts_with(b"{\"error\"") {
            self.has_error = true;
        }
    }

    fn is_holding(&self) -> bool {
        self.is_done || self.usage.is_some()
    }

    /// Whether `[DONE]` came.
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the engine itself ended the stream with an error event.
    pub const fn has_error(&self) -> bool {
        self.has_error
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

/// The end of the first event at or after `from`: past its empty line.
pub fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..]
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map(|at| from + at + 2)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use lps_api::quantity::{Micros, Tokens};
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        ": comment\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"lps\\\": {}\"}}]}\n\n",
    );
    const END: &str = concat!(
        "data: {\"choices\":[],\"lps\":{\"prompt_tokens\":5,\"cached_tokens\":1,\"output_tokens\":2,",
        "\"executor_us\":900}}\n\n",
        "data: [DONE]\n\n",
    );

    proptest! {
        #[test]
        fn wherever_the_stream_is_cut_the_same_is_held_and_nothing_is_changed(
            cuts in proptest::collection::vec(0..(STREAM.len() + END.len()), 0..12),
        ) {
            let whole = format!("{STREAM}{END}");
            let mut cuts = cuts;
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let mut scan = Scan::default();
            let mut forwarded = Vec::new();
            for pair in cuts.windows(2) {
                forwarded.extend_from_slice(&scan.push(&whole.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert!(scan.is_done() && !scan.has_error());
            let usage = CallUsage {
                prompt_tokens: Tokens(5),
                cached_tokens: Tokens(1),
                output_tokens: Tokens(2),
                executor_us: Micros(900),
            };
            prop_assert_eq!(scan.usage(), Some(usage));
            prop_assert_eq!(&forwarded[..], STREAM.as_bytes());
            prop_assert_eq!(&scan.into_held()[..], END.as_bytes());
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
        assert_eq!(&scan.push(error).unwrap()[..], error);
        assert!(scan.has_error() && !scan.is_done());
    }
}
