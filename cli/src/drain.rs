//! `lps drain`. Owns: ending one engine when its calls are done, and saying what happens then.

use lps_api::wellknown::label;
use serde_json::{Value, json};

use crate::client::{Client, path_part};
use crate::console::{self, plain};

/// Tells the router to end an engine; `namespace` completes a pod's bare name.
///
/// # Errors
/// When the router does not answer, or knows no such engine.
pub async fn run(
    engine: &str,
    namespace: Option<&str>,
    client: &Client,
    json: bool,
) -> anyhow::Result<()> {
    let id = match namespace {
        Some(namespace) if !engine.contains('/') => format!("{namespace}/{engine}"),
        _ => engine.to_owned(),
    };
    let engines = client.get("/v1/engines").await?;
    let answer = client.post(&path(&id), &json!({})).await?;
    if json {
        return Ok(console::json(&answer)?);
    }
    for line in lines(&id, &engines["data"], client.is_in_cluster()) {
        console::line(&line)?;
    }
    Ok(())
}

/// Each part of `NAMESPACE/POD` for itself: an API server's proxy takes an escaped slash for a slash.
fn path(id: &str) -> String {
    let parts: Vec<String> = id.split('/').map(path_part).collect();
    format!("/v1/engines/{}/drain", parts.join("/"))
}

fn lines(id: &str, engines: &Value, is_in_cluster: bool) -> Vec<String> {
    let mut known = engines.as_array().into_iter().flatten();
    let known = known.find(|engine| engine["id"] == id);
    let calls = match known.and_then(|engine| engine["calls"].as_u64()) {
        None => "its calls finish there".to_owned(),
        Some(0) => "it has no calls".to_owned(),
        Some(calls) => format!("its {calls} calls finish there"),
    };
    let id = plain(id);
    let next = match (is_in_cluster, id.split_once('/')) {
        (true, Some((namespace, pod))) => {
            let serving = pod.rsplit_once('-').map_or(pod, |(serving, _)| serving);
            format!(
                "The operator makes another in its place, where it is still wanted: kubectl get pods -n {namespace} -l {}={serving} -w",
                label::SERVING,
            )
        }
        _ => "Another is started in its place, where it is still wanted: lps engines".to_owned(),
    };
    vec![
        format!("engine {id} gets no new calls; {calls}, then it ends."),
        next,
        "This cannot be taken back.".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_named_by_namespace_and_pod() {
        assert_eq!(path("team/demo-0"), "/v1/engines/team/demo-0/drain");
        assert_eq!(path("demo-0"), "/v1/engines/demo-0/drain");
        assert_eq!(path("a?b/c d"), "/v1/engines/a%3Fb/c%20d/drain");
    }

    #[test]
    fn what_happens_next_is_told() {
        let engines = json!([{"id": "team/demo-0", "calls": 3}, {"id": "demo-1", "calls": 0}]);
        for (id, is_in_cluster, first, second) in [
            (
                "team/demo-0",
                true,
                "its 3 calls finish there",
                "-n team -l llmprogram.dev/serving=demo -w",
            ),
            ("demo-1", false, "it has no calls", "lps engines"),
            ("other", false, "its calls finish there", "lps engines"),
        ] {
            let lines = lines(id, &engines, is_in_cluster);
            assert!(
                lines[0].contains(first) && lines[1].contains(second),
                "{lines:?}"
            );
        }
    }
}
