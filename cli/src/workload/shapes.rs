//! The generators' programs. Owns: which calls a program of each kind has, what depends on what, and how their sizes and
//! gaps spread. Means are published ones (`published`) where a kind has a namesake there; the rest is chosen here.

use lps_api::ids::{CallId, ThreadId};
use lps_api::quantity::Tokens;

use super::CallSpec;
use super::dice::Dice;
use super::generate::{CALLS_MAX, PLAIN, Shape, seconds};

/// Executor time of an output token, and of a prompt token that is not cached, on a unit engine.
const OUTPUT_TOKEN_S: f64 = 0.02;
const PROMPT_TOKEN_S: f64 = 0.0001;

/// A kind of program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Equal calls, one after another.
    Uniform,
    /// A conversation with a person (ShareGPT).
    Chat,
    /// An agent with small tools (BFCL).
    React,
    /// A tree search: children of one node side by side, round by round (LATS).
    Mcts,
    /// A plan, its parts side by side, a summary of all.
    MapReduce,
    /// An agent that repairs a repository (SWE-bench).
    SweBench,
    /// Coding with a person: long contexts, quick tools, slow people.
    Coding,
    /// A plan, researchers side by side, a report.
    DeepResearch,
}

const KINDS: [Kind; 8] = [
    Kind::Uniform,
    Kind::Chat,
    Kind::React,
    Kind::Mcts,
    Kind::MapReduce,
    Kind::SweBench,
    Kind::Coding,
    Kind::DeepResearch,
];
/// The three that Autellix mixes in equal parts.
const MIXED: [Kind; 3] = [Kind::Chat, Kind::React, Kind::Mcts];

/// The kinds of the generator with this name.
pub(super) fn find(name: &str) -> Option<Vec<Kind>> {
    if name == "mixed" {
        return Some(MIXED.to_vec());
    }
    let kind = KINDS.into_iter().find(|kind| kind.name() == name);
    kind.map(|kind| vec![kind])
}

/// All generators, for errors.
pub(super) fn names() -> String {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name()).collect();
    format!("{}, mixed", names.join(", "))
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Chat => "chat",
            Self::React => "react",
            Self::Mcts => "mcts",
            Self::MapReduce => "map-reduce",
            Self::SweBench => "swe-bench",
            Self::Coding => "coding",
            Self::DeepResearch => "deep-research",
        }
    }

    /// Its settings by default.
    pub(super) const fn shape(self) -> Shape {
        let (calls, calls_max, gap, gap_max) = match self {
            Self::Uniform => (10.0, CALLS_MAX, 0.0, 3_600.0),
            Self::Chat => (6.66, 80, 45.0, 300.0),
            Self::React => (10.75, 70, 1.92, 60.0),
            Self::Mcts => (159.7, 400, 0.5, 60.0),
            Self::MapReduce => (32.0, 32, 0.0, 3_600.0),
            Self::SweBench => (10.9, 100, 0.925, 60.0),
            Self::Coding => (15.0, 200, 0.3, 120.0),
            Self::DeepResearch => (15.0, 50, 25.0, 120.0),
        };
        let (prompt, new, output, shared) = match self {
            Self::Uniform => (1.0, 0.0, 1.0, 0.0),
            Self::Chat => (256.0, 256.0, 277.0, 0.0),
            Self::React => (280.0, 30.0, 34.0, 0.0),
            Self::Mcts => (123.0, 20.0, 72.6, 0.0),
            Self::MapReduce => (500.0, 5_000.0, 300.0, 0.0),
            Self::SweBench => (2_500.0, 550.0, 200.0, 0.0),
            Self::Coding => (20_000.0, 857.0, 252.0, 15_000.0),
            Self::DeepResearch => (45_000.0, 3_000.0, 300.0, 0.0),
        };
        Shape {
            calls,
            calls_max,
            gap,
            gap_max,
            prompt,
            new,
            output,
            shared,
            service: if matches!(self, Self::Uniform) {
                1.0
            } else {
                0.0
            },
            context: 200_000.0,
            ..PLAIN
        }
    }

    pub(super) fn calls(self, shape: &Shape, dice: &mut Dice) -> Vec<CallSpec> {
        let mut tree = Tree::new(*shape);
        match self {
            Self::Uniform => return uniform(shape),
            Self::Chat => {
                let turns = dice.log_normal(shape.calls, 1.05);
                tree.chain(dice, turns, |dice, shape| Step {
                    new: dice.log_normal(shape.new, 0.8),
                    output: dice.exponential(shape.output),
                    gap: dice.log_normal_by(shape.gap, 0.9 * shape.gap),
                });
            }
            Self::React => {
                let turns = dice.log_normal(shape.calls, 0.6);
                tree.chain(dice, turns, |dice, shape| Step {
                    new: dice.exponential(shape.new),
                    output: dice.exponential(shape.output),
                    gap: dice.log_normal_by(shape.gap, 1.1 * shape.gap),
                });
            }
            Self::SweBench => {
                let turns = dice.normal(shape.calls, 0.19 * shape.calls);
                tree.chain(dice, turns, |dice, shape| Step {
                    new: dice.log_normal(shape.new, 1.0),
                    output: dice.exponential(shape.output),
                    gap: dice.log_normal_by(shape.gap, 3.8 * shape.gap),
                });
            }
            Self::Coding => {
                let turns = dice.around(shape.calls, 1.714);
                tree.chain(dice, turns, coding_step);
            }
            Self::Mcts => mcts(&mut tree, dice),
            Self::MapReduce => map_reduce(&mut tree, dice),
            Self::DeepResearch => deep_research(&mut tree, dice),
        }
        tree.calls
    }
}

