//! What a conversation echoes of us. Owns: finding in the text of its messages the ids of tool calls that we made, and
//! which of them are answered now. It must not know what became of those calls.

use lps_api::ids::CallId;
use lps_api::tool_call;
use memchr::memmem;

/// Ids that are looked at, from the end: an agent's last steps.
const ECHOES_MAX: usize = 256;
/// Within a text a quote would be escaped, so with both quotes these are keys or whole texts.
const RESULT: &str = "\"tool_call_id\"";
const CALLS: &str = "\"tool_calls\"";
const ROLE: &str = "\"role\"";
const ANSWER: &str = "\"assistant\"";

/// Calls of the model whose tools' results stand in a conversation, by their names at engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echoes {
    /// Those whose results the conversation ends with: it goes on from there. Each once, in order.
    pub answered: Vec<CallId>,
    /// The last one.
    pub latest: CallId,
    /// The first one that was looked at.
    pub first: CallId,
}

/// What one item of a conversation echoes, where its form says so by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Echo {
    /// The model's words, of this call where that is known.
    Said(Option<CallId>),
    /// The result of a tool that this call asked for.
    Result(CallId),
}

impl Echoes {
    /// Of a conversation's items, in order: it goes on from the model's last words, or from the results after them.
    pub fn of(items: impl IntoIterator<Item = Echo>) -> Option<Self> {
        let (mut first, mut latest, mut answered) = (None, None, Vec::new());
        for item in items {
            let call = match item {
                Echo::Said(call) => {
                    answered.clear();
                    call
                }
                Echo::Result(call) => Some(call),
            };
            let Some(call) = call else { continue };
            if answered.len() < ECHOES_MAX && !answered.contains(&call) {
                answered.push(call.clone());
            }
            first.get_or_insert_with(|| call.clone());
            latest = Some(call);
        }
        Some(Self {
            answered,
            latest: latest?,
            first: first?,
        })
    }

    /// Looks for them in the text of a list of messages.
    pub fn find(messages: &str) -> Option<Self> {
        // Most have none, which is found out faster forwards.
        memmem::find(messages.as_bytes(), RESULT.as_bytes())?;
        let mut found: Vec<(usize, CallId)> = Vec::new();
        let mut end = messages.len();
        while found.len() < ECHOES_MAX
            && let Some(at) = memmem::rfind(&messages.as_bytes()[..end], RESULT.as_bytes())
        {
            end = at;
            let id = text_after(&messages[at + RESULT.len()..]);
            found.extend(id.and_then(tool_call::asked_by).map(|call| (at, call)));
        }
        found.reverse();
        let (last, latest) = found.last().cloned()?;
        let is_over = messages[last..]
            .match_indices(ROLE)
            .any(|(at, _)| value_after(&messages[last + at + ROLE.len()..], ANSWER));
        let asked = last_list_of_calls(messages).unwrap_or(0);
        let mut answered: Vec<CallId> = Vec::new();
        for (at, call) in &found {
            if !is_over && *at > asked && !answered.contains(call) {
                answered.push(call.clone());
            }
        }
        let first = found[0].1.clone();
        Some(Self {
            answered,
            latest,
            first,
        })
    }
}

/// Where the last list of tool calls stands.
fn last_list_of_calls(messages: &str) -> Option<usize> {
    let calls = memmem::rfind_iter(messages.as_bytes(), CALLS);
    calls
        .into_iter()
        .find(|at| value_after(&messages[at + CALLS.len()..], "["))
}

/// Whether a key stands before a value that begins so.
fn value_after(rest: &str, value: &str) -> bool {
    let rest = rest.trim_start().strip_prefix(':');
    rest.is_some_and(|rest| rest.trim_start().starts_with(value))
}

