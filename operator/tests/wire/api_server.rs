//! An API server that is a map. Owns: answering as much as rounds ask, and remembering what was written.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use lps_runtime::task;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Paths that end so are lists.
const LISTS: [&str; 3] = ["pods", "events", "llmprogramservings"];

type Change = Box<dyn FnOnce(&mut Store) + Send>;

/// What the map's task is asked.
enum Asked {
    Request(Method, String, Value, oneshot::Sender<(StatusCode, Value)>),
    Look(Change),
}

/// Objects by path, and the writes since the last look.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Objects by path.
    pub(crate) objects: BTreeMap<String, Value>,
    /// Such as `PATCH /api/v1/…`, events left out.
    pub(crate) writes: Vec<String>,
    /// Reasons of events.
    pub(crate) events: Vec<String>,
    version: u64,
}

/// A handle to the map.
#[derive(Clone)]
pub(crate) struct ApiServer {
    ask: mpsc::Sender<Asked>,
}

impl ApiServer {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let (ask, mut asked) = mpsc::channel(16);
        task::spawn("api-server", async move {
            let mut store = Store::default();
            while let Some(asked) = asked.recv().await {
                match asked {
                    Asked::Request(method, path, body, reply) => {
                        let _ = reply.send(store.answer(&method, &path, body));
                    }
                    Asked::Look(change) => change(&mut store),
                }
            }
        });
        Self { ask }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let ask = self.ask.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let ask = ask.clone();
            async move {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.expect("a body").to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let (reply, answer) = oneshot::channel();
                let asked = Asked::Request(head.method, head.uri.path().to_owned(), body, reply);
                ask.send(asked).await.expect("it runs");
                let (status, body) = answer.await.expect("it answers");
                let body = Full::new(Bytes::from(body.to_string()));
                let response = Response::builder().status(status).body(body);
                Ok::<_, std::io::Error>(response.expect("a response"))
            }
        });
        Client::new(service, "default")
    }

    /// Looks at the map, or changes it.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let change: Change = Box::new(move |store| {
            let _ = reply.send(change(store));
        });
        self.ask.send(Asked::Look(change)).await.expect("it runs");
        answer.await.expect("it answers")
    }
}

impl Store {
    /// Makes an object as its creator sees it.
    pub(crate) fn insert(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("uid-of-{path}"));
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!(Timestamp::now().to_string());
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        let is_list = LISTS.iter().any(|list| path.ends_with(list));
        if path.ends_with("/events") {
            let reason = body["reason"].as_str().unwrap_or_default();
            self.events.push(reason.to_owned());
            return (StatusCode::CREATED, body);
        }
        if method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        match *method {
            Method::GET if is_list => {
                let prefix = format!("{path}/");
                let items = self
                    .objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&prefix));
                let items: Vec<&Value> = items.map(|(_, object)| object).collect();
                (StatusCode::OK, json!({"metadata": {}, "items": items}))
            }
            Method::GET => self.found(path),
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                (StatusCode::CREATED, self.insert(&path, body))
            }
            Method::DELETE => {
                let found = self.found(path);
                self.objects.remove(path);
                found
            }
            _ => self.patch(path.trim_end_matches("/status"), body),
        }
    }

    fn found(&self, path: &str) -> (StatusCode, Value) {
        let missing = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": path});
        let object = self.objects.get(path).cloned();
        object.map_or((StatusCode::NOT_FOUND, missing), |object| {
            (StatusCode::OK, object)
        })
    }

    fn patch(&mut self, path: &str, mut patch: Value) -> (StatusCode, Value) {
        let mut object = self.objects.get(path).cloned().unwrap_or_default();
        let version = patch["metadata"]["resourceVersion"].clone();
        if !version.is_null() && version != object["metadata"]["resourceVersion"] {
            let conflict = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": path});
            return (StatusCode::CONFLICT, conflict);
        }
        if let Some(status) = patch.get_mut("status") {
            // Of one writer only: what it leaves out is removed.
            object["status"] = status.take();
        } else {
            merge(&mut object, patch);
        }
        (StatusCode::OK, self.insert(path, object))
    }
}

fn merge(object: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (key, value) in fields {
                merge(&mut object[&key], value);
            }
        }
        other => *object = other,
    }
}