/// One turn in eight is a person's, the others are tools'.
fn coding_step(dice: &mut Dice, shape: &Shape) -> Step {
    let gap = if dice.happens(0.125) {
        dice.around(86.0, 2.08)
    } else {
        dice.around(shape.gap, 2.976)
    };
    Step {
        new: dice.around(shape.new, 1.2),
        output: dice.around(shape.output, 1.49),
        gap,
    }
}

/// What a turn brings: tokens, and the seconds before it.
struct Step {
    new: f64,
    output: f64,
    gap: f64,
}

/// A program as it grows.
struct Tree {
    shape: Shape,
    calls: Vec<CallSpec>,
}

impl Tree {
    const fn new(shape: Shape) -> Self {
        Self {
            shape,
            calls: Vec::new(),
        }
    }

    /// Adds a call and returns its index. Its service is what a unit engine needs where all but `fresh` is cached.
    fn add(&mut self, parents: Vec<usize>, (prompt, fresh): (u32, u32), step: &Step) -> usize {
        let index = self.calls.len();
        let output = self.shape.tokens(step.output.round());
        let shared = self.shape.shared * self.shape.scale;
        let service = f64::from(output) * OUTPUT_TOKEN_S + f64::from(fresh) * PROMPT_TOKEN_S;
        self.calls.push(CallSpec {
            call: CallId::parse(&format!("c{index}")).expect("letters and digits"),
            thread: ThreadId::main(),
            parents,
            says_parents: true,
            gap: seconds(step.gap.min(self.shape.gap_max)),
            prompt: Tokens(prompt),
            shared_prefix: Tokens((shared.round() as u32).min(prompt)),
            output: Tokens(output),
            service: seconds(service),
        });
        index
    }

    /// Adds a call that knows nothing of the others but `parents`.
    fn fresh(&mut self, parents: Vec<usize>, prompt: f64, step: &Step) -> usize {
        let prompt = self.shape.tokens(prompt.min(self.shape.context));
        self.add(parents, (prompt, prompt), step)
    }

    /// Adds a call whose prompt is its parent's with the answer, and something new.
    fn next(&mut self, parent: usize, others: &[usize], step: &Step) -> usize {
        let before = &self.calls[parent];
        let known = before.prompt.0.saturating_add(before.output.0);
        let new = self.shape.tokens(step.new);
        let limit = self.shape.tokens(self.shape.context);
        let sizes = if known.saturating_add(new) > limit {
            let kept = (limit / 4).max(1);
            (kept, kept)
        } else {
            (known + new, new)
        };
        let mut parents = vec![parent];
        parents.extend(others.iter().filter(|other| **other != parent));
        self.add(parents, sizes, step)
    }

    fn on(&mut self, index: usize, thread: &str) {
        self.calls[index].thread = ThreadId::parse(thread).expect("letters and digits");
    }

    /// One thread of about so many turns.
    fn chain(
        &mut self,
        dice: &mut Dice,
        turns: f64,
        mut draw: impl FnMut(&mut Dice, &Shape) -> Step,
    ) {
        let turns = (turns.round() as u32).clamp(1, self.shape.calls_max.min(CALLS_MAX));
        let shape = self.shape;
        let first = draw(dice, &shape);
        let first = Step { gap: 0.0, ..first };
        let mut last = self.fresh(Vec::new(), shape.prompt, &first);
        for _ in 1..turns {
            let step = draw(dice, &shape);
            last = self.next(last, &[], &step);
        }
    }
}

fn uniform(shape: &Shape) -> Vec<CallSpec> {
    let mut tree = Tree::new(*shape);
    for index in 0..shape.calls as usize {
        let step = Step {
            new: shape.new,
            output: shape.output,
            gap: if index == 0 { 0.0 } else { shape.gap },
        };
        let parents = index.checked_sub(1).into_iter().collect();
        let index = tree.fresh(parents, shape.prompt, &step);
        tree.calls[index].service = seconds(shape.service);
    }
    tree.calls
}

