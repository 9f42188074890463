//! What a call is called between router and engine. Owns: a name that is unique for the life of the router, whatever
//! clients call their calls, and that leads back to the call's key.

use lps_api::ids::{CallId, ID_BYTES_MAX};

use crate::message::CallKey;

/// Longest key in digits, with its mark.
const KEY_BYTES_MAX: usize = 21;

/// The call's name at engines: the client's name, shortened where needed, `~` and the key.
pub fn name(call: &CallId, key: CallKey) -> CallId {
    let kept = call.as_str().len().min(ID_BYTES_MAX - KEY_BYTES_MAX);
    let text = format!("{}~{}", &call.as_str()[..kept], key.0);
    CallId::parse(&text).expect("an id, a mark and digits within the limit are an id")
}

/// The key in a name that [`name`] made.
pub fn key(name: &CallId) -> Option<CallKey> {
    let (_, key) = name.as_str().rsplit_once('~')?;
    key.parse().ok().map(CallKey)
}

/// The client's name, as far as it was kept, and the key.
pub fn split(name: &CallId) -> Option<(CallId, CallKey)> {
    let (client, _) = name.as_str().rsplit_once('~')?;
    Some((CallId::parse(client).ok()?, key(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_back_whatever_the_client_said() {
        for text in ["a", "x~7", "~", &"y".repeat(ID_BYTES_MAX)] {
            let call = CallId::parse(text).unwrap();
            for number in [0, 7, u64::MAX] {
                assert_eq!(key(&name(&call, CallKey(number))), Some(CallKey(number)));
            }
        }
        assert_eq!(key(&CallId::parse("foreign").unwrap()), None);
    }
}
