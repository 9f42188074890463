//! What each route takes and tells. Owns: one entry a route, in the words of a client.

use axum::http::Method;
use lps_api::openai::Object as Fields;
use lps_api::openai::{
    ChatChunk, ChatCompletion, ChatRequest, Completion, CompletionRequest, EmbeddingList,
    EmbeddingRequest,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::shapes::{
    Call, Counted, Deleted, Detokenise, Document, InputItems, Message, MessageAsked, MessageTokens,
    Response, ResponseAsked, TokenIds, Tokenise, Untokenised,
};
use crate::http::calls::Call as CallRow;
use crate::http::engines::{Drained, EngineRow};
use crate::http::models::{Health, Served, Version};
use crate::http::programs::{Listing, Opening, Program};
use crate::http::responses::Reading;
use crate::http::told::{List, Object};
use crate::http::usage::{Asked as Using, Usage};
use crate::http::watch::Asked as Changing;
use crate::responses::listed::Page;
use crate::state::view::ProgramSummary;

/// A type's schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// How a call may be refused, beside what the gate refuses.
const CALL: &[u16] = &[404, 408, 409, 413, 429, 500, 502];
/// The same of what is no call, but is asked of an engine.
const FORWARDED: &[u16] = &[404, 408, 413, 429, 500, 502];
/// A thing that may not be there.
const NAMED: &[u16] = &[404];

/// What is told of one route.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Fields of its query.
    pub(super) queries: Option<SchemaOf>,
    /// Its request's body.
    pub(super) asks: Option<SchemaOf>,
    /// Whether there has to be one.
    pub(super) needs_body: bool,
    /// Its answer.
    pub(super) tells: SchemaOf,
    /// With which status.
    pub(super) status: u16,
    /// What is in each event where it may come event by event.
    pub(super) streams: Option<SchemaOf>,
    /// Whether it is about what a tenant has.
    pub(super) is_tenants: bool,
    /// Whether it is a call of a program.
    pub(super) is_call: bool,
    /// Whether refusals have Anthropic's shape.
    pub(super) is_anthropics: bool,
    /// Names that its answer tells: of what, and where.
    pub(super) makes: &'static [(&'static str, &'static str)],
    /// With which statuses it is refused, beside those of the gate.
    pub(super) refuses: &'static [u16],
}

impl Operation {
    fn new<T: JsonSchema>(method: Method, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            queries: None,
            asks: None,
            needs_body: true,
            tells: SchemaGenerator::subschema_for::<T>,
            status: 200,
            streams: None,
            is_tenants: false,
            is_call: false,
            is_anthropics: false,
            makes: &[],
            refuses: &[],
        }
    }

    fn queries<T: JsonSchema>(self) -> Self {
        let queries: SchemaOf = T::json_schema;
        Self {
            queries: Some(queries),
            ..self
        }
    }

    fn asks<T: JsonSchema>(self) -> Self {
        let asks: SchemaOf = SchemaGenerator::subschema_for::<T>;
        Self {
            asks: Some(asks),
            ..self
        }
    }

    fn refuses(self, refuses: &'static [u16]) -> Self {
        Self { refuses, ..self }
    }

    fn call(self) -> Self {
        Self {
            is_call: true,
            makes: &[
                ("program", "$response.header.x-program-id"),
                ("call", "$response.header.x-call-id"),
            ],
            ..self.refuses(CALL).tenants()
        }
    }

    fn streams<T: JsonSchema>(self) -> Self {
        let streams: SchemaOf = SchemaGenerator::subschema_for::<T>;
        Self {
            streams: Some(streams),
            ..self
        }
    }

    fn makes(self, makes: &'static [(&'static str, &'static str)]) -> Self {
        Self { makes, ..self }
    }

    fn tenants(self) -> Self {
        Self {
            is_tenants: true,
            ..self
        }
    }

    fn anthropics(self) -> Self {
        Self {
            is_anthropics: true,
            ..self
        }
    }

    fn creates(self) -> Self {
        Self {
            status: 201,
            needs_body: false,
            makes: &[("program", "$response.body#/id")],
            ..self
        }
    }

    /// Its name for generated clients.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty() && *word != "v1");
        let method = self.method.as_str().to_lowercase();
        words.fold(method, |id, word| format!("{id}_{word}"))
    }

    /// The names in its path.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('{').skip(1);
        parts
            .filter_map(|part| part.split('}').next())
            .map(|name| name.trim_start_matches('*'))
    }

    /// What its answer is.
    pub(super) const fn tells_what(&self) -> &'static str {
        match (self.streams.is_some(), self.status) {
            (true, _) => "The answer; with `stream`, event by event.",
            (false, 201) => "It is open.",
            (false, _) => "The answer.",
        }
    }
}

