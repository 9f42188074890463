//! Workloads by name. Owns: the generators' settings with their ranges, and when programs arrive.

use anyhow::{Context, bail};
use lps_api::ids::{ClassName, ProgramId, TenantId};
use lps_api::quantity::Micros;

use super::dice::Dice;
use super::shapes::{self, Kind};
use super::{Place, ProgramSpec, Workload};

/// Calls of one program, at most.
pub(super) const CALLS_MAX: u32 = 10_000;
/// Tokens of one call, at most.
const TOKENS_MAX: f64 = 1e7;

/// How arrivals follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Arrivals {
    /// Exponential times between them.
    Poisson,
    /// Gamma times between them, with this coefficient of variation.
    Bursty(f64),
    /// All at the beginning.
    AtOnce,
}

/// Settings of a generator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) programs: u32,
    /// Offered work over capacity; used where there is no rate.
    pub(super) load: f64,
    /// Programs a second.
    pub(super) rate: Option<f64>,
    pub(super) arrivals: Arrivals,
    /// Calls of a program: exactly (uniform), the median (coding), the most at once (map-reduce), else the mean.
    pub(super) calls: f64,
    pub(super) calls_max: u32,
    /// Seconds of a call (uniform).
    pub(super) service: f64,
    /// Seconds between two calls of a thread: the median of a tool's (coding), else the mean.
    pub(super) gap: f64,
    /// Longest gap in seconds: longer ones are cut to it.
    pub(super) gap_max: f64,
    /// Mean tokens of the first prompt.
    pub(super) prompt: f64,
    /// Mean tokens that a turn adds to the prompt, beside the answer before it.
    pub(super) new: f64,
    /// Mean tokens of an answer.
    pub(super) output: f64,
    /// Of the prompt, what all programs of the class begin with.
    pub(super) shared: f64,
    /// Longest prompt in tokens; a thread that would pass it goes on with a quarter of it, as agents compact.
    pub(super) context: f64,
    /// Factor on all tokens, so that a small model can serve the same shape.
    pub(super) scale: f64,
}

/// What every generator begins with.
pub(super) const PLAIN: Shape = Shape {
    programs: 300,
    load: 0.9,
    rate: None,
    arrivals: Arrivals::Poisson,
    calls: 1.0,
    calls_max: CALLS_MAX,
    service: 0.0,
    gap: 0.0,
    gap_max: 3_600.0,
    prompt: 0.0,
    new: 0.0,
    output: 0.0,
    shared: 0.0,
    context: TOKENS_MAX,
    scale: 1.0,
};

/// Makes the workload `NAME[,key=value...]`.
///
/// # Errors
/// When there is no such generator or setting.
pub(super) fn generate(text: &str, place: Place) -> anyhow::Result<Workload> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default().trim();
    let Some(kinds) = shapes::find(name) else {
        bail!(
            "no workload {name:?}: give a file, or one of {}",
            shapes::names()
        );
    };
    let mut shapes: Vec<(Kind, Shape)> = kinds.iter().map(|kind| (*kind, kind.shape())).collect();
    for part in parts {
        for (_, shape) in &mut shapes {
            shape
                .set(part)
                .with_context(|| format!("workload {name}: {part:?}"))?;
        }
    }
    let shape = shapes[0].1;
    let mut dice = Dice::new(place.seed);
    let mut programs: Vec<ProgramSpec> = (0..shape.programs)
        .map(|index| {
            let which = match shapes.len() as u32 {
                1 => 0,
                count => dice.between(0, count - 1),
            };
            let (kind, shape) = &shapes[which as usize];
            program(*kind, index, shape, &mut dice)
        })
        .collect();
    let work: Micros = programs
        .iter()
        .flat_map(|program| &program.calls)
        .map(|call| call.service)
        .sum();
    let mean = work.as_secs_f64() / f64::from(shape.programs);
    let by_load = mean / (shape.load * place.slots as f64);
    let apart = shape.rate.map_or(by_load, f64::recip);
    let mut now = 0.0;
    for program in &mut programs {
        now += match shape.arrivals {
            Arrivals::Poisson => dice.exponential(apart),
            Arrivals::Bursty(variation) => dice.gamma(apart, variation),
            Arrivals::AtOnce => 0.0,
        };
        program.arrival = seconds(now);
    }
    Ok(Workload { programs })
}

impl Shape {
    /// Tokens after the factor; at least one.
    pub(super) fn tokens(&self, tokens: f64) -> u32 {
        (tokens.clamp(1.0, TOKENS_MAX) * self.scale)
            .round()
            .max(1.0) as u32
    }

    fn set(&mut self, part: &str) -> anyhow::Result<()> {
        let (key, value) = part.split_once('=').context("a setting is key=value")?;
        let (key, value) = (key.trim(), value.trim());
        if key == "arrivals" {
            self.arrivals = match value {
                "poisson" => Arrivals::Poisson,
                "bursty" => Arrivals::Bursty(2.5),
                "at-once" => Arrivals::AtOnce,
                _ => bail!("arrivals are poisson, bursty or at-once"),
            };
            return Ok(());
        }
        let range = |least: f64, most: f64| {
            let number: f64 = value.parse().context("its value is not a number")?;
            let fits = (least..=most).contains(&number);
            fits.then_some(number)
                .with_context(|| format!("its range is {least}..={most}"))
        };
        match key {
            "programs" => self.programs = range(1.0, 1e6)? as u32,
            "load" => self.load = range(0.001, 100.0)?,
            "rate" => self.rate = Some(range(1e-6, 1e6)?),
            "cv" => self.arrivals = Arrivals::Bursty(range(0.1, 10.0)?),
            "calls" => self.calls = range(1.0, f64::from(CALLS_MAX))?,
            "calls-max" => self.calls_max = range(1.0, f64::from(CALLS_MAX))? as u32,
            "service" => self.service = range(1e-6, 1e6)?,
            "gap" => self.gap = range(0.0, 1e6)?,
            "gap-max" => self.gap_max = range(0.0, 1e6)?,
            "prompt" => self.prompt = range(1.0, TOKENS_MAX)?,
            "new" => self.new = range(0.0, TOKENS_MAX)?,
            "output" => self.output = range(1.0, TOKENS_MAX)?,
            "shared" => self.shared = range(0.0, TOKENS_MAX)?,
            "context" => self.context = range(16.0, TOKENS_MAX)?,
            "scale" => self.scale = range(1e-4, 100.0)?,
            _ => bail!(
                "its settings are programs, load, rate, arrivals, cv, calls, calls-max, service, gap, gap-max, prompt, \
                 new, output, shared, context and scale"
            ),
        }
        Ok(())
    }
}

pub(super) fn seconds(seconds: f64) -> Micros {
    Micros::from_secs_f64(seconds).unwrap_or_default()
}

fn program(kind: Kind, index: u32, shape: &Shape, dice: &mut Dice) -> ProgramSpec {
    let name = kind.name();
    ProgramSpec {
        program: ProgramId::parse(&format!("{name}-{index}")).expect("letters and digits"),
        tenant: TenantId::anonymous(),
        class: ClassName::parse(name).expect("a generator's name"),
        arrival: Micros::ZERO,
        calls: kind.calls(shape, dice),
    }
}
