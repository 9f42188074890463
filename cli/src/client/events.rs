//! Server-sent events of an answer. Owns: how bytes become events, and when a stream is over. It must not know what is in
//! them but an error.

use std::collections::VecDeque;

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::{Error, Key};
use crate::cluster::Body;

/// Longest line of an event stream, in bytes.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// The events of one answer.
#[derive(Debug)]
pub struct Events {
    body: Body,
    lines: Lines,
    key: Option<Key>,
}

impl Events {
    pub(super) fn new(body: Body, key: Option<Key>) -> Self {
        Self {
            body,
            lines: Lines::default(),
            key,
        }
    }

    /// The next event's data; `None` after `[DONE]`.
    ///
    /// # Errors
    /// When the stream ends before `[DONE]`, or is no event stream.
    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(data) = self.lines.next_data() {
                if data == "[DONE]" {
                    return Ok(None);
                }
                let event: Value = serde_json::from_str(&data)
                    .map_err(|error| Error::Broken(format!("an event is no JSON: {error}")))?;
                if let Some(message) = event["error"]["message"].as_str() {
                    return Err(Error::Broken(Key::hidden(self.key.as_ref(), message)));
                }
                return Ok(Some(event));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.lines.push(data)?;
                    }
                }
                Some(Err(error)) => return Err(Error::Broken(error)),
                None => return Err(Error::Broken("it ended before it was complete".to_owned())),
            }
        }
    }
}

/// Bytes into lines, wherever they are cut.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    data: VecDeque<String>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                self.data.push_back(data.trim_start().to_owned());
            }
        }
        if self.rest.len() > EVENT_BYTES_MAX {
            return Err(Error::Broken(format!(
                "an event is longer than {EVENT_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn next_data(&mut self) -> Option<String> {
        self.data.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_survive_any_cut(cuts in proptest::collection::vec(1_usize..9, 0..40)) {
            let text = ": hello\r\n\r\ndata: {\"a\": \"\u{e9}\"}\n\ndata:[DONE]\n\n".as_bytes();
            let mut lines = Lines::default();
            let mut rest = text;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                lines.push(now).expect("short");
                rest = later;
            }
            lines.push(rest).expect("short");
            prop_assert_eq!(lines.next_data(), Some("{\"a\": \"\u{e9}\"}".to_owned()));
            prop_assert_eq!(lines.next_data(), Some("[DONE]".to_owned()));
            prop_assert_eq!(lines.next_data(), None);
        }
    }
}
