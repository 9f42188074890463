//! Which program a call belongs to. Owns: the precedence among the places where a client can say so. It must not
//! know what is done with the answer.

mod clients;
mod follow;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use lps_api::ids::{self, CallId, ClassName, ProgramId, ThreadId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::few::few_or_none;
use crate::message::{IdentitySource, Parents};
pub use clients::ClientSays;
use clients::program_of_trace;

/// Most parents that one call may name.
pub const PARENTS_MAX: usize = 256;

/// What the request's headers say; `None` where a header is absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeaderSays<'a> {
    /// `x-program-id`.
    pub program: Option<&'a str>,
    /// `x-thread-id`.
    pub thread: Option<&'a str>,
    /// `x-call-id`.
    pub call: Option<&'a str>,
    /// `x-parent-call-ids`: a comma list; empty means a root.
    pub parents: Option<&'a str>,
    /// What a known client says by itself.
    pub client: Option<ClientSays<'a>>,
    /// `traceparent`.
    pub trace: Option<&'a str>,
}

impl HeaderSays<'_> {
    /// Whether they say which program it is, so that nothing else has to.
    pub fn names_program(&self) -> bool {
        self.program.is_some()
            || self.client.is_some()
            || self.trace.and_then(program_of_trace).is_some()
    }
}

/// An id in a body, not yet checked: text, or a whole number as some clients count them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyId(pub String);

impl JsonSchema for BodyId {
    fn schema_name() -> Cow<'static, str> {
        "BodyId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
        json_schema!({"description": "An id: text, or a whole number.", "anyOf": [ids::schema(), number]})
    }
}

impl<'de> Deserialize<'de> for BodyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = BodyId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id: text, or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<BodyId, E> {
                Ok(BodyId(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<BodyId, E> {
                Ok(BodyId(number.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The body's `program` object.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProgramObject {
    /// Which program.
    pub id: Option<BodyId>,
    /// Which thread.
    pub thread: Option<BodyId>,
    /// The call's own name.
    pub call: Option<BodyId>,
    /// What it depends on; an empty list is a root.
    #[serde(deserialize_with = "few_or_none::<_, _, PARENTS_MAX>")]
    #[schemars(length(max = PARENTS_MAX))]
    pub parents: Option<Vec<BodyId>>,
    /// What programs of its kind are called.
    pub class: Option<BodyId>,
}

/// What the request's body says.
#[derive(Debug, Clone, Default)]
pub struct BodySays {
    /// `program`.
    pub program: Option<ProgramObject>,
    /// `autellix_session_id`.
    pub autellix_session: Option<BodyId>,
    /// `autellix_thread_id`.
    pub autellix_thread: Option<BodyId>,
    /// `autellix_call_id`.
    pub autellix_call: Option<BodyId>,
    /// `autellix_parent_threads`.
    pub autellix_parents: Option<Vec<BodyId>>,
    /// `session_id`.
    pub session: Option<BodyId>,
    /// Whether others may follow that say it by their conversation only: it has tools, or is a response.
    pub may_be_followed: bool,
}

/// What a call depends on, before threads are resolved to their last calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lineage {
    /// As the state takes it.
    Calls(Parents),
    /// The last call of each of these threads.
    Threads(Vec<ThreadId>),
}

/// Where a call belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How the program was found.
    pub source: IdentitySource,
    /// Its program.
    pub program: ProgramId,
    /// Its thread.
    pub thread: ThreadId,
    /// Its name.
    pub call: CallId,
    /// What it depends on.
    pub lineage: Lineage,
    /// Its program's kind.
    pub class: ClassName,
}

/// What the name of a program begins with whose client did not name it; and of a call. After it both have the same.
pub const FRESH_PROGRAM: &str = "program-";
/// As [`FRESH_PROGRAM`].
pub const FRESH_CALL: &str = "call-";

/// Names for what the client did not name; made by the caller, because this module is pure.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// For a program of one call.
    pub program: ProgramId,
    /// For the call.
    pub call: CallId,
}

impl Fresh {
    /// Both of this name, of letters, digits and dashes.
    pub fn named(name: &str) -> Self {
        let (program, call) = (
            format!("{FRESH_PROGRAM}{name}"),
            format!("{FRESH_CALL}{name}"),
        );
        Self {
            program: ProgramId::parse(&program).expect("made of letters, digits and dashes"),
            call: CallId::parse(&call).expect("made of letters, digits and dashes"),
        }
    }
}

/// An id from outside that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One id is not valid.
    #[error("{place} is not an id: {source}")]
    Id {
        /// Header or field.
        place: &'static str,
        /// Why.
        source: ids::Error,
    },
    /// A list is longer than [`PARENTS_MAX`].
    #[error("{place} names {count} parents, more than {PARENTS_MAX}")]
    Parents {
        /// Header or field.
        place: &'static str,
        /// How many.
        count: usize,
    },
}

impl Error {
    /// The header or field that is wrong.
    pub const fn place(&self) -> &'static str {
        match self {
            Self::Id { place, .. } | Self::Parents { place, .. } => place,
        }
    }
}

