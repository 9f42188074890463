//! What a tenant may use. Owns: its limits, what it has used of them, and which one stands against a call. Pure: it is told
//! the time. It must not know what a call is.

/// What is left of so much a minute.
mod bucket;

use std::num::NonZeroU32;
use std::time::Duration;

use bucket::Bucket;
use indexmap::IndexMap;
use lps_api::ids::TenantId;
use lps_api::quantity::{Micros, Tokens};
use serde::Deserialize;

/// What one tenant may use; `None`: as much as everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Calls that begin.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens of prompts and answers.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Calls that are open at once.
    pub concurrent_calls: Option<NonZeroU32>,
    /// Programs that have not ended.
    pub live_programs: Option<NonZeroU32>,
}

/// Which limit stands against a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Calls.
    #[error("this tenant may begin {per_minute} calls a minute and has; try again later")]
    Requests {
        /// The limit.
        per_minute: u32,
        /// Until one may begin.
        wait: Duration,
    },
    /// Tokens.
    #[error("this tenant may use {per_minute} tokens a minute and has; try again later")]
    Tokens {
        /// The limit.
        per_minute: u32,
        /// Until there is enough for this one.
        wait: Duration,
    },
    /// Open calls.
    #[error("{0} calls of this tenant are open, the most it may have at once; try again later")]
    Concurrent(u32),
}

impl Exceeded {
    /// When to come back, where that is known.
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Requests { wait, .. } | Self::Tokens { wait, .. } => Some(*wait),
            Self::Concurrent(_) => None,
        }
    }
}

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// So much a minute.
    pub limit: u32,
    /// What is there now.
    pub remaining: u32,
    /// Until all of it is there again.
    pub reset: Duration,
}

/// How a tenant's limits stand, where it has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Calls.
    pub requests: Option<Left>,
    /// Tokens.
    pub tokens: Option<Left>,
}

/// What a tenant has used.
#[derive(Debug, Default)]
struct Used {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    open: u32,
}

/// What all tenants that have limits have used.
#[derive(Debug, Default)]
pub struct Allowances {
    tenants: IndexMap<TenantId, Used>,
}

impl Allowances {
    /// Tenants whose limits were taken away are forgotten when there are more than this many.
    const SWEEP_AT: usize = 1_024;

    /// Charges a tenant for a call that may need so many tokens, unless a limit stands against it; and how its limits stand
    /// then. What is charged is to be settled.
    pub fn take(
        &mut self,
        (tenant, limits): (&TenantId, Limits),
        tokens: Tokens,
        now: Micros,
    ) -> (Result<(), Exceeded>, Standing) {
        if self.tenants.len() >= Self::SWEEP_AT && !self.tenants.contains_key(tenant) {
            self.tenants.retain(|_, used| !used.is_idle(now));
        }
        let used = self.tenants.entry(tenant.clone()).or_default();
        refresh(&mut used.requests, limits.requests_per_minute, now);
        refresh(&mut used.tokens, limits.tokens_per_minute, now);
        let taken = used.check(limits, tokens);
        if taken.is_ok() {
            used.take(tokens);
        }
        (taken, used.standing())
    }

    /// A call that was charged has ended, and has used so much; `None`: nothing that is known.
    pub fn settle(&mut self, tenant: &TenantId, charged: Tokens, used: Option<Tokens>) {
        let Some(tenant) = self.tenants.get_mut(tenant) else {
            return;
        };
        tenant.open = tenant.open.saturating_sub(1);
        if let Some(bucket) = &mut tenant.tokens {
            bucket.give(charged.0);
            bucket.take(used.unwrap_or_default().0);
        }
    }
}

impl Used {
    fn check(&self, limits: Limits, tokens: Tokens) -> Result<(), Exceeded> {
        let most = limits.concurrent_calls.map_or(u32::MAX, NonZeroU32::get);
        if self.open >= most {
            return Err(Exceeded::Concurrent(most));
        }
        let wait = |bucket: &Option<Bucket>, units| {
            let bucket = bucket.as_ref()?;
            Some((bucket.per_minute().get(), bucket.wait(units)?))
        };
        if let Some((per_minute, wait)) = wait(&self.requests, 1) {
            return Err(Exceeded::Requests { per_minute, wait });
        }
        if let Some((per_minute, wait)) = wait(&self.tokens, tokens.0) {
            return Err(Exceeded::Tokens { per_minute, wait });
        }
        Ok(())
    }

