//! A chat's stream as a response's events. Owns: which events come of a chunk, their numbers, and which are the last:
//! `response.completed`, `.incomplete` or `.failed`, or `error` where no response had begun.

use lps_api::openai::{ChatChunk, ErrorBody, ErrorObject, FunctionCall, Object, ToolCall};
use serde_json::{Value, json};

use crate::responses::answer::{self, COMPLETED, Ending, Head, IN_PROGRESS, INCOMPLETE, Saying};
use crate::responses::ids;
use crate::translation::error;
use crate::translation::stream::{Events, Part, Target, parts};

/// A response, and how much of it was told.
#[derive(Debug)]
pub struct Telling {
    /// What it repeats of its request.
    told: Object,
    head: Option<Head>,
    /// Items that are complete.
    output: Vec<Value>,
    /// What comes after them word by word, so far.
    open: Option<(Saying, String)>,
    /// The function's call after them, where one is open instead.
    call: Option<ToolCall>,
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
            for part in parts(&choice.delta) {
                match part {
                    Part::Arguments(more) => self.arguments(more, events),
                    Part::Thoughts(text) => self.say(Saying::Thoughts, text, events),
                    Part::Text(text) => self.say(Saying::Text, text, events),
                    Part::Call(call) => self.begin_call(call, events),
                }
            }
            if let Some(finish) = choice.finish_reason {
                self.ending.finish = Some(finish);
                self.close_open(self.ending.status(), events);
            }
        }
        self.ending.usage = chunk.usage.or(self.ending.usage);
        self.ending.lps = chunk.lps.or(self.ending.lps);
    }

    fn done(&mut self, events: &mut Events) {
        let Some(head) = self.head.clone() else {
            return self.fail(error::failed("the answer is empty"), events);
        };
        self.close_open(self.ending.status(), events);
        let response = answer::ended(&self.told, &head, &self.output, &self.ending);
        let kind = format!("response.{}", self.ending.status());
        self.stage(&kind, response, events);
    }

    fn fail(&mut self, error: ErrorBody, events: &mut Events) {
        let Some(head) = self.head.clone() else {
            return self.refuse(&error.error, events);
        };
        self.close_open(INCOMPLETE, events);
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
            open: None,
            call: None,
            ending: Ending::default(),
            number: 0,
            latest: None,
        }
    }

    /// The response as it was told last, from its beginning on.
    pub fn latest(&self) -> Option<&Value> {
        self.latest.as_ref()
    }

    fn say(&mut self, kind: Saying, text: &str, events: &mut Events) {
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close_open(COMPLETED, events);
            self.open = Some((kind, String::new()));
            let item = kind.item(&self.saying_id(kind), IN_PROGRESS, &[]);
            self.item("response.output_item.added", &item, events);
            let part = json!({"part": kind.part("")});
            self.part(kind, "response.content_part.added", part, events);
        }
        if let Some((_, so_far)) = &mut self.open {
            so_far.push_str(text);
        }
        let delta = json!({"delta": text});
        self.words(kind, "delta", delta, events);
    }

    fn close_open(&mut self, status: &str, events: &mut Events) {
        self.close_call(events);
        let Some((kind, text)) = self.open.take() else {
            return;
        };
        let part = kind.part(&text);
        self.words(kind, "done", json!({"text": text}), events);
        let done = json!({"part": part});
        self.part(kind, "response.content_part.done", done, events);
        let item = kind.item(&self.saying_id(kind), status, &[part]);
        self.item("response.output_item.done", &item, events);
        self.output.push(item);
    }

    fn begin_call(&mut self, mut call: ToolCall, events: &mut Events) {
        self.close_open(COMPLETED, events);
        let arguments = std::mem::take(&mut call.function.arguments);
        let item = answer::function(&self.function_id(), IN_PROGRESS, &call);
        self.item("response.output_item.added", &item, events);
        self.call = Some(call);
        self.arguments(&arguments, events);
    }

    fn arguments(&mut self, more: &str, events: &mut Events) {
        let Some(call) = self.call.as_mut().filter(|_| !more.is_empty()) else {
            return;
        };
        call.function.arguments.push_str(more);
        let (id, place) = (self.function_id(), self.output.len());
        let delta = json!({"item_id": id, "output_index": place, "delta": more});
        self.tell("response.function_call_arguments.delta", delta, events);
    }

    fn close_call(&mut self, events: &mut Events) {
        let Some(call) = self.call.take() else { return };
        let (id, place) = (self.function_id(), self.output.len());
        let FunctionCall { name, arguments } = &call.function;
        let done =
            json!({"item_id": id, "output_index": place, "name": name, "arguments": arguments});
        self.tell("response.function_call_arguments.done", done, events);
        let item = answer::function(&id, answer::call_status(&call), &call);
        self.item("response.output_item.done", &item, events);
        self.output.push(item);
    }

    /// An event of the item that stands after the complete ones.
    fn item(&mut self, kind: &str, item: &Value, events: &mut Events) {
        let place = self.output.len();
        self.tell(kind, json!({"output_index": place, "item": item}), events);
    }

    /// An event of the words that are open.
    fn words(&mut self, kind: Saying, what: &str, mut event: Value, events: &mut Events) {
        let name = match kind {
            Saying::Thoughts => "reasoning_text",
            Saying::Text => {
                event["logprobs"] = json!([]);
                "output_text"
            }
        };
        self.part(kind, &format!("response.{name}.{what}"), event, events);
    }

    /// An event of the part that is open.
    fn part(&mut self, kind: Saying, name: &str, mut event: Value, events: &mut Events) {
        event["item_id"] = json!(self.saying_id(kind));
        event["output_index"] = json!(self.output.len());
        event["content_index"] = json!(0);
        self.tell(name, event, events);
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

    fn saying_id(&self, kind: Saying) -> String {
        kind.id(self.call_name(), self.output.len())
    }

    fn function_id(&self) -> String {
        ids::function(self.call_name(), self.output.len())
    }

    fn call_name(&self) -> &str {
        self.head.as_ref().map_or("", |head| &head.call)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
