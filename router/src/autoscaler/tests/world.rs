//! A pool in simulated time: a queue, engines with slots that take time to start and to drain, and agents that call,
//! use a tool and call again. Owns: doing what the autoscaler asks for, second by second, and what came of it.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

use super::S;
use crate::autoscaler::{Autoscaler, Decision, Demand, Observed, QuietProgram, Written};
use crate::discovery::Scaling;

/// A call: how long it takes, and whose it is.
#[derive(Debug, Clone, Copy)]
struct Call {
    left_s: u64,
    agent: Option<usize>,
    since: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Starting { up_at: u64 },
    Up,
    Draining,
}

#[derive(Debug)]
struct Engine {
    standing: Standing,
    calls: Vec<Call>,
}

/// A program that calls, waits for a tool, and calls again.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) begins_s: u64,
    pub(super) call_s: u64,
    pub(super) tool_s: u64,
    pub(super) calls: u32,
    quiet_since: Option<u64>,
    usual_gap: Option<u64>,
    is_live: bool,
}

impl Agent {
    pub(super) fn new(begins_s: u64, (call_s, tool_s): (u64, u64), calls: u32) -> Self {
        Self {
            begins_s,
            call_s,
            tool_s,
            calls,
            quiet_since: None,
            usual_gap: None,
            is_live: false,
        }
    }
}

/// One second, as it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    pub(super) load: u32,
    pub(super) replicas: u32,
    pub(super) live: u32,
}

pub(super) struct World {
    pub(super) scaling: Scaling,
    pub(super) autoscaler: Autoscaler,
    pub(super) start_s: u64,
    pub(super) agents: Vec<Agent>,
    pub(super) seconds: Vec<Second>,
    /// Seconds from each call's arrival to its engine.
    pub(super) waits: Vec<u64>,
    pub(super) changes: Vec<(u64, u32, Decision)>,
    engines: Vec<Engine>,
    queue: VecDeque<Call>,
    replicas: u32,
}

const SLOTS: usize = 8;

impl World {
    pub(super) fn new(scaling: Scaling, start_s: u64) -> Self {
        Self {
            scaling,
            autoscaler: Autoscaler::new(Micros::ZERO),
            start_s,
            agents: Vec::new(),
            seconds: Vec::new(),
            waits: Vec::new(),
            changes: Vec::new(),
            engines: Vec::new(),
            queue: VecDeque::new(),
            replicas: scaling.min,
        }
    }

    fn now(&self) -> u64 {
        self.seconds.len() as u64
    }

    /// Lets seconds pass; in each so many calls of programs of their own arrive, each of which takes `call_s`.
    pub(super) fn run(&mut self, seconds: u64, call_s: u64, mut arrivals: impl FnMut(u64) -> u32) {
        for second in 0..seconds {
            for _ in 0..arrivals(second) {
                let since = self.now();
                self.queue.push_back(Call {
                    left_s: call_s,
                    agent: None,
                    since,
                });
            }
            self.second();
        }
    }

    fn second(&mut self) {
        self.work();
        self.wake_agents();
        self.dispatch();
        let demand = self.demand();
        let second = Second {
            load: demand.load(),
            replicas: self.replicas,
            live: demand.live_programs,
        };
        let seen = Observed {
            demand,
            written: Written {
                replicas: self.replicas,
                ..Written::default()
            },
        };
        let decision = self.autoscaler.on(&seen, &self.scaling, S(self.now()));
        if decision.desired != self.replicas {
            self.replicas = decision.desired;
            self.changes.push((self.now(), self.replicas, decision));
        }
        self.make_engines();
        self.seconds.push(second);
    }

    fn work(&mut self) {
        let now = self.now();
        for engine in &mut self.engines {
            if matches!(engine.standing, Standing::Starting { up_at } if up_at <= now) {
                engine.standing = Standing::Up;
            }
            for call in &mut engine.calls {
                call.left_s -= 1;
                if let Some(agent) = call.agent.filter(|_| call.left_s == 0) {
                    let agent = &mut self.agents[agent];
                    agent.quiet_since = Some(now);
                    agent.is_live = agent.calls > 0;
                }
            }
            engine.calls.retain(|call| call.left_s > 0);
        }
        self.engines
            .retain(|engine| engine.standing != Standing::Draining || !engine.calls.is_empty());
    }

