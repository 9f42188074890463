//! The engines that the router knows. Owns: following each one's events while it is listed, its lane of commands, and
//! what it last said of itself.

use std::collections::BTreeMap;

use lps_api::ids::{EngineId, ModelName};
use lps_api::protocol::{Hello, Load};
use lps_runtime::task;
use tokio::task::AbortHandle;

use crate::discovery::EngineEndpoint;
use crate::engine_client::commands::Lane;
use crate::engine_client::events;
use crate::engine_client::leg::Rim;
use crate::message::Intake;

/// Bytes of prompt text for a thousand tokens until an engine has said better.
const BYTES_PER_KILOTOKEN: u32 = 4_000;

/// One engine.
#[derive(Debug)]
pub struct Engine {
    /// Where it is.
    pub endpoint: EngineEndpoint,
    /// What it says of itself; `None` while it does not answer.
    pub hello: Option<Hello>,
    /// What it last said that it holds.
    pub load: Load,
    /// Whether it says itself that it ends.
    pub(super) is_ending: bool,
    lane: Lane,
    follower: AbortHandle,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// What is to be told after the list of engines changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// No longer listed, but were up.
    pub(super) gone: Vec<EngineId>,
    /// To get other calls from now on.
    pub(super) intakes: Vec<(EngineId, Intake)>,
}

/// All engines that are listed.
#[derive(Debug)]
pub struct Fleet {
    engines: BTreeMap<EngineId, Engine>,
    rim: Rim,
}

impl Fleet {
    /// With none.
    pub(super) fn new(rim: Rim) -> Self {
        Self {
            engines: BTreeMap::new(),
            rim,
        }
    }

    /// What attempts share.
    pub(super) fn rim(&self) -> Rim {
        self.rim.clone()
    }

    /// Every engine, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&EngineId, &Engine)> {
        self.engines.iter()
    }

    /// One engine.
    pub fn get(&self, engine: &EngineId) -> Option<&Engine> {
        self.engines.get(engine)
    }

    pub(super) fn get_mut(&mut self, engine: &EngineId) -> Option<&mut Engine> {
        self.engines.get_mut(engine)
    }

    /// The lane to an engine.
    pub(super) fn lane(&mut self, engine: &EngineId) -> Option<&mut Lane> {
        self.engines.get_mut(engine).map(|engine| &mut engine.lane)
    }

    /// Engines of a model that answer.
    pub fn up<'a>(&'a self, model: &'a ModelName) -> impl Iterator<Item = &'a Engine> {
        self.engines
            .values()
            .filter(move |engine| engine.hello.is_some() && engine.endpoint.model == *model)
    }

    /// Bytes of prompt text for a thousand tokens of this model.
    pub(super) fn bytes_per_kilotoken(&self, model: &ModelName) -> u32 {
        let seen = self.up(model).map(|engine| engine.load.bytes_per_kilotoken);
        seen.max()
            .filter(|bytes| *bytes > 0)
            .unwrap_or(BYTES_PER_KILOTOKEN)
    }

    /// Takes a new list of engines: follows what is new, forgets what is gone.
    pub(super) fn set(&mut self, listed: &[EngineEndpoint]) -> Changes {
        let mut changes = Changes::default();
        self.engines.retain(|id, engine| {
            let stays = listed.iter().any(|other| engine.endpoint.is_same(other));
            if !stays && engine.hello.is_some() {
                changes.gone.push(id.clone());
            }
            stays
        });
        for endpoint in listed {
            if let Some(engine) = self.engines.get_mut(&endpoint.id) {
                let before = engine.intake();
                engine.endpoint.intake = endpoint.intake;
                if engine.intake() != before {
                    let change = (endpoint.id.clone(), engine.intake());
                    changes.intakes.push(change);
                }
            } else {
                self.engines
                    .insert(endpoint.id.clone(), Engine::follow(endpoint, &self.rim));
            }
        }
        changes
    }

    /// Sends what waits in the lanes.
    pub(super) fn flush(&mut self) {
        for engine in self.engines.values_mut() {
            engine.lane.flush();
        }
    }
}

impl Engine {
    /// Which calls it is to get.
    pub fn intake(&self) -> Intake {
        if self.is_ending {
            Intake::Nothing
        } else {
            self.endpoint.intake
        }
    }

    fn follow(endpoint: &EngineEndpoint, rim: &Rim) -> Self {
        let (connections, reports) = (rim.connections.clone(), rim.reports.clone());
        let follower = events::follow(endpoint.clone(), connections.clone(), reports.clone());
        Self {
            endpoint: endpoint.clone(),
            hello: None,
            load: Load::default(),
            is_ending: false,
            lane: Lane::open(endpoint, connections, reports),
            follower: task::spawn("engine-events", follower).abort_handle(),
        }
    }
}
