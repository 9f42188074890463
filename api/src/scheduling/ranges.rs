//! The range of each scheduling setting. Owns: what may be written for a key, in words and as a rule. It must not know
//! the defaults.

use std::collections::BTreeMap;

use super::{Error, Estimator, Policy, Settings, Unit, WithinQueue, text};
use crate::ids::TenantId;
use crate::quantity::{Micros, Tokens};

/// All keys, for people.
pub(super) const KEYS: &str = "policy estimator unit bounds quanta preemption within_queue beta service_floor max_queue_wait \
    oldest_every oversubscription backfill_limit max_calls_per_program locality_threshold home_wait working_set \
    kv_watermark acting_lease max_pause tenant_weights";

impl Settings {
    /// Sets one key, written as in the simulator (`home_wait`) or as in the resource (`homeWait`). Follow the last one
    /// with [`Self::check`].
    ///
    /// # Errors
    /// When there is no such key, or the value is out of its range.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let value = value.trim();
        match snake_case(key).as_str() {
            "policy" => self.policy = policy(value)?,
            "estimator" => self.estimator = estimator(value)?,
            "unit" => self.unit = read("unit", value, UNIT, unit)?,
            "bounds" if value == "auto" => {
                (self.bounds, self.auto_bounds) = (Self::default().bounds, true);
            }
            "bounds" => {
                (self.bounds, self.auto_bounds) = (read("bounds", value, BOUNDS, bounds)?, false);
            }
            "quanta" => self.quanta = read("quanta", value, QUANTA, quanta)?,
            "preemption" => self.preemption = read("preemption", value, "on or off", text::switch)?,
            "within_queue" => self.within_queue = within_queue(value)?,
            "beta" => self.beta_milli = read("beta", value, BETA, |v| optional(v, beta))?,
            "service_floor" => self.service_floor = read("service_floor", value, FLOOR, floor)?,
            "max_queue_wait" => {
                self.max_queue_wait = read("max_queue_wait", value, WAIT, |v| optional(v, wait))?;
            }
            "oldest_every" => {
                self.oldest_every = read("oldest_every", value, EVERY, |v| optional(v, every))?;
            }
            "oversubscription" => {
                self.oversubscription =
                    read("oversubscription", value, COUNT_64, |v| whole(v, 0, 64))?;
            }
            "backfill_limit" => {
                self.backfill_limit =
                    read("backfill_limit", value, LIMIT, |v| whole(v, 0, 1_000_000))?;
            }
            "max_calls_per_program" => {
                let count = |v: &str| whole(v, 1, 1_000_000);
                self.max_calls_per_program = read("max_calls_per_program", value, CALLS, |v| {
                    optional(v, count)
                })?;
            }
            "locality_threshold" => {
                let tokens = |v: &str| whole(v, 0, u32::MAX);
                self.locality_threshold =
                    read("locality_threshold", value, TOKENS, tokens).map(Tokens)?;
            }
            "home_wait" => self.home_wait = read("home_wait", value, WAIT, |v| optional(v, wait))?,
            "tenant_weights" => {
                self.tenant_weights = read("tenant_weights", value, WEIGHTS, weights)?;
            }
            "working_set" => {
                self.working_set = read("working_set", value, "on or off", text::switch)?;
            }
            "kv_watermark" => self.kv_watermark_milli = read("kv_watermark", value, MARK, mark)?,
            "acting_lease" => self.acting_lease = read("acting_lease", value, LEASE, lease)?,
            "max_pause" => self.max_pause = read("max_pause", value, WAIT, |v| optional(v, wait))?,
            other => return Err(Error::Key(shortened(other))),
        }
        Ok(())
    }
}

pub(super) const POLICY: &str = "fcfs, program-fcfs, mlfq, plas, atlas or gittins";
pub(super) const WITHIN: &str = "arrival or round-robin";
pub(super) const UNIT: &str =
    "time, tokens, or tokens:A,B with A and B of 0..=1000000 µs a token, not both 0";
pub(super) const BOUNDS: &str = "auto, or 1 to 31 ascending lengths of time of 1us..=30000h";
pub(super) const QUANTA: &str = "2 to 32 lengths of time of 1us..=30000h, or none";
pub(super) const BETA: &str = "a number of 0.1..=1000000, or none";
pub(super) const FLOOR: &str = "a length of time of 1us..=30000h";
pub(super) const WAIT: &str = "a length of time of 1ms..=30000h, or none";
pub(super) const EVERY: &str = "a whole number of 1..=1000000, or none";
pub(super) const COUNT_64: &str = "a whole number of 0..=64";
pub(super) const LIMIT: &str = "a whole number of 0..=1000000";
pub(super) const CALLS: &str = "a whole number of 1..=1000000, or none";
pub(super) const WEIGHTS: &str =
    "up to 256 pairs TENANT=WEIGHT with weights of 0.001..=1000000, or none";
