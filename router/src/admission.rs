//! Who may come in. Owns: the bounds on ready calls and on bytes held, and the permits that stand for them. A permit
//! gives itself back when it is dropped. It must not know what happens to a call that is let in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use indexmap::IndexMap;
use lps_api::ids::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls may be ready (let in, and at no engine) at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Over all tenants.
    pub ready: u32,
    /// Of one tenant.
    pub ready_per_tenant: u32,
    /// Programs of one tenant that have not ended.
    pub live_per_tenant: u32,
}

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All tenants together have too many ready calls.
    #[error("{0} calls wait already, which is the most that are held; try again later")]
    Ready(u32),
    /// This tenant has too many.
    #[error(
        "{0} calls of this tenant wait already, which is the most that are held; try again later"
    )]
    Tenant(u32),
    /// This tenant has too many programs.
    #[error(
        "{0} programs of this tenant have not ended, which is the most there may be; end one, or try again later"
    )]
    Programs(u32),
}

/// One ready call's place; dropped when it is sent to an engine or ends.
#[derive(Debug)]
pub struct Permit {
    all: Arc<AtomicU32>,
    tenant: Arc<AtomicU32>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.tenant.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts ready calls. One owner grants; permits may be dropped anywhere.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    all: Arc<AtomicU32>,
    tenants: IndexMap<TenantId, Arc<AtomicU32>>,
}

impl Admission {
    /// Tenants are forgotten when they have no permit; looked for when there are this many more than bounds allow.
    const SWEEP_AT: usize = 1_024;

    /// With nobody in.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: Arc::default(),
            tenants: IndexMap::new(),
        }
    }

    /// A place for one ready call of the tenant.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn admit(&mut self, tenant: &TenantId) -> Result<Permit, Full> {
        if self.all.load(Ordering::Relaxed) >= self.limits.ready {
            return Err(Full::Ready(self.limits.ready));
        }
        if self.tenants.len() >= Self::SWEEP_AT && !self.tenants.contains_key(tenant) {
            self.tenants
                .retain(|_, ready| ready.load(Ordering::Relaxed) > 0);
        }
        let ready = self.tenants.entry(tenant.clone()).or_default();
        if ready.load(Ordering::Relaxed) >= self.limits.ready_per_tenant {
            return Err(Full::Tenant(self.limits.ready_per_tenant));
        }
        ready.fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            all: Arc::clone(&self.all),
            tenant: Arc::clone(ready),
        })
    }

    /// Whether a tenant with so many live programs may begin another; `own` is its own limit.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_begin(&self, live: u32, own: Option<NonZeroU32>) -> Result<(), Full> {
        let own = own.map_or(u32::MAX, NonZeroU32::get);
        let most = own.min(self.limits.live_per_tenant);
        if live >= most {
            return Err(Full::Programs(most));
        }
        Ok(())
    }

    /// Calls that are ready now, over all tenants.
    pub fn ready(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }
}

/// The bytes of request bodies that may be held at once, from before a body is read to the call's end.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    kilobytes: Arc<Semaphore>,
    total_kilobytes: u32,
}

/// Room for one body.
#[derive(Debug)]
pub struct BodyPermit {
    _room: OwnedSemaphorePermit,
}

/// All room is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request bodies fill the {total_kilobytes} KiB that are held at once; try again later")]
pub struct NoRoom {
    /// How much there is in all.
    pub total_kilobytes: u32,
}

impl BodyBudget {
    /// Room for so many bytes, counted in KiB.
    pub fn new(bytes: u32) -> Self {
        let total_kilobytes = (bytes >> 10).max(1);
        Self {
            kilobytes: Arc::new(Semaphore::new(total_kilobytes as usize)),
            total_kilobytes,
        }
    }

    /// Room for a body of at most so many bytes.
    ///
    /// # Errors
    /// When there is none now.
    pub fn reserve(&self, bytes: u32) -> Result<BodyPermit, NoRoom> {
        let kilobytes = (bytes >> 10) + 1;
        let room = Arc::clone(&self.kilobytes).try_acquire_many_owned(kilobytes);
        let full = NoRoom {
            total_kilobytes: self.total_kilobytes,
        };
        room.map(|_room| BodyPermit { _room }).map_err(|_| full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_bound_holds_until_a_permit_is_dropped() {
        let mut admission = Admission::new(Limits {
            ready: 3,
            ready_per_tenant: 2,
            live_per_tenant: 2,
        });
        let first = admission.admit(&tenant("a")).unwrap();
        let _second = admission.admit(&tenant("a")).unwrap();
        assert_eq!(admission.admit(&tenant("a")).unwrap_err(), Full::Tenant(2));
        let _other = admission.admit(&tenant("b")).unwrap();
        assert_eq!(admission.admit(&tenant("c")).unwrap_err(), Full::Ready(3));
        assert!(admission.may_begin(1, None).is_ok());
        assert_eq!(admission.may_begin(2, None), Err(Full::Programs(2)));
        for (own, most) in [(1, 1), (5, 2)] {
            let own = NonZeroU32::new(own);
            assert_eq!(admission.may_begin(2, own), Err(Full::Programs(most)));
        }
        drop(first);
        assert_eq!(admission.ready(), 2);
        assert!(admission.admit(&tenant("a")).is_ok());
    }

    #[test]
    fn tenants_without_calls_are_forgotten() {
        let mut admission = Admission::new(Limits {
            ready: 8,
            ready_per_tenant: 8,
            live_per_tenant: 8,
        });
        let kept = admission.admit(&tenant("kept")).unwrap();
        for index in 0..5_000 {
            drop(admission.admit(&tenant(&format!("t{index}"))).unwrap());
        }
        assert!(admission.tenants.len() <= Admission::SWEEP_AT);
        assert_eq!(admission.ready(), 1);
        drop(kept);
    }

    #[test]
    fn bodies_share_their_room() {
        let budget = BodyBudget::new(4 << 10);
        let held = budget.reserve(2_500).unwrap();
        assert_eq!(
            budget.reserve(2_500).unwrap_err(),
            NoRoom { total_kilobytes: 4 }
        );
        assert!(budget.reserve(10).is_ok());
        drop(held);
        assert!(budget.reserve(2_500).is_ok());
    }
}