/// Finds where a call belongs. The program comes from the first place that names one: headers, the `program` object,
/// `autellix_*`, a known client's headers, `session_id`, the trace; else it is a program of this one call, which goes on
/// where others may follow it ([`Identity::follow`], [`Identity::go_on_from`]). Thread, call and parents come, each by itself,
/// from the first place that names them, so a header and a field may complete each other.
///
/// # Errors
/// When any id that was given is not valid, even where another place outranks it: a client that sends a bad id is
/// told so rather than guessed at.
pub fn identify(header: &HeaderSays<'_>, body: &BodySays, fresh: Fresh) -> Result<Identity, Error> {
    let object = body.program.clone().unwrap_or_default();
    let programs = [
        (
            IdentitySource::Headers,
            text("x-program-id", header.program)?,
        ),
        (IdentitySource::Body, id("program.id", object.id.as_ref())?),
        (
            IdentitySource::Autellix,
            id("autellix_session_id", body.autellix_session.as_ref())?,
        ),
        (
            IdentitySource::Client,
            header.client.and_then(|says| says.session.parse().ok()),
        ),
        (
            IdentitySource::Session,
            id("session_id", body.session.as_ref())?,
        ),
        (
            IdentitySource::Trace,
            header.trace.and_then(program_of_trace),
        ),
    ];
    let named = programs
        .into_iter()
        .find_map(|(source, program)| Some((source, program?)));
    let alone = if body.may_be_followed {
        IdentitySource::Tools
    } else {
        IdentitySource::Single
    };
    let (source, program) = named.unwrap_or((alone, fresh.program));
    let threads = [
        text("x-thread-id", header.thread)?,
        id("program.thread", object.thread.as_ref())?,
        id("autellix_thread_id", body.autellix_thread.as_ref())?,
        header
            .client
            .filter(|_| source == IdentitySource::Client)
            .and_then(|says| says.thread?.parse().ok()),
    ];
    let calls = [
        text("x-call-id", header.call)?,
        id("program.call", object.call.as_ref())?,
        id("autellix_call_id", body.autellix_call.as_ref())?,
    ];
    let class = id("program.class", object.class.as_ref())?;
    Ok(Identity {
        source,
        program,
        thread: threads
            .into_iter()
            .flatten()
            .next()
            .unwrap_or_else(ThreadId::main),
        call: calls.into_iter().flatten().next().unwrap_or(fresh.call),
        lineage: lineage(header, &object, body)?,
        class: class.unwrap_or_else(ClassName::unnamed),
    })
}

fn lineage(
    header: &HeaderSays<'_>,
    object: &ProgramObject,
    body: &BodySays,
) -> Result<Lineage, Error> {
    let in_header = header.parents.map(|list| {
        let names = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        parents("x-parent-call-ids", names)
    });
    let in_object = object
        .parents
        .as_ref()
        .map(|list| parents("program.parents", list.iter().map(|id| id.0.as_str())));
    let in_autellix = body.autellix_parents.as_ref().map(|list| {
        parents(
            "autellix_parent_threads",
            list.iter().map(|id| id.0.as_str()),
        )
    });
    let (in_header, in_object) = (in_header.transpose()?, in_object.transpose()?);
    let in_autellix = in_autellix.transpose()?;
    Ok(match (in_header.or(in_object), in_autellix) {
        (Some(calls), _) => Lineage::Calls(Parents::Named(calls)),
        (None, Some(threads)) => Lineage::Threads(threads),
        (None, None) => Lineage::Calls(Parents::Unsaid),
    })
}

fn parents<'a, Id: FromStr<Err = ids::Error>>(
    place: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Id>, Error> {
    let mut parents = Vec::new();
    for (index, name) in names.enumerate() {
        if index >= PARENTS_MAX {
            return Err(Error::Parents {
                place,
                count: index + 1,
            });
        }
        parents.push(parse(place, name)?);
    }
    Ok(parents)
}

fn text<Id: FromStr<Err = ids::Error>>(
    place: &'static str,
    given: Option<&str>,
) -> Result<Option<Id>, Error> {
    given.map(|name| parse(place, name)).transpose()
}

fn id<Id: FromStr<Err = ids::Error>>(
    place: &'static str,
    given: Option<&BodyId>,
) -> Result<Option<Id>, Error> {
    given.map(|name| parse(place, &name.0)).transpose()
}

fn parse<Id: FromStr<Err = ids::Error>>(place: &'static str, name: &str) -> Result<Id, Error> {
    name.parse::<Id>()
        .map_err(|source| Error::Id { place, source })
}

#[cfg(test)]
mod tests;
