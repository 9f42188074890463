//! What is said about manifests that cannot be served.

use super::*;

const HEAD: &str =
    "apiVersion: llmprogram.dev/v1alpha1\nkind: LLMProgramServing\nmetadata: {name: a}\nspec:\n";
const MODEL: &str = "  model:\n    name: a\n    source: {builtin: demo}\n";

fn problems(text: &str) -> Vec<String> {
    match parse(Path::new("f.yaml"), text) {
        Ok(pools) => panic!("{} pools of:\n{text}", pools.len()),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// (what follows the model in the spec, how the problem begins, a word of it).
const SECTIONS: &[(&str, &str, &str)] = &[
    (
        "  scaling: {min: many}",
        "f.yaml:8: spec.scaling.min: ",
        "u32",
    ),
    (
        "  scaling:\n    min: -1",
        "f.yaml:9: spec.scaling.min: ",
        "-1",
    ),
    (
        "  scalling: {min: 1}",
        "f.yaml:8: spec.scalling: ",
        "unknown field",
    ),
    (
        "  engine:\n    startTimeout: soon",
        "f.yaml:9: spec.engine.startTimeout: ",
        "10s",
    ),
    (
        "  engine: {kvCache: {size: 1GB}}",
        "f.yaml:8: spec.engine.kvCache.size: ",
        "4Gi",
    ),
    (
        "  scaling: {min: 3, max: 1}",
        "f.yaml:8: spec.scaling.min: ",
        "raise max",
    ),
];

/// (what the model is, how the problem begins, a word of it).
const MODELS: &[(&str, &str, &str)] = &[
    (
        "{source: {builtin: demo}}",
        "f.yaml:5: spec.model: ",
        "missing field `name`",
    ),
    (
        "\n    name: a\n    source: {builtin: x}",
        "f.yaml:7: spec.model.source.builtin: ",
        "demo",
    ),
    (
        "\n    name: a\n    source: {}",
        "f.yaml:7: spec.model.source: ",
        "exactly one",
    ),
    (
        "\n    name: a\n    source:\n      pvc: {claim: c}",
        "f.yaml:8: spec.model.source.pvc: ",
        "hostPath",
    ),
];

/// (the whole file, how the problem begins, a word of it).
const FILES: &[(&str, &str, &str)] = &[
    (
        "apiVersion: v1\nkind: Pod\n",
        "f.yaml:2: kind: ",
        "LLMProgramServing",
    ),
    (
        "kind: LLMProgramServing\n",
        "f.yaml: apiVersion: ",
        "nothing",
    ),
    ("- 1\n", "f.yaml: kind: ", "nothing"),
    ("", "f.yaml: ", "is empty"),
    ("---\n---\n", "f.yaml: ", "is empty"),
    ("a: [1,\nb: {", "f.yaml:", "is not YAML"),
];

#[test]
fn each_problem_has_file_line_and_field() {
    let sections = SECTIONS
        .iter()
        .map(|(text, begins, word)| (format!("{HEAD}{MODEL}{text}\n"), begins, word));
    let models = MODELS
        .iter()
        .map(|(text, begins, word)| (format!("{HEAD}  model: {text}\n"), begins, word));
    let files = FILES
        .iter()
        .map(|(text, begins, word)| ((*text).to_owned(), begins, word));
    for (text, begins, word) in sections.chain(models).chain(files) {
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(begins), "{begins:?}: {problems:?}");
        assert!(problems[0].contains(word), "{word:?}: {problems:?}");
        assert!(!problems[0].contains(" at line "), "{problems:?}");
    }
}

#[test]
fn the_lines_of_later_documents_are_the_files() {
    let text = format!(
        "{HEAD}{MODEL}---\n{}{MODEL}  suspend: maybe\n",
        HEAD.replace("name: a", "name: b")
    );
    assert!(
        problems(&text)[0].starts_with("f.yaml:16: spec.suspend: "),
        "{:?}",
        problems(&text)
    );
}

#[test]
fn all_problems_of_all_documents_are_told() {
    let bad =
        format!("{HEAD}{MODEL}  engine: {{maxNumSeqs: 0, gpus: 3}}\n---\n{HEAD}{MODEL}  x: 1\n");
    let problems = problems(&bad);
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn a_name_is_given_once() {
    let problems = problems(&format!("{HEAD}{MODEL}---\n{HEAD}{MODEL}"));
    assert_eq!(
        problems,
        [
            "f.yaml:11: metadata.name: \"a\" is already the name of a resource in f.yaml:3; choose another",
            "f.yaml:14: spec.model.name: \"a\" is already the name of a resource in f.yaml:6; choose another",
        ]
    );
}

#[test]
fn several_files_are_one_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let one = file("one.yaml", &format!("{HEAD}{MODEL}"));
    let two = file("two.json", &format!("{HEAD}{MODEL}").replace(": a", ": b"));
    assert_eq!(load(&[one.clone(), two]).map(|pools| pools.len()), Ok(2));
    let missing = folder.path().join("missing.yaml");
    let Problems(problems) = load(&[one.clone(), one, missing]).expect_err("bad");
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[2]
            .to_string()
            .contains("missing.yaml: cannot be read"),
        "{problems:?}"
    );
}

#[test]
fn every_example_makes_sense() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries = std::fs::read_dir(folder).expect("the examples");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let manifests: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|e| e == "yaml"))
        .collect();
    assert!(manifests.len() >= 2, "{manifests:?}");
    for file in manifests {
        load(std::slice::from_ref(&file)).unwrap_or_else(|problems| panic!("{problems}"));
    }
}
