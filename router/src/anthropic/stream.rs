//! A chat's stream as a message's events. Owns: which events come of a chunk, and that a stream never ends without its
//! last one: `message_stop`, or `error`. Comments, the signs of life, stay.

use bytes::{Bytes, BytesMut};
use lps_api::openai::{ChatChunk, FinishReason, Object, Usage};
use serde_json::{Value, json};

use crate::anthropic::answer::{self, Ending};
use crate::anthropic::error;
use crate::engine_client::sse::event_end;

/// The translation of one stream, and where it stands.
#[derive(Debug)]
pub struct Events {
    id: String,
    /// The beginning of an event whose end has not come.
    partial: BytesMut,
    has_begun: bool,
    /// Blocks that are closed.
    blocks: u32,
    /// Whether the block after them is open; only a text's is, for a tool's call comes whole.
    in_text: bool,
    ending: Ending,
    is_over: bool,
    out: Vec<u8>,
}

impl Events {
    /// Of the message `id`.
    pub fn new(id: String) -> Self {
        Self {
            id,
            partial: BytesMut::new(),
            has_begun: false,
            blocks: 0,
            in_text: false,
            ending: Ending::default(),
            is_over: false,
            out: Vec::new(),
        }
    }

    /// Takes bytes of the chat's stream; gives those of the message's.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = event_end(&self.partial, 0) {
            let event = self.partial.split_to(end);
            if !self.is_over {
                self.take(&event);
            }
        }
        Bytes::from(std::mem::take(&mut self.out))
    }

    /// The chat's stream ended. What is given back is empty where the message had ended before.
    pub fn finish(&mut self) -> Bytes {
        if !self.is_over {
            self.fail(&error::failed("the answer broke off before its end"));
        }
        Bytes::from(std::mem::take(&mut self.out))
    }

    fn take(&mut self, event: &[u8]) {
        let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            self.out.extend_from_slice(event);
            return;
        };
        if data == b"[DONE]" {
            self.tell(&json!({"type": "message_stop"}));
            self.is_over = true;
            return;
        }
        match serde_json::from_slice(data) {
            Ok(chunk) => self.chunk(chunk),
            Err(_) => self.fail(&error::translated(data)),
        }
    }

    fn chunk(&mut self, chunk: ChatChunk) {
        if !self.has_begun {
            self.has_begun = true;
            let blank = (&Ending::default(), Usage::default());
            let message = answer::object((&self.id, &chunk.model), Vec::new(), blank);
            self.tell(&json!({"type": "message_start", "message": message}));
        }
        for choice in chunk.choices {
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                self.text(&text);
            }
            for call in &choice.delta.tool_calls {
                let input = answer::input(call);
                self.close_text();
                self.open(&answer::tool_block(call, &Object::new()));
                let json = serde_json::to_string(&input).expect("an object has text keys");
                self.delta(&json!({"type": "input_json_delta", "partial_json": json}));
                self.close();
            }
            if let Some(finish) = choice.finish_reason {
                self.end(finish, choice.stop_reason);
            }
        }
        if let Some(usage) = chunk.usage {
            let (delta, usage) = (&self.ending, answer::usage(usage));
            let mut last = json!({"type": "message_delta", "delta": delta, "usage": usage});
            if let Some(figures) = chunk.lps {
                last["lps"] = json!(figures);
            }
            self.tell(&last);
        }
    }

    fn text(&mut self, text: &str) {
        if !self.in_text {
            self.in_text = true;
            self.open(&answer::text_block(""));
        }
        self.delta(&json!({"type": "text_delta", "text": text}));
    }

    fn end(&mut self, finish: FinishReason, stop: Option<String>) {
        self.close_text();
        self.ending = Ending::new(finish, stop);
    }

    fn open(&mut self, block: &Value) {
        let start =
            json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        self.tell(&start);
    }

    fn delta(&mut self, delta: &Value) {
        self.tell(&json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}));
    }

    fn close_text(&mut self) {
        if self.in_text {
            self.in_text = false;
            self.close();
        }
    }

    fn close(&mut self) {
        self.tell(&json!({"type": "content_block_stop", "index": self.blocks}));
        self.blocks += 1;
    }

    fn fail(&mut self, error: &Value) {
        self.tell(error);
        self.is_over = true;
    }

    /// An event is named as its object's type says.
    fn tell(&mut self, event: &Value) {
        let name = event["type"].as_str().unwrap_or_default();
        self.out
            .extend_from_slice(format!("event: {name}\ndata: {event}\n\n").as_bytes());
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
