//! A conversation in numbers. Owns: what of a list of messages tells that one conversation is the beginning of another,
//! however clients write it again; and one number for each point where the model spoke. Pure but for its key.
//!
//! What clients change on the way says nothing: system messages between others, which some insert and take away; how the
//! model thought and how it asked for tools, which some drop or write anew; the order of results of tools that were asked
//! for together; marks for caches; whether a text is one or a part; line ends; words of the system's messages that look
//! like times or made ids; the header of Anthropic's client in them that is another one with each call.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use lps_api::openai::limits::MESSAGES_MAX;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conversations::said::{Message, Messages, Role};
use crate::few::Few;

/// Points of one conversation that are looked up, the last ones.
const POINTS_MAX: usize = 64;
/// A word of the system's messages with so many digits is a time or a made id.
const MADE_DIGITS: usize = 3;
/// A line of the system's messages that Anthropic's client changes with each call.
const BILLING: &str = "x-anthropic-billing-header";
/// A line's end, and what some write before it, in JSON.
const LINE_END: &str = "\\n";
const RETURN: &str = "\\r";

/// A conversation up to some point, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64);

/// What a request's messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// All of it.
    whole: Digest,
    /// What stood before each of the model's messages, the last one first.
    points: Vec<Digest>,
}

impl Conversation {
    /// All of it.
    pub fn whole(&self) -> Digest {
        self.whole
    }

    /// What it may go on from: all that stood before one of the model's messages, the longest first.
    pub fn points(&self) -> &[Digest] {
        &self.points
    }

    /// Whether the model did not speak yet: so it goes on from nothing.
    pub fn is_first(&self) -> bool {
        self.points.is_empty()
    }
}

/// Makes digests, with a key that is made with it: who sends messages cannot aim at those of others.
#[derive(Debug, Default)]
pub struct Digests {
    key: RandomState,
}

/// What a part of a message has that counts. Marks and thoughts have none of it.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    fn said(&self) -> impl Iterator<Item = &'a RawValue> {
        let said = [self.text, self.image_url, self.input_audio, self.file];
        said.into_iter().flatten()
    }
}

/// The conversation up to the message that was read last.
struct Chain {
    all: u64,
    /// Results of tools that stand together, in whatever order.
    results: Option<u64>,
}

impl Digests {
    /// Nothing of messages that are all the system's, or of a list with content that no engine takes: a beginning that many share makes no
    /// conversation.
    pub fn read(&self, messages: &Messages<'_>) -> Option<Conversation> {
        let messages = messages.all();
        let is_system = |message: &&Message<'_>| message.role == Role::System;
        let lead = messages.iter().take_while(is_system).count();
        let (lead, rest) = messages.split_at(lead);
        let mut chain = Chain {
            all: self.system(lead)?,
            results: None,
        };
        let mut points = Vec::new();
        let mut is_begun = false;
        for message in rest {
            let role = message.role;
            if role == Role::System {
                continue;
            }
            let digest = self.message(role, message.content)?;
            if role == Role::Tool {
                let results = chain.results.unwrap_or_default();
                chain.results = Some(results.wrapping_add(digest));
            } else {
                self.close_results(&mut chain);
                if role == Role::Model && is_begun {
                    points.push(Digest(chain.all));
                }
                chain.all = self.key.hash_one((chain.all, digest));
            }
            is_begun = true;
        }
        self.close_results(&mut chain);
        points.reverse();
        points.truncate(POINTS_MAX);
        let whole = Digest(chain.all);
        is_begun.then_some(Conversation { whole, points })
    }

    fn close_results(&self, chain: &mut Chain) {
        if let Some(results) = chain.results.take() {
            chain.all = self.key.hash_one((chain.all, results));
        }
    }

    fn message(&self, role: Role, content: Option<&RawValue>) -> Option<u64> {
        let mut hasher = self.key.build_hasher();
        hasher.write_u8(role as u8);
        for text in texts(content)? {
            hasher.write(without_returns(text).as_bytes());
        }
        Some(hasher.finish())
    }

    /// The beginning: it is the same or not, and nothing is said with it alone.
    fn system(&self, lead: &[Message<'_>]) -> Option<u64> {
        let mut hasher = self.key.build_hasher();
        for message in lead {
            for text in texts(message.content)? {
                let lines = text.split(LINE_END).filter(|line| !line.contains(BILLING));
                for word in lines.flat_map(|line| line.split(' ')) {
                    let digits = word.bytes().filter(u8::is_ascii_digit).count();
                    if digits < MADE_DIGITS {
                        hasher.write(word.trim_end_matches(RETURN).as_bytes());
                    }
                }
            }
        }
        Some(hasher.finish())
    }
}

/// What a message's content says, as it is written in JSON: one text, or each of its parts.
fn texts(content: Option<&RawValue>) -> Option<Vec<&str>> {
    let Some(content) = content.map(RawValue::get) else {
        return Some(Vec::new());
    };
    if content.starts_with('"') {
        return Some(vec![content]);
    }
    let Few(parts) = serde_json::from_str::<Few<Part<'_>, MESSAGES_MAX>>(content).ok()?;
    let said = parts.iter().flat_map(Part::said);
    Some(said.map(RawValue::get).collect())
}

/// The text with line ends of one kind. A backslash that is meant stands twice, so that pairs are read one after another.
fn without_returns(text: &str) -> Cow<'_, str> {
    if memmem::find(text.as_bytes(), RETURN.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let pair = rest.get(at..at + 2).unwrap_or(&rest[at..]);
        let (before, after) = (&rest[..at], &rest[at + pair.len()..]);
        kept.push_str(before);
        if pair != RETURN || !after.starts_with(LINE_END) {
            kept.push_str(pair);
        }
        rest = after;
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests;
