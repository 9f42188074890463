//! Asking a cluster for engines. Owns: writing `replicas` through `/scale`, and the router's part of the resources'
//! status: on change, and what only changes in figures at most every ten seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use lps_api::ids::{EngineId, ModelName};
use lps_api::quantity::Micros;
use lps_api::resource::{LLMProgramServing, ScalingMode};
use lps_api::wellknown::{self, manager};
use lps_runtime::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Wanted;
use super::conflict::{Hand, Seen};
use super::events::{self, Teller};
use super::told::{self, EngineSeen, Facts};
use crate::autoscaler::{Reason, Written};
use crate::discovery::cluster::Cluster;
use crate::discovery::read::{ResourceName, engine_id};
use crate::dispatcher::Handle;

/// How often the resources are looked at when nothing rings.
const PERIOD: Duration = Duration::from_millis(500);
/// After a write that failed.
const FAILED_PAUSE: Micros = Micros::from_secs(5);
/// Figures that change without a decision are written this often.
const FIGURES_PERIOD: Micros = Micros::from_secs(10);

/// What the loop works with.
#[derive(Debug)]
pub struct Writer {
    /// Where the resources are.
    pub cluster: Cluster,
    /// Where it is told what was done.
    pub teller: Teller,
    /// Where loads are read.
    pub dispatcher: Handle,
    /// What is wanted.
    pub wanted: watch::Receiver<BTreeMap<ModelName, Wanted>>,
    /// Tells what is written.
    pub written: watch::Sender<BTreeMap<ModelName, Written>>,
    /// Whether this router is the one that works.
    pub active: watch::Receiver<bool>,
    /// The process's time.
    pub clock: Clock,
    /// When that began.
    pub started: Timestamp,
}

/// What is remembered of one resource.
#[derive(Debug, Default)]
struct Desk {
    hand: Hand,
    /// What its status was last told.
    told: Value,
    told_at: Option<Micros>,
    /// When that failed last.
    failed_at: Option<Micros>,
}

/// One resource at one look.
struct Subject {
    name: ResourceName,
    resource: Arc<LLMProgramServing>,
    wanted: Result<Wanted, String>,
}

