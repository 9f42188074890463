//! One engine by its pod. Owns: what is told of it, and whether the router should use it and does not. Pure.

use lps_api::wellknown::condition::ADMITTED;
use lps_api::wellknown::label;
use serde::Serialize;
use serde_json::Value;

use super::read::{age, condition, is_true, items, last_line, plain, text};

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// Its pod.
    pub pod: String,
    /// Where it stands, in a line.
    pub state: String,
    /// What its container does.
    pub container: String,
    /// Whether the router uses it.
    pub router: String,
    /// The last that it said.
    pub last_words: Option<String>,
}

/// Why the router does not use an engine that is up.
pub(super) fn unadmitted(pod: &Value) -> Option<String> {
    if !is_true(pod, "ContainersReady") {
        return None;
    }
    match condition(&pod["status"]["conditions"], ADMITTED) {
        None => Some("NotAdmitted".to_owned()),
        Some(one) if one["reason"] == "NotAnswering" => Some("NotAnswering".to_owned()),
        Some(_) => None,
    }
}

/// What the pod and the resource's status say of one engine.
pub(super) fn of(facts: &Value, pod: &Value) -> Engine {
    let name = text(&pod["metadata"]["name"]);
    let mut told = items(&facts["resource"]["status"]["engines"]).iter();
    let told = told.find(|engine| engine["pod"] == pod["metadata"]["name"]);
    let state = told.map_or_else(
        || "not in the status yet".to_owned(),
        |told| text(&told["state"]),
    );
    let node = pod["spec"]["nodeName"].as_str().map_or_else(
        || "on no node".to_owned(),
        |node| format!("on node {}", plain(node)),
    );
    let revision = text(&pod["metadata"]["labels"][label::REVISION]);
    let age = age(facts, &pod["metadata"]["creationTimestamp"]).unwrap_or_else(|| "?".to_owned());
    Engine {
        state: format!("{state}, {node}, revision {revision}, {age} old"),
        container: container(pod),
        router: router(pod),
        last_words: last_words(facts, pod, &name),
        pod: name,
    }
}

/// While the engine waits: the container before it that has not done its work. Those bring the model.
fn before(pod: &Value) -> Option<&Value> {
    pod["status"]["containerStatuses"][0]["state"].get("waiting")?;
    let mut containers = items(&pod["status"]["initContainerStatuses"]).iter();
    containers.find(|one| one["state"]["terminated"]["exitCode"] != 0)
}

fn container(pod: &Value) -> String {
    let engine = &pod["status"]["containerStatuses"][0]["state"];
    let engine = || doing(engine, is_true(pod, "ContainersReady"));
    let before = before(pod).and_then(|one| {
        let told = doing(&one["state"], false)?;
        Some(format!("not begun; {}: {told}", text(&one["name"])))
    });
    if let Some(told) = before.or_else(engine) {
        return told;
    }
    match condition(&pod["status"]["conditions"], "PodScheduled") {
        Some(one) if one["status"] == "False" => format!("has no node: {}", text(&one["message"])),
        _ => "there is none yet".to_owned(),
    }
}

/// What a container does by its state.
fn doing(state: &Value, is_ready: bool) -> Option<String> {
    let detail = |of: &Value| {
        let message = of["message"]
            .as_str()
            .map(|text| format!(": {}", last_line(text)));
        format!("{}{}", text(&of["reason"]), message.unwrap_or_default())
    };
    if let Some(ended) = state.get("terminated") {
        let (code, reason) = (&ended["exitCode"], text(&ended["reason"]));
        return Some(format!("ended with {code} ({reason})"));
    }
    if let Some(waiting) = state.get("waiting") {
        return Some(format!("waits: {}", detail(waiting)));
    }
    state.get("running").map(|_| {
        let told = if is_ready {
            "runs and answers its probe"
        } else {
            "runs and is not ready yet"
        };
        told.to_owned()
    })
}

fn router(pod: &Value) -> String {
    match condition(&pod["status"]["conditions"], ADMITTED) {
        Some(one) if one["status"] == "True" => "sends calls here".to_owned(),
        Some(one) => {
            let (reason, message) = (text(&one["reason"]), text(&one["message"]));
            format!("sends no new calls here ({reason}): {message}")
        }
        None if is_true(pod, "ContainersReady") => "has not admitted it".to_owned(),
        None => "waits until the engine answers".to_owned(),
    }
}

/// Of the end's message the line that tells of an error, else the last; without one the last line of the log.
fn last_words(facts: &Value, pod: &Value, name: &str) -> Option<String> {
    let engine = &pod["status"]["containerStatuses"][0];
    let ended = &before(pod).unwrap_or(engine)["state"]["terminated"]["message"];
    let words = ended.as_str().and_then(|message| {
        let lines = || message.lines().filter(|line| !line.trim().is_empty());
        let error = lines().find(|line| line.to_lowercase().contains("error"));
        error.or_else(|| lines().next_back()).map(plain)
    });
    words.or_else(|| facts["logs"][name].as_str().map(plain))
}
