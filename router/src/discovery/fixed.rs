//! Engines that are named on the command line. Owns: reading them, and the pools that follow from them.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context as _;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::scheduling::Settings;
use tokio::sync::watch;

use super::{EngineEndpoint, EngineUrl, Pool, Scaling, Sources, Written};
use crate::message::Intake;

/// How long calls are held while no engine of a fixed list answers.
const COLD_START_HOLD: Micros = Micros::from_secs(300);

/// `MODEL=URL`.
#[derive(Debug, Clone)]
pub struct Served {
    model: ModelName,
    url: EngineUrl,
}

impl FromStr for Served {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (model, url) = text
            .split_once("=http")
            .context("an engine is MODEL=http://HOST:PORT or MODEL=https://HOST:PORT")?;
        let model = ModelName::parse(model).context("the model's name")?;
        Ok(Self {
            model,
            url: format!("http{url}").parse()?,
        })
    }
}

/// Keeps the lists as they are.
#[derive(Debug)]
pub struct Kept {
    _pools: watch::Sender<Vec<Pool>>,
    _engines: watch::Sender<Vec<EngineEndpoint>>,
    _written: watch::Sender<BTreeMap<ModelName, Written>>,
}

/// What there is to route to, as long as the second value lives.
///
/// # Errors
/// When there are more engines than names.
pub fn sources(served: &[Served]) -> anyhow::Result<(Sources, Kept)> {
    let (_engines, engines) = watch::channel(endpoints(served)?);
    let (_pools, all) = watch::channel(pools(served));
    let (_written, written) = watch::channel(BTreeMap::new());
    let sources = Sources {
        pools: all,
        engines,
        written,
    };
    let kept = Kept {
        _pools,
        _engines,
        _written,
    };
    Ok((sources, kept))
}

fn endpoints(served: &[Served]) -> anyhow::Result<Vec<EngineEndpoint>> {
    let named = served
        .iter()
        .enumerate()
        .map(|(index, Served { model, url })| {
            let id = EngineId::parse(&format!("engine-{}", index + 1))?;
            Ok(EngineEndpoint {
                id,
                uid: String::new(),
                model: model.clone(),
                revision: Revision::default(),
                url: url.clone(),
                intake: Intake::All,
            })
        });
    named.collect()
}

fn pools(served: &[Served]) -> Vec<Pool> {
    let mut models: Vec<&ModelName> = served.iter().map(|engine| &engine.model).collect();
    models.sort();
    let pool = |group: &[&ModelName]| Pool {
        model: group[0].clone(),
        aliases: Vec::new(),
        settings: Settings::default(),
        cold_start_hold: COLD_START_HOLD,
        scaling: Scaling::fixed(u32::try_from(group.len()).unwrap_or(u32::MAX)),
    };
    models.chunk_by(|a, b| a == b).map(pool).collect()
}
