//! What a cluster knows of one resource. Owns: reading it, with bounds, as JSON. Only the resource itself has to be
//! readable: what else a user may not read is named, and left out.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, LogParams};
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::{label, resource};
use serde_json::{Value, json};

use super::{Cluster, Error, failed, is_name};

/// Pods of one resource that are read.
const PODS_MAX: u32 = 128;
/// Pods whose events and logs are read.
const CLOSELY_MAX: usize = 8;
/// Events of one object that are read.
const EVENTS_MAX: u32 = 50;
/// Lines of a log that are read.
const LOG_LINES: i64 = 1;
/// Bytes of a log that are read.
const LOG_BYTES_MAX: i64 = 2048;

impl Cluster {
    /// All that `why` explains: the resource, its pods with their last log lines, warnings, routers, operators, the time.
    ///
    /// # Errors
    /// When the resource is not there, or cannot be read.
    pub async fn facts(&self, name: &str) -> Result<Value, Error> {
        if !is_name(name) {
            return Err(Error::Name(name.to_owned()));
        }
        let resource = self.resource(name).await?;
        let mut unread = Vec::new();
        let selector = format!("{}={name}", label::SERVING);
        let own: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().labels(&selector).limit(PODS_MAX);
        let pods = own.list(&params).await.map(|list| list.items);
        let pods = pods.unwrap_or_else(|error| {
            unread.push(format!("the engines' pods: {error}"));
            Vec::new()
        });
        let closely: Vec<&Pod> = pods
            .iter()
            .filter(|pod| !is_ready(pod))
            .take(CLOSELY_MAX)
            .collect();
        let events = self.warnings(name, &closely).await.unwrap_or_else(|error| {
            unread.push(format!("events: {error}"));
            Vec::new()
        });
        let logs = join_all(closely.iter().map(|pod| self.last_line(pod))).await;
        let logs: serde_json::Map<String, Value> = logs
            .into_iter()
            .flatten()
            .map(|(pod, line)| (pod, json!(line)))
            .collect();
        let mut processes = |what: &'static str, listed: Result<Vec<Pod>, kube::Error>| {
            listed.map(|pods| json!(pods)).unwrap_or_else(|error| {
                unread.push(format!("{what}: {error}"));
                Value::Null
            })
        };
        Ok(json!({
            "now": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "namespace": self.namespace,
            "name": name,
            "resource": resource,
            "routers": processes("the router's pods", self.processes("lps-router").await),
            "operators": processes("the operator's pods", self.processes("lps-operator").await),
            "pods": pods,
            "events": events,
            "logs": logs,
            "unread": unread,
        }))
    }

    async fn resource(&self, name: &str) -> Result<DynamicObject, Error> {
        let kind = ApiResource::erase::<LLMProgramServing>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let mut found = match api.get(name).await {
            Ok(found) => found,
            Err(kube::Error::Api(refused)) if refused.code == 404 => {
                return Err(Error::NoResource(name.to_owned(), self.namespace.clone()));
            }
            Err(error) => return Err(failed(format!("LLMProgramServing {name}"))(error)),
        };
        found.metadata.managed_fields = None;
        Ok(found)
    }

    async fn warnings(&self, name: &str, pods: &[&Pod]) -> Result<Vec<Event>, kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut objects = vec![(resource::KIND, name.to_owned())];
        objects.extend(pods.iter().map(|pod| ("Pod", pod.name_any())));
        let lists = objects.iter().map(|(kind, name)| {
            let api = api.clone();
            let fields =
                format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
            let params = ListParams::default().fields(&fields).limit(EVENTS_MAX);
            async move { api.list(&params).await.map(|list| list.items) }
        });
        let lists: Result<Vec<Vec<Event>>, _> = join_all(lists).await.into_iter().collect();
        let mut events = lists?.concat();
        for event in &mut events {
            event.metadata.managed_fields = None;
        }
        Ok(events)
    }

    /// The last line that an engine wrote; `None` where it has written nothing yet.
    async fn last_line(&self, pod: &Pod) -> Option<(String, String)> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = LogParams {
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_BYTES_MAX),
            ..LogParams::default()
        };
        let name = pod.name_any();
        let text = api.logs(&name, &params).await.ok()?;
        let line = text.lines().last()?.to_owned();
        Some((name, line))
    }

    async fn processes(&self, name: &str) -> Result<Vec<Pod>, kube::Error> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let selector = format!("{}={name}", label::NAME);
        let params = ListParams::default().labels(&selector).limit(PODS_MAX);
        Ok(api.list(&params).await?.items)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}
