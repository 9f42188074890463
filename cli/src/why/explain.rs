//! From facts of a cluster to an explanation. Owns: which facts matter, in which order they are told, and when a resource
//! counts as ready. Pure: facts are JSON objects as the API server gives them, and one of them is the time.

use serde::Serialize;
use serde_json::Value;

use super::engine::{Engine, unadmitted};
use super::read::{condition, is_true, items, plain, since, text};
use super::{engine, reasons};
use crate::cluster::seconds_since;
use crate::console::span;

/// Warnings that are told.
const WARNINGS_MAX: usize = 10;
/// Warnings that are older say nothing of now.
const WARNING_AGE_MAX_S: u64 = 3600;

/// What follows from something else, and needs no fix of its own beside it.
const FOLLOWS: [(&str, &[&str]); 3] = [
    (
        "EnginesStarting",
        &[
            "NotServed",
            "NotAdmitted",
            "NotAnswering",
            "NoEngines",
            "NoRouter",
            "NoOperator",
        ],
    ),
    ("NotAdmitted", &["NotServed", "NoRouter"]),
    ("NotServed", &["InvalidSpec"]),
];

/// Why a resource is, or is not, ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it is.
    pub ready: bool,
    /// The answer in a line.
    pub summary: String,
    /// Figures of one that is ready.
    pub figures: Vec<String>,
    /// What its conditions say.
    pub conditions: Vec<String>,
    /// Its engines.
    pub engines: Vec<Engine>,
    /// Recent warnings, newest first.
    pub warnings: Vec<String>,
    /// What to do, the most important first.
    pub fixes: Vec<Fix>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// A reason and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// The reason in one word.
    pub reason: String,
    /// What it means.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

/// Explains the facts.
pub fn explain(facts: &Value) -> Explanation {
    let status = &facts["resource"]["status"];
    let ready = condition(&status["conditions"], "Ready");
    let generation = &facts["resource"]["metadata"]["generation"];
    let is_current = ready.is_some_and(|ready| {
        let observed = &ready["observedGeneration"];
        observed.is_null() || generation.is_null() || observed == generation
    });
    let is_deleted = facts["resource"]["metadata"]["deletionTimestamp"].is_string();
    let is_ready = is_current && !is_deleted && ready.is_some_and(|one| one["status"] == "True");
    let fixes = causes(facts, is_current, is_ready);
    Explanation {
        ready: is_ready,
        summary: summary(facts, ready, is_current, is_ready),
        figures: if is_ready { figures(facts) } else { Vec::new() },
        conditions: told(facts),
        engines: items(&facts["pods"])
            .iter()
            .map(|pod| engine::of(facts, pod))
            .collect(),
        warnings: warnings(facts),
        fixes: fixes.iter().map(|reason| fix(facts, reason)).collect(),
        unread: items(&facts["unread"]).iter().map(text).collect(),
    }
}

fn summary(facts: &Value, ready: Option<&Value>, is_current: bool, is_ready: bool) -> String {
    let name = format!("{}/{}", text(&facts["namespace"]), text(&facts["name"]));
    let Some(ready) = ready else {
        return format!("{name} is not Ready: nobody has looked at it yet");
    };
    let (reason, message) = (text(&ready["reason"]), text(&ready["message"]));
    let age = since(facts, &ready["lastTransitionTime"]);
    if is_ready {
        return format!("{name} is Ready ({reason}{age}): {message}");
    }
    let old = if is_current {
        ""
    } else {
        "; this speaks of an older version of the resource"
    };
    format!("{name} is not Ready ({reason}{age}): {message}{old}")
}

/// Figures that say how a ready resource does.
fn figures(facts: &Value) -> Vec<String> {
    let (spec, status) = (&facts["resource"]["spec"], &facts["resource"]["status"]);
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let url = status["url"]
        .as_str()
        .map(|url| format!(" at {}", plain(url)));
    let mut figures = vec![format!(
        "model {}{}: {} engines serve, {} are wanted, {} drain",
        text(&spec["model"]["name"]),
        url.unwrap_or_default(),
        count(&status["readyReplicas"]),
        count(&status["scaling"]["desired"]),
        count(&status["drainingReplicas"]),
    )];
    if let Some(live) = status["programs"]["live"].as_u64() {
        let loads = items(&status["engines"]).iter().filter_map(|engine| {
            let percent = engine["loadPercent"].as_u64()?;
            Some(format!("{} {percent} %", text(&engine["pod"])))
        });
        let loads: Vec<String> = loads.collect();
        let loads = if loads.is_empty() {
            String::new()
        } else {
            format!("; slots in use: {}", loads.join(", "))
        };
        figures.push(format!("{live} programs are live{loads}"));
    }
    if let Some(reason) = status["scaling"]["reason"].as_str() {
        figures.push(format!("scaling: {}", plain(reason)));
    }
    if let Some(p95) = status["coldStart"]["p95"].as_u64() {
        let p50 = count(&status["coldStart"]["p50"]);
        figures.push(format!(
            "an engine starts in {p50} s (half of them), {p95} s (95 of 100)"
        ));
    }
    figures
}

