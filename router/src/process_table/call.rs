//! One call. Owns: what is known of it, what it has used, how long it waited and why. It must not know its program's
//! row, nor what its queue means.

use lps_api::ids::{CallId, EngineId, ModelName, ThreadId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_api::scheduling::Unit;

use super::reason::{Phase, Reason};
use super::row::RowId;
use crate::message::{CallKey, IdentitySource, NewCall, Parents};

/// A call's place in its pool's scan: smaller is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scan {
    /// The queue, from 0: less attained service outranks all else.
    pub queue: u8,
    /// Under policies of one queue: p; else 0, since p chose the queue and counts no more.
    pub urgency: Micros,
    /// Under policies that order programs: the program, so that programs that arrived together are not mixed.
    pub program: RowId,
    /// Where programs take turns: the turn; else 0.
    pub turn: u64,
    /// Order of entry; unique in the pool, so it is the tie-break.
    pub rank: i64,
}

/// Names a class of programs inside a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClassId(pub u32);

/// Which line a held call stands in: what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Line {
    /// A slot anywhere.
    #[default]
    Anywhere,
    /// A slot at its program's home.
    Home(EngineId),
    /// Its program's admission to a working set.
    Admission {
        /// Where; `None`: anywhere.
        home: Option<EngineId>,
    },
    /// A slot of those that its program may hold.
    Limited,
}

/// What the scheduler keeps of a call.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Where it stands.
    pub scan: Scan,
    /// The line that it stands in, while it is held.
    pub line: Line,
    /// Its home has been busy for so long that it may go elsewhere; it stands in that line, too.
    pub roams: bool,
    /// Who pays, in its pool.
    pub tenant: u32,
    /// What programs of its kind are called, in its pool.
    pub class: ClassId,
    /// Its place at its engine, while it is at one.
    pub order: Order,
    /// Service used of its queue's quantum.
    pub used: Micros,
    /// Moves to the next queue.
    pub demotions: u32,
    /// Moves to queue 1.
    pub promotions: u32,
    /// Times it lost its slot.
    pub preemptions: u32,
    /// Whether its program's home moved for it.
    pub moved: bool,
    /// Since when its home engine has been too busy for it.
    pub home_busy_since: Option<Micros>,
}

/// Where an open call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Held here.
    Held,
    /// Sent to an engine.
    Sent {
        /// Which.
        engine: EngineId,
    },
}

/// A wait that runs.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Micros,
    reason: Reason,
    reason_since: Micros,
}

/// How long a call waited, and why.
#[derive(Debug, Clone, Default)]
pub struct Wait {
    total: Micros,
    by_reason: [Micros; Reason::ALL.len()],
    running: Option<Running>,
}

impl Wait {
    /// Since when it waits.
    pub fn since(&self) -> Option<Micros> {
        self.running.map(|running| running.since)
    }

    /// Why it waits, and since when for that.
    pub fn reason(&self) -> Option<(Reason, Micros)> {
        self.running
            .map(|running| (running.reason, running.reason_since))
    }

    /// All of it.
    pub fn total(&self, now: Micros) -> Micros {
        let running = self
            .since()
            .map_or(Micros::ZERO, |since| now.saturating_sub(since));
        self.total + running
    }

    /// By reason, without what is zero.
    pub fn by_reason(&self, now: Micros) -> impl Iterator<Item = (Reason, Micros)> {
        let each = Reason::ALL.into_iter().map(move |reason| {
            let running = self.running.filter(|running| running.reason == reason);
            let added = running.map_or(Micros::ZERO, |r| now.saturating_sub(r.reason_since));
            (reason, self.by_reason[reason as usize] + added)
        });
        each.filter(|(_, wait)| *wait > Micros::ZERO)
    }

    pub(super) fn begin(&mut self, reason: Reason, now: Micros) {
        assert!(self.running.is_none(), "a wait begins twice");
        self.running = Some(Running {
            since: now,
            reason,
            reason_since: now,
        });
    }

    pub(super) fn change(&mut self, reason: Reason, now: Micros) {
        if let Some(running) = self
            .running
            .as_mut()
            .filter(|running| running.reason != reason)
        {
            let spent = now.saturating_sub(running.reason_since);
            self.by_reason[running.reason as usize] += spent;
            (running.reason, running.reason_since) = (reason, now);
        }
    }

