//! Figures that others published of such programs. Owns: what stands beside the statistics of what was generated.

use super::statistics::Quantity;

/// A published figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    /// As it was printed.
    pub(super) figure: &'static str,
    /// Where.
    pub(super) source: &'static str,
}

const AUTELLIX: &str = "Autellix, arXiv 2502.13965, section 6";
const CATALOG: &str = "inference-perf, workload catalog";
const CONTINUUM: &str = "Continuum, SWE-bench with mini-swe-agent";
const CONTINUUM_BFCL: &str = "Continuum, BFCL v4 web search";
const TRACELAB: &str = "TraceLab, arXiv 2606.30560, Claude Code sessions";

/// What is published of a class, if anything.
pub(super) fn of(class: &str, quantity: Quantity) -> Option<Published> {
    use Quantity::{Calls, Gap, Output, ProgramTokens, Prompt};
    let (figure, source) = match (class, quantity) {
        ("chat", Calls) => ("mean 6.66, at most 80", AUTELLIX),
        ("chat", Prompt) => ("256 new a turn", AUTELLIX),
        ("chat", Output) => ("mean 277", AUTELLIX),
        ("chat", Gap) => ("45 ± 40, 5 to 300", CATALOG),
        ("react", Calls) => ("mean 10.75, at most 70", AUTELLIX),
        ("react", Prompt) => ("mean 735", AUTELLIX),
        ("react", Output) => ("mean 34", AUTELLIX),
        ("react", Gap) => ("1.92 ± 2.13", CONTINUUM_BFCL),
        ("mcts", Calls) => ("mean 159.7", AUTELLIX),
        ("mcts", Prompt) => ("mean 467", AUTELLIX),
        ("mcts", Output) => ("mean 72.6", AUTELLIX),
        ("swe-bench", Calls) => ("10.9 ± 2.1", CONTINUUM),
        ("swe-bench", ProgramTokens) => ("70,126 ± 19,732", CONTINUUM),
        ("swe-bench", Gap) => ("0.925 ± 3.55", CONTINUUM),
        ("coding", Calls) => ("p50 15, p90 135, p99 1,107", TRACELAB),
        ("coding", Prompt) => ("p50 126,000, p99 918,000", TRACELAB),
        ("coding", Output) => ("p50 252, p90 below 1,700", TRACELAB),
        ("coding", Gap) => (
            "tools p50 0.3, p90 13.6, p99 216; people p50 86, p90 1,236",
            TRACELAB,
        ),
        ("deep-research", Calls) => ("15 ± 8.5, 2 to 50", CATALOG),
        ("deep-research", Prompt) => ("45,000 ± 35,000, and 3,000 a turn", CATALOG),
        ("deep-research", Output) => ("300 ± 850, two humps", CATALOG),
        ("deep-research", Gap) => ("25 ± 12", CATALOG),
        _ => return None,
    };
    Some(Published { figure, source })
}