/// The text that a key stands before; none where it is no key, or the text has an escape, which our ids have not.
fn text_after(rest: &str) -> Option<&str> {
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let text = value.strip_prefix('"')?;
    let text = &text[..text.find('"')?];
    (!text.contains('\\')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Vec<CallId> {
        names
            .iter()
            .map(|name| CallId::parse(name).unwrap())
            .collect()
    }

    fn asks(ids: &[&str]) -> String {
        let calls: Vec<String> = ids.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
        format!(
            r#"{{"role":"assistant","tool_calls":[{}]}}"#,
            calls.join(",")
        )
    }

    fn result(id: &str) -> String {
        format!(
            r#"{{"role": "tool", "tool_call_id" : "{id}", "content": "say \"tool_call_id\": \"call_no_0_0\""}}"#
        )
    }

    fn find(messages: &[String]) -> Option<Echoes> {
        Echoes::find(&format!("[{}]", messages.join(",")))
    }

    #[test]
    fn the_last_results_are_what_it_goes_on_from() {
        let history = [asks(&["call_a_0_0"]), result("call_a_0_0")];
        let step = [
            asks(&["call_b_0_0", "call_b_0_1"]),
            result("call_b_0_0"),
            result("call_b_0_1"),
        ];
        let found = find(&[&history[..], &step].concat()).unwrap();
        assert_eq!(found.answered, calls(&["b"]));
        assert_eq!([found.latest, found.first].to_vec(), calls(&["b", "a"]));
    }

    #[test]
    fn fields_that_say_nothing_change_nothing() {
        let result = r#"{"role":"tool","tool_call_id":"call_a_0_0","content":"assistant","tool_calls":null}"#;
        let found = find(&[asks(&["call_a_0_0"]), result.to_owned()]).unwrap();
        assert_eq!(found.answered, calls(&["a"]));
    }

    #[test]
    fn results_of_several_calls_are_a_join() {
        let found = find(&[
            asks(&["call_a_0_0", "call_b_0_0"]),
            result("call_a_0_0"),
            result("call_b_0_0"),
        ]);
        assert_eq!(found.unwrap().answered, calls(&["a", "b"]));
    }

    #[test]
    fn after_an_answer_nothing_is_answered_but_the_conversation_is_known() {
        let said = r#"{"role":"assistant","content":"391"}"#.to_owned();
        let asked = r#"{"role":"user","content":"and now?"}"#.to_owned();
        let found = find(&[asks(&["call_a_0_0"]), result("call_a_0_0"), said, asked]).unwrap();
        assert_eq!(
            (found.answered, found.latest),
            (Vec::new(), calls(&["a"])[0].clone())
        );
    }

    #[test]
    fn items_say_what_they_come_from() {
        let call = |name: &str| CallId::parse(name).unwrap();
        let said = |name: &str| Echo::Said(Some(call(name)));
        let result = |name: &str| Echo::Result(call(name));
        let found = |items: &[Echo]| {
            let echoes = Echoes::of(items.iter().cloned())?;
            Some((echoes.answered, [echoes.first, echoes.latest]))
        };
        for (items, answered, first, latest) in [
            (vec![said("a")], &["a"][..], "a", "a"),
            (
                vec![said("a"), result("a"), said("b")],
                &["b"][..],
                "a",
                "b",
            ),
            (
                vec![said("a"), said("b"), result("b"), result("a")],
                &["b", "a"][..],
                "a",
                "a",
            ),
            (
                vec![said("a"), result("a"), Echo::Said(None)],
                &[][..],
                "a",
                "a",
            ),
        ] {
            let expected = (calls(answered), [call(first), call(latest)]);
            assert_eq!(found(&items), Some(expected), "{items:?}");
        }
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[Echo::Said(None)]), None);
    }

    #[test]
    fn what_is_no_id_of_ours_is_no_echo() {
        for id in ["", "call_abc", r"call_a\u005f0_0", "toolu_1"] {
            assert_eq!(find(&[asks(&[id]), result(id)]), None, "{id}");
        }
        assert_eq!(Echoes::find(""), None);
        assert_eq!(Echoes::find(r#"["tool_call_id", "call_a_0_0"]"#), None);
        assert_eq!(Echoes::find(r#"[{"tool_call_id": "call_a_0_0"#), None);
    }

    #[test]
    fn only_the_last_of_many_are_looked_at() {
        let steps = (0..2 * ECHOES_MAX).map(|step| result(&format!("call_c{step}_0_0")));
        let found = find(&steps.collect::<Vec<_>>()).unwrap();
        assert_eq!(
            (found.answered.len(), found.first),
            (ECHOES_MAX, calls(&["c256"])[0].clone())
        );
    }
}
