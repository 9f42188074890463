//! Who shares cached prefixes with whom. Owns: the name spaces of the prefix cache. How long an answer takes to begin tells
//! whether its prompt was there already, so what one tenant sent must not make another's prompt fast.

use std::hash::{BuildHasher, RandomState};

use lps_api::ids::TenantId;

/// Makes name spaces of tenants' names and clients' own salts.
///
/// The key is this process's own and never leaves it, so nobody can choose a salt that meets another tenant's. It need
/// not live longer: a cache ends with its process.
#[derive(Debug, Default)]
pub struct Salts(RandomState);

impl Salts {
    /// The name space of a tenant's calls with this salt. A client's salt divides its tenant's prefixes further.
    pub(super) fn of(&self, tenant: Option<&TenantId>, salt: Option<&str>) -> u64 {
        match (tenant, salt) {
            (None, None) => 0,
            named => self.0.hash_one(named),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tenants_and_salts_are_apart_whatever_they_are_called() {
        let salts = Salts::default();
        let (a, ab) = (TenantId::parse("a").ok(), TenantId::parse("ab").ok());
        let all = [
            (None, None),
            (None, Some("a")),
            (a.as_ref(), None),
            (a.as_ref(), Some("b")),
            (a.as_ref(), Some("a")),
            (ab.as_ref(), None),
            (ab.as_ref(), Some("b")),
        ];
        let spaces = || all.map(|(tenant, salt)| salts.of(tenant, salt));
        assert_eq!(BTreeSet::from(spaces()).len(), all.len());
        assert_eq!(spaces(), spaces());
        assert_ne!(
            Salts::default().of(a.as_ref(), None),
            salts.of(a.as_ref(), None)
        );
    }
}
