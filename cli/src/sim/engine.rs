//! The unit engine: runs the first B calls of their order, at a second per second. Owns: which calls run. It must not
//! know the time.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use lps_api::ids::EngineId;
use lps_api::quantity::Order;
use lps_router::message::CallKey;

/// Which engine is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineSpec {
    Unit { slots: u32 },
}

impl FromStr for EngineSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        if matches!(kind, "roofline" | "core") {
            anyhow::bail!("--engine {kind} comes later; this version has unit:slots=B");
        }
        let slots = rest
            .strip_prefix("slots=")
            .and_then(|slots| slots.parse().ok());
        match slots.filter(|slots| kind == "unit" && (1..=65_536).contains(slots)) {
            Some(slots) => Ok(Self::Unit { slots }),
            None => anyhow::bail!("--engine {text:?} is not unit:slots=B with B of 1..=65536"),
        }
    }
}

/// One engine.
#[derive(Debug)]
pub(super) struct UnitEngine {
    pub(super) id: EngineId,
    slots: usize,
    seats: BTreeMap<Order, CallKey>,
    pub(super) running: BTreeSet<CallKey>,
}

/// Who began and who had to stop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover {
    pub(super) started: Vec<CallKey>,
    pub(super) stopped: Vec<CallKey>,
}

impl UnitEngine {
    pub(super) fn new(id: EngineId, slots: u32) -> Self {
        Self {
            id,
            slots: slots as usize,
            seats: BTreeMap::new(),
            running: BTreeSet::new(),
        }
    }

    pub(super) fn take(&mut self, call: CallKey, order: Order) {
        let earlier = self.seats.insert(order, call);
        assert!(earlier.is_none(), "an order is given once");
    }

    pub(super) fn reorder(&mut self, call: CallKey, from: Order, to: Order) {
        assert_eq!(
            self.seats.remove(&from),
            Some(call),
            "a call is reordered where it is"
        );
        self.take(call, to);
    }

    pub(super) fn end(&mut self, call: CallKey, order: Order) {
        self.seats.remove(&order);
        self.running.remove(&call);
    }

    /// Lets the first of the order run.
    pub(super) fn step(&mut self) -> Turnover {
        let first: BTreeSet<CallKey> = self.seats.values().take(self.slots).copied().collect();
        let turnover = Turnover {
            started: first.difference(&self.running).copied().collect(),
            stopped: self.running.difference(&first).copied().collect(),
        };
        self.running = first;
        turnover
    }
}