impl Writer {
    /// Writes until the router ends.
    pub async fn run(mut self) {
        let mut desks: BTreeMap<ResourceName, Desk> = BTreeMap::new();
        loop {
            self.publish_written();
            if *self.active.borrow() {
                let subjects = self.subjects();
                desks.retain(|name, _| subjects.iter().any(|subject| subject.name == *name));
                if self.turn(&subjects, &mut desks).await.is_none() {
                    return;
                }
            } else {
                desks.clear();
            }
            // Whichever comes first: a look sees all.
            let changed = tokio::time::timeout(PERIOD, self.wanted.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    }

    fn resource(&self, (namespace, name): &ResourceName) -> Option<Arc<LLMProgramServing>> {
        self.cluster
            .resources
            .get(&ObjectRef::new(name).within(namespace))
    }

    fn publish_written(&self) {
        let serving = self.cluster.found.borrow().serving.clone();
        let written: BTreeMap<ModelName, Written> = serving
            .into_iter()
            .filter_map(|(model, name)| Some((model, written(&*self.resource(&name)?))))
            .collect();
        self.written.send_if_modified(|told| {
            let is_new = *told != written;
            *told = written;
            is_new
        });
    }

    fn subjects(&self) -> Vec<Subject> {
        let found = self.cluster.found.borrow().clone();
        let all = self.wanted.borrow().clone();
        let served = found.serving.into_iter().filter_map(|(model, name)| {
            let wanted = all.get(&model)?.clone();
            Some((name, Ok(wanted)))
        });
        let refused = found
            .refused
            .into_iter()
            .map(|(name, why)| (name, Err(why)));
        served
            .chain(refused)
            .filter_map(|(name, wanted)| {
                let resource = self.resource(&name)?;
                Some(Subject {
                    name,
                    resource,
                    wanted,
                })
            })
            .collect()
    }

    /// First all numbers, since calls may wait for them; then all statuses. `None` when the router ends.
    async fn turn(
        &self,
        subjects: &[Subject],
        desks: &mut BTreeMap<ResourceName, Desk>,
    ) -> Option<()> {
        let engines = self.engines().await?;
        for subject in subjects {
            let desk = desks.entry(subject.name.clone()).or_default();
            let now = Micros::from(self.clock.now());
            let had_rival = desk.hand.rival().is_some();
            let number = number(subject, &mut desk.hand, now);
            if let Some(rival) = desk.hand.rival().filter(|_| !had_rival) {
                let event = events::conflict(told::conflict(&rival.name));
                self.teller.tell(&subject.resource, &event).await;
            }
            let Some(number) = number else {
                continue;
            };
            if number < replicas(&subject.resource) {
                // The operator chooses the engine that goes by the loads.
                self.tell(subject, desk, (&engines, true)).await;
            }
            self.scale(subject, number).await;
        }
        for subject in subjects {
            let desk = desks.entry(subject.name.clone()).or_default();
            self.tell(subject, desk, (&engines, false)).await;
        }
        Some(())
    }

    async fn scale(&self, subject: &Subject, number: u32) {
        let (namespace, name) = &subject.name;
        let params = PatchParams {
            field_manager: Some(manager::SCALER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": number}}));
        match self.api(namespace).patch_scale(name, &params, &patch).await {
            Ok(_) => {
                tracing::info!(namespace, serving = name, engines = number, "scaled");
                let (resource, wanted) = (&subject.resource, subject.wanted.as_ref().ok());
                let event = events::scaled(replicas(resource), number, wanted);
                self.teller.tell(resource, &event).await;
            }
            Err(kube::Error::Api(refused)) if refused.code == 404 => {}
            Err(error) => tracing::warn!(namespace, serving = name, %error, "cannot be scaled"),
        }
    }

    /// Writes the status where it is due, or `now`.
    async fn tell(
        &self,
        subject: &Subject,
        desk: &mut Desk,
        (engines, now): (&BTreeMap<EngineId, EngineSeen>, bool),
    ) {
        let at = Micros::from(self.clock.now());
        let is_past = |then: Option<Micros>, period| {
            then.is_none_or(|then| at.saturating_sub(then) >= period)
        };
        if !is_past(desk.failed_at, FAILED_PAUSE) {
            return;
        }
        let is_due = is_past(desk.told_at, FIGURES_PERIOD);
        let own = |engine: &&EngineSeen| {
            let model = &subject.resource.spec.model.name;
            subject.wanted.is_ok() && engine.load.model.as_str() == model
        };
        let engines: Vec<&EngineSeen> = engines.values().filter(own).collect();
        let status = told::status(Facts {
            resource: &subject.resource,
            wanted: subject.wanted.as_ref().map_err(String::as_str),
            engines: &engines,
            rival: desk.hand.rival().map(|rival| rival.name.as_str()),
            started: self.started,
            now: at,
        });
        let is_decided = |part: &str| status[part] != desk.told[part];
        let is_urgent = now || is_decided("conditions") || is_decided("scaling");
        if status == desk.told || !(is_due || is_urgent) {
            return;
        }
        let (namespace, name) = &subject.name;
        let patch = Patch::Apply(json!({
            "apiVersion": wellknown::resource::API_VERSION,
            "kind": wellknown::resource::KIND,
            "status": status,
        }));
        let params = PatchParams::apply(manager::ROUTER).force();
        match self
            .api(namespace)
            .patch_status(name, &params, &patch)
            .await
        {
            Ok(_) => (desk.told, desk.told_at) = (status, Some(at)),
            Err(kube::Error::Api(refused)) if refused.code == 404 => {}
            Err(error) => {
                tracing::warn!(namespace, serving = name, %error, "status not written");
                // Not before the next period: the API server may be away.
                desk.failed_at = Some(at);
            }
        }
    }

    /// Engines that answer and whose pods are there; `None` when the router ends.
    async fn engines(&self) -> Option<BTreeMap<EngineId, EngineSeen>> {
        let look = self.dispatcher.read(|view| {
            let loads = view.state.engine_loads().into_iter();
            let seen = loads.filter_map(|load| {
                let hello = view.fleet.get(&load.engine)?.hello.as_ref()?;
                let (_, pod) = load.engine.as_str().split_once('/')?;
                let seen = EngineSeen {
                    pod: pod.to_owned(),
                    block_tokens: hello.block_tokens.0,
                    load,
                };
                Some((seen.load.engine.clone(), seen))
            });
            seen.collect::<BTreeMap<EngineId, EngineSeen>>()
        });
        let mut engines = look.await.ok()?;
        let pods = self.cluster.pods.state();
        let there: BTreeSet<EngineId> = pods.iter().filter_map(|pod| engine_id(pod)).collect();
        engines.retain(|id, _| there.contains(id));
        Some(engines)
    }

    fn api(&self, namespace: &str) -> Api<LLMProgramServing> {
        Api::namespaced(self.cluster.client.clone(), namespace)
    }
}

/// When the process's time began.
pub fn started(clock: Clock) -> Timestamp {
    let now = Timestamp::now();
    let since = i64::try_from(Micros::from(clock.now()).0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(now.as_microsecond().saturating_sub(since)).unwrap_or(now)
}

/// Engines that the resource asks for.
fn replicas(resource: &LLMProgramServing) -> u32 {
    let spec = &resource.spec;
    spec.replicas.unwrap_or(spec.scaling.min)
}

fn written(resource: &LLMProgramServing) -> Written {
    let status = resource.status.as_ref();
    let rolling_out = status.is_some_and(|status| status.updated_replicas < status.replicas);
    let starts = status.and_then(|status| status.cold_start);
    Written {
        replicas: replicas(resource),
        cold_start: starts.map(|starts| Micros::from_secs(u64::from(starts.p95))),
        rolling_out,
    }
}

/// The number to write now, if any.
fn number(subject: &Subject, hand: &mut Hand, now: Micros) -> Option<u32> {
    let spec = &subject.resource.spec;
    let wanted = subject.wanted.as_ref().ok()?;
    if spec.suspend || subject.resource.metadata.deletion_timestamp.is_some() {
        return None;
    }
    match spec.scaling.mode {
        ScalingMode::Router => {
            let seen = Seen {
                replicas: spec.replicas,
                other: other_writer(&subject.resource),
            };
            hand.on(&seen, wanted.desired, now)
        }
        // An autoscaler does not find a number that was never written.
        ScalingMode::External if spec.replicas.is_none() => Some(spec.scaling.min),
        // A call is not to wait for an autoscaler that cannot see it.
        ScalingMode::External => (wanted.reason == Reason::FromZero).then_some(1),
        ScalingMode::Manual => None,
    }
}

/// Who wrote `replicas` last, if not this router's kind.
fn other_writer(resource: &LLMProgramServing) -> Option<String> {
    let owns = |fields: &Value| !fields["f:spec"]["f:replicas"].is_null();
    resource
        .managed_fields()
        .iter()
        .filter(|entry| {
            entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| owns(&fields.0))
        })
        .filter_map(|entry| entry.manager.clone())
        .find(|name| name != manager::SCALER)
}
