//! Engines as pods. Owns: speaking to the API server about one resource's engines: the cluster's half of the seam. It
//! decides nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use lps_api::ids::EngineId;
use lps_api::quantity::Micros;
use lps_api::resource::EngineStatus;
use lps_api::wellknown::{annotation, manager};
use serde_json::json;

use crate::build::{self, Mould};
use crate::home::EngineHome;
use crate::observe::{self, Trouble};
use crate::plan::{DeleteReason, EngineLoad, EngineSpec, EngineState, ObservedEngine};

/// Seconds that a pod gets to end when it serves nobody any more.
const SHORT_GRACE_S: u32 = 5;

/// Why the cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("engine {engine}: {source}")]
    Api {
        /// Which engine; empty: all.
        engine: String,
        /// What it said.
        source: kube::Error,
    },
    /// The pod cannot be made from the resource.
    #[error("{0}")]
    Build(String),
}

/// Reason of an engine whose pod is not taken.
const POD_REFUSED: &str = "PodRefused";

impl Error {
    /// What a user has to know where the API server refused, and will again: rules of the namespace, a quota, a webhook.
    pub fn refusal(&self) -> Option<Trouble> {
        let Self::Api {
            engine,
            source: kube::Error::Api(refused),
        } = self
        else {
            return None;
        };
        let stays = matches!(refused.code, 400 | 403 | 422) && !engine.is_empty();
        stays.then(|| Trouble {
            reason: POD_REFUSED,
            message: format!("engine {engine}: {}", refused.message),
        })
    }
}

/// One resource's engines.
#[derive(Debug)]
pub struct PodHome<'a> {
    api: Api<Pod>,
    mould: Mould<'a>,
    now: Micros,
    /// What the router said lately that each engine holds.
    loads: BTreeMap<String, EngineLoad>,
    pods: Vec<Pod>,
}

impl<'a> PodHome<'a> {
    /// The engines of the mould's owner; `now` is in microseconds since 1970.
    pub fn new(client: &Client, mould: Mould<'a>, now: Micros) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &mould.owner.namespace),
            mould,
            now,
            loads: BTreeMap::new(),
            pods: Vec::new(),
        }
    }

    /// The same, knowing what the router wrote of the engines' loads into the resource's status.
    pub fn with_loads(self, engines: &[EngineStatus]) -> Self {
        let load = |engine: &EngineStatus| {
            let load = EngineLoad {
                kv_blocks: engine.kv_blocks?,
                calls: engine.calls?,
            };
            Some((engine.pod.clone(), load))
        };
        Self {
            loads: engines.iter().filter_map(load).collect(),
            ..self
        }
    }

    /// The engine of a pod; what one holds that serves is what the router said.
    fn observe(&self, pod: &Pod) -> Option<ObservedEngine> {
        let engine = observe::engine(pod, self.now)?;
        let load = match engine.state {
            EngineState::Ready => self.loads.get(engine.id.as_str()).copied(),
            _ => engine.load,
        };
        Some(ObservedEngine { load, ..engine })
    }

    /// The pods as they were last listed.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The listed pod's uid: the name alone might meanwhile be another pod's.
    fn uid(&self, id: &EngineId) -> Option<String> {
        self.pods
            .iter()
            .find(|pod| pod.name_any() == id.as_str())
            .and_then(Pod::uid)
    }
}

fn failed(id: &EngineId) -> impl Fn(kube::Error) -> Error {
    move |source| Error::Api {
        engine: id.to_string(),
        source,
    }
}

impl EngineHome for PodHome<'_> {
    type Error = Error;

    async fn list(&mut self) -> Result<Vec<ObservedEngine>, Error> {
        let selector = build::selector_text(&self.mould.owner.name);
        let listed = self
            .api
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(|source| Error::Api {
                engine: String::new(),
                source,
            })?;
        self.pods = listed.items;
        let owner = &self.mould.owner.reference.uid;
        self.pods
            .retain(|pod| pod.owner_references().iter().any(|it| it.uid == *owner));
        let engines = self.pods.iter();
        Ok(engines.filter_map(|pod| self.observe(pod)).collect())
    }

    async fn create(&mut self, spec: EngineSpec) -> Result<(), Error> {
        let pod = build::pod(self.mould, &spec).map_err(Error::Build)?;
        let params = PostParams {
            field_manager: Some(manager::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        match self.api.create(&params, &pod).await {
            Ok(_) => Ok(()),
            // Another round was faster, or an old pod of this name is still going: the next round sees it.
            Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(()),
            Err(error) => Err(failed(&spec.id)(error)),
        }
    }

    async fn drain(&mut self, id: &EngineId, drain: bool) -> Result<(), Error> {
        let since = drain.then(|| self.now.0.to_string());
        let patch = json!({"metadata": {
            "uid": self.uid(id),
            "annotations": {annotation::DRAINING_SINCE: since},
        }});
        self.api
            .patch(id.as_str(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
            .map_err(failed(id))
    }

    async fn delete(&mut self, id: &EngineId, _: DeleteReason) -> Result<(), Error> {
        let ended = |engine: ObservedEngine| matches!(engine.state, EngineState::Failed { .. });
        let has_ended = self
            .pods
            .iter()
            .filter(|pod| pod.name_any() == id.as_str())
            .filter_map(|pod| observe::engine(pod, self.now))
            .any(ended);
        let params = DeleteParams {
            grace_period_seconds: Some(if has_ended { 0 } else { SHORT_GRACE_S }),
            preconditions: self.uid(id).map(|uid| Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api.delete(id.as_str(), &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another pod has its name.
            Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => Ok(()),
            Err(error) => Err(failed(id)(error)),
        }
    }
}
