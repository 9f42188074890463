//! Streams that chats' streams become. Owns: taking the chat's stream apart, in which order the parts of a chunk were said,
//! and that a stream never ends without its last event, whether it is complete or failed. Comments, the signs of life, stay.
//! It must not know what an event looks like.

use bytes::{Bytes, BytesMut};
use lps_api::openai::{ChatChunk, Delta, ErrorBody, ToolCall, ToolCallDelta};
use serde_json::Value;

use crate::engine_client::sse::event_end;
use crate::translation::error;

/// What a chat's stream is told as.
pub trait Target {
    /// More of the answer came.
    fn chunk(&mut self, chunk: ChatChunk, events: &mut Events);
    /// The answer is complete.
    fn done(&mut self, events: &mut Events);
    /// There will be no more of it.
    fn fail(&mut self, error: ErrorBody, events: &mut Events);
}

/// A part of what is new in a chunk.
#[derive(Debug)]
pub enum Part<'a> {
    /// More arguments of the call that is open.
    Arguments(&'a str),
    /// More of the thoughts; not empty.
    Thoughts(&'a str),
    /// More of the text; not empty.
    Text(&'a str),
    /// A call begins, with what it has of its arguments.
    Call(ToolCall),
}

/// What is new in a chunk, in the order in which it was said: a call that goes on stands before what is new beside it.
pub fn parts(delta: &Delta) -> impl Iterator<Item = Part<'_>> {
    let calls = delta.tool_calls.iter();
    let going_on = calls.clone().filter(|call| call.begun().is_none());
    let arguments = going_on.map(|call| Part::Arguments(&call.function.arguments));
    let thoughts = said(delta.reasoning_content.as_deref()).map(Part::Thoughts);
    let text = said(delta.content.as_deref()).map(Part::Text);
    let begun = calls.filter_map(ToolCallDelta::begun).map(Part::Call);
    arguments.chain(thoughts).chain(text).chain(begun)
}

fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Events that are to be sent.
#[derive(Debug, Default)]
pub struct Events(Vec<u8>);

impl Events {
    /// Adds an event; it is named as its object's type says.
    pub fn tell(&mut self, event: &Value) {
        let name = event["type"].as_str().unwrap_or_default();
        self.0
            .extend_from_slice(format!("event: {name}\ndata: {event}\n\n").as_bytes());
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.0))
    }
}

/// The translation of one stream, and where it stands.
#[derive(Debug)]
pub struct Stream<T> {
    target: T,
    /// The beginning of an event whose end has not come.
    partial: BytesMut,
    is_over: bool,
    events: Events,
}

impl<T: Target> Stream<T> {
    /// Of which nothing has come.
    pub fn new(target: T) -> Self {
        Self {
            target,
            partial: BytesMut::new(),
            is_over: false,
            events: Events::default(),
        }
    }

    /// What it is told as.
    pub fn target(&self) -> &T {
        &self.target
    }

    /// Takes bytes of the chat's stream; gives those to be sent.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = event_end(&self.partial, 0) {
            let event = self.partial.split_to(end);
            if !self.is_over {
                self.take(&event);
            }
        }
        self.events.take()
    }

    /// The chat's stream ended. What is given back is empty where its last event was told before.
    pub fn finish(&mut self) -> Bytes {
        if !self.is_over {
            self.fail(error::failed("the answer broke off before its end"));
        }
        self.events.take()
    }

    fn take(&mut self, event: &[u8]) {
        let Some(data) = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            self.events.0.extend_from_slice(event);
            return;
        };
        if data == b"[DONE]" {
            self.target.done(&mut self.events);
            self.is_over = true;
            return;
        }
        match serde_json::from_slice(data) {
            Ok(chunk) => self.target.chunk(chunk, &mut self.events),
            Err(_) => self.fail(error::read(data)),
        }
    }

    fn fail(&mut self, error: ErrorBody) {
        self.target.fail(error, &mut self.events);
        self.is_over = true;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
pub mod tests;
