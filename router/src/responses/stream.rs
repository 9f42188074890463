//! A chat's stream as a response's events. Owns: which events come of a chunk, their numbers, and which are the last:
//! `response.completed`, `.incomplete` or `.failed`, or `error` where no response had begun.

use lps_api::openai::{ChatChunk, ErrorBody, ErrorObject, Object, ToolCall};
use serde_json::{Value, json};

use crate::responses::answer::{self, COMPLETED, Ending, Head, IN_PROGRESS, INCOMPLETE};
use crate::responses::ids;
use crate::translation::error;
use crate::translation::stream::{Events, Target};

/// A response, and how much of it was told.
#[derive(Debug)]
pub struct Telling {
    /// What it repeats of its request.
    told: Object,
    head: Option<Head>,
    /// Items that are complete.
    output: Vec<Value>,
    /// The text after them, where one is open; a function's call comes whole.
    text: Option<String>,
    ending: Ending,
    /// Of the next event.
    number: u64,
    latest: Option<Value>,
}

impl Target for Telling {
    fn chunk(&mut self, chunk: ChatChunk, events: &mut Events) {
        if self.head.is_none() {
            let head = Head::of(&chunk);
            let response = answer::object(&self.told, &head, IN_PROGRESS, &[]);
            self.head = Some(head);
            self.stage("response.created", response.clone(), events);
            self.stage("response.in_progress", response, events);
        }
        for choice in chunk.choices {
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                self.text(&text, events);
            }
            for call in &choice.delta.tool_calls {
                self.close_text(COMPLETED, events);
                self.call(call, events);
            }
            if let Some(finish) = choice.finish_reason {
                self.ending.finish = Some(finish);
                self.close_text(self.ending.status(), events);
            }
        }
        self.ending.usage = chunk.usage.or(self.ending.usage);
        self.ending.lps = chunk.lps.or(self.ending.lps);
    }

    fn done(&mut self, events: &mut Events) {
        let Some(head) = self.head.clone() else {
            return self.fail(error::failed("the answer is empty"), events);
        };
        self.close_text(self.ending.status(), events);
        let response = answer::ended(&self.told, &head, &self.output, &self.ending);
        let kind = format!("response.{}", self.ending.status());
        self.stage(&kind, response, events);
    }

    fn fail(&mut self, error: ErrorBody, events: &mut Events) {
        let Some(head) = self.head.clone() else {
            return self.refuse(&error.error, events);
        };
        self.close_text(INCOMPLETE, events);
        let mut response = answer::failed(&self.told, &head, &self.output, &error.error);
        if let Some(figures) = error.lps {
            response["lps"] = json!(figures);
        }
        self.stage("response.failed", response, events);
    }
}

impl Telling {
    /// Of which nothing was told.
    pub fn new(told: Object) -> Self {
        Self {
            told,
            head: None,
            output: Vec::new(),
            text: None,
            ending: Ending::default(),
            number: 0,
            latest: None,
        }
    }

    /// The response as it was told last, from its beginning on.
    pub fn latest(&self) -> Option<&Value> {
        self.latest.as_ref()
    }

    fn text(&mut self, text: &str, events: &mut Events) {
        if self.text.is_none() {
            let item = answer::message(&self.message_id(), IN_PROGRESS, &[]);
            self.item("response.output_item.added", &item, events);
            let part = json!({"part": answer::text_part("")});
            self.part("response.content_part.added", part, events);
        }
        self.text.get_or_insert_default().push_str(text);
        let delta = json!({"delta": text, "logprobs": []});
        self.part("response.output_text.delta", delta, events);
    }

    fn close_text(&mut self, status: &str, events: &mut Events) {
        let Some(text) = self.text.take() else {
            return;
        };
        let part = answer::text_part(&text);
        let done = json!({"text": text, "logprobs": []});
        self.part("response.output_text.done", done, events);
        self.part("response.content_part.done", json!({"part": part}), events);
        let item = answer::message(&self.message_id(), status, &[part]);
        self.item("response.output_item.done", &item, events);
        self.output.push(item);
    }

    fn call(&mut self, call: &ToolCall, events: &mut Events) {
        let id = ids::function(self.call_name(), self.output.len());
        let mut item = answer::function(&id, IN_PROGRESS, call);
        let arguments = item["arguments"].take();
        item["arguments"] = json!("");
        self.item("response.output_item.added", &item, events);
        let place = self.output.len();
        let delta = json!({"item_id": id, "output_index": place, "delta": arguments});
        self.tell("response.function_call_arguments.delta", delta, events);
        let done = json!({"item_id": id, "output_index": place, "name": call.function.name, "arguments": arguments});
        self.tell("response.function_call_arguments.done", done, events);
        let item = answer::function(&id, COMPLETED, call);
        self.item("response.output_item.done", &item, events);
        self.output.push(item);
    }

    /// An event of the item that stands after the complete ones.
    fn item(&mut self, kind: &str, item: &Value, events: &mut Events) {
        let place = self.output.len();
        self.tell(kind, json!({"output_index": place, "item": item}), events);
    }

    /// An event of the open text.
    fn part(&mut self, kind: &str, mut event: Value, events: &mut Events) {
        event["item_id"] = json!(self.message_id());
        event["output_index"] = json!(self.output.len());
        event["content_index"] = json!(0);
        self.tell(kind, event, events);
    }

    fn stage(&mut self, kind: &str, response: Value, events: &mut Events) {
        self.tell(kind, json!({"response": response}), events);
        self.latest = Some(response);
    }

    /// Clients differ in where they look for what is wrong: it stands in both places.
    fn refuse(&mut self, error: &ErrorObject, events: &mut Events) {
        let (code, message, param) = (&error.code, &error.message, &error.param);
        let event = json!({"code": code, "message": message, "param": param, "error": error});
        self.tell("error", event, events);
    }

    fn tell(&mut self, kind: &str, mut event: Value, events: &mut Events) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.number);
        self.number += 1;
        events.tell(&event);
    }

    fn message_id(&self) -> String {
        ids::message(self.call_name(), self.output.len())
    }

    fn call_name(&self) -> &str {
        self.head.as_ref().map_or("", |head| &head.call)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
