//! The table of metrics. Owns: their names, labels and meanings; `docs/metrics.md` is made of it.

/// One metric: name, labels, meaning. `docs/metrics.md` is made of this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// As scraped.
    pub name: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn describe(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Description {
    Description { name, labels, help }
}

pub(super) const CALLS: Description = describe(
    "lps_router_calls_total",
    &["model", "outcome"],
    "Calls that ended.",
);
pub(super) const REFUSED: Description = describe(
    "lps_router_refused_total",
    &["reason"],
    "Calls that were not let in.",
);
pub(super) const QUEUE_WAIT: Description = describe(
    "lps_router_queue_wait_seconds",
    &["model"],
    "Time from a call's arrival until an attempt was sent to an engine.",
);
pub(super) const WAIT: Description = describe(
    "lps_router_wait_seconds",
    &["model", "reason"],
    "Time that calls waited, by the reason that held them.",
);
pub(super) const OVERHEAD: Description = describe(
    "lps_router_overhead_seconds",
    &["model"],
    "Time that the router itself took for a call, beside waiting.",
);
pub(super) const SERVICE: Description = describe(
    "lps_router_call_service_seconds",
    &["model"],
    "Executor time of ended calls.",
);
pub(super) const TOKENS: Description = describe(
    "lps_router_tokens_total",
    &["model", "kind"],
    "Tokens of ended calls: prompt, cached (of the prompt), output, cancelled (output that was thrown away).",
);
pub(super) const SOURCES: Description = describe(
    "lps_router_identity_total",
    &["source"],
    "Calls by where their program was said.",
);
pub(super) const ATTEMPTS: Description = describe(
    "lps_router_failed_attempts_total",
    &["model", "cause"],
    "Attempts that gave no answer: the connection failed, or the engine was busy.",
);
pub(super) const RESUMED: Description = describe(
    "lps_router_resumed_total",
    &["model"],
    "Streams that another engine was asked to go on with, because theirs was lost.",
);
pub(super) const PROGRAM_COMPLETION: Description = describe(
    "lps_router_program_completion_seconds",
    &["model"],
    "Time from a program's arrival to its last call's end, for programs that ended.",
);
pub(super) const PROGRAM_SERVICE: Description = describe(
    "lps_router_program_service_seconds",
    &["model"],
    "Service of ended programs.",
);
pub(super) const PROGRAM_PATH: Description = describe(
    "lps_router_program_critical_path_seconds",
    &["model"],
    "Critical path of ended programs.",
);
pub(super) const MOVES: Description = describe(
    "lps_router_queue_moves_total",
    &["model", "kind"],
    "Calls demoted, promoted and preempted.",
);
pub(super) const WAITING: Description = describe(
    "lps_router_waiting_calls",
    &["model"],
    "Calls that are ready and at no engine.",
);
pub(super) const RUNNING: Description =
    describe("lps_router_running_calls", &["model"], "Calls at engines.");
pub(super) const ENGINES: Description =
    describe("lps_router_engines", &["model"], "Engines that answer.");
pub(super) const DESIRED: Description = describe(
    "lps_router_scaling_desired",
    &["model"],
    "Engines that are asked for.",
);
pub(super) const RECOMMENDED: Description = describe(
    "lps_router_scaling_recommended",
    &["model"],
    "Engines that the load calls for, before bounds, delays and steps.",
);
pub(super) const CAPACITY: Description = describe(
    "lps_router_scaling_capacity",
    &["model"],
    "Engines that take calls, and those that start and are not late.",
);
pub(super) const DECISIONS: Description = describe(
    "lps_router_scaling_decisions_total",
    &["model", "direction", "reason"],
    "Changes of the number of engines that is asked for; in a dry run those that would have been.",
);
pub(super) const LEARNED: Description = describe(
    "lps_router_learned_programs",
    &["model"],
    "Finished programs that are remembered, the last 512 at most: what `gittins` and `bounds: [auto]` go by.",
);

pub(super) const ATTACHED: Description = describe(
    "lps_router_attached_total",
    &[],
    "Retries that were given the answer of their call, which still ran, instead of an attempt of their own.",
);
pub(super) const SPANS: Description = describe(
    "lps_router_spans_total",
    &["outcome"],
    "Spans of traces: sent, dropped as too many waited, or failed as the collector did not take them.",
);
pub(super) const LOGGED: Description = describe(
    "lps_router_logged_programs_total",
    &["outcome"],
    "Lines of ended programs for --programs-log: written, dropped as too many waited, or failed as the file took them not.",
);
pub(super) const KEPT: Description = describe(
    "lps_router_kept",
    &["what"],
    "What the router keeps: live_programs, ended_programs (that can be looked at), open_calls, known_calls (by name), and tasks of its process.",
);
pub(super) const DENIED: Description = describe(
    "lps_router_denied_total",
    &["reason"],
    "Requests that were refused for their key: none, unknown, expired, without the role, or of another tenant.",
);
pub(super) const KEYS_FILE: Description = describe(
    "lps_router_keys_file_valid",
    &[],
    "Whether the keys in use are those of the file: 1, or 0 while the file makes no sense and those of before are used.",
);
pub(super) const CERTIFICATE_VALID: Description = describe(
    "lps_router_certificate_valid",
    &["shown_to"],
    "Whether the certificates in use are those of the files: 1, or 0 while these make no sense and those of before are used.",
);
pub(super) const CERTIFICATE_EXPIRES: Description = describe(
    "lps_router_certificate_expires_timestamp_seconds",
    &["shown_to"],
    "When the certificate that clients, or engines, are shown expires, in seconds since 1970.",
);

/// Every metric.
pub const ALL: &[Description] = &[
    CALLS,
    REFUSED,
    QUEUE_WAIT,
    WAIT,
    OVERHEAD,
    SERVICE,
    TOKENS,
    SOURCES,
    ATTEMPTS,
    RESUMED,
    PROGRAM_COMPLETION,
    PROGRAM_SERVICE,
    PROGRAM_PATH,
    MOVES,
    WAITING,
    RUNNING,
    ENGINES,
    DESIRED,
    RECOMMENDED,
    CAPACITY,
    DECISIONS,
    LEARNED,
    ATTACHED,
    SPANS,
    LOGGED,
    KEPT,
    DENIED,
    KEYS_FILE,
    CERTIFICATE_VALID,
    CERTIFICATE_EXPIRES,
];
