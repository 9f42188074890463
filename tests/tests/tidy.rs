//! The house style that a machine can hold: each test names the rule, and prints every place that breaks it.

use lps_tests::tree::{CRATES, Source, root, rust_sources};

const FILE_LINES_MAX: usize = 500;

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_says_what_it_owns() {
    let broken: Vec<_> = rust_sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    assert_none(
        "a file opens with `//!`: what it owns, what it must not know",
        &broken,
    );
}

#[test]
fn no_file_is_long() {
    let broken: Vec<_> = rust_sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(
        "a file has at most 500 lines; split it by responsibility",
        &broken,
    );
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = [
        "util", "utils", "common", "helper", "helpers", "manager", "misc",
    ];
    let broken: Vec<_> = rust_sources()
        .iter()
        .filter(|source| {
            source
                .path
                .split(['/', '.'])
                .any(|part| drawers.contains(&part))
        })
        .map(|source| source.path.clone())
        .collect();
    assert_none("a file is named for what it owns", &broken);
}

#[test]
fn lints_are_expected_with_a_reason_and_tests_are_run() {
    let mut broken = Vec::new();
    for source in rust_sources()
        .iter()
        .filter(|source| source.path != "tests/tests/tidy.rs")
    {
        for (number, line) in source.text.lines().enumerate() {
            for banned in [
                "#[allow(",
                "#![allow(",
                "#[ignore",
                "todo!(",
                "unimplemented!(",
            ] {
                if line.contains(banned) {
                    broken.push(format!("{}:{}: {banned}", source.path, number + 1));
                }
            }
        }
    }
    assert_none(
        "write #[expect(lint, reason)], run every test, finish what is begun",
        &broken,
    );
}

#[test]
fn unsafe_code_is_forbidden_outside_the_engine() {
    let broken: Vec<_> = rust_sources()
        .into_iter()
        .filter(|source| source.path.ends_with("src/lib.rs"))
        .filter(|source| {
            !["engine/src/lib.rs", "engine/kernels/src/lib.rs"].contains(&&*source.path)
        })
        .filter(|source| !source.text.contains("#![forbid(unsafe_code)]"))
        .map(|source| source.path)
        .collect();
    assert_none(
        "every crate but the engine and its kernels forbids unsafe code",
        &broken,
    );
}