pub(super) const MARK: &str = "a share of 0.1..=1";
pub(super) const LEASE: &str = "learned, or a length of time of 0..=24h";
pub(super) const TOKENS: &str = "a whole number of 0..=4294967295";

fn read<T>(
    key: &'static str,
    value: &str,
    range: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    parse(value).ok_or_else(|| Error::Range {
        key,
        value: shortened(value),
        range,
    })
}

fn policy(value: &str) -> Result<Policy, Error> {
    let named = |v: &str| Policy::ALL.into_iter().find(|policy| policy.as_str() == v);
    read("policy", value, POLICY, named)
}

fn estimator(value: &str) -> Result<Estimator, Error> {
    read("estimator", value, "scalar or dag", |v| match v {
        "scalar" => Some(Estimator::Scalar),
        "dag" => Some(Estimator::Dag),
        _ => None,
    })
}

fn within_queue(value: &str) -> Result<WithinQueue, Error> {
    read("within_queue", value, WITHIN, |v| match v {
        "arrival" => Some(WithinQueue::Arrival),
        "round-robin" => Some(WithinQueue::RoundRobin),
        _ => None,
    })
}

fn weights(value: &str) -> Option<BTreeMap<TenantId, u64>> {
    if matches!(value, "none" | "") {
        return Some(BTreeMap::new());
    }
    let pair = |pair: &str| {
        let (tenant, weight) = pair.rsplit_once('=')?;
        let weight = text::thousandths(weight.trim())?;
        let weight = (1..=1_000_000_000).contains(&weight).then_some(weight)?;
        Some((TenantId::parse(tenant.trim()).ok()?, weight))
    };
    let weights: BTreeMap<_, _> = text::list(value).map(pair).collect::<Option<_>>()?;
    (weights.len() <= 256).then_some(weights)
}

fn unit(value: &str) -> Option<Unit> {
    /// What a token is worth where nobody says: near a small model's share of a step.
    const PER_TOKEN: Unit = Unit::Tokens {
        prompt_us: 100,
        output_us: 10_000,
    };
    match value.split_once(':') {
        None if value == "time" => Some(Unit::Time),
        None if value == "tokens" => Some(PER_TOKEN),
        Some(("tokens", weights)) => {
            let (prompt, output) = weights.split_once(',')?;
            let weight = |text: &str| whole(text.trim(), 0, 1_000_000).map(u64::from);
            let (prompt_us, output_us) = (weight(prompt)?, weight(output)?);
            (prompt_us + output_us > 0).then_some(Unit::Tokens {
                prompt_us,
                output_us,
            })
        }
        _ => None,
    }
}

fn span(value: &str, least: Micros) -> Option<Micros> {
    const MOST: Micros = Micros::from_secs(30_000 * 3_600);
    text::duration(value).filter(|duration| (least..=MOST).contains(duration))
}

fn bounds(value: &str) -> Option<Vec<Micros>> {
    let bounds: Vec<_> = text::list(value)
        .map(|bound| span(bound, Micros(1)))
        .collect::<Option<_>>()?;
    let ascends = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    (ascends && bounds.len() <= Settings::BOUNDS_MAX).then_some(bounds)
}

fn quanta(value: &str) -> Option<Vec<Option<Micros>>> {
    let quantum = |text| optional(text, |v| span(v, Micros(1)));
    let quanta: Vec<_> = text::list(value).map(quantum).collect::<Option<_>>()?;
    (2..=Settings::BOUNDS_MAX + 1)
        .contains(&quanta.len())
        .then_some(quanta)
}

fn beta(value: &str) -> Option<u64> {
    text::thousandths(value).filter(|beta| (100..=1_000_000_000).contains(beta))
}

fn floor(value: &str) -> Option<Micros> {
    span(value, Micros(1))
}

fn wait(value: &str) -> Option<Micros> {
    span(value, Micros::from_millis(1))
}

fn every(value: &str) -> Option<u32> {
    whole(value, 1, 1_000_000)
}

fn whole(value: &str, least: u32, most: u32) -> Option<u32> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| value.parse().ok())??;
    (least..=most).contains(&number).then_some(number)
}

/// `none` (or `inf`, for a quantum without end) is no value; all else must be one.
fn optional<T>(value: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if matches!(value, "none" | "inf" | "∞") {
        Some(None)
    } else {
        parse(value).map(Some)
    }
}

fn mark(value: &str) -> Option<u32> {
    let share = text::thousandths(value).filter(|share| (100..=1_000).contains(share));
    share.and_then(|share| u32::try_from(share).ok())
}

fn lease(value: &str) -> Option<Option<Micros>> {
    const MOST: Micros = Micros::from_secs(24 * 3_600);
    if value == "learned" {
        return Some(None);
    }
    text::duration(value)
        .filter(|lease| *lease <= MOST)
        .map(Some)
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
