//! What tenants used. Owns: sums over ended calls since the process started, by tenant, class of programs and model, and
//! how many sums there are. It must not know calls that are open.

use std::collections::BTreeMap;

use lps_api::ids::{ClassName, ModelName, TenantId};
use lps_api::quantity::Micros;

use super::ended::Ended;
use super::reason::CallCounts;
use super::row::Row;

/// Tenants that have sums of their own; those that come later have one together.
const TENANTS_MAX: usize = 1_024;
/// Sums of one tenant; what comes later of classes is summed without a class.
const SUMS_MAX: usize = 64;

/// What calls used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// How many, by how they ended.
    pub calls: CallCounts,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of those, from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens produced.
    pub output_tokens: u64,
    /// What they were charged.
    pub service: Micros,
}

/// A class and a model; no class: those of which no more are told apart.
type Of = (Option<ClassName>, ModelName);

/// All sums.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// No tenant: those that came when there were too many.
    tenants: BTreeMap<Option<TenantId>, BTreeMap<Of, Used>>,
}

impl Usage {
    /// Counts a call of a row that ended.
    pub(super) fn count(&mut self, row: &Row, call: &Ended) {
        let tenant = Some(row.key.tenant.clone());
        let is_known = self.tenants.len() < TENANTS_MAX || self.tenants.contains_key(&tenant);
        let sums = self.tenants.entry(tenant.filter(|_| is_known)).or_default();
        let of = (Some(row.class.clone()), call.model.clone());
        let is_known = sums.len() < SUMS_MAX || sums.contains_key(&of);
        let of = (of.0.filter(|_| is_known), of.1);
        let used = sums.entry(of).or_default();
        *used.calls.of(call.phase) += 1;
        used.prompt_tokens += u64::from(call.usage.prompt_tokens.0);
        used.cached_tokens += u64::from(call.usage.cached_tokens.0);
        used.output_tokens += u64::from(call.usage.output_tokens.0);
        used.service += call.service;
    }

    /// Each sum, of one tenant or of all.
    pub(super) fn sums(
        &self,
        tenant: Option<&TenantId>,
    ) -> impl Iterator<Item = (Option<&TenantId>, Option<&ClassName>, &ModelName, &Used)> {
        let wanted =
            move |of: &&Option<TenantId>| tenant.is_none_or(|one| of.as_ref() == Some(one));
        let tenants = self.tenants.iter().filter(move |(of, _)| wanted(of));
        tenants.flat_map(|(tenant, sums)| {
            let sums = sums.iter();
            sums.map(move |((class, model), used)| (tenant.as_ref(), class.as_ref(), model, used))
        })
    }
}

#[cfg(test)]
mod tests {
    use lps_api::ids::{CallId, ProgramId, ThreadId};
    use lps_api::protocol::CallUsage;
    use lps_api::quantity::{Attempt, Tokens};
    use lps_api::scheduling::{Settings, Unit};

    use super::super::ProcessTable;
    use super::*;
    use crate::message::{CallKey, IdentitySource, NewCall, Outcome, Parents, ProgramKey};

    /// A call of a program of its own that came, used something and ended.
    fn call(table: &mut ProcessTable, number: u64, (tenant, class): (&str, &str)) {
        let key = CallKey(number);
        let program = ProgramKey {
            tenant: TenantId::parse(tenant).unwrap(),
            program: ProgramId::parse(&format!("p{number}")).unwrap(),
        };
        let new = NewCall {
            key,
            id: CallId::parse(&format!("c{number}")).unwrap(),
            program,
            class: ClassName::parse(class).unwrap(),
            thread: ThreadId::parse("main").unwrap(),
            parents: Parents::Unsaid,
            model: ModelName::parse("m").unwrap(),
            source: IdentitySource::Headers,
            prompt_tokens: Tokens(1),
            expected_output_tokens: Tokens(1),
            expected_service: None,
        };
        table.arrive(new, &Settings::default(), Micros(number));
        let usage = CallUsage {
            prompt_tokens: Tokens(10),
            output_tokens: Tokens(2),
            executor_us: Micros(5),
            ..CallUsage::default()
        };
        table.charge((key, Attempt::default()), usage, Unit::Time);
        table.end(key, Outcome::Completed, Micros(number));
    }

    #[test]
    fn what_is_used_is_summed_and_the_sums_are_bounded() {
        let mut table = ProcessTable::default();
        for number in 0..100 {
            call(&mut table, number, ("alice", &format!("class-{number}")));
            call(&mut table, 1_000 + number, ("bob", "agent"));
        }
        let of = |table: &ProcessTable, tenant: &str| {
            let tenant = TenantId::parse(tenant).unwrap();
            let sums = table.usage(Some(&tenant));
            let told = sums.map(|(_, class, _, used)| (class.cloned(), *used));
            told.collect::<Vec<_>>()
        };
        let bob = of(&table, "bob");
        assert_eq!(bob.len(), 1);
        let used = bob[0].1;
        assert_eq!((used.calls.completed, used.service), (100, Micros(500)));
        assert_eq!((used.prompt_tokens, used.output_tokens), (1_000, 200));
        let alice = of(&table, "alice");
        assert_eq!(alice.len(), SUMS_MAX + 1);
        assert_eq!((&alice[0].0, alice[0].1.calls.completed), (&None, 36));
        assert_eq!(table.usage(None).count(), SUMS_MAX + 2);

        for number in 0..TENANTS_MAX as u64 {
            call(&mut table, 2_000 + number, (&format!("t{number}"), "agent"));
        }
        let nobody = table.usage(None).next().unwrap();
        assert_eq!((nobody.0, nobody.3.calls.completed), (None, 2));
    }
}
