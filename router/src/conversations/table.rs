//! Which conversations are remembered, and which call goes on from which. Owns: the bounds in number and age; the oldest
//! goes first. Pure.

use std::collections::{HashMap, VecDeque};

use lps_api::ids::TenantId;
use lps_api::quantity::Micros;

use super::digest::{Conversation, Digest};
use crate::message::{Before, Origin};

/// Calls that are remembered; each takes about 300 bytes.
const COUNT_MAX: usize = 32_768;
/// How long one is remembered.
const AGE_MAX: Micros = Micros::from_secs(3_600);

/// Whose conversation, and all of it.
type Key = (TenantId, Digest);

/// A call that was answered.
#[derive(Debug)]
struct Answered {
    origin: Origin,
    /// The first conversation that went on from it.
    next: Option<Digest>,
}

/// Calls by the conversations that they were asked.
#[derive(Debug, Default)]
pub struct Table {
    /// Those who were asked the same stand in order of their answers. Looked up only.
    calls: HashMap<Key, VecDeque<Answered>>,
    /// All of them, the oldest first.
    order: VecDeque<(Micros, Key)>,
}

impl Table {
    /// A call was answered.
    pub fn answered(
        &mut self,
        tenant: TenantId,
        conversation: &Conversation,
        origin: Origin,
        now: Micros,
    ) {
        let key = (tenant, conversation.whole());
        let answered = Answered { origin, next: None };
        self.calls
            .entry(key.clone())
            .or_default()
            .push_back(answered);
        self.order.push_back((now, key));
        self.forget(now);
    }

    /// The call that a conversation goes on from: it contains all that this call was asked, and an answer. Of several that
    /// were asked the same, the first that nobody went on from; the conversation itself, sent again, stays where it was:
    /// at once where its client says so, else where nobody else can have sent it.
    pub fn before(
        &mut self,
        tenant: &TenantId,
        (conversation, is_again): (&Conversation, bool),
        now: Micros,
    ) -> Option<Before> {
        self.forget(now);
        let whole = conversation.whole();
        for point in conversation.points() {
            let Some(calls) = self.calls.get_mut(&(tenant.clone(), *point)) else {
                continue;
            };
            let free = calls.iter().position(|call| call.next.is_none());
            let same = calls.iter().position(|call| call.next == Some(whole));
            let own = if is_again {
                same.or(free)
            } else {
                free.or(same)
            };
            let call = &mut calls[own.unwrap_or_default()];
            call.next.get_or_insert(whole);
            return Some(Before {
                origin: call.origin.clone(),
                is_fork: own.is_none(),
            });
        }
        None
    }

    /// Calls that are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget(&mut self, now: Micros) {
        while let Some((since, _)) = self.order.front()
            && (self.order.len() > COUNT_MAX || now.saturating_sub(*since) > AGE_MAX)
        {
            let (_, key) = self.order.pop_front().expect("it was looked at");
            let calls = self
                .calls
                .get_mut(&key)
                .expect("what stands in order is there");
            calls.pop_front();
            if calls.is_empty() {
                self.calls.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
