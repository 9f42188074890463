//! How a tenant's limits stand. Owns: the headers by which OpenAI's clients read it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::allowance::{Left, Standing};

/// The names of a limit's headers: the limit, what is left, when all is there again.
type Names = [&'static str; 3];

const REQUESTS: Names = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];
const TOKENS: Names = [
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// Writes the headers of the limits that there are.
pub(super) fn tell(headers: &mut HeaderMap, standing: &Standing) {
    for (names, left) in [(REQUESTS, standing.requests), (TOKENS, standing.tokens)] {
        let Some(Left {
            limit,
            remaining,
            reset,
        }) = left
        else {
            continue;
        };
        let values = [limit.to_string(), remaining.to_string(), told(reset)];
        for (name, value) in names.into_iter().zip(values) {
            let value = HeaderValue::from_str(&value).expect("numbers are printable");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// A time as OpenAI writes it: `120ms`, `2s`, `6m0s`.
fn told(time: Duration) -> String {
    let ms = time.as_micros().div_ceil(1_000);
    let seconds = ms.div_ceil(1_000);
    match seconds {
        _ if ms < 1_000 => format!("{ms}ms"),
        0..60 => format!("{seconds}s"),
        _ => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_writes_them() {
        for (us, expected) in [
            (0, "0ms"),
            (1, "1ms"),
            (119_001, "120ms"),
            (1_000_000, "1s"),
            (1_000_001, "2s"),
            (59_000_001, "1m0s"),
            (367_000_000, "6m7s"),
        ] {
            assert_eq!(told(Duration::from_micros(us)), expected);
        }
    }
}