    fn wake_agents(&mut self) {
        let now = self.now();
        for (index, agent) in self.agents.iter_mut().enumerate() {
            let is_due = match agent.quiet_since {
                Some(since) => since + agent.tool_s <= now,
                None => !agent.is_live && agent.begins_s <= now,
            };
            if agent.calls == 0 || !is_due {
                continue;
            }
            if let Some(since) = agent.quiet_since.take() {
                agent.usual_gap = Some(now - since);
            }
            agent.is_live = true;
            agent.calls -= 1;
            self.queue.push_back(Call {
                left_s: agent.call_s,
                agent: Some(index),
                since: now,
            });
        }
    }

    fn dispatch(&mut self) {
        let now = self.now();
        while let Some(call) = self.queue.front() {
            let open = self
                .engines
                .iter_mut()
                .filter(|engine| engine.standing == Standing::Up && engine.calls.len() < SLOTS);
            let Some(engine) = open.min_by_key(|engine| engine.calls.len()) else {
                return;
            };
            self.waits.push(now - call.since);
            engine.calls.push(*call);
            self.queue.pop_front();
        }
    }

    fn count(&self, is: impl Fn(&Engine) -> bool) -> u32 {
        self.engines.iter().filter(|engine| is(engine)).count() as u32
    }

    fn demand(&self) -> Demand {
        let now = self.now();
        let running = self
            .engines
            .iter()
            .map(|engine| engine.calls.len() as u32)
            .sum();
        let own = |call: &&Call| call.agent.is_none();
        let single = self.queue.iter().filter(own).count()
            + self
                .engines
                .iter()
                .flat_map(|e| &e.calls)
                .filter(own)
                .count();
        let quiet = self
            .agents
            .iter()
            .filter(|agent| agent.is_live)
            .filter_map(|agent| {
                Some(QuietProgram {
                    idle_for: S(now - agent.quiet_since?),
                    usual_gap: S(agent.usual_gap?),
                    programs: 1,
                })
            });
        Demand {
            running,
            waiting: self.queue.len() as u32,
            live_programs: (single + self.agents.iter().filter(|agent| agent.is_live).count())
                as u32,
            quiet: quiet.collect(),
            engines_up: self.count(|engine| engine.standing == Standing::Up),
            engines_busy: self.count(|e| e.standing == Standing::Up && !e.calls.is_empty()),
            engines_draining: self.count(|engine| engine.standing == Standing::Draining),
            ..Demand::default()
        }
    }

    /// As the operator does: a drain is cancelled before an engine is made, one that starts is given up before one
    /// that serves.
    fn make_engines(&mut self) {
        let up_at = self.now() + self.start_s;
        loop {
            let there = self.count(|engine| engine.standing != Standing::Draining);
            if there < self.replicas {
                let draining = |engine: &&mut Engine| engine.standing == Standing::Draining;
                match self.engines.iter_mut().find(draining) {
                    Some(engine) => engine.standing = Standing::Up,
                    None => self.engines.push(Engine {
                        standing: Standing::Starting { up_at },
                        calls: Vec::new(),
                    }),
                }
            } else if there > self.replicas {
                let starting = |e: &Engine| matches!(e.standing, Standing::Starting { .. });
                if let Some(index) = self.engines.iter().rposition(starting) {
                    self.engines.remove(index);
                    continue;
                }
                let up = self
                    .engines
                    .iter_mut()
                    .filter(|e| e.standing == Standing::Up);
                let victim = up
                    .min_by_key(|engine| engine.calls.len())
                    .expect("there are too many");
                victim.standing = Standing::Draining;
            } else {
                return;
            }
        }
    }
}
