//! `lps bench calibrate`: a profile for `lps sim` from the steps of real engines. Owns: its flags, which steps are held
//! back to test the fit, and what is told of it.
//!
//! `read` takes the logs, `fit` finds the costs.

mod fit;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Serialize;

use self::fit::{Sample, fit};
use self::read::Steps;
use crate::console;
use crate::sim::{Costs, Profile};

/// Flags of `lps bench calibrate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Step logs of engines of one kind, or folders of them: start the engines with --step-log and put load on them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub steps: Vec<PathBuf>,
    /// The profile, for `lps sim --engine core:FILE`
    #[arg(long, value_name = "FILE", default_value = "profile.json")]
    pub out: PathBuf,
    /// What the profile is called [default: the model's name]
    #[arg(long)]
    pub name: Option<String>,
}

/// Of so many steps one is held back from the fit, and tells how good it is.
const HELD_BACK: usize = 5;
/// Steps without which nothing can be said.
const STEPS_MIN: usize = 100;

/// How well a profile tells steps that it was not made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    /// Which steps.
    steps: &'static str,
    count: usize,
    /// Seconds that they took, and that the profile says.
    seen_s: f64,
    told_s: f64,
    /// Of single steps: half are off by less, and nine of ten.
    off_p50: f64,
    off_p90: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    profile: Profile,
    engines: usize,
    steps: usize,
    /// The most tokens of a step that was seen; the profile's curve goes on straight beyond.
    tokens_max: u32,
    checks: Vec<Check>,
}

/// Makes the profile.
///
/// # Errors
/// When a log is not valid, there are too few steps, or the profile cannot be written.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let logs = read::read(&args.steps)?;
    let found = find(&logs, args.name.as_deref())?;
    let text = format!("{:#}\n", serde_json::to_value(&found.profile)?);
    fs::write(&args.out, text).with_context(|| format!("write {}", args.out.display()))?;
    if json {
        return Ok(console::json(&serde_json::to_value(&found)?)?);
    }
    tell(&found, args)
}

fn find(logs: &[Steps], name: Option<&str>) -> anyhow::Result<Found> {
    let all = || logs.iter().flat_map(|log| &log.samples).copied();
    let steps = all().count();
    ensure!(
        steps >= STEPS_MIN,
        "{steps} steps are too few, at least {STEPS_MIN} are needed: put load on the engines for a while, \
         for instance with `lps bench run`"
    );
    let is_held_back = |(at, _): &(usize, Sample)| at % HELD_BACK == HELD_BACK - 1;
    let (held, used): (Vec<_>, Vec<_>) = all().enumerate().partition(is_held_back);
    let sample = |(_, sample)| sample;
    let used: Vec<Sample> = used.into_iter().map(sample).collect();
    let held: Vec<Sample> = held.into_iter().map(sample).collect();
    let costs = fit(&used);
    let decodes = |sample: &Sample| sample.load.tokens == sample.load.sequences;
    let checks = [
        check("decoding only", &costs, &held, decodes),
        check("with prompts", &costs, &held, |sample| !decodes(sample)),
        check("all", &costs, &held, |_| true),
    ];
    let engine = &logs[0].engine;
    let (time, pairs) = logs.iter().fold((0, 0), |(time, pairs), log| {
        (time + log.between.0.0, pairs + log.between.1)
    });
    let profile = Profile {
        name: name.map_or_else(|| engine.model.to_string(), str::to_owned),
        kv_tokens: u64::from(engine.kv_blocks_total) * u64::from(engine.block_tokens.0),
        max_num_seqs: engine.max_num_seqs,
        max_batched_tokens: engine.max_batched_tokens.0,
        between_us: time as f64 / (pairs.max(1) as f64),
        costs,
    };
    profile.check().context("the fit")?;
    Ok(Found {
        profile,
        engines: logs
            .iter()
            .map(|log| &log.engine.engine)
            .collect::<BTreeSet<_>>()
            .len(),
        steps,
        tokens_max: all().map(|sample| sample.load.tokens).max().unwrap_or(0),
        checks: checks.into_iter().flatten().collect(),
    })
}

fn check(
    steps: &'static str,
    costs: &Costs,
    held: &[Sample],
    is_meant: impl Fn(&Sample) -> bool,
) -> Option<Check> {
    let meant: Vec<&Sample> = held.iter().filter(|sample| is_meant(sample)).collect();
    let told = |sample: &&Sample| costs.step_us(sample.load);
    let mut off: Vec<f64> = meant.iter().map(|s| (told(s) / s.us - 1.0).abs()).collect();
    off.sort_by(f64::total_cmp);
    let at = |share: f64| off.get((off.len() as f64 * share) as usize).copied();
    Some(Check {
        steps,
        count: meant.len(),
        seen_s: meant.iter().map(|sample| sample.us).sum::<f64>() / 1e6,
        told_s: meant.iter().map(told).sum::<f64>() / 1e6,
        off_p50: at(0.5)?,
        off_p90: at(0.9)?,
    })
}

fn tell(found: &Found, args: &Args) -> anyhow::Result<()> {
    let Profile { costs, .. } = &found.profile;
    console::line(&format!(
        "{}: {} steps of {} engines, at most {} of {} tokens",
        args.out.display(),
        found.steps,
        found.engines,
        found.tokens_max,
        found.profile.max_batched_tokens
    ))?;
    console::line(&format!(
        "a step with one token {:.3} ms; a sequence {:.1} µs, 1,000 tokens of context {:.1} µs, a million pairs {:.2} ms; \
         between steps {:.1} µs\n",
        costs.step_us.first().map_or(0.0, |(_, us)| us / 1e3),
        costs.sequence_us,
        costs.context_ns,
        costs.pair_ns,
        found.profile.between_us
    ))?;
    let rows = found.checks.iter().map(|check| {
        vec![
            check.steps.to_owned(),
            check.count.to_string(),
            format!("{:.3}", check.seen_s),
            format!("{:.3}", check.told_s),
            format!("{:+.1} %", 100.0 * (check.told_s / check.seen_s - 1.0)),
            format!("{:.1} %", 100.0 * check.off_p50),
            format!("{:.1} %", 100.0 * check.off_p90),
        ]
    });
    let header = [
        "HELD BACK",
        "STEPS",
        "SEEN S",
        "TOLD S",
        "SUM OFF",
        "P50 OFF",
        "P90 OFF",
    ];
    console::table(&header, rows.collect(), "nothing")?;
    Ok(console::line(&format!(
        "\nlps sim --engine core:{} … runs with it",
        args.out.display()
    ))?)
}
