//! Whose turn it is. Owns: what each tenant was charged in a pool, weighed, who is next: whoever has had least (a
//! virtual token counter; Sheng et al., OSDI'24, arXiv 2401.00588), and who is so far ahead that its calls stand behind
//! all others'. It must not know calls.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use lps_api::ids::TenantId;
use lps_api::quantity::Micros;

/// Tenants that are told apart; those beyond share the last place.
const TENANTS_MAX: usize = 4_096;
/// The most steps by which a tenant's calls stand behind others.
const LEAD_MAX: u8 = 3;
/// Leads are looked at anew whenever so much of a step was charged: one part of this many.
const LOOKS_A_STEP: u64 = 4;

/// One tenant.
#[derive(Debug, Clone, Copy, Default)]
struct Tenant {
    weight_milli: u64,
    /// Service charged, over the weight.
    counter: u128,
    /// Its calls that are held here.
    held: u32,
    /// Its calls at engines.
    seats: u32,
    /// Steps that it is ahead.
    lead: u8,
}

impl Tenant {
    fn is_calling(self) -> bool {
        self.held + self.seats > 0
    }
}

/// The tenants of a pool.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    tenants: IndexMap<TenantId, Tenant>,
    /// Those with held calls, by what they had.
    backlogged: BTreeSet<(u128, u32)>,
    /// What the least of those had who called last; whoever comes when nobody calls begins there.
    floor: u128,
    /// Those with calls.
    calling: BTreeSet<u32>,
    /// The most that a call has used.
    longest: Micros,
    /// Charged to all since leads were looked at.
    charged: Micros,
}

impl Tenants {
    /// The tenant's number.
    pub(super) fn of(&mut self, tenant: &TenantId, weight_milli: u64) -> u32 {
        let known = self.tenants.get_index_of(tenant);
        let place = known.unwrap_or_else(|| {
            if self.tenants.len() >= TENANTS_MAX {
                return TENANTS_MAX - 1;
            }
            self.tenants
                .insert_full(tenant.clone(), Tenant::default())
                .0
        });
        self.tenants[place].weight_milli = weight_milli.max(1);
        place as u32
    }

    fn get(&self, tenant: u32) -> Tenant {
        let found = self.tenants.get_index(tenant as usize);
        found.map(|(_, it)| *it).unwrap_or_default()
    }

    /// A call is held. A tenant that had none anywhere does not bring a claim from when it was away.
    pub(super) fn hold(&mut self, tenant: u32) {
        let before = self.get(tenant);
        if !before.is_calling() {
            let least = self.backlogged.first().map(|(counter, _)| *counter);
            let running = self.tenants.values().filter(|it| it.seats > 0);
            let running = running.map(|it| it.counter).min();
            let least = least.into_iter().chain(running).min();
            self.floor = least.unwrap_or(self.floor).max(self.floor);
            let floor = self.floor;
            self.change(tenant, |it| {
                it.counter = it.counter.max(floor);
                it.lead = 0;
            });
        }
        self.change(tenant, |it| it.held += 1);
    }

    /// A call is held no longer.
    pub(super) fn unhold(&mut self, tenant: u32) {
        self.change(tenant, |it| it.held -= 1);
    }

    /// A call sits at an engine.
    pub(super) fn sit(&mut self, tenant: u32) {
        self.change(tenant, |it| it.seats += 1);
    }

    /// A call left its engine.
    pub(super) fn stand_up(&mut self, tenant: u32) {
        self.change(tenant, |it| it.seats -= 1);
    }

    /// A call of the tenant used so much, and in all so much.
    pub(super) fn charge(&mut self, tenant: u32, service: Micros, in_all: Micros) {
        self.longest = self.longest.max(in_all);
        self.charged += service;
        self.change(tenant, |it| {
            it.counter += for_weight(service, it.weight_milli);
        });
    }

    /// Steps that a tenant is ahead.
    pub(super) fn lead(&self, tenant: u32) -> u8 {
        self.get(tenant).lead
    }

    /// How much more service makes a tenant one step ahead, where `slots` calls run at once and each is charged `most`
    /// before others may pass it: half of what two tenants may differ by, or less.
    fn step(&self, slots: u32, most: Micros) -> Micros {
        let call = self.longest.min(most);
        Micros(call.0.saturating_mul(u64::from(slots)).max(1))
    }

    /// Whether enough was charged that a tenant may be ahead that was not, or the other way round.
    pub(super) fn is_lead_due(&self, slots: u32, most: Micros) -> bool {
        self.charged.0 >= self.step(slots, most).0 / LOOKS_A_STEP
    }

    /// Looks who is how many steps ahead of whoever calls and had least; those for whom that changed. However far the
    /// next one is ahead counts as one step: so one that gets nothing, for whatever reason, does not make all others
    /// equal. A lead that is half a step too large stays, so that calls do not change places with each report.
    pub(super) fn look_at_leads(&mut self, slots: u32, most: Micros) -> Vec<u32> {
        self.charged = Micros::ZERO;
        let calling = || {
            self.calling
                .iter()
                .map(|tenant| (self.get(*tenant), *tenant))
        };
        let least_weight = calling().map(|(it, _)| it.weight_milli).min();
        let step = for_weight(self.step(slots, most), least_weight.unwrap_or(1_000)).max(1);
        let mut order: Vec<(u128, u32)> =
            calling().map(|(it, tenant)| (it.counter, tenant)).collect();
        order.sort_unstable();
        let (mut ahead, mut before) = (0, order.first().map_or(0, |(counter, _)| *counter));
        let mut changed = Vec::new();
        for (counter, tenant) in order {
            ahead += (counter - before).min(step);
            before = counter;
            let known = u128::from(self.get(tenant).lead) * step;
            if ahead < known + step && known <= ahead + step / 2 {
                continue;
            }
            let lead = (ahead / step).min(u128::from(LEAD_MAX)) as u8;
            if lead != self.get(tenant).lead {
                self.tenants[tenant as usize].lead = lead;
                changed.push(tenant);
            }
        }
        changed
    }

