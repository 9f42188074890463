//! Names of responses and of their items. Owns: that each leads back to the call that made it, so that who brings one back
//! says by it which call that was.

use lps_api::ids::CallId;

const CHAT: &str = "chatcmpl-";
const RESPONSE: &str = "resp_";
const MESSAGE: &str = "msg_";
const FUNCTION: &str = "fc_";
const REASONING: &str = "rs_";

/// The call that a chat's answer is of, by the answer's id.
pub fn call_of_chat(id: &str) -> &str {
    id.strip_prefix(CHAT).unwrap_or(id)
}

/// The response of a call.
pub fn response(call: &str) -> String {
    format!("{RESPONSE}{call}")
}

/// The call of a response.
pub fn call_of_response(id: &str) -> Option<CallId> {
    CallId::parse(id.strip_prefix(RESPONSE)?).ok()
}

/// A message, by its place in its response.
pub fn message(call: &str, place: usize) -> String {
    format!("{MESSAGE}{call}_{place}")
}

/// The call that a message is of, if it is one of ours. Others may make such ids too: it is what the id says.
pub fn call_of_message(id: &str) -> Option<CallId> {
    let (call, place) = id.strip_prefix(MESSAGE)?.rsplit_once('_')?;
    place.parse::<u32>().ok()?;
    CallId::parse(call).ok()
}

/// A function's call, by its place in its response.
pub fn function(call: &str, place: usize) -> String {
    format!("{FUNCTION}{call}_{place}")
}

/// Thoughts, by their place in their response.
pub fn reasoning(call: &str, place: usize) -> String {
    format!("{REASONING}{call}_{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_found_again() {
        for name in ["call-0a1b2c3d-1f~31", "a", "x_0_1"] {
            let call = CallId::parse(name).unwrap();
            assert_eq!(call_of_chat(&format!("chatcmpl-{name}")), name);
            assert_eq!(call_of_response(&response(name)), Some(call.clone()));
            assert_eq!(call_of_message(&message(name, 12)), Some(call));
        }
    }

    #[test]
    fn ids_of_others_say_nothing() {
        for other in [
            "", "msg_", "msg_abc", "msg_a_b", "resp_a_0", "msg__0", "msg_é_0",
        ] {
            assert_eq!(call_of_message(other), None, "{other}");
        }
        for other in ["", "resp_", "msg_a", "resp_é", "resp_a b"] {
            assert_eq!(call_of_response(other), None, "{other}");
        }
    }
}