fn get<T: JsonSchema>(path: &'static str, summary: &'static str) -> Operation {
    Operation::new::<T>(Method::GET, path, summary)
}

fn post<T: JsonSchema>(path: &'static str, summary: &'static str) -> Operation {
    Operation::new::<T>(Method::POST, path, summary)
}

/// One for each route.
pub(super) fn all() -> Vec<Operation> {
    let mut all = inference();
    all.extend(responses().into_iter().map(Operation::tenants));
    all.extend(programs().into_iter().map(Operation::tenants));
    all.extend(served());
    all
}

fn inference() -> Vec<Operation> {
    vec![
        post::<ChatCompletion>("/v1/chat/completions", "Answer a chat")
            .asks::<Call<ChatRequest>>()
            .streams::<ChatChunk>()
            .call(),
        post::<Completion>("/v1/completions", "Go on with a text")
            .asks::<Call<CompletionRequest>>()
            .streams::<Completion>()
            .call(),
        post::<EmbeddingList>("/v1/embeddings", "Make vectors of texts")
            .asks::<Call<EmbeddingRequest>>()
            .call(),
        post::<Message>("/v1/messages", "Answer a chat, in Anthropic's form")
            .asks::<Call<MessageAsked>>()
            .streams::<Fields>()
            .call()
            .anthropics(),
        post::<Counted>("/v1/messages/count_tokens", "Count a chat's tokens")
            .asks::<MessageTokens>()
            .refuses(FORWARDED)
            .anthropics(),
        post::<TokenIds>("/tokenize", "A text or a chat as token ids")
            .asks::<Tokenise>()
            .refuses(FORWARDED),
        post::<Untokenised>("/detokenize", "Token ids as a text")
            .asks::<Detokenise>()
            .refuses(FORWARDED),
    ]
}

fn responses() -> Vec<Operation> {
    vec![
        post::<Response>("/v1/responses", "Answer a chat, in the form of a response")
            .asks::<Call<ResponseAsked>>()
            .streams::<Fields>()
            .call()
            .makes(&[
                ("response", "$response.body#/id"),
                ("call", "$response.header.x-call-id"),
            ]),
        get::<Response>("/v1/responses/{response}", "A response that is kept")
            .queries::<Reading>()
            .refuses(NAMED),
        Operation::new::<Deleted>(
            Method::DELETE,
            "/v1/responses/{response}",
            "Keep a response no more",
        )
        .refuses(NAMED),
        post::<Response>("/v1/responses/{response}/cancel", "Cancel a response").refuses(NAMED),
        get::<InputItems>(
            "/v1/responses/{response}/input_items",
            "All items that a response answers",
        )
        .queries::<Page>()
        .refuses(NAMED),
    ]
}

fn programs() -> Vec<Operation> {
    vec![
        get::<List<ProgramSummary>>("/v1/programs", "Live programs, and those that ended lately")
            .queries::<Listing>(),
        post::<Program>("/v1/programs", "Open a program")
            .asks::<Opening>()
            .creates()
            .refuses(&[408, 413, 429]),
        get::<Fields>(
            "/v1/programs/events",
            "What changes in programs, event by event",
        )
        .queries::<Changing>()
        .streams::<Fields>(),
        get::<Usage>("/v1/usage", "What tenants used").queries::<Using>(),
        get::<Program>(
            "/v1/programs/{program}",
            "A program, its threads and its calls",
        )
        .refuses(NAMED),
        post::<Program>(
            "/v1/programs/{program}/end",
            "Take no new calls of a program",
        )
        .refuses(NAMED),
        post::<Program>(
            "/v1/programs/{program}/cancel",
            "Cancel a program's open calls",
        )
        .refuses(NAMED),
        get::<CallRow>("/v1/calls/{call}", "A call, and why it waits").refuses(NAMED),
        post::<CallRow>("/v1/calls/{call}/cancel", "Cancel a call").refuses(NAMED),
    ]
}

fn served() -> Vec<Operation> {
    vec![
        get::<List<Served>>("/v1/models", "The models that are served"),
        get::<Served>("/v1/models/{*model}", "A model that is served").refuses(NAMED),
        get::<List<Object<EngineRow>>>("/v1/engines", "What each engine holds"),
        post::<Object<Drained>>(
            "/v1/engines/{engine}/drain",
            "End an engine when its calls are done",
        )
        .refuses(&[404, 502]),
        post::<Object<Drained>>(
            "/v1/engines/{namespace}/{pod}/drain",
            "The same by the two parts of an engine's name",
        )
        .refuses(&[404, 502]),
        get::<Health>("/health", "The router answers"),
        get::<Version>("/version", "Which router it is"),
        get::<Document>("/openapi.json", "This document"),
    ]
}
