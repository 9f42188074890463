//! What a request says of where it belongs, for whoever finds that without a running router. Owns: reading it in each form
//! that becomes a chat.

use std::borrow::Cow;

use crate::anthropic;
use crate::conversations::said::Messages;
use crate::echoes::Echoes;
use crate::http::facts::{Facts, Form};
use crate::identity::BodySays;
use crate::responses;

/// It, and the chat that engines would be asked.
#[derive(Debug)]
pub struct ChatSays<'a> {
    /// Its fields about that.
    pub fields: BodySays,
    /// Calls of ours whose tools' results it brings.
    pub echoes: Option<Echoes>,
    chat: Cow<'a, [u8]>,
    facts: Facts,
}

impl<'a> ChatSays<'a> {
    /// Reads the body of a request to this path; nothing of one that the router would refuse, or that goes on from a
    /// response, which nobody kept.
    pub fn read(path: &str, body: &'a [u8]) -> Option<Self> {
        let (chat, form, echoes) = match path {
            "/v1/chat/completions" => (Cow::Borrowed(body), Form::Chat, None),
            "/v1/messages" => {
                let chat = anthropic::request::chat(body).ok()?;
                (Cow::Owned(chat), Form::Chat, None)
            }
            "/v1/responses" => {
                let request = responses::request::Request::read(body).ok()?;
                if request.previous().is_some() {
                    return None;
                }
                let asked = request.asked(Vec::new()).ok()?;
                (Cow::Owned(asked.chat), Form::Response, asked.echoes)
            }
            _ => return None,
        };
        let mut facts = Facts::read(&chat, form).ok()?;
        Some(Self {
            fields: std::mem::take(&mut facts.says),
            echoes: echoes.or_else(|| facts.echoes.take()),
            chat,
            facts,
        })
    }

    /// Its messages.
    pub fn messages(&self) -> Option<Messages<'_>> {
        Messages::read(self.facts.messages(&self.chat)?)
    }
}
