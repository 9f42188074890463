//! What an answer looks like. Owns: OpenAI's objects for whole answers and for chunks, of chats and of plain prompts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lps_api::openai::{
    Answer, AssistantMessage, ChatChoice, ChatChunkChoice, ChatLogprobs, CompletionChoice,
    CompletionLogprobs, CompletionTokensDetails, Delta, FinishReason, TokenLogprob, ToolCallDelta,
    TopLogprob, Usage,
};
use lps_api::protocol::CallUsage;
use lps_engine_core::batch::{Logprobs, Sampled};
use lps_engine_core::request::TokenId;
use serde::Serialize;

use super::running::End;
use crate::text::choice::Piece;
use crate::text::tokenizer::Tokenizer;

/// Which kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// What all parts of an answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) with_logprobs: bool,
    pub(super) with_token_ids: bool,
    pub(super) tokenizer: Arc<Tokenizer>,
}

/// What closes an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Closing {
    pub(super) usage: Option<Usage>,
    pub(super) lps: Option<CallUsage>,
}

impl Closing {
    pub(super) fn new(lps: CallUsage, reasoning_tokens: Option<u32>) -> Self {
        let details = |reasoning_tokens| CompletionTokensDetails { reasoning_tokens };
        let usage = Usage {
            completion_tokens_details: reasoning_tokens.map(details),
            ..Usage::from(lps)
        };
        Self {
            usage: Some(usage),
            lps: Some(lps),
        }
    }
}

/// One choice as it grows, or one step of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) piece: Piece,
    pub(super) end: Option<End>,
    /// Whether it is the choice's first chunk.
    pub(super) is_first: bool,
    /// Whether no token comes after it.
    pub(super) is_last: bool,
    /// Characters of the choice's tokens before these.
    pub(super) offset: u32,
}

impl Choice {
    /// Takes the next piece in.
    pub(super) fn extend(&mut self, piece: Piece, end: Option<End>) {
        self.piece.extend(piece);
        self.end = end.or(self.end.take());
    }
}

impl Frame {
    /// A whole answer as JSON.
    pub(super) fn whole(
        &self,
        choices: Vec<Choice>,
        prompt: Option<&[TokenId]>,
        closing: Closing,
    ) -> Vec<u8> {
        let prompt = prompt.map(<[TokenId]>::to_vec);
        let choices = (0..).zip(choices);
        match self.kind {
            Kind::Chat => {
                let choices = choices.map(|(index, choice)| self.chat_choice(index, choice));
                self.json("chat.completion", choices.collect(), prompt, closing)
            }
            Kind::Completion => {
                let choices = choices.map(|(index, choice)| self.completion_choice(index, choice));
                self.json("text_completion", choices.collect(), prompt, closing)
            }
        }
    }

    /// A chunk as JSON.
    pub(super) fn chunk(
        &self,
        index: u32,
        choice: Choice,
        prompt: Option<&[TokenId]>,
        closing: Closing,
    ) -> Vec<u8> {
        let prompt = prompt.map(<[TokenId]>::to_vec);
        match self.kind {
            Kind::Chat => {
                let choice = self.chat_chunk_choice(index, choice);
                self.json("chat.completion.chunk", vec![choice], prompt, closing)
            }
            Kind::Completion => {
                let choice = self.completion_choice(index, choice);
                self.json("text_completion", vec![choice], prompt, closing)
            }
        }
    }

    /// The chunk with the figures.
    pub(super) fn usage_chunk(&self, closing: Closing) -> Vec<u8> {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        self.json::<ChatChunkChoice>(object, Vec::new(), None, closing)
    }

    fn json<C: Serialize>(
        &self,
        object: &str,
        choices: Vec<C>,
        prompt_token_ids: Option<Vec<TokenId>>,
        closing: Closing,
    ) -> Vec<u8> {
        let answer = Answer {
            id: self.id.clone(),
            object: object.to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: closing.usage,
            prompt_token_ids,
            lps: closing.lps,
        };
        serde_json::to_vec(&answer).expect("an answer has text, lists and finite numbers")
    }

    fn chat_choice(&self, index: u32, choice: Choice) -> ChatChoice {
        let Piece {
            reasoning,
            text,
            tool_calls,
            tokens,
        } = choice.piece;
        let (finish_reason, stop_reason) = ended(choice.end);
        let says_else = !tool_calls.is_empty() || !reasoning.is_empty();
        ChatChoice {
            index,
            logprobs: self.chat_logprobs(&tokens),
            token_ids: self.token_ids(&tokens),
            message: AssistantMessage {
                role: "assistant".to_owned(),
                reasoning_content: some(reasoning),
                content: (!says_else || !text.is_empty()).then_some(text),
                refusal: None,
                tool_calls: tool_calls.iter().filter_map(ToolCallDelta::begun).collect(),
            },
            finish_reason,
            stop_reason,
        }
    }

