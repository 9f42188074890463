//! The unit engine: runs the first B calls of their order that its KV pool holds, at a second per second. Owns: which calls run. It must not
//! know the time.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use lps_api::ids::EngineId;
use lps_api::quantity::Order;
use lps_router::message::CallKey;

/// Which engine is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineSpec {
    Unit { slots: u32, kv_tokens: u64 },
}

/// KV tokens of a unit engine where nobody says: as many as anyone wants.
const KV_TOKENS: u64 = 1 << 50;

impl FromStr for EngineSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        if matches!(kind, "roofline" | "core") {
            anyhow::bail!("--engine {kind} comes later; this version has unit:slots=B");
        }
        let (slots, kv) = rest
            .split_once(",kv=")
            .map_or((rest, None), |(a, b)| (a, Some(b)));
        let slots = slots
            .strip_prefix("slots=")
            .and_then(|slots| slots.parse().ok());
        let slots = slots.filter(|slots| kind == "unit" && (1..=65_536).contains(slots));
        let kv_tokens = kv.map_or(Some(KV_TOKENS), |kv| kv.parse().ok());
        let kv_tokens = kv_tokens.filter(|kv| (1..=KV_TOKENS).contains(kv));
        match slots.zip(kv_tokens) {
            Some((slots, kv_tokens)) => Ok(Self::Unit { slots, kv_tokens }),
            None => anyhow::bail!(
                "--engine {text:?} is not unit:slots=B[,kv=TOKENS] with B of 1..=65536 and TOKENS of 1..={KV_TOKENS}"
            ),
        }
    }
}

/// One engine.
#[derive(Debug)]
pub(super) struct UnitEngine {
    pub(super) id: EngineId,
    slots: usize,
    kv_tokens: u64,
    /// With the KV tokens that are booked for each.
    seats: BTreeMap<Order, (CallKey, u64)>,
    pub(super) running: BTreeSet<CallKey>,
}

/// Who began and who had to stop.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover {
    pub(super) started: Vec<CallKey>,
    pub(super) stopped: Vec<CallKey>,
}

impl UnitEngine {
    pub(super) fn new(id: EngineId, slots: u32, kv_tokens: u64) -> Self {
        Self {
            id,
            slots: slots as usize,
            kv_tokens,
            seats: BTreeMap::new(),
            running: BTreeSet::new(),
        }
    }

    pub(super) fn take(&mut self, call: CallKey, order: Order, size: u64) {
        let size = size.min(self.kv_tokens);
        let earlier = self.seats.insert(order, (call, size));
        assert!(earlier.is_none(), "an order is given once");
    }

    pub(super) fn reorder(&mut self, call: CallKey, from: Order, to: Order) {
        let seat = self.seats.remove(&from);
        let (there, size) = seat.expect("a call is reordered where it is");
        assert_eq!(there, call, "a call is reordered where it is");
        self.take(call, to, size);
    }

    pub(super) fn end(&mut self, call: CallKey, order: Order) {
        self.seats.remove(&order);
        self.running.remove(&call);
    }

    /// Lets the first of the order run.
    pub(super) fn step(&mut self) -> Turnover {
        let mut room = (self.slots, self.kv_tokens);
        let fits = |(call, size): &(CallKey, u64)| {
            (room.0 > 0 && *size <= room.1).then(|| {
                room = (room.0 - 1, room.1 - size);
                *call
            })
        };
        let first: BTreeSet<CallKey> = self.seats.values().filter_map(fits).collect();
        let turnover = Turnover {
            started: first.difference(&self.running).copied().collect(),
            stopped: self.running.difference(&first).copied().collect(),
        };
        self.running = first;
        turnover
    }
}
