//! A chat's messages, as they are written. Owns: finding in each who speaks and what is said, in the same go in which the
//! text around them is read. It must not know what that means.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use lps_api::openai::limits::MESSAGES_MAX;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::few::Few;

/// A list of messages, each of which says who speaks.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Messages<'a> {
    #[serde(borrow)]
    all: Few<Message<'a>, MESSAGES_MAX>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) role: Role,
    pub(super) content: Option<&'a RawValue>,
    /// Its first field's name and its last one's value say where it stands; a name with an escape does not.
    begin: Option<&'a str>,
    end: &'a str,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    Model,
    Tool,
    User,
}

impl<'a> Messages<'a> {
    /// Reads the text of a list; nothing of what no engine takes.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The list's own text, in `body`, which it was read from. Between its brackets and what is known of its first and its last
    /// message stand braces and blanks only.
    pub(crate) fn text<'b>(&self, body: &'b str) -> Option<&'b str> {
        let (first, last) = (self.all().first()?, self.all().last()?);
        let begin = place(first.begin?, body.as_bytes()).start;
        let end = place(last.end, body.as_bytes()).end;
        let start = body[..begin].rfind('[')?;
        let length = body[end..].find(']')?;
        Some(&body[start..=end + length])
    }

    pub(super) fn all(&self) -> &[Message<'a>] {
        &self.all.0
    }
}

/// Where a text stands in the bytes that it is a part of: the difference of their addresses.
pub(crate) fn place(text: &str, body: &[u8]) -> Range<usize> {
    debug_assert!(body.as_ptr_range().contains(&text.as_ptr()) || text.is_empty());
    let start = text.as_ptr().addr() - body.as_ptr().addr();
    start..start + text.len()
}

/// A text, copied only if it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Role {
    fn read(name: &RawValue) -> serde_json::Result<Self> {
        let Text(name) = serde_json::from_str(name.get())?;
        Ok(match &*name {
            "system" | "developer" => Self::System,
            "assistant" => Self::Model,
            "tool" => Self::Tool,
            _ => Self::User,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Message<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let (mut role, mut content, mut begin, mut end) = (None, None, None, "");
                while let Some((Text(name), value)) = fields.next_entry::<_, &RawValue>()? {
                    let before = match &*name {
                        "role" => role.replace(value),
                        "content" => content.replace(value),
                        _ => None,
                    };
                    if before.is_some() {
                        return Err(de::Error::custom("a field stands twice"));
                    }
                    begin.get_or_insert(match name {
                        Cow::Borrowed(name) => Some(name),
                        Cow::Owned(_) => None,
                    });
                    end = value.get();
                }
                let role = role.ok_or_else(|| de::Error::missing_field("role"))?;
                Ok(Message {
                    role: Role::read(role).map_err(de::Error::custom)?,
                    content: content.filter(|content| content.get() != "null"),
                    begin: begin.flatten(),
                    end,
                })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests;
