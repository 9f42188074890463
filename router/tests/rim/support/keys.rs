//! A file of API keys, as a cluster brings it to a router.

use std::path::{Path, PathBuf};

use lps_router::config::Config;
use ring::digest::{SHA256, digest};

use crate::support::config;

/// A key, its tenant, and its role.
pub(crate) type Given = (&'static str, &'static str, &'static str);

/// A key's entry in the file; `rest` is what else stands in it.
pub(crate) fn entry((key, tenant, role): Given, rest: &str) -> String {
    let hash = digest(&SHA256, key.as_bytes());
    let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("- {{name: {key}, sha256: \"{hash}\", tenant: {tenant}, roles: [{role}]{rest}}}\n")
}

/// A file of these keys.
pub(crate) fn text(keys: &[Given]) -> String {
    let entries = keys.iter().map(|key| entry(*key, ""));
    format!("keys:\n{}", entries.collect::<String>())
}

/// A folder as Kubernetes mounts a Secret: a change is another folder that a link leads to.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Self { folder };
        mounted.change("first", text);
        let link = mounted.file();
        std::os::unix::fs::symlink("..data/keys.yaml", link).unwrap();
        mounted
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("keys.yaml")
    }

    pub(crate) fn change(&self, version: &str, text: &str) {
        let at = |name: &str| self.folder.path().join(name);
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("keys.yaml"), text).unwrap();
        std::os::unix::fs::symlink(Path::new(version), at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            keys: Some(self.file()),
            ..config()
        }
    }
}
