//! The resource that a round is about. Owns: what every round needs, what keeps one from its end, and what is written
//! about the resource itself: its status, its finalizers, its events.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use lps_api::quantity::Micros;
use lps_api::resource::{LLMProgramServing, LlmProgramServingStatus, Manifest, Metadata};
use lps_api::wellknown::{self, manager};
use serde_json::json;

use crate::build::{Mould, Owner, Release};
use crate::events::{self, Cause, Teller};
use crate::metrics::Metrics;
use crate::plan::Action;
use crate::pods;
use crate::status::{self, Context};
use crate::upkeep;

/// What every round needs.
#[derive(Clone)]
pub struct Tools {
    /// The API server.
    pub client: Client,
    /// What engines get besides.
    pub release: Arc<Release>,
    /// Where clients reach the router.
    pub router_url: Option<Arc<str>>,
    /// What is counted.
    pub metrics: Metrics,
    /// Writes events.
    pub teller: Teller,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An engine.
    #[error(transparent)]
    Engine(#[from] pods::Error),
    /// What belongs to the resource beside engines.
    #[error(transparent)]
    Belonging(#[from] upkeep::Error),
    /// The resource itself.
    #[error("{what}: {source}")]
    Api {
        /// Which part of it.
        what: &'static str,
        /// What the API server said.
        source: kube::Error,
    },
    /// The object lacks what the API server gives every object.
    #[error("the resource has no {0}")]
    Incomplete(&'static str),
}

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// All is as it should be.
    Settled,
    /// Something is on its way.
    Unsettled,
    /// Nothing will change until somebody changes the resource.
    Stalled,
    /// It is deleted, and nothing of it is left to the operator.
    Gone,
}

/// One resource in one round.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The resource as it was watched.
    pub resource: &'a LLMProgramServing,
    /// What its objects have in common.
    pub owner: Owner,
    /// What every round needs.
    pub tools: &'a Tools,
    /// What was told before.
    pub before: LlmProgramServingStatus,
    now: Timestamp,
    now_text: String,
}

impl<'a> Subject<'a> {
    /// The resource, now.
    ///
    /// # Errors
    /// When it is no object of an API server.
    pub fn new(
        resource: &'a LLMProgramServing,
        tools: &'a Tools,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Ok(Self {
            resource,
            owner: Owner {
                namespace: resource.namespace().ok_or(Error::Incomplete("namespace"))?,
                name: resource.name_any(),
                reference: resource
                    .controller_owner_ref(&())
                    .ok_or(Error::Incomplete("uid"))?,
            },
            tools,
            before: resource.status.clone().unwrap_or_default(),
            now,
            now_text: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }

    /// Microseconds since 1970.
    pub fn now(&self) -> Micros {
        Micros(u64::try_from(self.now.as_microsecond()).unwrap_or_default())
    }

    /// What a status is made from.
    pub fn context(&self) -> Context<'_> {
        Context {
            generation: self.resource.metadata.generation,
            before: &self.before,
            now: &self.now_text,
            url: self.tools.router_url.as_deref(),
            met: None,
        }
    }

    /// What its pods are made from.
    pub fn mould(&self) -> Mould<'_> {
        Mould {
            owner: &self.owner,
            release: &self.tools.release,
            settings: &self.resource.spec.engine,
            drain_timeout: self.resource.spec.rollout.drain_timeout.micros(),
        }
    }

    /// The resource as a user would have written it.
    pub fn manifest(&self) -> Manifest {
        Manifest {
            api_version: wellknown::resource::API_VERSION.to_owned(),
            kind: wellknown::resource::KIND.to_owned(),
            metadata: Metadata {
                name: self.owner.name.clone(),
                namespace: Some(self.owner.namespace.clone()),
                ..Metadata::default()
            },
            spec: self.resource.spec.clone(),
        }
    }

    /// Its kind's API in its namespace.
    pub fn api(&self) -> Api<LLMProgramServing> {
        Api::namespaced(self.tools.client.clone(), &self.owner.namespace)
    }

    /// Logs, counts and tells what was done; `cause` says why an engine that serves has to go.
    pub async fn done(&self, actions: &[Action], cause: impl Fn(&Action) -> Cause) {
        let regarding = self.resource.object_ref(&());
        for action in actions {
            let (namespace, serving) = (&self.owner.namespace, &self.owner.name);
            tracing::info!(namespace, serving, "{action}");
            self.tools.metrics.acted(action);
            let note = events::of_action(action, cause(action));
            self.tools.teller.tell(&regarding, note).await;
        }
    }

    /// Writes the status where it differs from what is there.
    ///
    /// # Errors
    /// When the API server refuses; that the resource is gone is none.
    pub async fn tell(&self, status: LlmProgramServingStatus) -> Result<(), Error> {
        if status == status::own(&self.before) {
            return Ok(());
        }
        let patch = Patch::Apply(json!({
            "apiVersion": wellknown::resource::API_VERSION,
            "kind": wellknown::resource::KIND,
            "status": status,
        }));
        let params = PatchParams::apply(manager::OPERATOR).force();
        match self
            .api()
            .patch_status(&self.owner.name, &params, &patch)
            .await
        {
            Ok(_) => {}
            // It was deleted meanwhile.
            Err(kube::Error::Api(refused)) if refused.code == 404 => return Ok(()),
            Err(source) => {
                let what = "the status";
                return Err(Error::Api { what, source });
            }
        }
        if let Some(note) = events::of_ready(&self.before, &status) {
            let regarding = self.resource.object_ref(&());
            self.tools.teller.tell(&regarding, note).await;
        }
        Ok(())
    }
}