/// Conditions of one reason in one line; a message that stands in the summary is not told again.
fn told(facts: &Value) -> Vec<String> {
    let conditions = items(&facts["resource"]["status"]["conditions"]);
    let ready = condition(&facts["resource"]["status"]["conditions"], "Ready");
    let mut reasons: Vec<&Value> = Vec::new();
    for one in conditions {
        if !reasons.contains(&&one["reason"]) {
            reasons.push(&one["reason"]);
        }
    }
    let told = reasons.into_iter().map(|reason| {
        let alike: Vec<&Value> = conditions
            .iter()
            .filter(|one| one["reason"] == *reason)
            .collect();
        let kinds = alike
            .iter()
            .map(|one| format!("{} is {}", text(&one["type"]), text(&one["status"])));
        let kinds: Vec<String> = kinds.collect();
        let is_ready = ready.is_some_and(|ready| ready["reason"] == *reason);
        let message = alike
            .last()
            .map(|one| text(&one["message"]))
            .filter(|_| !is_ready);
        let message = message
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        let age = since(
            facts,
            alike
                .last()
                .map_or(&Value::Null, |one| &one["lastTransitionTime"]),
        );
        format!("{} ({}{age}){message}", kinds.join(", "), text(reason))
    });
    told.collect()
}

/// The words of all that is wrong, or worth to be known, the most important first.
fn causes(facts: &Value, is_current: bool, is_ready: bool) -> Vec<String> {
    let status = &facts["resource"]["status"];
    let conditions = items(&status["conditions"]);
    let of = |kind: &str, value: &str| {
        let mut conditions = conditions.iter();
        conditions.find(|one| one["type"] == kind && one["status"] == value)
    };
    let mut words: Vec<String> = Vec::new();
    if conditions.is_empty() {
        words.push("NotObserved".to_owned());
    } else if !is_current {
        words.push("Outdated".to_owned());
    }
    words.extend(of("Ready", "False").map(|one| text(&one["reason"])));
    let asleep = of("Ready", "True").filter(|one| one["reason"] == "ScaledToZero");
    words.extend(asleep.map(|one| text(&one["reason"])));
    words.extend(of("Stalled", "True").map(|one| text(&one["reason"])));
    words.extend(of("ScalingConflict", "True").map(|one| text(&one["reason"])));
    let unserved = of("ScalingActive", "False").filter(|one| one["reason"] == "NotServed");
    words.extend(unserved.map(|one| text(&one["reason"])));
    if !is_ready {
        words.extend(items(&facts["pods"]).iter().filter_map(unadmitted));
        let wanted = status["scaling"]["desired"].as_u64().unwrap_or(0);
        let is_starting = words.iter().any(|word| word == "EnginesStarting");
        if is_starting && wanted > 0 && facts["pods"].as_array().is_some_and(Vec::is_empty) {
            words.push("NoEngines".to_owned());
        }
    }
    for (processes, word) in [("routers", "NoRouter"), ("operators", "NoOperator")] {
        let known = facts[processes].as_array();
        if known.is_some_and(|pods| !pods.iter().any(is_pod_ready)) {
            words.push(word.to_owned());
        }
    }
    let all = words.clone();
    let is_follower = |word: &str| {
        let follows = FOLLOWS.iter().find(|(follower, _)| *follower == word);
        follows.is_some_and(|(_, others)| all.iter().any(|one| others.contains(&one.as_str())))
    };
    let mut seen = Vec::new();
    words.retain(|word| {
        let is_new = !seen.contains(word);
        seen.push(word.clone());
        is_new && !is_follower(word)
    });
    words
}

fn fix(facts: &Value, word: &str) -> Fix {
    let known = reasons::find(word);
    let fill = |text_: &str| {
        let filled = text_.replace("{namespace}", &text(&facts["namespace"]));
        filled.replace("{name}", &text(&facts["name"]))
    };
    Fix {
        reason: word.to_owned(),
        cause: known.map_or_else(
            || "this lps does not know the reason".to_owned(),
            |known| known.cause.to_owned(),
        ),
        fix: known.map_or_else(
            || "its message says more".to_owned(),
            |known| fill(known.fix),
        ),
    }
}

fn warnings(facts: &Value) -> Vec<String> {
    let now = text(&facts["now"]);
    let aged = items(&facts["events"]).iter().filter_map(|event| {
        let times = [
            &event["series"]["lastObservedTime"],
            &event["lastTimestamp"],
            &event["eventTime"],
        ];
        let age = times
            .iter()
            .filter_map(|time| seconds_since(time.as_str()?, &now))
            .min()?;
        (age <= WARNING_AGE_MAX_S).then_some((age, event))
    });
    let mut aged: Vec<(u64, &Value)> = aged.collect();
    aged.sort_by_key(|(age, _)| *age);
    let mut told: Vec<(u64, String)> = Vec::new();
    for (age, event) in aged {
        let about = &event["involvedObject"];
        let kind = if about["kind"] == "Pod" { "pod" } else { "lps" };
        let (name, reason, message) = (&about["name"], &event["reason"], &event["message"]);
        let (name, reason, message) = (text(name), text(reason), text(message));
        let line = format!("{kind}/{name}: {reason}: {message}");
        if !told.iter().any(|(_, earlier)| *earlier == line) {
            told.push((age, line));
        }
    }
    let told = told.into_iter().take(WARNINGS_MAX);
    told.map(|(age, line)| format!("{} ago, {line}", span(age)))
        .collect()
}

fn is_pod_ready(pod: &Value) -> bool {
    is_true(pod, "Ready")
}
