//! What a reader should know of each scheduling key, beside its range. Owns: the words of the generated reference. A
//! test sets every default, so that the table cannot name a value that is refused.

use super::ranges;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As `lps sim --set` and the router write it; in the resource it is camelCase.
    pub key: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
    /// What may be written.
    pub range: &'static str,
    /// What it does, and why the default is what it is.
    pub reason: &'static str,
}

const fn entry(
    key: &'static str,
    default: &'static str,
    range: &'static str,
    reason: &'static str,
) -> Entry {
    Entry {
        key,
        default,
        range,
        reason,
    }
}

/// All keys, in the order in which a call meets them.
pub const REFERENCE: [Entry; 21] = [
    entry(
        "policy",
        "atlas",
        ranges::POLICY,
        "In which order calls are served. ATLAS counts what a program's longest chain has had, so that a wide program is not punished for its width. `gittins` learns from finished programs who is likely to be done soon; where sizes hardly vary it is as good as program-fcfs, and where they vary much as good as plas.",
    ),
    entry(
        "estimator",
        "scalar",
        "scalar or dag",
        "What ATLAS takes for the critical path. The scalar is the paper's: one figure a program, no parents needed. `dag` follows the parents that calls name, and falls back to the scalar where they are not known.",
    ),
    entry(
        "unit",
        "time",
        ranges::UNIT,
        "What service is counted in. `tokens:A,B` charges A µs per uncached prompt token and B µs per output token: the same schedule on every machine.",
    ),
    entry(
        "bounds",
        "2,8,32,128,512",
        ranges::BOUNDS,
        "Where one queue ends and the next begins, in attained service. Powers of four cover a chat's seconds and an agent's minutes with six queues. `auto` follows the 25th, 50th, 75th, 90th and 97th percentile of finished programs, once 50 have finished.",
    ),
    entry(
        "quanta",
        "2,6,24,96,384,none",
        ranges::QUANTA,
        "How much service a call may use in each queue before it is demoted. Where absent: the queues' widths, the last without end.",
    ),
    entry(
        "preemption",
        "on",
        "on or off",
        "Whether a running call gives its slot to a call of a better queue.",
    ),
    entry(
        "within_queue",
        "arrival",
        ranges::WITHIN,
        "The order inside a queue. Round robin lets programs take turns; past the knee it cost ATLAS a fifth to a half, so it is off.",
    ),
    entry(
        "beta",
        "10",
        ranges::BETA,
        "A call whose program has waited this many times its service is promoted to queue 1. Smaller values were seen to switch the policy off under load.",
    ),
    entry(
        "service_floor",
        "1",
        ranges::FLOOR,
        "The least service that waits are compared with, so that a new program is not promoted at once.",
    ),
    entry(
        "max_queue_wait",
        "none",
        ranges::WAIT,
        "The longest wait below queue 1. Off, because under load it turns every policy into first come, first served.",
    ),
    entry(
        "oldest_every",
        "16",
        ranges::EVERY,
        "Every so many dispatches the oldest call goes first: with r older calls it is dispatched within 16·(r+1) dispatches.",
    ),
    entry(
        "oversubscription",
        "2",
        ranges::COUNT_64,
        "Calls that wait in an engine beyond its slots, to keep it fed between an end and the next dispatch. Without effect where nobody is displaced but a later call may be better.",
    ),
    entry(
        "backfill_limit",
        "8",
        ranges::LIMIT,
        "How many smaller calls may pass one that does not fit before room is kept for it.",
    ),
    entry(
        "max_calls_per_program",
        "none",
        ranges::CALLS,
        "Most slots of one program.",
    ),
    entry(
        "locality_threshold",
        "2048",
        ranges::TOKENS,
        "Longer prompts go to the engine that holds their program's KV; shorter ones to the least loaded.",
    ),
    entry(
        "home_wait",
        "8",
        ranges::WAIT,
        "How long a call waits for its saturated home engine before it moves; about as long as its pages are likely to survive there.",
    ),
    entry(
        "working_set",
        "on",
        "on or off",
        "Whether programs are admitted by their contexts: those whose contexts fit an engine's KV pool run, the others wait. Without it every program's cache is lost to the others as soon as they do not all fit.",
    ),
    entry(
        "kv_watermark",
        "0.9",
        ranges::MARK,
        "The share of an engine's KV pool up to which programs are admitted. The rest is for the growth of those that were.",
    ),
    entry(
        "acting_lease",
        "learned",
        ranges::LEASE,
        "How long a program keeps its place while its tool runs, even if others wait for it. Learned: what costs least over the gaps of its class, room that is kept against contexts that are computed anew; 10 s until 100 gaps are seen, at most 120 s.",
    ),
    entry(
        "max_pause",
        "30m",
        ranges::WAIT,
        "The longest wait for room: after that a program is admitted without, and counted.",
    ),
    entry(
        "tenant_weights",
        "none",
        ranges::WEIGHTS,
        "The tenant with the least service for its weight is next; all weigh 1 who are not named. In the resource it is a map.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::Settings;

    #[test]
    fn every_key_is_there_and_every_default_may_be_written() {
        let keys: Vec<_> = REFERENCE.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ranges::KEYS.split_whitespace().collect::<Vec<_>>());
        for entry in &REFERENCE {
            let mut settings = Settings::default();
            settings.set(entry.key, entry.default).expect(entry.key);
            if !["quanta", "bounds"].contains(&entry.key) {
                assert_eq!(settings, Settings::default(), "{}", entry.key);
            }
        }
    }
}
