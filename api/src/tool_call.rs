//! Ids of tool calls. Owns: how a call of the model stands in the ids of the tool calls that it asks for, so that whoever
//! brings a tool's result says by it which call asked.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::ids::CallId;

/// OpenAI takes no longer ones, and clients may send a conversation there next.
const ID_BYTES_MAX: usize = 40;
const PREFIX: &str = "call_";
/// Mistral's.
const SHORT_BYTES: usize = 9;

/// The id of a tool call: `call_CALL_CHOICE_INDEX`, or, where that is too long, 22 letters and digits that tell nobody
/// anything. Equal for an equal call, wherever it runs.
pub fn id(call: &CallId, choice: u32, index: u32) -> String {
    let id = format!("{PREFIX}{call}_{choice}_{index}");
    if id.len() <= ID_BYTES_MAX {
        return id;
    }
    format!("{PREFIX}{}", digest(&id))
}

/// The call of the model in an id that [`id`] made. Others may make such ids too: it is what the id says.
pub fn asked_by(id: &str) -> Option<CallId> {
    let mut parts = id.strip_prefix(PREFIX)?.rsplitn(3, '_');
    for _ in 0..2 {
        parts.next()?.parse::<u32>().ok()?;
    }
    CallId::parse(parts.next()?).ok()
}

/// An id as some chat templates want it: nine letters and digits, equal for an equal id.
pub fn short(id: &str) -> String {
    let is_short = id.len() == SHORT_BYTES && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_short {
        return id.to_owned();
    }
    let mut digest = digest(id);
    digest.truncate(SHORT_BYTES);
    digest
}

fn digest(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digest = String::with_capacity(22);
    for half in 0..2_u8 {
        let mut hasher = DefaultHasher::new();
        (half, text).hash(&mut hasher);
        let mut number = hasher.finish();
        for _ in 0..11 {
            digest.push(char::from(DIGITS[(number % 62) as usize]));
            number /= 62;
        }
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_found_again_where_its_name_is_short() {
        for name in ["call-0a1b2c3d-1f~31", "a", "x_0_1", "7"] {
            let call = CallId::parse(name).unwrap();
            let id = id(&call, 2, 13);
            assert_eq!(asked_by(&id), Some(call), "{id}");
        }
        let long = CallId::parse(&"n".repeat(40)).unwrap();
        let ids = [id(&long, 0, 0), id(&long, 0, 1), id(&long, 1, 0)];
        assert!(
            ids.iter()
                .all(|id| id.len() == 27 && asked_by(id).is_none()),
            "{ids:?}"
        );
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert_eq!(ids[0], id(&long, 0, 0));
    }

    #[test]
    fn a_short_id_is_nine_letters_and_digits() {
        assert_eq!(short("abcDEF123"), "abcDEF123");
        for id in ["", "call_a_0_0", "call_a_0_1", "nine-char", "é🌍"] {
            let short = short(id);
            assert!(short.len() == 9 && short.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        assert_ne!(short("call_a_0_0"), short("call_a_0_1"));
    }

    #[test]
    fn ids_of_others_say_nothing() {
        for other in [
            "",
            "call_",
            "call_abc",
            "call_a_1",
            "call_a_b_1",
            "call__0_0",
            "toolu_a_0_0",
            "call_é_0_0",
        ] {
            assert_eq!(asked_by(other), None, "{other}");
        }
    }
}