    /// Ends it; gives back since when it ran and how long.
    pub(super) fn end(&mut self, now: Micros) -> Option<(Micros, Micros)> {
        let running = self.running.take()?;
        let spent = now.saturating_sub(running.since);
        self.total += spent;
        self.by_reason[running.reason as usize] += now.saturating_sub(running.reason_since);
        Some((running.since, spent))
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name here.
    pub key: CallKey,
    /// Its client's name for it.
    pub id: CallId,
    /// Its program's row.
    pub row: RowId,
    /// Its thread.
    pub thread: ThreadId,
    /// What it depends on.
    pub parents: Parents,
    /// Which pool serves it.
    pub model: ModelName,
    /// Whole prompt, as far as known before it ran.
    pub prompt_tokens: Tokens,
    /// Output that is booked for it.
    pub expected_output_tokens: Tokens,
    /// Service that its program still needs, where somebody knows it.
    pub expected_service: Option<Micros>,
    /// When it came.
    pub ready_at: Micros,
    /// Its priority; smaller is more urgent.
    pub p: Micros,
    /// The row's critical path when it became ready.
    pub path_before: Micros,
    /// Which try it is.
    pub attempt: Attempt,
    /// Where it stands.
    pub phase: Phase,
    /// Where it is.
    pub stage: Stage,
    /// Where it ran last.
    pub last_engine: Option<EngineId>,
    /// Its program is only guessed by its messages: what is done to the program does not end it.
    pub is_guessed: bool,
    /// Its client wants it ended.
    pub is_cancelled: bool,
    /// How long it waited.
    pub wait: Wait,
    /// What the scheduler keeps of it.
    pub place: Place,
    usage: CallUsage,
    service: Micros,
}

impl Call {
    pub(super) fn new(new: NewCall, row: RowId, now: Micros) -> Self {
        Self {
            key: new.key,
            id: new.id,
            row,
            thread: new.thread,
            parents: new.parents,
            model: new.model,
            prompt_tokens: new.prompt_tokens,
            expected_output_tokens: new.expected_output_tokens,
            expected_service: new.expected_service,
            ready_at: now,
            p: Micros::ZERO,
            path_before: Micros::ZERO,
            attempt: Attempt(0),
            phase: Phase::Pending,
            stage: Stage::Held,
            last_engine: None,
            is_guessed: new.source == IdentitySource::Prefix,
            is_cancelled: false,
            wait: Wait::default(),
            place: Place::default(),
            usage: CallUsage::default(),
            service: Micros::ZERO,
        }
    }

    /// What it has used so far.
    pub fn service(&self) -> Micros {
        self.service
    }

    /// Who pays, by number in its pool.
    pub fn tenant(&self) -> u32 {
        self.place.tenant
    }

    /// The longest chain of services up to and with this call.
    pub fn path(&self) -> Micros {
        self.path_before + self.service
    }

    /// Its figures so far.
    pub fn usage(&self) -> CallUsage {
        self.usage
    }

    /// The engine that it is at.
    pub fn engine(&self) -> Option<&EngineId> {
        match &self.stage {
            Stage::Sent { engine } => Some(engine),
            Stage::Held => None,
        }
    }

    /// Tokens to book for it.
    pub fn size(&self) -> u64 {
        u64::from(self.prompt_tokens.0) + u64::from(self.expected_output_tokens.0)
    }

    /// Takes cumulative figures: only increases count. Gives back the increases of service and of executor time.
    pub(super) fn absorb(&mut self, usage: CallUsage, unit: Unit) -> (Micros, Micros) {
        let executor_before = self.usage.executor_us;
        let seen = &mut self.usage;
        seen.prompt_tokens = seen.prompt_tokens.max(usage.prompt_tokens);
        seen.cached_tokens = seen.cached_tokens.max(usage.cached_tokens);
        seen.output_tokens = seen.output_tokens.max(usage.output_tokens);
        seen.executor_us = seen.executor_us.max(usage.executor_us);
        let service = service(*seen, unit).max(self.service);
        let increase = service - self.service;
        self.service = service;
        (increase, self.usage.executor_us - executor_before)
    }

    /// Forgets what a failed attempt used. Gives it back.
    pub(super) fn drop_attempt(&mut self) -> Micros {
        self.usage = CallUsage::default();
        self.attempt = Attempt(self.attempt.0 + 1);
        std::mem::take(&mut self.service)
    }
}

/// What figures are charged as.
fn service(usage: CallUsage, unit: Unit) -> Micros {
    match unit {
        Unit::Time => usage.executor_us,
        // A prompt is not used before it ran.
        Unit::Tokens { .. } if usage.executor_us == Micros::ZERO && usage.output_tokens.0 == 0 => {
            Micros::ZERO
        }
        Unit::Tokens {
            prompt_us,
            output_us,
        } => {
            let uncached = usage.prompt_tokens.0.saturating_sub(usage.cached_tokens.0);
            Micros(prompt_us * u64::from(uncached) + output_us * u64::from(usage.output_tokens.0))
        }
    }
}