    fn take(&mut self, tokens: Tokens) {
        self.open += 1;
        for (bucket, units) in [(&mut self.requests, 1), (&mut self.tokens, tokens.0)] {
            if let Some(bucket) = bucket {
                bucket.take(units);
            }
        }
    }

    fn standing(&self) -> Standing {
        let left = |bucket: &Bucket| Left {
            limit: bucket.per_minute().get(),
            remaining: bucket.left(),
            reset: bucket.full_in(),
        };
        Standing {
            requests: self.requests.as_ref().map(left),
            tokens: self.tokens.as_ref().map(left),
        }
    }

    /// Whether it would be the same if it were forgotten.
    fn is_idle(&self, now: Micros) -> bool {
        let is_full = |bucket: &Option<Bucket>| {
            let later = bucket.map(|bucket| bucket.as_of(bucket.per_minute(), now));
            later.is_none_or(|bucket| bucket.full_in().is_zero())
        };
        self.open == 0 && is_full(&self.requests) && is_full(&self.tokens)
    }
}

/// A bucket as of now; a new limit begins with a full one.
fn refresh(bucket: &mut Option<Bucket>, per_minute: Option<NonZeroU32>, now: Micros) {
    *bucket = per_minute.map(|per_minute| match *bucket {
        Some(bucket) => bucket.as_of(per_minute, now),
        None => Bucket::full(per_minute, now),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a name")
    }

    fn limits(requests: u32, tokens: u32, open: u32) -> Limits {
        Limits {
            requests_per_minute: NonZeroU32::new(requests),
            tokens_per_minute: NonZeroU32::new(tokens),
            concurrent_calls: NonZeroU32::new(open),
            live_programs: None,
        }
    }

    #[test]
    fn each_limit_stands_against_a_call_by_its_name_and_charges_nothing_then() {
        let (a, b) = (tenant("a"), tenant("b"));
        let now = Micros::from_secs(100);
        for (limits, expected) in [
            (
                limits(2, 0, 0),
                Exceeded::Requests {
                    per_minute: 2,
                    wait: Duration::from_secs(30),
                },
            ),
            (
                limits(0, 25, 0),
                Exceeded::Tokens {
                    per_minute: 25,
                    wait: Duration::from_secs(12),
                },
            ),
            (limits(0, 0, 2), Exceeded::Concurrent(2)),
        ] {
            let mut all = Allowances::default();
            for _ in 0..2 {
                let (taken, _) = all.take((&a, limits), Tokens(10), now);
                assert_eq!(taken, Ok(()), "{limits:?}");
            }
            let (taken, standing) = all.take((&a, limits), Tokens(10), now);
            assert_eq!(taken, Err(expected));
            assert_eq!(all.take((&a, limits), Tokens(10), now).1, standing);
            assert_eq!(all.take((&b, limits), Tokens(10), now).0, Ok(()));
        }
    }

    #[test]
    fn what_was_used_is_charged_in_the_end_and_what_was_not_comes_back() {
        let a = tenant("a");
        let (limits, now) = (limits(0, 100, 1), Micros::ZERO);
        let left = |(_, standing): (_, Standing)| standing.tokens.expect("a limit").remaining;
        let mut all = Allowances::default();
        assert_eq!(left(all.take((&a, limits), Tokens(60), now)), 40);
        all.settle(&a, Tokens(60), Some(Tokens(10)));
        assert_eq!(left(all.take((&a, limits), Tokens(20), now)), 70);
        all.settle(&a, Tokens(20), None);
        assert_eq!(left(all.take((&a, limits), Tokens(20), now)), 70);
        // More than was thought.
        all.settle(&a, Tokens(20), Some(Tokens(95)));
        let (taken, standing) = all.take((&a, limits), Tokens(1), now);
        assert!(matches!(taken, Err(Exceeded::Tokens { .. })), "{taken:?}");
        assert_eq!(standing.tokens.expect("a limit").remaining, 0);
    }

    #[test]
    fn tenants_that_are_idle_are_forgotten() {
        let limits = limits(1, 0, 0);
        let mut all = Allowances::default();
        let kept = tenant("kept");
        assert_eq!(all.take((&kept, limits), Tokens(1), Micros::ZERO).0, Ok(()));
        for index in 0..5_000 {
            let one = tenant(&format!("t{index}"));
            let now = Micros::from_secs(100 * index);
            assert_eq!(all.take((&one, limits), Tokens(1), now).0, Ok(()));
            all.settle(&one, Tokens(1), None);
        }
        assert!(all.tenants.len() <= Allowances::SWEEP_AT);
        assert!(all.tenants.contains_key(&kept));
    }
}
