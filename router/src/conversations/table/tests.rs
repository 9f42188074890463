//! Programs told apart by their messages only, and the bounds.

use std::collections::BTreeMap;

use lps_api::ids::{CallId, ProgramId, ThreadId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::conversations::digest::Digests;
use crate::conversations::said::Messages;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a name")
}

fn origin(program: &str, call: &str) -> Origin {
    Origin {
        program: ProgramId::parse(program).expect("a name"),
        thread: ThreadId::main(),
        call: CallId::parse(call).expect("a name"),
    }
}

#[derive(Default)]
struct Bench {
    digests: Digests,
    table: Table,
    now: Micros,
}

impl Bench {
    fn read(&self, texts: &[&str]) -> Conversation {
        let roles = ["user", "assistant"].iter().cycle();
        let messages = roles
            .zip(texts)
            .map(|(role, text)| json!({"role": role, "content": text}));
        let messages: Vec<Value> = messages.collect();
        let text = Value::from(messages).to_string();
        let messages = Messages::read(&text).expect("they are messages");
        self.digests.read(&messages).expect("it is a conversation")
    }

    fn answered(&mut self, whose: &str, texts: &[&str], call: &str) {
        let conversation = self.read(texts);
        let (tenant, origin) = (tenant(whose), origin("p", call));
        self.table.answered(tenant, &conversation, origin, self.now);
    }

    /// The call before, and whether it is a fork.
    fn before(&mut self, whose: &str, texts: &[&str]) -> Option<(String, bool)> {
        self.look(whose, texts, false)
    }

    fn look(&mut self, whose: &str, texts: &[&str], is_again: bool) -> Option<(String, bool)> {
        let conversation = self.read(texts);
        let asked = (&conversation, is_again);
        let before = self.table.before(&tenant(whose), asked, self.now)?;
        Some((before.origin.call.as_str().to_owned(), before.is_fork))
    }
}

fn found(call: &str, is_fork: bool) -> Option<(String, bool)> {
    Some((call.to_owned(), is_fork))
}

#[test]
fn the_longest_conversation_is_gone_on_from() {
    let mut bench = Bench::default();
    bench.answered("t", &["a"], "1");
    bench.answered("t", &["a", "x", "b"], "2");
    assert_eq!(
        bench.before("t", &["a", "x", "b", "y", "c"]),
        found("2", false)
    );
    assert_eq!(
        bench.before("t", &["a", "z", "b", "y", "c"]),
        found("1", false)
    );
    assert_eq!(bench.before("t", &["b", "x", "c"]), None);
}

#[test]
fn another_way_on_is_a_fork_and_the_same_again_is_none() {
    let mut bench = Bench::default();
    bench.answered("t", &["a"], "1");
    assert_eq!(bench.before("t", &["a", "x", "b"]), found("1", false));
    assert_eq!(bench.before("t", &["a", "x", "b"]), found("1", false));
    assert_eq!(bench.before("t", &["a", "x", "c"]), found("1", true));
    assert_eq!(bench.before("t", &["a", "y", "b"]), found("1", true));
}

#[test]
fn each_of_several_that_were_asked_the_same_is_gone_on_from() {
    let mut bench = Bench::default();
    for call in ["1", "2", "3"] {
        assert_eq!(bench.before("t", &["a"]), None);
        bench.answered("t", &["a"], call);
    }
    for (answer, call) in [("x", "1"), ("y", "2"), ("z", "3")] {
        assert_eq!(bench.before("t", &["a", answer, "b"]), found(call, false));
    }
    assert_eq!(
        bench
            .before("t", &["a", "w", "b"])
            .map(|(_, is_fork)| is_fork),
        Some(true)
    );
}

#[test]
fn who_says_that_it_asks_again_takes_no_twins_place() {
    let mut bench = Bench::default();
    bench.answered("t", &["a"], "1");
    bench.answered("t", &["a"], "2");
    let said = ["a", "x", "b"];
    assert_eq!(
        bench.look("t", &said, true),
        found("1", false),
        "the first was lost"
    );
    assert_eq!(bench.look("t", &said, true), found("1", false));
    assert_eq!(bench.look("t", &said, false), found("2", false), "its twin");
}

#[test]
fn nobody_goes_on_from_another_tenants_calls() {
    let mut bench = Bench::default();
    bench.answered("t", &["a"], "1");
    assert_eq!(bench.before("u", &["a", "x", "b"]), None);
    assert_eq!(bench.before("t", &["a", "x", "b"]), found("1", false));
}

#[test]
fn the_oldest_are_forgotten() {
    let mut bench = Bench::default();
    bench.answered("t", &["a"], "1");
    bench.answered("t", &["a"], "2");
    bench.now = AGE_MAX;
    bench.answered("t", &["b"], "3");
    bench.now = AGE_MAX + Micros(1);
    assert_eq!(bench.before("t", &["a", "x", "b"]), None);
    assert_eq!(bench.table.len(), 1);
    for call in 0..2 * COUNT_MAX {
        bench.answered("t", &[&call.to_string()], "4");
    }
    assert_eq!(
        (bench.table.len(), bench.table.calls.len()),
        (COUNT_MAX, COUNT_MAX)
    );
    assert_eq!(bench.before("t", &["b", "x", "b"]), None);
}

proptest! {
    /// Chats that differ in their first words, in whatever order their turns come, fall into their programs; each call's
    /// parent is the one before it.
    #[test]
    fn interleaved_conversations_are_told_apart(turns in prop::collection::vec((0..6_usize, 0..3_usize), 1..60)) {
        let mut bench = Bench::default();
        let mut chats: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (turn, (chat, word)) in turns.into_iter().enumerate() {
            let texts = chats.entry(chat).or_default();
            texts.push(if texts.is_empty() { format!("chat {chat}") } else { word.to_string() });
            let said: Vec<&str> = texts.iter().map(String::as_str).collect();
            let before = bench.before("t", &said);
            let expected = (said.len() > 1).then(|| (format!("{chat}-{}", said.len() - 2), false));
            prop_assert_eq!(before, expected);
            let call = format!("{chat}-{}", said.len());
            bench.answered("t", &said, &call);
            texts.push(format!("answer {turn}"));
        }
    }
}
