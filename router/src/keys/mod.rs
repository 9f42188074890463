//! Who may call, and for whom. Owns: what a key is, and the rules by which one is let in or refused. It must not know where
//! a key stands in a request. A key itself is never held, only its SHA-256.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// The file as it changes.
mod watched;
/// The file's form.
mod file;

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use indexmap::IndexMap;
use jiff::Timestamp;
use lps_api::ids::TenantId;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use tokio::sync::watch;

use crate::allowance::Limits;
pub use file::{Problem, parse};
pub use watched::open;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Calls, and its tenant's programs.
    Infer,
    /// Cancelling its tenant's calls and programs.
    Cancel,
    /// What engines hold, and metrics.
    Metrics,
    /// Everything, for every tenant.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Infer => "infer",
            Self::Cancel => "cancel",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        })
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was shown.
    #[error("an API key is needed: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    NoKey,
    /// What was shown is no key here.
    #[error("this API key is not known here; it may have been replaced or taken back")]
    Unknown,
    /// It was one.
    #[error("this API key has expired; ask for a new one")]
    Expired,
    /// It is not for this.
    #[error("this API key has not the role {0}, which is needed here")]
    Role(Role),
    /// Somebody else's name.
    #[error("this API key is another tenant's; name no tenant, or use a key of that tenant")]
    Tenant,
}

impl Denied {
    /// As a metric's label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Unknown => "unknown_key",
            Self::Expired => "expired_key",
            Self::Role(_) => "role",
            Self::Tenant => "tenant",
        }
    }
}

/// The SHA-256 of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Hashed([u8; 32]);

impl Hashed {
    fn of(key: &[u8]) -> Self {
        let hash = digest(&SHA256, key);
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// From 64 hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(16 * digit(2 * at)? + digit(2 * at + 1)?).ok()?;
        }
        Some(Self(bytes))
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    tenant: TenantId,
    roles: Vec<Role>,
    expires: Option<Timestamp>,
}

impl Key {
    fn has(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::Admin)
    }

    /// Whether it is for this.
    ///
    /// # Errors
    /// When it is not.
    pub fn may(&self, role: Role) -> Result<(), Denied> {
        self.has(role).then_some(()).ok_or(Denied::Role(role))
    }

    /// In whose name its holder acts who names this tenant, or none.
    ///
    /// # Errors
    /// When the tenant is another one, and the key no administrator's.
    pub fn tenant(&self, named: Option<TenantId>) -> Result<TenantId, Denied> {
        match named {
            Some(named) if named == self.tenant || self.has(Role::Admin) => Ok(named),
            Some(_) => Err(Denied::Tenant),
            None => Ok(self.tenant.clone()),
        }
    }
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys {
    /// Looked up by hash. How long that takes tells at most how much of a hash was met, and nobody can choose a key by its
    /// hash, so nothing is learned from it about a key.
    keys: IndexMap<Hashed, Key>,
    limits: IndexMap<TenantId, Limits>,
}

impl Keys {
    /// The key that was shown.
    ///
    /// # Errors
    /// When none was, or none that is valid.
    pub fn find(&self, shown: Option<&[u8]>, now: Timestamp) -> Result<&Key, Denied> {
        let shown = shown.ok_or(Denied::NoKey)?;
        let key = self.keys.get(&Hashed::of(shown)).ok_or(Denied::Unknown)?;
        if key.expires.is_some_and(|end| end <= now) {
            return Err(Denied::Expired);
        }
        Ok(key)
    }

    /// What a tenant may use, where it is limited.
    pub fn limits(&self, tenant: &TenantId) -> Option<Limits> {
        self.limits.get(tenant).copied()
    }
}

/// The keys of now, where there are some.
pub type Current = Option<watch::Receiver<Arc<Keys>>>;

#[cfg(test)]
mod tests;
