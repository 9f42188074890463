//! One program's row. Owns: what its calls are charged, settled and in flight, and the sums that policies read. It must
//! not know policies.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use lps_api::ids::{CallId, ClassName, ThreadId};
use lps_api::quantity::Micros;

use super::call::Call;
use super::ended::{Ended, EndedCalls};
use super::reason::{CallCounts, Phase, ProgramState};
use super::stays::Stays;
use crate::message::{CallKey, IdentitySource, ProgramKey};

/// Names one life of a program, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowId(pub u64);

/// Sums of the waits of a row's calls.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    ended: Micros,
    /// Waits that run now, and the sum of the times at which they began.
    running: u64,
    begun_sum: u128,
    at_promotion: Micros,
}

/// One program.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name here.
    pub id: RowId,
    /// Its tenant's name for it.
    pub key: ProgramKey,
    /// What programs of its kind are called.
    pub class: ClassName,
    /// How its calls were found to be its.
    pub source: IdentitySource,
    /// Which life of the name it is, from 1.
    pub generation: u32,
    /// When it began.
    pub arrived: Micros,
    /// When its last call ended.
    pub last_completion: Option<Micros>,
    /// Engines that hold its context, and what they were made from.
    pub stays: Stays,
    /// How long it lives without a call.
    pub idle_limit: Micros,
    /// Calls whose parents were not known.
    pub unknown_parents: u64,
    pub(super) end: Option<ProgramState>,
    pub(super) expires_at: Option<Micros>,
    pub(super) open: BTreeSet<CallKey>,
    pub(super) ended: EndedCalls,
    pub(super) ids: HashMap<CallId, CallKey>,
    pub(super) threads: IndexMap<ThreadId, CallId>,
    pub(super) counts: CallCounts,
    pub(super) tokens: [u64; 3],
    settled_service: Micros,
    settled_path: Micros,
    flight_service: Micros,
    flight_paths: BTreeSet<(Micros, CallKey)>,
    waits: Waits,
    service_at_promotion: Micros,
    /// The models that it has called, one bit each.
    pub(super) models: u64,
    /// Time from a call's end to the next call, the last ones most; zero before the first.
    usual_gap: Micros,
    /// The gap that its last call ended; `None` when it had another open call, or is the first.
    last_gap: Option<Micros>,
    /// Times that it lost its place in a working set.
    pub pauses: u32,
}

/// Who begins a life.
#[derive(Debug, Clone)]
pub(super) struct Birth {
    pub(super) key: ProgramKey,
    pub(super) class: ClassName,
    pub(super) source: IdentitySource,
    pub(super) idle_limit: Micros,
    pub(super) generation: u32,
}

impl Row {
    pub(super) fn new(id: RowId, birth: Birth, now: Micros) -> Self {
        Self {
            id,
            key: birth.key,
            class: birth.class,
            source: birth.source,
            generation: birth.generation,
            arrived: now,
            last_completion: None,
            stays: Stays::default(),
            idle_limit: birth.idle_limit,
            unknown_parents: 0,
            end: None,
            expires_at: None,
            open: BTreeSet::new(),
            ended: EndedCalls::default(),
            ids: HashMap::new(),
            threads: IndexMap::new(),
            counts: CallCounts::default(),
            tokens: [0; 3],
            settled_service: Micros::ZERO,
            settled_path: Micros::ZERO,
            flight_service: Micros::ZERO,
            flight_paths: BTreeSet::new(),
            waits: Waits::default(),
            service_at_promotion: Micros::ZERO,
            models: 0,
            usual_gap: Micros::ZERO,
            last_gap: None,
            pauses: 0,
        }
    }

    /// How long it usually is without a call, once it has been.
    pub fn usual_gap(&self) -> Option<Micros> {
        Some(self.usual_gap).filter(|gap| *gap > Micros::ZERO)
    }

    /// The gap that its last call ended.
    pub fn last_gap(&self) -> Option<Micros> {
        self.last_gap
    }

    /// It calls: if it was quiet, that was a gap.
    pub(super) fn end_gap(&mut self, now: Micros) {
        self.last_gap = None;
        let Some(since) = self.last_completion.filter(|_| self.open.is_empty()) else {
            return;
        };
        let gap = now.saturating_sub(since).max(Micros(1));
        self.last_gap = Some(gap);
        self.usual_gap = match self.usual_gap() {
            None => gap,
            Some(before) => Micros(before.0 - before.0 / 4 + gap.0 / 4),
        };
    }

    /// Σ of its calls' service, in flight included.
    pub fn service_total(&self) -> Micros {
        self.settled_service + self.flight_service
    }

    /// The longest chain of service observed. A failed attempt takes its service back, but calls that saw it keep what
    /// they saw: so the sum is an upper bound of its own.
    pub fn critical_path(&self) -> Micros {
        let in_flight = self
            .flight_paths
            .last()
            .map_or(Micros::ZERO, |(path, _)| *path);
        self.settled_path.max(in_flight).min(self.service_total())
    }

