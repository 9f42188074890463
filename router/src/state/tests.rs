//! The whole state, event by event: queues, promotion, placement, capacity, over-subscription, ends of calls.

mod bench;
mod capacity;
mod demand;
mod ends;
mod fairness;
mod limits;
mod placement;
mod properties;
mod queues;
mod residency;
mod rules;
mod shown;
mod tenants;
