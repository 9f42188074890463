//! What is shown of each thing. Owns: the columns, the most telling first, since on a narrow terminal the last ones are
//! left out; and a call's state in words.

use lps_router::process_table::Reason;
use serde_json::Value;

use crate::console::{duration, plain};
use crate::show::{Column, Form};

/// A model and its open calls.
pub(super) const MODEL: [Column; 5] = [
    ("MODEL", "/id", Form::Text),
    ("WAITING", "/calls/waiting", Form::Text),
    ("RUNNING", "/calls/running", Form::Text),
    ("OLDEST", "/calls/oldest_wait_us", Form::Duration),
    ("WHY", "/calls/oldest_reason", Form::Text),
];

/// An engine and what it holds.
pub(super) const ENGINE: [Column; 7] = [
    ("ENGINE", "/id", Form::Text),
    ("SLOTS", "/load/running", Form::Of("/slots")),
    ("WAITING", "/load/waiting", Form::Text),
    ("KV", "/kv/blocks_used", Form::PartOf("/kv/blocks_total")),
    ("HOMES", "/home_programs", Form::Text),
    ("DRAINING", "/draining", Form::Text),
    ("MODEL", "/model", Form::Text),
];

/// A program's row; queue, priority and reason are those of its call that stands first.
pub(super) const PROGRAM: [Column; 14] = [
    ("PROGRAM", "/id", Form::Text),
    ("STATE", "/state", Form::Text),
    ("WAITING", "/call_counts/pending", Form::Text),
    ("RUNNING", "/call_counts/running", Form::Text),
    ("WHY", "/first_call/wait/reason", Form::Text),
    ("WAIT", "/wait_total_us", Form::Duration),
    ("SERVICE", "/service_total_us", Form::Duration),
    ("QUEUE", "/first_call/queue", Form::Text),
    ("P", "/first_call/p_us", Form::Duration),
    ("AGE", "/age_us", Form::Age),
    ("CLASS", "/class", Form::Text),
    ("CRITICAL PATH", "/critical_path_us", Form::Duration),
    ("CALLS", "/call_counts", Form::Sum),
    ("TENANT", "/tenant", Form::Text),
];

/// A call.
pub(super) const CALL: [Column; 11] = [
    ("CALL", "/id", Form::Text),
    ("STATE", "/state", Form::Text),
    ("WHY", "/explain/reason", Form::Text),
    ("WAIT", "/wait_us", Form::Duration),
    ("SERVICE", "/service_us", Form::Duration),
    ("QUEUE", "/queue", Form::Text),
    ("P", "/p_us", Form::Duration),
    ("ENGINE", "/engine", Form::Text),
    ("TOKENS", "/output_tokens", Form::Text),
    ("THREAD", "/thread", Form::Text),
    ("PARENTS", "/parents", Form::List),
];

/// Why a call waits, or that it does not.
pub(super) fn explained(call: &Value) -> String {
    let text = |value: &Value| value.as_str().map(plain);
    let explain = &call["explain"];
    let Some(reason) = text(&explain["reason"]) else {
        let state = text(&call["state"]).unwrap_or_default();
        return format!("This call is {state}.");
    };
    let known = Reason::ALL.into_iter().find(|one| one.as_str() == reason);
    let meaning = known.map_or("this lps does not know the reason", Reason::meaning);
    let lasts = duration(explain["for_us"].as_u64().unwrap_or(0));
    let mut told = format!("This call waits, for {lasts} as {reason}: {meaning}.");
    if let Some(before) = explain["position"].as_u64() {
        told += &format!(" Calls before it: {before}.");
    }
    if let Some(engine) = text(&explain["engine"]) {
        told += &format!(" Engine: {engine}.");
    }
    told
}
