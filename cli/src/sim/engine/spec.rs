//! `--engine`. Owns: its words.

use std::str::FromStr;

use anyhow::{Context, bail};

use super::profile::Profile;
use super::{Engine, core::CoreEngine, roofline::RooflineEngine, unit::UnitEngine};

/// Which engine is simulated.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineSpec {
    /// Runs `slots` calls at a second per second, as far as its pool holds them.
    Unit {
        /// Calls at once.
        slots: u32,
        /// Tokens that its KV pool holds.
        kv_tokens: u64,
    },
    /// Steps as long as the profile says, many equal ones at once.
    Roofline(Profile),
    /// The real engine's core, each of its steps as long as the profile says.
    Core(Profile),
}

/// KV tokens of a unit engine where nobody says: as many as anyone wants.
const KV_TOKENS: u64 = 1 << 50;
/// Of the others, at most.
const KV_TOKENS_MAX: u64 = 1 << 26;
const SLOTS_MAX: u32 = 65_536;

impl EngineSpec {
    /// Calls that it runs at once.
    pub(crate) const fn slots(&self) -> u32 {
        match self {
            Self::Unit { slots, .. } => *slots,
            Self::Roofline(profile) | Self::Core(profile) => profile.max_num_seqs,
        }
    }

    /// Tokens that its KV pool holds.
    pub(in crate::sim) const fn kv_tokens(&self) -> u64 {
        match self {
            Self::Unit { kv_tokens, .. } => *kv_tokens,
            Self::Roofline(profile) | Self::Core(profile) => profile.kv_tokens,
        }
    }

    /// The same, fast: how a program fares alone hardly depends on whose core it is.
    pub(in crate::sim) fn alone(&self) -> Self {
        match self {
            Self::Core(profile) => Self::Roofline(profile.clone()),
            other => other.clone(),
        }
    }

    /// One of them.
    pub(in crate::sim) fn engine(&self) -> Box<dyn Engine> {
        match self {
            Self::Unit { slots, kv_tokens } => Box::new(UnitEngine::new(*slots, *kv_tokens)),
            Self::Roofline(profile) => Box::new(RooflineEngine::new(profile.clone())),
            Self::Core(profile) => Box::new(CoreEngine::new(profile.clone())),
        }
    }
}

impl FromStr for EngineSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let spec = match kind {
            "unit" => unit(rest),
            "roofline" => profile(rest).map(Self::Roofline),
            "core" => profile(rest).map(Self::Core),
            _ => bail!(
                "--engine {text:?} is not unit:slots=B, roofline:PROFILE or core:PROFILE, with ,slots=B and ,kv=TOKENS behind"
            ),
        };
        spec.with_context(|| format!("--engine {text:?}"))
    }
}

fn unit(rest: &str) -> anyhow::Result<EngineSpec> {
    let (mut slots, mut kv_tokens) = (None, KV_TOKENS);
    for part in rest.split(',') {
        match part.split_once('=') {
            Some(("slots", value)) => slots = Some(number("slots", value, SLOTS_MAX.into())?),
            Some(("kv", value)) => kv_tokens = number("kv", value, KV_TOKENS)?,
            _ => bail!("{part:?} is not slots=B or kv=TOKENS"),
        }
    }
    let slots = slots.context("how many slots? unit:slots=B")? as u32;
    Ok(EngineSpec::Unit { slots, kv_tokens })
}

fn profile(rest: &str) -> anyhow::Result<Profile> {
    let mut parts = rest.split(',');
    let mut profile = Profile::open(parts.next().unwrap_or_default())?;
    for part in parts {
        match part.split_once('=') {
            Some(("slots", value)) => {
                profile.max_num_seqs = number("slots", value, SLOTS_MAX.into())? as u32;
            }
            Some(("kv", value)) => profile.kv_tokens = number("kv", value, KV_TOKENS_MAX)?,
            Some(("batch", value)) => {
                profile.max_batched_tokens = number("batch", value, 1 << 20)? as u32;
            }
            _ => bail!("{part:?} is not slots=B, kv=TOKENS or batch=TOKENS"),
        }
    }
    Ok(profile)
}

fn number(key: &str, value: &str, most: u64) -> anyhow::Result<u64> {
    let number: Option<u64> = value.parse().ok();
    let number = number.filter(|number| (1..=most).contains(number));
    number.with_context(|| format!("{key}={value}: its range is 1..={most}"))
}
