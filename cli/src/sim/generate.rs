//! Workloads by name. Owns: the shapes of programs and their arrivals. Means are the published ones of Autellix
//! (arXiv 2502.13965, section 6) where a shape has a namesake there; how they spread is chosen here.

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};

use super::dice::Dice;
use super::workload::{CallSpec, ProgramSpec, Workload};

/// Executor time of an output token, and of a prompt token, on a unit engine.
const OUTPUT_TOKEN_S: f64 = 0.02;
const PROMPT_TOKEN_S: f64 = 0.0001;
/// Calls of one program, at most.
const CALLS_MAX: u32 = 1_000;

/// What a generator must know of where its programs run.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Chance.
    pub seed: u64,
    /// Calls that all engines run at once.
    pub slots: u64,
}

/// Settings of a generator.
#[derive(Debug, Clone, Copy)]
struct Shape {
    programs: u32,
    /// Offered work over capacity.
    load: f64,
    /// Calls of a program: exactly (uniform), in the mean (chat, react), in the widest step (map-reduce).
    calls: u32,
    /// Seconds of a call (uniform).
    service: f64,
    /// Mean seconds between two calls of a thread.
    gap: f64,
}

/// Makes the workload `NAME[,key=value...]`.
///
/// # Errors
/// When there is no such generator or setting.
pub(super) fn generate(text: &str, place: Place) -> anyhow::Result<Workload> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default().trim();
    let mut shape = match name {
        "uniform" => Shape {
            programs: 300,
            load: 0.9,
            calls: 10,
            service: 1.0,
            gap: 0.0,
        },
        "chat" => Shape {
            programs: 300,
            load: 0.9,
            calls: 7,
            service: 0.0,
            gap: 20.0,
        },
        "react" => Shape {
            programs: 300,
            load: 0.9,
            calls: 11,
            service: 0.0,
            gap: 2.0,
        },
        "map-reduce" => Shape {
            programs: 300,
            load: 0.9,
            calls: 16,
            service: 0.0,
            gap: 0.0,
        },
        _ => bail!("no workload {name:?}: give a file, or one of uniform, chat, react, map-reduce"),
    };
    for part in parts {
        shape
            .set(part)
            .with_context(|| format!("workload {name}: {part:?}"))?;
    }
    let mut dice = Dice::new(place.seed);
    let mut programs: Vec<ProgramSpec> = (0..shape.programs)
        .map(|index| program(name, index, &shape, &mut dice))
        .collect();
    let work: Micros = programs
        .iter()
        .flat_map(|p| &p.calls)
        .map(|call| call.service)
        .sum();
    let mean = work.as_secs_f64() / f64::from(shape.programs);
    let apart = mean / (shape.load * place.slots as f64);
    let mut now = 0.0;
    for program in &mut programs {
        now += dice.exponential(apart);
        program.arrival = seconds(now);
    }
    Ok(Workload { programs })
}

impl Shape {
    fn set(&mut self, part: &str) -> anyhow::Result<()> {
        let (key, value) = part.split_once('=').context("a setting is key=value")?;
        let number: f64 = value.trim().parse().context("its value is not a number")?;
        let range = |least: f64, most: f64| {
            let fits = (least..=most).contains(&number);
            fits.then_some(number)
                .with_context(|| format!("its range is {least}..={most}"))
        };
        match key.trim() {
            "programs" => self.programs = range(1.0, 1e6)? as u32,
            "load" => self.load = range(0.001, 100.0)?,
            "calls" => self.calls = range(1.0, f64::from(CALLS_MAX))? as u32,
            "service" => self.service = range(1e-6, 1e6)?,
            "gap" => self.gap = range(0.0, 1e6)?,
            _ => bail!("its settings are programs, load, calls, service and gap"),
        }
        Ok(())
    }
}

fn seconds(seconds: f64) -> Micros {
    Micros::from_secs_f64(seconds).unwrap_or_default()
}

