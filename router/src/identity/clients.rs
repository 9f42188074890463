//! What clients say of themselves without being told to. Owns: which headers those are, and what of them is a program and what
//! a thread.

use lps_api::ids::ProgramId;

/// What a known client's own headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSays<'a> {
    /// Its session.
    pub session: &'a str,
    /// One of several that work in the session.
    pub thread: Option<&'a str>,
}

/// Headers by which a client tells its sessions, of itself and with no change to it.
struct KnownClient {
    session: &'static str,
    /// Who works in it, where there are several.
    thread: Option<&'static str>,
    /// The session that this one was begun from: it works in that one.
    parent: Option<&'static str>,
}

const fn client(session: &'static str) -> KnownClient {
    KnownClient {
        session,
        thread: None,
        parent: None,
    }
}

/// Claude Code, Codex (of now and of before), DeepSeek's, Dynamo's, OpenCode and whoever says `x-session-id`, LangGraph's
/// deep agents, llm-d's fairness.
const KNOWN_CLIENTS: [KnownClient; 9] = [
    KnownClient {
        thread: Some("x-claude-code-agent-id"),
        ..client("x-claude-code-session-id")
    },
    KnownClient {
        thread: Some("thread-id"),
        ..client("session-id")
    },
    client("session_id"),
    KnownClient {
        parent: Some("x-deepseek-harness-parent-session-id"),
        ..client("x-deepseek-harness-session-id")
    },
    KnownClient {
        parent: Some("x-dynamo-parent-session-id"),
        ..client("x-dynamo-session-id")
    },
    KnownClient {
        parent: Some("x-parent-session-id"),
        ..client("x-session-id")
    },
    client("x-opencode-session"),
    client("x-multi-turn-session-id"),
    client("x-llm-d-inference-fairness-id"),
];

impl<'a> ClientSays<'a> {
    /// Reads them; `header` gives a header's text. What is no id of ours is passed over: the client did not choose to
    /// tell us, so it is not refused for how.
    pub fn read(header: impl Fn(&'static str) -> Option<&'a str>) -> Option<Self> {
        let id = |name| header(name).filter(|text| ProgramId::parse(text).is_ok());
        KNOWN_CLIENTS.iter().find_map(|known| {
            let session = id(known.session)?;
            let thread = known.thread.and_then(id);
            Some(match known.parent.and_then(id) {
                Some(parent) => Self {
                    session: parent,
                    thread: Some(session),
                },
                None => Self { session, thread },
            })
        })
    }
}

/// The program of a trace: `VERSION-TRACE-SPAN-FLAGS` (W3C Trace Context), of which the trace has 32 hexadecimal digits
/// that are not all zero.
pub(super) fn program_of_trace(traceparent: &str) -> Option<ProgramId> {
    let trace = traceparent.split('-').nth(1)?;
    let is_one = trace.len() == 32
        && trace.bytes().all(|digit| digit.is_ascii_hexdigit())
        && trace.bytes().any(|digit| digit != b'0');
    let program = is_one.then(|| format!("trace-{trace}"))?;
    ProgramId::parse(&program).ok()
}