    /// Those with held calls, whoever has had least first.
    pub(super) fn in_turn(&self) -> Vec<u32> {
        self.backlogged.iter().map(|(_, tenant)| *tenant).collect()
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<u32> {
        self.backlogged.first().map(|(_, tenant)| *tenant)
    }

    /// Whether one has had less than another.
    pub(super) fn is_behind(&self, tenant: u32, other: u32) -> bool {
        self.get(tenant).counter < self.get(other).counter
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.tenants.len() > 1
    }

    fn change(&mut self, tenant: u32, change: impl FnOnce(&mut Tenant)) {
        let Some((_, found)) = self.tenants.get_index_mut(tenant as usize) else {
            return;
        };
        let before = (found.counter, tenant);
        change(found);
        let (after, held) = ((found.counter, tenant), found.held);
        if found.is_calling() {
            self.calling.insert(tenant);
        } else {
            self.calling.remove(&tenant);
        }
        if before != after || held == 0 {
            self.backlogged.remove(&before);
        }
        if held > 0 {
            self.backlogged.insert(after);
        }
    }

    /// Whether counts agree.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn check_integrity(&self, held: u32, seats: u32) {
        let sums = self.tenants.values().fold((0, 0), |(held, seats), it| {
            (held + it.held, seats + it.seats)
        });
        assert_eq!(sums, (held, seats), "calls of tenants, held and at engines");
        let backlogged = self.tenants.values().filter(|it| it.held > 0).count();
        assert_eq!(backlogged, self.backlogged.len(), "tenants with held calls");
        let calling = self.tenants.values().filter(|it| it.is_calling()).count();
        assert_eq!(calling, self.calling.len(), "tenants with calls");
    }
}

/// Service for its weight.
fn for_weight(service: Micros, weight_milli: u64) -> u128 {
    u128::from(service.0) * 1_000_000 / u128::from(weight_milli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(weights: [u64; 2]) -> (Tenants, [u32; 2]) {
        let mut tenants = Tenants::default();
        let names = ["a", "b"].map(|name| TenantId::parse(name).expect("a name"));
        let numbers = [0, 1].map(|n| tenants.of(&names[n], weights[n]));
        (tenants, numbers)
    }

    #[test]
    fn the_one_with_the_least_for_its_weight_is_next() {
        let (mut tenants, [a, b]) = two([2_000, 1_000]);
        tenants.hold(a);
        tenants.hold(b);
        tenants.charge(a, Micros(30), Micros(30));
        tenants.charge(b, Micros(20), Micros(20));
        assert_eq!(tenants.in_turn(), [a, b], "15 and 20 for their weights");
        assert!(tenants.is_behind(a, b));
        tenants.charge(a, Micros(12), Micros(12));
        assert_eq!(tenants.in_turn(), [b, a]);
        tenants.unhold(b);
        assert_eq!(tenants.in_turn(), [a]);
        tenants.check_integrity(1, 0);
    }

    #[test]
    fn whoever_returns_has_no_claim_from_when_it_was_away() {
        let (mut tenants, [a, b]) = two([1_000; 2]);
        tenants.hold(a);
        tenants.charge(a, Micros(1_000), Micros(1_000));
        tenants.hold(b);
        assert!(!tenants.is_behind(b, a), "lifted to the least who calls");
        tenants.charge(b, Micros(1), Micros(1));
        assert_eq!(tenants.in_turn(), [a, b]);
    }

    #[test]
    fn whoever_had_a_step_more_is_ahead_until_that_is_half_gone() {
        let (mut tenants, [a, b]) = two([1_000; 2]);
        tenants.hold(a);
        tenants.hold(b);
        let mut look = |tenant, service| {
            tenants.charge(tenant, Micros(service), Micros(10));
            tenants.look_at_leads(2, Micros::MAX);
            [a, b].map(|tenant| tenants.lead(tenant))
        };
        assert_eq!(look(a, 19), [0, 0], "a step is twice the longest call");
        assert_eq!(look(a, 1), [1, 0]);
        assert_eq!(look(b, 10), [1, 0]);
        assert_eq!(look(b, 1), [0, 0]);
        assert_eq!(look(b, 1_000), [0, 1], "no matter how far");
    }

    #[test]
    fn one_that_gets_nothing_does_not_make_the_others_equal() {
        let (mut tenants, [idle, a]) = two([1_000; 2]);
        let b = tenants.of(&TenantId::parse("c").expect("a name"), 1_000);
        for tenant in [idle, a, b] {
            tenants.hold(tenant);
        }
        tenants.charge(a, Micros(1_000), Micros(10));
        tenants.charge(b, Micros(1_010), Micros(10));
        assert_eq!(tenants.look_at_leads(1, Micros::MAX), [a, b]);
        assert_eq!([idle, a, b].map(|tenant| tenants.lead(tenant)), [0, 1, 2]);
    }

    #[test]
    fn whoever_comes_when_nobody_calls_begins_where_the_last_ones_were() {
        let (mut tenants, [a, b]) = two([1_000; 2]);
        tenants.hold(a);
        tenants.charge(a, Micros(1_000), Micros(1_000));
        tenants.hold(b);
        tenants.unhold(a);
        tenants.unhold(b);
        let newcomer = tenants.of(&TenantId::parse("c").expect("a name"), 1_000);
        tenants.hold(newcomer);
        assert!(!tenants.is_behind(newcomer, a), "a had that before it came");
    }
}
