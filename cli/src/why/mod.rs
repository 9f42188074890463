//! `lps why`. Owns: asking a cluster for the facts of one resource, and how their explanation is printed.
//!
//! Inside, in the order in which data flows: `explain` → `engine` → `read`, `reasons`.

pub mod engine;
pub mod explain;
#[cfg(test)]
mod explain_tests;
mod read;
pub mod reasons;

use serde_json::json;

use crate::cluster::{Cluster, Options};
use crate::console;
use explain::{Explanation, explain};

/// There is no explanation; why stands in the source.
#[derive(Debug, thiserror::Error)]
#[error("cannot say why")]
pub struct Unanswered;

/// Explains a resource; `true` when it is ready.
///
/// # Errors
/// When the resource cannot be read.
pub async fn run(name: &str, options: &Options, json: bool) -> anyhow::Result<bool> {
    let cluster = Cluster::connect(options).await?;
    let facts = cluster.facts(name).await?;
    let explanation = explain(&facts);
    if json {
        let mut value = json!(explanation);
        value["facts"] = facts;
        console::json(&value)?;
    } else {
        for line in lines(&explanation) {
            console::line(&line)?;
        }
    }
    Ok(explanation.ready)
}

/// The explanation for people: short where all is well.
pub fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![explanation.summary.clone()];
    lines.extend(explanation.figures.iter().map(|line| format!("  {line}")));
    if !explanation.ready {
        section(
            &mut lines,
            "What its conditions say",
            &explanation.conditions,
        );
        let engines: Vec<String> = explanation.engines.iter().flat_map(engine_lines).collect();
        section(&mut lines, "Its engines", &engines);
        section(
            &mut lines,
            "Warnings of the last hour",
            &explanation.warnings,
        );
    }
    let fixes: Vec<String> = explanation
        .fixes
        .iter()
        .map(|one| format!("{}: {}. {}", one.reason, one.cause, capital(&one.fix)))
        .collect();
    section(&mut lines, "What to do", &fixes);
    section(&mut lines, "What could not be read", &explanation.unread);
    lines
}

fn engine_lines(engine: &engine::Engine) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {}", engine.pod, engine.state),
        format!("  container: {}", engine.container),
        format!("  router: {}", engine.router),
    ];
    let words = engine.last_words.as_ref();
    lines.extend(words.map(|words| format!("  last words: {words}")));
    lines
}

fn section(lines: &mut Vec<String>, title: &str, inner: &[String]) {
    if !inner.is_empty() {
        lines.push(String::new());
        lines.push(title.to_owned());
        lines.extend(inner.iter().map(|line| format!("  {line}")));
    }
}

/// With a capital where a word begins it, not where a command or a field's name does.
fn capital(text: &str) -> String {
    let first = text.split([' ', ':', ',']).next().unwrap_or_default();
    if first == "kubectl" || first.contains(['.', '/']) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |letter| {
        letter.to_uppercase().chain(letters).collect()
    })
}
