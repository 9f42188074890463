//! What the router knows, as tables. Owns: which figures of programs, calls and engines are shown, and how.

use serde_json::Value;

use crate::client::{Client, path_part};
use crate::console::{self, duration, plain, span};

/// Shows one program, or all.
///
/// # Errors
/// When the router does not answer, or knows no such program.
pub async fn programs(client: &Client, program: Option<&str>, json: bool) -> anyhow::Result<()> {
    let Some(program) = program else {
        let list = client.get("/v1/programs").await?;
        if json {
            return Ok(console::json(&list)?);
        }
        return Ok(table(&PROGRAM, items(&list["data"]), "no programs")?);
    };
    let whole = client
        .get(&format!("/v1/programs/{}", path_part(program)))
        .await?;
    if json {
        return Ok(console::json(&whole)?);
    }
    print_program(&whole)
}

/// Shows a program's row and calls.
///
/// # Errors
/// When nobody reads.
pub fn print_program(whole: &Value) -> anyhow::Result<()> {
    table(&PROGRAM, std::slice::from_ref(whole), "")?;
    console::line("")?;
    Ok(table(&CALL, items(&whole["calls"]), "no calls")?)
}

/// Shows one call.
///
/// # Errors
/// When the router does not answer, or knows no such call.
pub async fn call(client: &Client, call: &str, json: bool) -> anyhow::Result<()> {
    let whole = client
        .get(&format!("/v1/calls/{}", path_part(call)))
        .await?;
    if json {
        return Ok(console::json(&whole)?);
    }
    Ok(table(&CALL, std::slice::from_ref(&whole), "")?)
}

/// Shows the engines.
///
/// # Errors
/// When the router does not answer.
pub async fn engines(client: &Client, json: bool) -> anyhow::Result<()> {
    let list = client.get("/v1/engines").await?;
    if json {
        return Ok(console::json(&list)?);
    }
    Ok(table(&ENGINE, items(&list["data"]), "no engines yet")?)
}

/// How a value is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Text,
    /// Microseconds.
    Duration,
    /// The same, of what is minutes or days old.
    Age,
    /// The sum of an object's numbers.
    Sum,
    List,
    /// How many of those that are here.
    Of(&'static str),
    /// What part of what is here.
    PartOf(&'static str),
}

/// A column: its title, where its value is, how it is shown.
pub(crate) type Column = (&'static str, &'static str, Form);

const PROGRAM: [Column; 8] = [
    ("PROGRAM", "/id", Form::Text),
    ("CLASS", "/class", Form::Text),
    ("STATE", "/state", Form::Text),
    ("CALLS", "/call_counts", Form::Sum),
    ("SERVICE", "/service_total_us", Form::Duration),
    ("CRITICAL PATH", "/critical_path_us", Form::Duration),
    ("WAIT", "/wait_total_us", Form::Duration),
    ("TENANT", "/tenant", Form::Text),
];

const CALL: [Column; 11] = [
    ("CALL", "/id", Form::Text),
    ("THREAD", "/thread", Form::Text),
    ("PARENTS", "/parents", Form::List),
    ("STATE", "/state", Form::Text),
    ("ENGINE", "/engine", Form::Text),
    ("QUEUE", "/queue", Form::Text),
    ("P", "/p_us", Form::Duration),
    ("SERVICE", "/service_us", Form::Duration),
    ("WAIT", "/wait_us", Form::Duration),
    ("TOKENS", "/output_tokens", Form::Text),
    ("WHY", "/explain/reason", Form::Text),
];

const ENGINE: [Column; 7] = [
    ("ENGINE", "/id", Form::Text),
    ("MODEL", "/model", Form::Text),
    ("URL", "/url", Form::Text),
    ("RUNNING", "/load/running", Form::Text),
    ("WAITING", "/load/waiting", Form::Text),
    ("FREE BLOCKS", "/load/kv_blocks_free", Form::Text),
    ("DRAINING", "/draining", Form::Text),
];

pub(crate) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Prints a table of what is in JSON objects.
pub(crate) fn table(columns: &[Column], items: &[Value], empty: &str) -> std::io::Result<()> {
    let header: Vec<_> = columns.iter().map(|(title, ..)| *title).collect();
    let row = |item: &Value| columns.iter().map(|column| cell(item, column)).collect();
    console::table(&header, items.iter().map(row).collect(), empty)
}

/// What an object has for a column.
pub(crate) fn cell(item: &Value, (_, at, form): &Column) -> String {
    let number = |at: &str| item.pointer(at).and_then(Value::as_u64);
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    match (item.pointer(at), form) {
        (None | Some(Value::Null), _) => "-".to_owned(),
        (Some(value), Form::Duration) => shown(value.as_u64().map(duration)),
        (Some(value), Form::Age) => shown(value.as_u64().map(|us| span(us / 1_000_000))),
        (Some(value), Form::Of(all)) => shown(number(all).map(|all| format!("{value}/{all}"))),
        (Some(value), Form::PartOf(all)) => {
            let all = number(all).filter(|all| *all > 0);
            let part = all.and_then(|all| value.as_u64()?.saturating_mul(100).checked_div(all));
            shown(part.map(|percent| format!("{percent} %")))
        }
        (Some(Value::Object(counts)), Form::Sum) => counts
            .values()
            .filter_map(Value::as_u64)
            .sum::<u64>()
            .to_string(),
        (Some(Value::Array(list)), _) if list.is_empty() => "-".to_owned(),
        (Some(Value::Array(list)), _) => list
            .iter()
            .map(|item| cell(item, &("", "", Form::Text)))
            .collect::<Vec<_>>()
            .join(","),
        (Some(Value::String(text)), _) => plain(text),
        (Some(value), _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_for_people() {
        let call = json!({"id": "a", "parents": ["x", "y"], "p_us": 1500, "engine": null, "roots": [],
            "counts": {"running": 1, "completed": 2}, "age_us": 185_000_000, "none": 0});
        for (at, form, text) in [
            ("/id", Form::Text, "a"),
            ("/parents", Form::List, "x,y"),
            ("/counts", Form::Sum, "3"),
            ("/roots", Form::List, "-"),
            ("/p_us", Form::Duration, "1.50 ms"),
            ("/engine", Form::Text, "-"),
            ("/missing", Form::Duration, "-"),
            ("/age_us", Form::Age, "3 min"),
            ("/counts/running", Form::Of("/counts/completed"), "1/2"),
            ("/counts/running", Form::PartOf("/counts/completed"), "50 %"),
            ("/counts/running", Form::PartOf("/none"), "-"),
        ] {
            assert_eq!(cell(&call, &("", at, form)), text, "{at}");
        }
    }
}
