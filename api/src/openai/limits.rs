//! Ranges of a request's fields. Owns: the numbers, each once: the engine checks them, the router those that it reads, and
//! the schemas tell them.

use std::ops::RangeInclusive;

/// Choices of one call.
pub const CHOICES: RangeInclusive<i64> = 1..=128;
/// Output tokens. No context is longer; a limit beyond it is a mistake rather than a wish.
pub const OUTPUT_TOKENS: RangeInclusive<i64> = 1..=1 << 20;
/// Rivals of a token whose log-probabilities are reported.
pub const LOGPROBS: RangeInclusive<i64> = 0..=20;
/// Urgency of a call without a router.
pub const PRIORITY: RangeInclusive<i64> = 0..=u8::MAX as i64;
/// Divisor of the logits.
pub const TEMPERATURE: RangeInclusive<f64> = 0.0..=2.0;
/// Share of probability that is drawn from.
pub const TOP_P: RangeInclusive<f64> = 0.0..=1.0;
/// Number of tokens that are drawn from.
pub const TOP_K: RangeInclusive<i64> = -1..=u32::MAX as i64;
/// Least probability, relative to the most likely token's.
pub const MIN_P: RangeInclusive<f64> = 0.0..=1.0;
/// Penalties that are subtracted.
pub const PENALTY: RangeInclusive<f64> = -2.0..=2.0;
/// The penalty that divides, which is above its least value.
pub const REPETITION_PENALTY: RangeInclusive<f64> = 0.0..=10.0;
/// What is added to a token's logit.
pub const LOGIT_BIAS: RangeInclusive<f64> = -100.0..=100.0;
/// Stop texts of one call.
pub const STOPS_MAX: usize = 16;
/// Bytes of a stop text; it has one at least.
pub const STOP_BYTES_MAX: usize = 1024;
/// Stop tokens of one call.
pub const STOP_TOKENS_MAX: usize = 256;
/// Bytes of a salt; it has one at least.
pub const SALT_BYTES_MAX: usize = 1024;
/// Messages of a chat; it has one at least.
pub const MESSAGES_MAX: usize = 4096;
/// Roles of a message: OpenAI's, its old `function` included.
pub const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];
