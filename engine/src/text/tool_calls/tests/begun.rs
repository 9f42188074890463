//! Calls that are cut, or break.

use super::*;

#[test]
fn what_was_begun_stays_a_call_wherever_it_is_cut() {
    for (format, before, after) in AROUND {
        let (before, after) = (before.replace("NAME", "f"), after);
        let text = format!("{before}{ODD}{after}");
        for (cut, _) in text.char_indices() {
            let begun = cut > before.len();
            let (shown, (calls, are_whole)) = run(format, &text[..cut], 1);
            if begun {
                let arguments = &text[before.len()..cut.min(before.len() + ODD.len())];
                assert_eq!(calls, [("f".to_owned(), arguments.to_owned())]);
                assert_eq!(shown, "");
            } else {
                assert_eq!((calls.len(), shown.as_str()), (0, &text[..cut]));
            }
            assert_eq!(are_whole, begun && cut >= before.len() + ODD.len());
        }
    }
}

const BEGUN: &str = "<tool_call>{\"name\": \"f\", \"arguments\": ";

#[test]
fn arguments_break_where_no_json_goes_on() {
    for (told, rest) in [
        ("{\"code\": \"a", "\nb\"}}</tool_call>"),
        ("{\"x\": ", "True}}</tool_call>"),
        ("{\"x\": 1,", "}}</tool_call>"),
        ("{\"x\": ", "}}</tool_call>"),
        ("{\"x\": 0", "1}}</tool_call>"),
        ("{\"x\": ", "'a'}}"),
        ("{", "x: 1}}"),
    ] {
        let text = format!("{BEGUN}{told}{rest}");
        let shown = rest.trim_start();
        check_all(&HERMES, &text, shown, (&[("f", told)], false));
        let text = format!("[TOOL_CALLS]f[ARGS]{told}{rest}");
        check_all(&MISTRAL, &text, shown, (&[("f", told)], false));
        let other = text.replace("]f[", "]g-1[");
        check(&MISTRAL, &other, &other, &[]);
    }
}

#[test]
fn what_follows_a_call_that_broke_is_text() {
    let next = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    for (text, shown, calls, are_whole) in [
        (
            "{\"x\": 1}} and more",
            "and more",
            &[("f", "{\"x\": 1}")][..],
            true,
        ),
        (
            "{\"x\": 1} It is sunny, I will look.",
            "It is sunny, I will look.",
            &[("f", "{\"x\": 1}")],
            true,
        ),
        (
            "{\"x\": 1}, \"id\": 7,} and",
            ", \"id\": 7,} and",
            &[("f", "{\"x\": 1}")],
            true,
        ),
        (
            &format!("{{\"x\": {next}"),
            "",
            &[("f", "{\"x\": "), ("f", "{}")],
            false,
        ),
    ] {
        let text = format!("{BEGUN}{text}");
        check_all(&HERMES, &text, shown, (calls, are_whole));
    }
}

#[test]
fn a_block_whose_json_breaks_at_its_mark_ends_with_it() {
    let next = "\n<tool_call>{\"name\": \"g-1\"}</tool_call>";
    for (told, rest, is_whole) in [
        ("{\"x\": 1}", "\n</tool_call>", true),
        ("{\"x\": 1}", ", \"id\": 7</tool_call>", true),
        ("{\"x\": 1", "</tool_call>", false),
        ("{\"x\": ", "</tool_call>", false),
        ("{\"x\": \"a", "\n</tool_call>", false),
    ] {
        let text = format!("{BEGUN}{told}{rest}");
        check_all(&HERMES, &text, "", (&[("f", told)], is_whole));
        let more = format!("{text} Done.");
        check_all(&HERMES, &more, "Done.", (&[("f", told)], is_whole));
        let calls = [("f", told), ("g-1", "{}")];
        check_all(&HERMES, &format!("{text}{next}"), "", (&calls, is_whole));
    }
    let text = format!("{BEGUN}{{\"x\": 1}}\n</tool>");
    check(&HERMES, &text, "</tool>", &[("f", "{\"x\": 1}")]);
    let in_text = format!("{BEGUN}{{\"x\": \"</tool_call>");
    let told = ("f", "{\"x\": \"</tool_call>");
    check_all(&HERMES, &in_text, "", (&[told], false));
}

#[test]
fn a_call_that_broke_is_the_only_one_where_one_is_asked_for() {
    let mut parser = parser(&HERMES, true);
    let next = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    let parsed = parser.push(&format!("{BEGUN}{{\"x\": </tool_call>{next}"));
    let arguments = { parsed.calls.iter() }.map(|call| call.function.arguments.as_str());
    assert_eq!(arguments.collect::<Vec<_>>(), ["{\"x\": "]);
    assert_eq!(
        (parsed.text.as_str(), parser.has_whole_calls()),
        ("", false)
    );
}

#[test]
fn calls_of_a_list_stand_for_themselves() {
    let list = "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}";
    let (f, g) = (("f", "{}"), ("g-1", "{}"));
    for (rest, shown, calls) in [
        ("] and more", "and more", &[f][..]),
        (", 7]", ", 7]", &[f]),
        (", ", ", ", &[f]),
        (", {\"name\": \"g-1", ", {\"name\": \"g-1", &[f]),
        (", {\"name\": \"g-1\"}", "", &[f, g]),
        (", {\"name\": \"g-1\"}, {", ", {", &[f, g]),
    ] {
        check(&MISTRAL_LIST, &format!("{list}{rest}"), shown, calls);
    }
}

#[test]
fn a_call_that_came_whole_needs_no_end() {
    for text in [
        "<tool_call>{\"name\": \"g-1\", \"arguments\": {}}",
        "<tool_call>{\"name\": \"g-1\", \"arguments\": {}}\n</tool",
        "<tool_call>[{\"name\": \"g-1\", \"arguments\": {}} ",
    ] {
        check(&HERMES, text, "", &[("g-1", "{}")]);
    }
}

#[test]
fn the_formats_own_key_wins() {
    let call = |first: &str, second: &str| {
        format!("{{\"name\": \"f\", \"{first}\": {{\"x\": 1}}, \"{second}\": {{\"x\": 2}}}}")
    };
    for (first, second, hermes, llama) in [
        ("arguments", "parameters", "{\"x\": 1}", "{\"x\": 2}"),
        ("parameters", "arguments", "{\"x\": 2}", "{\"x\": 1}"),
    ] {
        for name in ["f", "g-1"] {
            let json = call(first, second).replace("\"f\"", &format!("\"{name}\""));
            let text = format!("<tool_call>{json}</tool_call>");
            check(&HERMES, &text, "", &[(name, hermes)]);
            let text = format!("[TOOL_CALLS][{json}]");
            check(&MISTRAL, &text, "", &[(name, hermes)]);
            let text = format!("<|python_tag|>{json}");
            check(&LLAMA, &text, "", &[(name, llama)]);
            check(&LLAMA, &json, "", &[(name, llama)]);
        }
    }
}