    fn chat_chunk_choice(&self, index: u32, choice: Choice) -> ChatChunkChoice {
        let Piece {
            reasoning,
            text,
            tool_calls,
            tokens,
        } = choice.piece;
        let (finish_reason, stop_reason) = ended(choice.end);
        ChatChunkChoice {
            index,
            logprobs: self.chat_logprobs(&tokens),
            token_ids: self.token_ids(&tokens),
            delta: Delta {
                role: choice.is_first.then(|| "assistant".to_owned()),
                content: (choice.is_first || !text.is_empty()).then_some(text),
                reasoning_content: some(reasoning),
                tool_calls,
            },
            finish_reason,
            stop_reason,
        }
    }

    fn completion_choice(&self, index: u32, choice: Choice) -> CompletionChoice {
        let tokens = &choice.piece.tokens;
        let (finish_reason, stop_reason) = ended(choice.end);
        CompletionChoice {
            index,
            logprobs: self.completion_logprobs(tokens, choice.offset),
            token_ids: self.token_ids(tokens),
            text: choice.piece.text,
            finish_reason,
            stop_reason,
        }
    }

    fn token_ids(&self, tokens: &[Sampled]) -> Option<Vec<TokenId>> {
        let ids = || tokens.iter().map(|sampled| sampled.token).collect();
        self.with_token_ids.then(ids)
    }

    fn text_of(&self, token: TokenId) -> (String, Vec<u8>) {
        let bytes = self.tokenizer.token_bytes(token);
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    }

    /// How much further these tokens bring the offset of a choice's text: by their characters, where they are told.
    pub(super) fn offset(&self, tokens: &[Sampled]) -> u32 {
        if !self.with_logprobs {
            return 0;
        }
        let count = |sampled: &Sampled| self.text_of(sampled.token).0.chars().count() as u32;
        tokens.iter().map(count).sum()
    }

    fn logprobs<'a>(
        &self,
        tokens: &'a [Sampled],
    ) -> Option<impl Iterator<Item = (TokenId, &'a Logprobs)>> {
        let each = |sampled: &'a Sampled| Some((sampled.token, sampled.logprobs.as_ref()?));
        (self.with_logprobs && !tokens.is_empty()).then(|| tokens.iter().filter_map(each))
    }

    fn chat_logprobs(&self, tokens: &[Sampled]) -> Option<ChatLogprobs> {
        let content = self.logprobs(tokens)?.map(|(token, logprobs)| {
            let (text, bytes) = self.text_of(token);
            let top = logprobs.top.iter().map(|&(rival, logprob)| {
                let (token, bytes) = self.text_of(rival);
                TopLogprob {
                    token,
                    logprob: finite(logprob),
                    bytes,
                }
            });
            TokenLogprob {
                token: text,
                logprob: finite(logprobs.chosen),
                bytes,
                top_logprobs: top.collect(),
            }
        });
        Some(ChatLogprobs {
            content: content.collect(),
        })
    }

    fn completion_logprobs(&self, tokens: &[Sampled], offset: u32) -> Option<CompletionLogprobs> {
        let mut lists = CompletionLogprobs::default();
        let mut offset = offset;
        for (token, logprobs) in self.logprobs(tokens)? {
            let (text, _) = self.text_of(token);
            let top = logprobs.top.iter();
            let top = top.map(|&(rival, logprob)| (self.text_of(rival).0, finite(logprob)));
            let mut top: BTreeMap<_, _> = top.collect();
            // As OpenAI: the chosen token is among them, which may make one more than asked for.
            top.insert(text.clone(), finite(logprobs.chosen));
            lists.top_logprobs.push(top);
            lists.token_logprobs.push(finite(logprobs.chosen));
            lists.text_offset.push(offset);
            offset += text.chars().count() as u32;
            lists.tokens.push(text);
        }
        Some(lists)
    }
}

/// The text, if it is one.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Why a choice ended, and the stop text that ended it.
fn ended(end: Option<End>) -> (Option<FinishReason>, Option<String>) {
    end.map(|end| (Some(end.reason), end.stop))
        .unwrap_or_default()
}

/// JSON has no infinity; OpenAI's own least value stands for what is impossible.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
