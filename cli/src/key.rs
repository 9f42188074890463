//! `lps key`. Owns: what a new API key looks like, and its entry in the router's file of keys. The key is printed once and
//! kept nowhere.

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use lps_api::ids::TenantId;
use lps_router::keys::{Role, parse};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use crate::console;

/// What every key begins with, so that who finds one knows what it is.
const PREFIX: &str = "lps-";

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a new key, and its entry for the file that the router has by --keys
    New(New),
}

/// A new key.
#[derive(Debug, clap::Args)]
pub struct New {
    /// Its name, for people.
    name: String,
    /// In whose name its holder acts.
    #[arg(long)]
    tenant: TenantId,
    /// What it is for.
    #[arg(long, value_delimiter = ',', default_value = "infer")]
    roles: Vec<Role>,
    /// When it ends, as 2027-01-31T00:00:00Z; left out: never.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// Does it.
///
/// # Errors
/// When the entry would make no sense, or the system has no random numbers.
pub fn run(command: &Command, json: bool) -> anyhow::Result<()> {
    let Command::New(new) = command;
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    let key = format!("{PREFIX}{}", digits(&random));
    let entry = entry(new, &key);
    parse(&format!("keys:\n{entry}")).context("such a key cannot be")?;
    if json {
        return Ok(console::json(&json!({"key": key, "entry": entry}))?);
    }
    console::line(&format!(
        "The key, which is shown this once:\n\n{key}\n\nIts entry in the file of keys:\n\n{}",
        entry.trim_end()
    ))?;
    Ok(())
}

fn entry(new: &New, key: &str) -> String {
    // What JSON says of a text, YAML does too.
    let quoted = |text: &str| json!(text).to_string();
    let roles: Vec<String> = new.roles.iter().map(Role::to_string).collect();
    let mut entry = format!(
        "- name: {}\n  sha256: \"{}\"\n  tenant: {}\n  roles: [{}]\n",
        quoted(&new.name),
        digits(digest(&SHA256, key.as_bytes()).as_ref()),
        quoted(new.tenant.as_str()),
        roles.join(", ")
    );
    if let Some(expires) = &new.expires {
        entry += &format!("  expires: {}\n", quoted(expires));
    }
    entry
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(expires: Option<&str>) -> New {
        New {
            name: "a \"b\"".to_owned(),
            tenant: TenantId::parse("t").expect("an id"),
            roles: vec![Role::Infer, Role::Cancel],
            expires: expires.map(str::to_owned),
        }
    }

    #[test]
    fn an_entry_is_one_that_the_router_takes() {
        let entry = entry(&new(Some("2027-01-31T00:00:00Z")), "secret");
        // `printf %s secret | sha256sum`.
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert!(entry.contains(hash), "{entry}");
        assert!(parse(&format!("keys:\n{entry}")).is_ok(), "{entry}");
    }

    #[test]
    fn what_the_router_would_not_take_is_not_made() {
        let told = run(&Command::New(new(Some("tomorrow"))), false);
        let told = format!("{:#}", told.expect_err("no time"));
        assert!(told.contains("expires: "), "{told}");
    }
}
