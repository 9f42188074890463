//! The keys' file. Owns: its form, and saying which entry and field is wrong. No value stands in what it says, because a key
//! may have been written where its hash belongs.

use std::collections::BTreeSet;

use indexmap::map::Entry;
use jiff::Timestamp;
use lps_api::ids::TenantId;
use serde::Deserialize;

use super::{Hashed, Key, Keys, Role};
use crate::allowance::Limits;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    keys: Vec<WrittenKey>,
    #[serde(default)]
    tenants: Vec<WrittenTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTenant {
    name: String,
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    name: String,
    sha256: String,
    tenant: String,
    roles: Vec<Role>,
    expires: Option<String>,
}

/// Reads a file's text.
///
/// # Errors
/// When an entry makes no sense; the first that does not.
pub fn parse(text: &str) -> Result<Keys, Problem> {
    let written: Written =
        serde_yaml::from_str(text).map_err(|error| Problem(without_values(&error.to_string())))?;
    if written.keys.is_empty() {
        return Err(Problem(
            "keys: there is none, so nobody could call".to_owned(),
        ));
    }
    let mut keys = Keys::default();
    let mut names = BTreeSet::new();
    for (index, entry) in written.keys.into_iter().enumerate() {
        let name = entry.name.clone();
        let wrong = |field: &str, says: &str| {
            Problem(format!("keys[{index}] (name {name:?}): {field}: {says}"))
        };
        if !names.insert(name.clone()) {
            return Err(wrong("name", "another key has it"));
        }
        let (hashed, key) = checked(entry).map_err(|(field, says)| wrong(field, &says))?;
        match keys.keys.entry(hashed) {
            Entry::Vacant(place) => place.insert(key),
            Entry::Occupied(_) => return Err(wrong("sha256", "another entry is the same key")),
        };
    }
    for (index, entry) in written.tenants.into_iter().enumerate() {
        let wrong = |says: &str| Problem(format!("tenants[{index}]: name: {says}"));
        let name = TenantId::parse(&entry.name).map_err(|error| wrong(&error.to_string()))?;
        if keys.limits.insert(name, entry.limits).is_some() {
            return Err(wrong("another entry has it"));
        }
    }
    Ok(keys)
}

fn checked(entry: WrittenKey) -> Result<(Hashed, Key), (&'static str, String)> {
    let hashed = Hashed::parse(&entry.sha256).ok_or_else(|| {
        let says = "it is the key's SHA-256 as 64 hexadecimal digits: printf %s KEY | sha256sum";
        ("sha256", says.to_owned())
    })?;
    let tenant = TenantId::parse(&entry.tenant).map_err(|error| ("tenant", error.to_string()))?;
    if entry.roles.is_empty() {
        let says = "there is none: infer, cancel, metrics, admin, or several of them";
        return Err(("roles", says.to_owned()));
    }
    let expires = entry.expires.map(|text| {
        text.parse::<Timestamp>().map_err(|_| {
            let says = "it is a time with its zone, such as 2027-01-31T00:00:00Z";
            ("expires", says.to_owned())
        })
    });
    let key = Key {
        tenant,
        roles: entry.roles,
        expires: expires.transpose()?,
    };
    Ok((hashed, key))
}

/// What the reader of YAML says, without the values that it quotes.
fn without_values(said: &str) -> String {
    match (said.find('"'), said.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", &said[..=first], &said[last..])
        }
        _ => said.to_owned(),
    }
}