    /// Σ of its calls' wait.
    pub fn wait_total(&self, now: Micros) -> Micros {
        let running = u128::from(self.waits.running) * u128::from(now.0);
        let running = running.saturating_sub(self.waits.begun_sum);
        self.waits.ended + Micros(u64::try_from(running).unwrap_or(u64::MAX))
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> u64 {
        self.waits.running
    }

    /// Wait since the last promotion.
    pub fn wait_since_promotion(&self, now: Micros) -> Micros {
        self.wait_total(now).saturating_sub(self.waits.at_promotion)
    }

    /// Service since the last promotion.
    pub fn service_since_promotion(&self) -> Micros {
        self.service_total()
            .saturating_sub(self.service_at_promotion)
    }

    /// A call of it was promoted: wait and service count anew. What is charged stays.
    pub fn mark_promoted(&mut self, now: Micros) {
        self.waits.at_promotion = self.wait_total(now);
        self.service_at_promotion = self.service_total();
    }

    /// Where it stands.
    pub fn state(&self) -> ProgramState {
        match self.end {
            Some(_) if !self.open.is_empty() => ProgramState::Ending,
            Some(end) => end,
            None if self.open.is_empty() && self.last_completion.is_some() => ProgramState::InTool,
            None => ProgramState::Live,
        }
    }

    /// Its calls by phase.
    pub fn counts(&self) -> CallCounts {
        self.counts
    }

    /// Tokens of ended calls: prompt, cached, output.
    pub fn ended_tokens(&self) -> [u64; 3] {
        self.tokens
    }

    /// A call of it uses the names that are kept here, not copies of its own.
    pub(super) fn share_names(&self, call: &mut Call) {
        if let Some((thread, _)) = self.threads.get_key_value(&call.thread) {
            call.thread = thread.clone();
        }
    }

    /// Open calls, in order of arrival.
    pub fn open(&self) -> impl Iterator<Item = CallKey> {
        self.open.iter().copied()
    }

    /// Ended calls that are remembered, in order of arrival.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Ended> {
        self.ended.iter()
    }

    /// Threads with the last call of each.
    pub fn threads(&self) -> impl Iterator<Item = (&ThreadId, &CallId)> {
        self.threads.iter()
    }

    /// The last call on a thread.
    pub fn last_call(&self, thread: &ThreadId) -> Option<&CallId> {
        self.threads.get(thread)
    }

    pub(super) fn grow(&mut self, call: &Call, increase: Micros) {
        if increase > Micros::ZERO {
            self.flight_paths
                .remove(&(Micros(call.path().0 - increase.0), call.key));
            self.flight_paths.insert((call.path(), call.key));
            self.flight_service += increase;
        }
    }

    pub(super) fn shrink(&mut self, call: CallKey, path: Micros, service: Micros) {
        if service > Micros::ZERO {
            assert!(
                self.flight_paths.remove(&(path, call)),
                "a path in flight is known"
            );
            self.flight_service = self.flight_service - service;
        }
    }

    pub(super) fn settle(&mut self, call: &Call) {
        let service = call.service();
        self.shrink(call.key, call.path(), service);
        self.settled_service += service;
        if service > Micros::ZERO {
            self.settled_path = self.settled_path.max(call.path());
        }
        let usage = call.usage();
        for (sum, tokens) in self.tokens.iter_mut().zip([
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.output_tokens,
        ]) {
            *sum += u64::from(tokens.0);
        }
    }

    pub(super) fn wait_begun(&mut self, now: Micros) {
        self.waits.running += 1;
        self.waits.begun_sum += u128::from(now.0);
    }

    pub(super) fn wait_ended(&mut self, (since, spent): (Micros, Micros)) {
        self.waits.running -= 1;
        self.waits.begun_sum -= u128::from(since.0);
        self.waits.ended += spent;
    }

    pub(super) fn count(&mut self, from: Option<Phase>, to: Phase) {
        if let Some(from) = from {
            *self.counts.of(from) -= 1;
        }
        *self.counts.of(to) += 1;
    }

    /// It has no open call: what an empty tree keeps, a node, is a third of a row and is given back.
    pub(super) fn rest(&mut self) {
        (self.open, self.flight_paths) = (BTreeSet::new(), BTreeSet::new());
    }

    /// Whether sums and sets agree with the open calls.
    pub(super) fn check_integrity(&self, open: &[&Call]) {
        let flying: BTreeSet<_> = open
            .iter()
            .filter(|call| call.service() > Micros::ZERO)
            .map(|call| (call.path(), call.key))
            .collect();
        assert_eq!(
            self.flight_paths, flying,
            "paths in flight of {:?}",
            self.key
        );
        let service: Micros = open.iter().map(|call| call.service()).sum();
        assert_eq!(
            self.flight_service, service,
            "service in flight of {:?}",
            self.key
        );
        let waits = open
            .iter()
            .filter(|call| call.wait.since().is_some())
            .count() as u64;
        assert_eq!(self.waits.running, waits, "running waits of {:?}", self.key);
        assert!(self.critical_path() <= self.service_total());
        let (counts, in_open) = (self.counts, open.len() as u64);
        assert_eq!(
            counts.pending + counts.running,
            in_open,
            "open calls of {:?}",
            self.key
        );
    }
}