fn program(name: &str, index: u32, shape: &Shape, dice: &mut Dice) -> ProgramSpec {
    let calls = match name {
        "uniform" => uniform(shape),
        "chat" => thread(
            shape,
            dice,
            Turn {
                spread: 1.05,
                first: 256,
                new: 256,
                output: 277.0,
            },
        ),
        "react" => thread(
            shape,
            dice,
            Turn {
                spread: 0.6,
                first: 735,
                new: 120,
                output: 34.0,
            },
        ),
        _ => map_reduce(shape, dice),
    };
    ProgramSpec {
        program: ProgramId::parse(&format!("{name}-{index}")).expect("letters and digits"),
        tenant: TenantId::anonymous(),
        class: ClassName::parse(name).expect("a generator's name"),
        arrival: Micros::ZERO,
        calls,
    }
}

fn call(index: usize, parents: Vec<usize>) -> CallSpec {
    CallSpec {
        call: CallId::parse(&format!("c{index}")).expect("letters and digits"),
        thread: ThreadId::main(),
        parents,
        says_parents: true,
        gap: Micros::ZERO,
        prompt: Tokens(1),
        output: Tokens(1),
        service: Micros::ZERO,
    }
}

/// A call whose service follows from its tokens.
fn sized(call: CallSpec, prompt: u32, output: f64) -> CallSpec {
    let output = (output.round() as u32).max(1);
    let service = f64::from(output) * OUTPUT_TOKEN_S + f64::from(prompt) * PROMPT_TOKEN_S;
    CallSpec {
        prompt: Tokens(prompt),
        output: Tokens(output),
        service: seconds(service),
        ..call
    }
}

fn uniform(shape: &Shape) -> Vec<CallSpec> {
    let chain = (0..shape.calls as usize).map(|index| {
        let call = call(index, index.checked_sub(1).into_iter().collect());
        let gap = if index == 0 {
            Micros::ZERO
        } else {
            seconds(shape.gap)
        };
        CallSpec {
            service: seconds(shape.service),
            gap,
            ..call
        }
    });
    chain.collect()
}

/// One turn of a thread.
struct Turn {
    /// How much the number of turns spreads.
    spread: f64,
    /// Tokens of the first prompt.
    first: u32,
    /// Tokens that each turn adds.
    new: u32,
    /// Mean tokens of an answer.
    output: f64,
}

fn thread(shape: &Shape, dice: &mut Dice, turn: Turn) -> Vec<CallSpec> {
    let drawn = dice.log_normal(f64::from(shape.calls), turn.spread).round() as u32;
    let count = drawn.clamp(1, shape.calls.saturating_mul(8).min(CALLS_MAX));
    let mut calls: Vec<CallSpec> = Vec::new();
    let mut prompt = turn.first;
    for index in 0..count as usize {
        let call = call(index, index.checked_sub(1).into_iter().collect());
        let call = sized(call, prompt, dice.exponential(turn.output));
        // A few gaps are very long, as tools and people are.
        let gap = if index == 0 {
            0.0
        } else {
            dice.log_normal(shape.gap.max(1e-6), 1.5)
        };
        prompt = prompt
            .saturating_add(call.output.0)
            .saturating_add(turn.new);
        calls.push(CallSpec {
            gap: seconds(gap),
            ..call
        });
    }
    calls
}

fn map_reduce(shape: &Shape, dice: &mut Dice) -> Vec<CallSpec> {
    let width = dice.between(1, shape.calls) as usize;
    let plan = sized(call(0, Vec::new()), 500, dice.exponential(150.0));
    let mut calls = vec![plan];
    for index in 1..=width {
        let part = sized(call(index, vec![0]), 1_500, dice.exponential(100.0));
        let thread = ThreadId::parse(&format!("map-{index}")).expect("letters and digits");
        calls.push(CallSpec {
            thread,
            gap: seconds(shape.gap),
            ..part
        });
    }
    let answers: u32 = calls[1..].iter().map(|call| call.output.0).sum();
    calls.push(sized(
        call(width + 1, (1..=width).collect()),
        500 + answers,
        dice.exponential(200.0),
    ));
    calls
}
