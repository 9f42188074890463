//! A router on real sockets with engines that do exactly what a test says.

pub(crate) mod client;
pub(crate) mod engine;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::time::Duration;

use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::scheduling::Settings;
use lps_router::config::Config;
use lps_router::discovery::{EngineEndpoint, Pool, Scaling, Sources};
use lps_router::message::Intake;
use lps_router::scale::Wanted;
use lps_router::server::{self, Process};
use lps_runtime::shutdown::{Shutdown, ShutdownTrigger};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::client::Client;
use crate::support::engine::Engine;

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A future's value, or a failure that says what was awaited.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(LIMIT, future).await;
    limited.unwrap_or_else(|_| panic!("waited {} s for {what}", LIMIT.as_secs()))
}

/// Polls until the condition gives a value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let polls = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, polls).await
}

/// A running router with its engines.
pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) admin: Client,
    pub(crate) scale: watch::Receiver<BTreeMap<ModelName, Wanted>>,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) task: JoinHandle<()>,
    pub(crate) engines: watch::Sender<Vec<EngineEndpoint>>,
    pub(crate) pools: watch::Sender<Vec<Pool>>,
}

/// Settings of a test's router: ports by the kernel.
pub(crate) fn config() -> Config {
    Config {
        port: 0,
        admin_port: 0,
        drain_grace: Duration::from_secs(15),
        ..Config::default()
    }
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

pub(crate) fn pool(name: &str) -> Pool {
    Pool {
        model: model(name),
        aliases: Vec::new(),
        settings: Settings::default(),
        cold_start_hold: Micros::from_secs(300),
        scaling: Scaling {
            target: 2,
            max: 4,
            ..Scaling::fixed(0)
        },
    }
}

pub(crate) fn endpoint(engine: &Engine) -> EngineEndpoint {
    EngineEndpoint {
        id: EngineId::parse(&engine.id).unwrap(),
        uid: String::new(),
        model: model("m"),
        revision: Revision::default(),
        url: format!("http://{}", engine.addr).parse().unwrap(),
        intake: Intake::All,
    }
}

impl Rig {
    /// A router with one pool, `m`, and these engines, all up.
    pub(crate) async fn start(config: Config, engines: &[&Engine]) -> Self {
        Self::start_with_key(config, engines, None).await
    }

    /// The same for a test that speaks with a key.
    pub(crate) async fn start_with_key(
        config: Config,
        engines: &[&Engine],
        key: Option<&'static str>,
    ) -> Self {
        let (pools, pools_read) = watch::channel(vec![pool("m")]);
        let list = engines.iter().map(|engine| endpoint(engine)).collect();
        let (engines_tell, engines_read) = watch::channel(list);
        let (trigger, shutdown) = Shutdown::manual();
        let (_, written) = watch::channel(BTreeMap::new());
        let sources = Sources {
            pools: pools_read,
            engines: engines_read,
            written,
        };
        let process = Process {
            shutdown,
            telemetry: None,
            state_dir: None,
            engine_tls: lps_router::config::EngineTls::default(),
        };
        let router = server::start(config, sources, process).await.unwrap();
        let rig = Self {
            client: Client::new(router.addr).with_key(key),
            admin: Client::new(router.admin_addr),
            scale: router.scale,
            trigger,
            task: router.task,
            engines: engines_tell,
            pools,
        };
        rig.engines_up(engines.len()).await;
        rig
    }

    /// Waits until so many engines answer.
    pub(crate) async fn engines_up(&self, count: usize) {
        eventually("the engines to be up", || async {
            let list = self.client.get("/v1/engines").await.json();
            (list["data"].as_array().unwrap().len() == count).then_some(())
        })
        .await;
    }

    /// A call's state, as a client sees it.
    pub(crate) async fn call(&self, call: &str) -> serde_json::Value {
        self.client.get(&format!("/v1/calls/{call}")).await.json()
    }

    /// Waits until a call is in a state.
    pub(crate) async fn call_is(&self, call: &str, state: &str) -> serde_json::Value {
        eventually(&format!("call {call} to be {state}"), || async {
            let json = self.call(call).await;
            (json["state"] == state).then_some(json)
        })
        .await
    }
}
