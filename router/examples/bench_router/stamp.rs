//! When a piece of a stream was sent, as the text of its content. Owns: writing and reading it; engine and clients are two
//! processes of one machine.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;

const FIELD: &[u8] = b"\"content\":\"";

/// Microseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "two processes have no other clock in common"
)]
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The stamp in an event of a stream, if it has content.
pub(crate) fn of(event: &[u8]) -> Option<u64> {
    let start = memmem::find(event, FIELD)? + FIELD.len();
    let digits = event[start..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