#[test]
fn unsafe_code_stands_in_the_engines_kernels_only() {
    let mut broken = Vec::new();
    let kernels = [
        "engine/kernels/src",
        "engine/src/kernels",
        "tests/tests/tidy.rs",
    ];
    for source in rust_sources()
        .iter()
        .filter(|s| !kernels.iter().any(|k| s.path.starts_with(k)))
    {
        for (number, line) in source.code_lines() {
            if line.contains("unsafe {")
                || line.contains("unsafe fn")
                || line.contains("unsafe impl")
            {
                broken.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none("unsafe code stands in the engine's kernels only", &broken);
}

/// (what is imported, where it may stand).
const IMPORTS: [(&[&str], &[&str]); 5] = [
    (
        &["axum"],
        &["router/src/http", "engine/src/http", "runtime/src/admin.rs"],
    ),
    (
        &["tch", "torch_sys"],
        &["engine/src/model/torch", "engine/src/kernels"],
    ),
    (
        &["kube", "kube_runtime"],
        &[
            "operator/",
            "router/src/discovery",
            "router/src/scale",
            "runtime/src/lease.rs",
            "runtime/src/watch_pause.rs",
            "cli/src/cluster",
        ],
    ),
    (
        &["kube_core", "kube_derive", "k8s_openapi"],
        &[
            "api/src/resource",
            "operator/",
            "router/src/discovery",
            "router/src/scale",
            "cli/src/cluster",
        ],
    ),
    (
        &["tokio"],
        &[
            "runtime/",
            "router/",
            "engine/src",
            "engine/tests",
            "operator/",
            "cli/",
            "clients/rust/examples",
            "tests/",
        ],
    ),
];

#[test]
fn libraries_are_known_where_they_belong() {
    let mut broken = Vec::new();
    for source in rust_sources()
        .iter()
        .filter(|source| !source.path.starts_with("tests/"))
    {
        for (libraries, allowed) in IMPORTS {
            if allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
                continue;
            }
            for (number, line) in source.code_lines() {
                for library in libraries {
                    if names_crate(line, library) {
                        broken.push(format!("{}:{number}: {library}", source.path));
                    }
                }
            }
        }
    }
    assert_none(
        "a library is known only where ARCHITECTURE.md says",
        &broken,
    );
}

fn names_crate(line: &str, library: &str) -> bool {
    let needle = format!("{library}::");
    line.match_indices(&needle)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// Files and folders whose code decides and must not act.
const PURE: [&str; 18] = [
    "engine/core/src",
    "router/src/process_table",
    "router/src/scheduler",
    "router/src/state.rs",
    "router/src/state",
    "router/src/message.rs",
    "router/src/autoscaler",
    "operator/src/plan",
    "operator/src/validate",
    "operator/src/belongings.rs",
    "operator/src/build.rs",
    "operator/src/checkpoint.rs",
    "operator/src/observe.rs",
    "operator/src/status.rs",
    "operator/src/flags.rs",
    "cli/src/why/explain.rs",
    "cli/src/why/engine.rs",
    "cli/src/why/read.rs",
];

#[test]
fn decisions_are_pure() {
    let acts = [
        "async fn",
        ".await;",
        ".await?",
        "tokio::",
        "std::time::Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "rand::",
    ];
    let mut broken = Vec::new();
    for source in rust_sources()
        .iter()
        .filter(|s| PURE.iter().any(|p| s.path.starts_with(p)))
    {
        for (number, line) in source.code_lines() {
            for act in acts.iter().filter(|act| line.contains(*act)) {
                broken.push(format!("{}:{number}: {act}", source.path));
            }
        }
    }
    assert_none(
        "decisions take values and `now`, and return actions",
        &broken,
    );
}

#[test]
fn modules_are_listed_in_the_order_of_use() {
    let sources = rust_sources();
    let mut broken = Vec::new();
    for folder in CRATES {
        let Some(lib) = sources
            .iter()
            .find(|s| s.path == format!("{folder}/src/lib.rs"))
        else {
            continue;
        };
        let modules = listed_modules(lib, &mut broken);
        for source in sources
            .iter()
            .filter(|s| s.path.starts_with(&format!("{folder}/src/")))
        {
            check_order(source, folder, &modules, &mut broken);
        }
    }
    assert_none(
        "a module has a line of doc in lib.rs and uses only those listed after it",
        &broken,
    );
}

fn listed_modules(lib: &Source, broken: &mut Vec<String>) -> Vec<String> {
    let mut modules = Vec::new();
    let mut documented = false;
    for line in lib.text.lines() {
        let declaration = line
            .trim_start_matches("pub ")
            .trim_start_matches("(crate) ");
        if let Some(name) = declaration
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            if !documented {
                broken.push(format!("{}: `{name}` has no line of doc", lib.path));
            }
            modules.push(name.to_owned());
        }
        documented = line.starts_with("///") || (documented && line.starts_with("#["));
    }
    modules
}

fn check_order(source: &Source, folder: &str, modules: &[String], broken: &mut Vec<String>) {
    let inner = source.path.trim_start_matches(&format!("{folder}/src/"));
    let own = inner
        .split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs");
    let Some(place) = modules.iter().position(|module| module == own) else {
        return;
    };
    for (number, line) in source.code_lines() {
        for earlier in &modules[..place] {
            if line.contains(&format!("crate::{earlier}::")) {
                broken.push(format!(
                    "{}:{number}: uses `{earlier}`, which is listed before `{own}`",
                    source.path
                ));
            }
        }
    }
}

#[test]
fn crates_depend_one_way() {
    let allowed: [(&str, &[&str]); 8] = [
        ("api", &[]),
        ("runtime", &[]),
        ("operator", &["lps-api", "lps-runtime"]),
        ("router", &["lps-api", "lps-runtime"]),
        (
            "engine",
            &[
                "lps-api",
                "lps-runtime",
                "lps-engine-core",
                "lps-engine-kernels",
            ],
        ),
        ("engine/kernels", &[]),
        ("engine/core", &["lps-api"]),
        ("clients/rust", &["lps-api"]),
    ];
    let mut broken = Vec::new();
    for (folder, dependencies) in allowed {
        let path = root().join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).expect("a crate has a manifest");
        let production = manifest
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        for line in production.lines().filter(|line| line.starts_with("lps-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !dependencies.contains(&name) {
                broken.push(format!("{folder} uses {name}"));
            }
        }
    }
    assert_none("no product crate uses another", &broken);
}
