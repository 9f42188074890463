//! What is pulled: repository, revision, commit. Owns: their types; which texts may be one is the
//! resource's to say.

use std::fmt;
use std::str::FromStr;

use lps_operator::validate::repository::{is_repository, is_revision};

/// A repository's name: `owner/name`, or `name` alone for the hub's oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo(String);

/// A branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Repo {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Revision {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as one segment of an address's path.
    pub fn as_segment(&self) -> String {
        self.0.replace('/', "%2F")
    }

    /// Whether it names a commit, which never changes.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

/// Whether a text is a full commit: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl FromStr for Repo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_repository(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a repository is owner/name, of letters, digits, - _ and .".to_owned())
        }
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_revision(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "a revision is a branch, a tag or a commit, of letters, digits, - _ . and /"
                    .to_owned(),
            )
        }
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["gpt2", "Qwen/Qwen3-0.6B", "a_b/c.d"] {
            assert!(good.parse::<Repo>().is_ok(), "{good}");
        }
        for bad in [
            "", "a/", "/a", "a/b/c", "../a", "a/..", "a b/c", "a?b", "a%2e/b",
        ] {
            assert!(bad.parse::<Repo>().is_err(), "{bad}");
        }
        let revision: Revision = "refs/pr/1".parse().expect("a revision");
        assert_eq!(revision.as_segment(), "refs%2Fpr%2F1");
        assert!("../x".parse::<Revision>().is_err());
        assert!(is_commit(&"0a".repeat(20)) && !is_commit("main"));
    }
}
