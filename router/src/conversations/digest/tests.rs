//! What is the same conversation, and what is not.

use serde_json::{Value, json};

use super::*;

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn model(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn system(text: &str) -> Value {
    json!({"role": "system", "content": text})
}

fn digested(digests: &Digests, messages: &str) -> Option<Conversation> {
    digests.read(&Messages::read(messages)?)
}

/// The digests of several conversations, under one key.
fn read<const N: usize>(conversations: [&[Value]; N]) -> [Option<Conversation>; N] {
    let digests = Digests::default();
    conversations.map(|messages| digested(&digests, &Value::from(messages).to_string()))
}

/// Whether the second goes on from the first.
fn goes_on(first: &[Value], second: &[Value]) -> bool {
    let [Some(first), Some(second)] = read([first, second]) else {
        return false;
    };
    second.points().contains(&first.whole())
}

#[test]
fn a_conversation_goes_on_from_all_of_another_and_an_answer() {
    let first = [system("s"), user("a")];
    let next = [system("s"), user("a"), model("b"), user("c")];
    assert!(goes_on(&first, &next));
    let later = [&next[..], &[model("d"), user("e")]].concat();
    assert!(goes_on(&first, &later) && goes_on(&next, &later));
    let [Some(next), Some(later), Some(other)] = read([&next, &later, &first]) else {
        panic!("all are read");
    };
    assert_eq!(next.points(), [other.whole()]);
    assert_eq!(later.points(), [&[next.whole()], next.points()].concat());
}

#[test]
fn an_equal_beginning_is_not_enough() {
    let first = [system("s"), user("a")];
    for other in [
        vec![system("s"), user("a")],
        vec![system("s"), user("a"), user("b")],
        vec![system("s"), user("b"), model("x"), user("a")],
        vec![system("t"), user("a"), model("b"), user("c")],
        vec![user("a"), model("b"), user("c")],
        vec![system("s"), model("a"), user("c")],
    ] {
        assert!(!goes_on(&first, &other), "{other:?}");
    }
    assert!(!goes_on(
        &[user("a"), model("b"), user("c")],
        &[user("a"), model("x"), user("c"), model("d"), user("e")]
    ));
}

#[test]
fn a_shared_beginning_of_the_systems_is_no_conversation() {
    let lead = [system("s"), json!({"role": "developer", "content": "t"})];
    assert_eq!(read([&lead]), [None]);
    let greeted = [system("s"), model("How can I help?"), user("a")];
    let [Some(greeted)] = read([&greeted]) else {
        panic!("it is read");
    };
    assert!(greeted.is_first());
}

/// Each pair is one beginning as a client sends it at first, and as it stands in a later request.
#[test]
fn what_clients_change_on_the_way_says_nothing() {
    let tool = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let asks = |arguments: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}]})
    };
    let marked = json!({"role": "user", "content": [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]});
    let thought = json!({"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]});
    let billed =
        |hash: &str| format!("x-anthropic-billing-header: cc_version=2; cch={hash};\nBe brief.");
    let image = |mark: Value| {
        json!({"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:,"}, "cache_control": mark}]})
    };
    for (what, before, after) in [
        (
            "a reminder",
            vec![user("a")],
            vec![user("a"), system("Remember.")],
        ),
        ("a text that became a part", vec![user("a")], vec![marked]),
        (
            "a mark",
            vec![image(json!(null))],
            vec![image(json!({"type": "ephemeral"}))],
        ),
        (
            "thoughts",
            vec![user("a"), thought, user("c")],
            vec![user("a"), model("b"), user("c")],
        ),
        ("line ends", vec![user("a\r\nb\\r")], vec![user("a\nb\\r")]),
        (
            "arguments",
            vec![user("a"), asks(r#"{"a":1,"b":2}"#), tool("x", "1")],
            vec![user("a"), asks(r#"{"b": 2, "a": 1}"#), tool("y", "1")],
        ),
        (
            "the order of results",
            vec![user("a"), asks("{}"), tool("x", "1"), tool("y", "2")],
            vec![user("a"), asks("{}"), tool("y", "2"), tool("x", "1")],
        ),
        (
            "the time",
            vec![system("It is 2026-11-22 10:03:22."), user("a")],
            vec![system("It is 2026-11-23 11:14:00."), user("a")],
        ),
        (
            "a made id",
            vec![
                system("Session 9f1c2b3a-77aa-4f00-8a8a-123456789abc."),
                user("a"),
            ],
            vec![
                system("Session 00112233-4455-6677-8899-aabbccddeeff."),
                user("a"),
            ],
        ),
        (
            "the billing header",
            vec![system(&billed("abcde")), user("a")],
            vec![system(&billed("fghij")), user("a")],
        ),
    ] {
        let after = [after, vec![model("z"), user("y")]].concat();
        assert!(goes_on(&before, &after), "{what}");
    }
}

#[test]
fn what_says_something_is_not_lost_with_it() {
    let [first, second] = ["a\\rb", "a\\r\\nb"].map(|text| [user(text)]);
    let [Some(first), Some(second)] = read([&first, &second]) else {
        panic!("both are read");
    };
    assert!(first != second, "no line ends, but backslashes and letters");
    let roles = [[user("a")], [json!({"role": "tool", "content": "a"})]];
    let [Some(said), Some(found)] = read([&roles[0], &roles[1]]) else {
        panic!("both are read");
    };
    assert!(said != found, "who says it counts");
    let agents = [
        [system("You are agent 1."), user("a")],
        [system("You are agent 2."), user("a")],
    ];
    let [Some(one), Some(two)] = read([&agents[0], &agents[1]]) else {
        panic!("both are read");
    };
    assert!(one != two, "a small number is no time");
}

#[test]
fn what_no_engine_takes_is_no_conversation() {
    let digests = Digests::default();
    for messages in [
        "",
        "[]",
        "{}",
        "[1]",
        r#"[{"content":"a"}]"#,
        r#"[{"role":"user","content":[1]}]"#,
    ] {
        assert_eq!(digested(&digests, messages), None, "{messages}");
    }
}

#[test]
fn what_is_read_is_bounded_while_it_is_read() {
    let digests = Digests::default();
    for (count, is_read) in [(MESSAGES_MAX, true), (MESSAGES_MAX + 1, false)] {
        let parts = vec!["{}"; count].join(",");
        let one = format!(r#"[{{"role":"user","content":[{parts}]}}]"#);
        assert_eq!(digested(&digests, &one).is_some(), is_read, "{count} parts");
        let messages = vec![r#"{"role":"user"}"#; count].join(",");
        let all = digested(&digests, &format!("[{messages}]"));
        assert_eq!(all.is_some(), is_read, "{count} messages");
    }
}

#[test]
fn only_the_last_points_are_looked_up() {
    let turns = (0..2 * POINTS_MAX).flat_map(|turn| [user(&turn.to_string()), model("x")]);
    let long: Vec<Value> = turns.chain([user("last")]).collect();
    let before = &long[..long.len() - 2];
    assert!(goes_on(before, &long) && !goes_on(&long[..1], &long));
}
