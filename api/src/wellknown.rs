//! Names that two sides must spell alike: ports, headers, paths, labels, environment variables.

/// Ports by default.
pub mod port {
    /// The router's OpenAI endpoint.
    pub const ROUTER: u16 = 8080;
    /// The router's admin endpoint.
    pub const ROUTER_ADMIN: u16 = 8081;
    /// An engine's HTTP endpoint; its admin endpoint is the next one.
    pub const ENGINE: u16 = 8000;
    /// The operator's admin endpoint.
    pub const OPERATOR_ADMIN: u16 = 8082;
}

/// The DNS name in engines' certificates: engines come and go, and their addresses with them.
pub const ENGINE_TLS_NAME: &str = "lps-engine";

/// Header names, lower case as HTTP libraries keep them.
pub mod header {
    /// The program a call belongs to (client → router → engine → client).
    pub const PROGRAM_ID: &str = "x-program-id";
    /// The thread inside the program (client → router).
    pub const THREAD_ID: &str = "x-thread-id";
    /// The call's own id (client → router → engine → client).
    pub const CALL_ID: &str = "x-call-id";
    /// Comma list of the calls this one depends on; present and empty means a root (client → router).
    pub const PARENT_CALL_IDS: &str = "x-parent-call-ids";
    /// Names one call over all attempts of a client at it (client → router).
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// W3C's trace context (client → router → engine).
    pub const TRACE: &str = "traceparent";
    /// An API key, as Anthropic's clients send it (client → router).
    pub const API_KEY: &str = "x-api-key";
    /// Names the tenant; where there are keys, only an administrator's names another than its own (client → router).
    pub const TENANT_ID: &str = "x-tenant-id";
    /// Id of one HTTP request, made where absent.
    pub const REQUEST_ID: &str = "x-request-id";
    /// The call's [`Order`](crate::quantity::Order) as `QUEUE,RANK` (router → engine).
    pub const ORDER: &str = "x-lps-order";
    /// Which try of the call this is (router → engine).
    pub const ATTEMPT: &str = "x-lps-attempt";
    /// Whose the call is: cached prefixes are shared only among calls of one tenant; absent: among all that have none
    /// (router → engine).
    pub const CACHE_TENANT: &str = "x-lps-cache-tenant";
    /// The protocol version of the sender (router → engine).
    pub const PROTOCOL: &str = "x-lps-protocol";
    /// Which engine answered (router → client).
    pub const ENGINE: &str = "x-engine";
    /// Time the call waited in the router before it was sent to an engine, in ms (router → client).
    pub const QUEUE_MS: &str = "x-queue-ms";
    /// Time the router spent on the call beside waiting, in ms (router → client).
    pub const OVERHEAD_MS: &str = "x-overhead-ms";
    /// Prompt tokens served from the prefix cache (router → client, unary answers).
    pub const CACHED_TOKENS: &str = "x-cached-tokens";
}

/// Paths of the router↔engine protocol on the engine's HTTP port.
pub mod path {
    /// `GET`: JSON lines of [`EngineEvent`](crate::protocol::EngineEvent), one connection a router.
    pub const EVENTS: &str = "/internal/v1/events";
    /// `POST` [`CallCommands`](crate::protocol::CallCommands).
    pub const CALLS: &str = "/internal/v1/calls";
    /// `POST` [`Release`](crate::protocol::Release).
    pub const RELEASE: &str = "/internal/v1/release";
    /// `POST`, no body: accept nothing new, finish what runs.
    pub const DRAIN: &str = "/internal/v1/drain";
}

/// Identity of the custom resource.
pub mod resource {
    /// API group and version.
    pub const API_VERSION: &str = "llmprogram.dev/v1alpha1";
    /// Kind.
    pub const KIND: &str = "LLMProgramServing";
    /// Finalizer by which the operator drains the engines of a deleted resource before they go.
    pub const FINALIZER: &str = "llmprogram.dev/drain";
}

/// Field managers: who writes which part of an object.
pub mod manager {
    /// The operator: engines, what belongs to them, and its part of the status.
    pub const OPERATOR: &str = "lps-operator";
    /// The router: programs, loads and scaling in the status, and its condition of engines' pods.
    pub const ROUTER: &str = "lps-router";
    /// The router as the one that writes `replicas` through `/scale`.
    pub const SCALER: &str = "lps-router-scaler";
}

/// Conditions of engines' pods.
pub mod condition {
    /// Readiness gate: whether the router sends calls to the engine. The router writes it.
    pub const ADMITTED: &str = "llmprogram.dev/admitted";
    /// Reason of a false [`ADMITTED`]: no new calls come, and some are not finished.
    pub const DRAINING: &str = "Draining";
    /// Reason of a false [`ADMITTED`]: no new calls come, and none is left.
    pub const DRAINED: &str = "Drained";
}

/// Labels of what the operator makes.
pub mod label {
    /// The resource that a pod or Service belongs to.
    pub const SERVING: &str = "llmprogram.dev/serving";
    /// What an engine was made from.
    pub const REVISION: &str = "llmprogram.dev/revision";
    /// `"true"` on the pod of the router that holds the Lease: its Service selects it.
    pub const ACTIVE: &str = "llmprogram.dev/active";
    /// Kubernetes' recommended label: what kind of thing it is.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// Kubernetes' recommended label: which one of its kind.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// Kubernetes' recommended label: who made it.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
}

/// Annotations of engines' pods; the operator writes them.
pub mod annotation {
    /// How many engines failed in a row before this one.
    pub const FAILURES_BEFORE: &str = "llmprogram.dev/failures-before";
    /// Present where the engine speaks TLS.
    pub const TLS: &str = "llmprogram.dev/tls";
    /// Present while the engine is to get no new calls: since when, in microseconds since 1970.
    pub const DRAINING_SINCE: &str = "llmprogram.dev/draining-since";
}
