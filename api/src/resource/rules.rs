//! What the API server itself refuses. Owns: the rules across fields, in CEL, each with the message that says the fix.
//! Ranges of single fields stand at the types. The operator's `validate` knows these rules too, for files that no API
//! server has seen; a test asks both about the same resources.

/// One rule on a part of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// The part, as names of properties with dots between; empty: the whole resource.
    pub(super) path: &'static str,
    /// True where all is well.
    pub(super) cel: &'static str,
    /// What is wrong, and what would be right.
    pub(super) message: &'static str,
}

const fn rule(path: &'static str, cel: &'static str, message: &'static str) -> Rule {
    Rule { path, cel, message }
}

/// Every rule.
pub(super) const RULES: [Rule; 10] = [
    rule(
        "",
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name has at most 40 of a-z, 0-9 and -, a letter first, no - last: engines are named after it",
    ),
    rule(
        "spec.model.name",
        "self == oldSelf",
        "clients ask for the model by this name; to serve another one, create another resource",
    ),
    rule(
        "spec.model.source",
        "[has(self.builtin), has(self.huggingFace), has(self.pvc), has(self.hostPath), has(self.image)].filter(x, x).size() == 1",
        "write exactly one of builtin, huggingFace, pvc, hostPath and image",
    ),
    rule(
        "spec.model.source.hostPath",
        "self.path.startsWith('/')",
        "path is absolute: start it with /",
    ),
    rule(
        "spec.engine",
        "!has(self.gpus) || self.device == 'cuda'",
        "gpus mean nothing with device cpu; remove them, or write device: cuda",
    ),
    rule(
        "spec.engine",
        "!has(self.gpus) || self.gpus == 1",
        "an engine uses one GPU; write gpus: 1, or remove it",
    ),
    rule(
        "spec.engine",
        "!has(self.maxNumSeqs) || !has(self.maxBatchedTokens) || self.maxBatchedTokens >= self.maxNumSeqs",
        "maxBatchedTokens is at least maxNumSeqs: every sequence takes a token a step",
    ),
    rule(
        "spec.engine.kvCache",
        "has(self.size) != has(self.fraction)",
        "write exactly one of size and fraction",
    ),
    rule(
        "spec.scaling",
        "!has(self.max) || self.min <= self.max",
        "min is above max; raise max or lower min",
    ),
    rule(
        "spec.scheduling",
        "!has(self.bounds) || !has(self.quanta) || self.quanta.size() == self.bounds.size() + 1",
        "quanta has one value more than bounds: one for each queue",
    ),
];