/// Each round: a node is chosen, when all of the round before is known, and gets five children side by side.
fn mcts(tree: &mut Tree, dice: &mut Dice) {
    const WIDTH: usize = 5;
    const DEPTH_MAX: u32 = 6;
    let shape = tree.shape;
    let least = 20.0_f64.min(shape.calls);
    let calls = dice.normal(shape.calls, 0.3 * shape.calls).max(least);
    let calls = (calls.round() as usize).clamp(1, shape.calls_max.min(CALLS_MAX) as usize);
    let draw = |dice: &mut Dice, gap: f64| Step {
        new: shape.new,
        output: dice.exponential(shape.output),
        gap,
    };
    let root = draw(dice, 0.0);
    let root = tree.fresh(Vec::new(), shape.prompt, &root);
    let mut depths = vec![0_u32];
    let mut last_round = vec![root];
    while tree.calls.len() < calls {
        // Searches go on mostly from what they found last.
        let newest = last_round[dice.between(0, last_round.len() as u32 - 1) as usize];
        let any = dice.between(0, tree.calls.len() as u32 - 1) as usize;
        let chosen = if depths[newest] < DEPTH_MAX && dice.happens(0.6) {
            newest
        } else if depths[any] < DEPTH_MAX {
            any
        } else {
            root
        };
        let gap = dice.log_normal(shape.gap.max(1e-6), 1.0);
        let width = WIDTH.min(calls - tree.calls.len());
        let round: Vec<usize> = (0..width)
            .map(|_| {
                let step = draw(dice, gap);
                let node = tree.next(chosen, &last_round, &step);
                tree.on(node, &format!("node-{node}"));
                depths.push(depths[chosen] + 1);
                node
            })
            .collect();
        last_round = round;
    }
}

fn map_reduce(tree: &mut Tree, dice: &mut Dice) {
    let shape = tree.shape;
    let most = (shape.calls as u32).min(shape.calls_max).max(1);
    let width = dice.between(4.min(most), most) as usize;
    let answer = |dice: &mut Dice, gap: f64| Step {
        new: 0.0,
        output: shape.output * f64::from(dice.between(67, 133)) / 100.0,
        gap,
    };
    let plan = answer(dice, 0.0);
    let plan = tree.fresh(Vec::new(), shape.prompt, &plan);
    let parts: Vec<usize> = (1..=width)
        .map(|part| {
            let prompt = shape.new * f64::from(dice.between(40, 160)) / 100.0;
            let step = answer(dice, shape.gap);
            let part_call = tree.fresh(vec![plan], prompt, &step);
            tree.on(part_call, &format!("map-{part}"));
            part_call
        })
        .collect();
    let answers: u32 = parts.iter().map(|part| tree.calls[*part].output.0).sum();
    let step = answer(dice, shape.gap);
    let prompt = shape.prompt + f64::from(answers) / shape.scale;
    tree.fresh(parts, prompt, &step);
}

fn deep_research(tree: &mut Tree, dice: &mut Dice) {
    let shape = tree.shape;
    let calls = dice.log_normal_by(shape.calls, 0.57 * shape.calls);
    let calls = (calls.round() as u32).clamp(2, shape.calls_max.max(2));
    let width = dice.between(3, 8).min(calls.saturating_sub(2));
    // One answer in eight is a long one.
    let draw = |dice: &mut Dice| Step {
        new: dice.exponential(shape.new),
        output: if dice.happens(0.12) {
            dice.exponential(6.13 * shape.output)
        } else {
            dice.exponential(0.3 * shape.output)
        },
        gap: dice.log_normal_by(shape.gap.max(1e-6), 0.48 * shape.gap.max(1e-6)),
    };
    let step = Step {
        gap: 0.0,
        ..draw(dice)
    };
    let plan = tree.fresh(Vec::new(), 0.1 * shape.prompt, &step);
    let mut ends = Vec::new();
    for researcher in 1..=width {
        let turns = (calls - 2) / width + u32::from(researcher <= (calls - 2) % width);
        let prompt = 0.1 * shape.prompt + dice.exponential(0.9 * shape.prompt);
        let step = draw(dice);
        let mut last = tree.fresh(vec![plan], prompt, &step);
        tree.on(last, &format!("researcher-{researcher}"));
        for _ in 1..turns {
            let step = draw(dice);
            last = tree.next(last, &[], &step);
            tree.on(last, &format!("researcher-{researcher}"));
        }
        ends.push(last);
    }
    let found: u32 = ends.iter().map(|end| tree.calls[*end].output.0).sum();
    let step = draw(dice);
    let prompt = 0.1 * shape.prompt + f64::from(found) / shape.scale;
    let parents = if ends.is_empty() { vec![plan] } else { ends };
    tree.fresh(parents, prompt, &step);
}
