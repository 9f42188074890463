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

#[test]
fn each_problem_has_file_line_and_field() {
    for (text, begins, word) in [
        (
            "apiVersion: v1\nkind: Pod\n".to_owned(),
            "f.yaml:2: kind: ",
            "LLMProgramServing",
        ),
        (
            "kind: LLMProgramServing\n".to_owned(),
            "f.yaml: apiVersion: ",
            "nothing",
        ),
        ("- 1\n".to_owned(), "f.yaml: kind: ", "nothing"),
        (String::new(), "f.yaml: ", "is empty"),
        ("---\n---\n".to_owned(), "f.yaml: ", "is empty"),
        ("a: [1,\nb: {".to_owned(), "f.yaml:", "is not YAML"),
        (
            format!("{HEAD}{MODEL}  scaling: {{min: many}}\n"),
            "f.yaml:8: spec.scaling.min: ",
            "u32",
        ),
        (
            format!("{HEAD}{MODEL}  scaling:\n    min: -1\n"),
            "f.yaml:9: spec.scaling.min: ",
            "-1",
        ),
        (
            format!("{HEAD}{MODEL}  scalling: {{min: 1}}\n"),
            "f.yaml:8: spec.scalling: ",
            "unknown field",
        ),
        (
            format!("{HEAD}  model:\n    source: {{builtin: demo}}\n"),
            "f.yaml:5: spec.model: ",
            "missing field `name`",
        ),
        (
            format!("{HEAD}{MODEL}  engine:\n    startTimeout: soon\n"),
            "f.yaml:9: spec.engine.startTimeout: ",
            "10s",
        ),
        (
            format!("{HEAD}{MODEL}  engine: {{kvCache: {{size: 1GB}}}}\n"),
            "f.yaml:8: spec.engine.kvCache.size: ",
            "4Gi",
        ),
        (
            format!("{HEAD}  model:\n    name: a\n    source: {{builtin: x}}\n"),
            "f.yaml:7: spec.model.source.builtin: ",
            "demo",
        ),
        (
            format!("{HEAD}{MODEL}  scaling: {{min: 3, max: 1}}\n"),
            "f.yaml:8: spec.scaling.min: ",
            "raise max",
        ),
        (
            format!("{HEAD}  model:\n    name: a\n    source: {{}}\n"),
            "f.yaml:7: spec.model.source: ",
            "exactly one",
        ),
        (
            format!("{HEAD}  model:\n    name: a\n    source:\n      pvc: {{claim: c}}\n"),
            "f.yaml:8: spec.model.source.pvc: ",
            "hostPath",
        ),
    ] {
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
