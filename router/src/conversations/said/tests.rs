//! Messages that are read with the text around them are those that a plainer reader finds in their text alone.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A message, as the plainer reader takes it.
#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// A request's body.
#[derive(Deserialize)]
struct Body<'a, M> {
    messages: M,
    #[serde(borrow)]
    rest: &'a RawValue,
}

fn plain(list: &str) -> Option<Vec<(Role, Option<&str>)>> {
    let messages: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    let said = messages.into_iter().map(|message| {
        // Fields without names would be taken, too.
        let object = message.get().starts_with('{').then_some(message.get())?;
        let message: Plain<'_> = serde_json::from_str(object).ok()?;
        let role = match &*message.role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Model,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        Some((role, message.content.map(RawValue::get)))
    });
    said.collect()
}

fn said<'a>(messages: &Messages<'a>) -> Vec<(Role, Option<&'a str>)> {
    let all = messages.all().iter();
    let said = all.map(|message| (message.role, message.content.map(RawValue::get)));
    said.collect()
}

fn blank() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\n\t "])
}

/// A text, of what is hard to read.
fn text() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "é",
        "😀",
        r"\n",
        r"\r\n",
        r#"\""#,
        r"\\",
        r"\/",
        r"\u00e9",
        r"\ud83d\ude00",
        r"\ud800",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "role",
    ];
    let pieces = prop::collection::vec(select(pieces), 0..8);
    pieces.prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let plain = select(vec!["null", "true", "-1.5e3", "0"]).prop_map(str::to_owned);
    let leaf = prop_oneof![text(), plain];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let list = list(inner.clone());
        let key = prop_oneof![
            text(),
            select(vec![r#""role""#, r#""text""#]).prop_map(str::to_owned)
        ];
        prop_oneof![list, object((key, inner))]
    })
}

fn list(item: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let items = prop::collection::vec((blank(), item, blank()), 0..4);
    items.prop_map(|items| {
        let items: Vec<String> = items
            .iter()
            .map(|(a, item, b)| format!("{a}{item}{b}"))
            .collect();
        format!("[{}]", items.join(","))
    })
}

fn object(field: impl Strategy<Value = (String, String)>) -> impl Strategy<Value = String> {
    let fields = prop::collection::vec((blank(), field, blank()), 0..4);
    fields.prop_map(|fields| {
        let fields: Vec<String> = fields
            .iter()
            .map(|(a, (key, value), b)| format!("{a}{key}{b}:{a}{value}{b}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A message, mostly such as an engine takes.
fn message() -> impl Strategy<Value = String> {
    let roles = vec![
        "user",
        "assistant",
        "system",
        "tool",
        "developer",
        r"\u0075ser",
        "other",
    ];
    let role = select(roles).prop_map(|role| format!("\"{role}\""));
    let names = vec![
        r#""content""#,
        r#""tool_calls""#,
        r#""name""#,
        r#""c\u006fntent""#,
        r#""\u540d""#,
    ];
    let others = prop::collection::vec((select(names), value()), 0..3);
    let role = prop_oneof![20 => role, 1 => value()];
    let at = any::<prop::sample::Index>();
    let usual = (role, others, at, blank()).prop_map(|(role, mut fields, at, blank)| {
        fields.insert(at.index(fields.len() + 1), (r#""role""#, role));
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{blank}{name}{blank}:{value}{blank}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    });
    prop_oneof![20 => usual, 1 => value()]
}

proptest! {
    #[test]
    fn one_reading_finds_what_two_find(list in list(message()), rest in value(), is_last in any::<bool>()) {
        let body = if is_last {
            format!(r#"{{"rest": {rest}, "messages" : {list}}}"#)
        } else {
            format!(r#"{{"messages":{list} , "rest":{rest}}}"#)
        };
        let at_once = serde_json::from_str::<Body<'_, Messages<'_>>>(&body).ok();
        prop_assert_eq!(at_once.as_ref().map(|read| said(&read.messages)), plain(&list));
        if let Some(read) = at_once {
            prop_assert_eq!(read.rest.get(), rest);
            let mut first = list.trim_start_matches(|c: char| c.is_whitespace() || "[{".contains(c)).split('"');
            let is_placed = first.next() == Some("") && first.next().is_some_and(|name| !name.contains('\\'));
            prop_assert_eq!(read.messages.text(&body), is_placed.then_some(list.as_str()));
        }
    }
}
