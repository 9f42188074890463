//! Calls by their clients' names. Owns: which call of a tenant a name means, the last one that had it. It must not know
//! what a call is.

use std::collections::HashMap;

use lps_api::ids::{CallId, TenantId};

use super::row::RowId;
use crate::message::CallKey;

/// Calls of all tenants, open and remembered. Looked up only.
#[derive(Debug, Default)]
pub(super) struct Names {
    of: HashMap<TenantId, HashMap<CallId, (RowId, CallKey)>>,
}

impl Names {
    pub(super) fn get(&self, tenant: &TenantId, call: &CallId) -> Option<(RowId, CallKey)> {
        self.of.get(tenant)?.get(call).copied()
    }

    /// The name means this call from now on.
    pub(super) fn add(&mut self, tenant: &TenantId, call: CallId, of: (RowId, CallKey)) {
        if let Some(calls) = self.of.get_mut(tenant) {
            calls.insert(call, of);
        } else {
            let calls = HashMap::from([(call, of)]);
            self.of.insert(tenant.clone(), calls);
        }
    }

    /// The call is not remembered any more. Its name may mean another one by now.
    pub(super) fn remove(&mut self, tenant: &TenantId, call: &CallId, key: CallKey) {
        let Some(calls) = self.of.get_mut(tenant) else {
            return;
        };
        if calls.get(call).is_some_and(|(_, named)| *named == key) {
            calls.remove(call);
        }
        if calls.is_empty() {
            self.of.remove(tenant);
        }
    }

    /// Names that mean a call.
    pub(super) fn len(&self) -> usize {
        self.of.values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_last_call_that_had_it_in_its_tenant() {
        let tenants = ["a", "b"].map(|name| TenantId::parse(name).expect("a name"));
        let call = CallId::parse("c").expect("a name");
        let mut names = Names::default();
        names.add(&tenants[0], call.clone(), (RowId(1), CallKey(1)));
        names.add(&tenants[1], call.clone(), (RowId(2), CallKey(2)));
        names.add(&tenants[0], call.clone(), (RowId(3), CallKey(3)));
        names.remove(&tenants[0], &call, CallKey(1));
        let get = |names: &Names, tenant: usize| names.get(&tenants[tenant], &call);
        assert_eq!(get(&names, 0), Some((RowId(3), CallKey(3))));
        names.remove(&tenants[0], &call, CallKey(3));
        assert_eq!(get(&names, 0), None);
        assert_eq!((get(&names, 1).is_some(), names.len()), (true, 1));
        names.remove(&tenants[1], &call, CallKey(2));
        assert!(names.of.is_empty(), "a tenant without calls is forgotten");
    }
}
