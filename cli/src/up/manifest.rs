//! Manifests. Owns: from files to pools that make sense here, or to every reason why not, each with file, line and
//! field. Nothing is started by anything in here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use lps_api::resource::Manifest;
use lps_api::wellknown::resource::{API_VERSION, KIND};
use lps_operator::validate::{Source, Validated, validate};
use serde::Deserialize;

use super::locate;

/// Longest manifest that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One reason against a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// Which line, from 1; `None` where it is the whole file.
    pub line: Option<usize>,
    /// Which field; empty where it is the whole document.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// All reasons against the manifests, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// Reads the pools of all documents of all files.
///
/// # Errors
/// Every reason why they cannot be served, over all files.
pub fn load(files: &[PathBuf]) -> Result<Vec<Validated>, Problems> {
    let mut reading = Reading::default();
    for file in files {
        match text_of(file) {
            Ok(text) => reading.file(file, &text),
            Err(problem) => reading.problems.push(whole_file(file, problem)),
        }
    }
    reading.end()
}

/// Reads the pools of one text; `name` stands for its file.
///
/// # Errors
/// Every reason why they cannot be served.
pub fn parse(name: &Path, text: &str) -> Result<Vec<Validated>, Problems> {
    let mut reading = Reading::default();
    reading.file(name, text);
    reading.end()
}

fn whole_file(file: &Path, problem: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        field: String::new(),
        problem,
    }
}

fn text_of(file: &Path) -> Result<String, String> {
    let length = std::fs::metadata(file)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(format!(
            "has {length} bytes; a manifest has at most {FILE_BYTES_MAX}"
        ));
    }
    std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}

#[derive(Debug, Default)]
struct Reading {
    pools: Vec<Validated>,
    problems: Vec<Problem>,
    /// Where each name was given first: `FILE:LINE`.
    seen: BTreeMap<(&'static str, String), String>,
}

impl Reading {
    fn end(self) -> Result<Vec<Validated>, Problems> {
        if self.problems.is_empty() {
            Ok(self.pools)
        } else {
            Err(Problems(self.problems))
        }
    }

    fn file(&mut self, file: &Path, text: &str) {
        let before = (self.pools.len(), self.problems.len());
        for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let place = Place {
                file,
                text,
                document: index,
            };
            match serde_yaml::Value::deserialize(document) {
                Ok(serde_yaml::Value::Null) => {}
                Ok(value) => self.document(&place, &value),
                Err(error) => {
                    self.problems.push(place.syntax(&error));
                    // What follows a syntax error is not what its author meant.
                    break;
                }
            }
        }
        if before == (self.pools.len(), self.problems.len()) {
            self.problems.push(whole_file(
                file,
                format!("is empty; write a resource of kind {KIND}"),
            ));
        }
    }

    fn document(&mut self, place: &Place<'_>, value: &serde_yaml::Value) {
        for (field, wanted) in [("kind", KIND), ("apiVersion", API_VERSION)] {
            let found = value.get(field).and_then(serde_yaml::Value::as_str);
            if found != Some(wanted) {
                let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
                self.problems
                    .push(place.problem(field, format!("is {found}; `lps up` takes {wanted}")));
                return;
            }
        }
        let resource: Manifest = match place.typed() {
            Ok(resource) => resource,
            Err(problem) => return self.problems.push(problem),
        };
        let pool = match validate(&resource) {
            Ok(pool) => pool,
            Err(errors) => {
                let problems = errors
                    .iter()
                    .map(|error| place.problem(&error.path, error.problem.clone()));
                return self.problems.extend(problems);
            }
        };
        let here = self.problems.len();
        self.unique(place, "metadata.name", &pool.name);
        self.unique(place, "spec.model.name", pool.template.model.as_str());
        if let Some((field, fix)) = needs_a_cluster(&pool) {
            self.problems.push(place.problem(field, fix.to_owned()));
        }
        if here == self.problems.len() {
            self.pools.push(pool);
        }
    }

    fn unique(&mut self, place: &Place<'_>, field: &'static str, name: &str) {
        let problem = place.problem(field, String::new());
        let spot = match problem.line {
            Some(line) => format!("{}:{line}", place.file.display()),
            None => place.file.display().to_string(),
        };
        if let Some(first) = self.seen.get(&(field, name.to_owned())) {
            let text =
                format!("{name:?} is already the name of a resource in {first}; choose another");
            self.problems.push(Problem {
                problem: text,
                ..problem
            });
        } else {
            self.seen.insert((field, name.to_owned()), spot);
        }
    }
}

/// The field that only a cluster can serve, and what to write instead.
fn needs_a_cluster(pool: &Validated) -> Option<(&'static str, &'static str)> {
    match pool.template.source {
        Source::Builtin(_) | Source::HostPath(_) => None,
        Source::HuggingFace(_) => Some((
            "spec.model.source.huggingFace",
            "is pulled in a cluster only; run `lps model pull REPO --to FOLDER` and write hostPath: {path: FOLDER}",
        )),
        Source::Pvc(_) => Some((
            "spec.model.source.pvc",
            "is a volume of a cluster; for `lps up` write hostPath: {path: FOLDER}",
        )),
        Source::Image(_) => Some((
            "spec.model.source.image",
            "is unpacked in a cluster only; for `lps up` write hostPath: {path: FOLDER}",
        )),
    }
}

/// One document of a file.
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
    document: usize,
}

impl Place<'_> {
    fn problem(&self, field: &str, problem: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: locate::line_of(self.text, self.document, field),
            field: field.to_owned(),
            problem,
        }
    }

    fn syntax(&self, error: &serde_yaml::Error) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: error.location().map(|at| at.line()),
            field: String::new(),
            problem: format!("is not YAML: {}", without_place(&error.to_string(), "")),
        }
    }

    fn typed(&self) -> Result<Manifest, Problem> {
        let mut documents = serde_yaml::Deserializer::from_str(self.text);
        let Some(document) = documents.nth(self.document) else {
            return Err(self.problem("", "has fewer documents than before".to_owned()));
        };
        serde_path_to_error::deserialize(document).map_err(|error| {
            let field = error.path().to_string();
            let field = if field == "." { String::new() } else { field };
            let text = without_place(&error.inner().to_string(), &field);
            let mut problem = self.problem(&field, text);
            let at = error.inner().location().map(|at| at.line());
            problem.line = problem.line.or(at);
            problem
        })
    }
}

/// The parser's message without the place that is told apart from it.
fn without_place(message: &str, field: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    let start = message[..end]
        .strip_prefix(field)
        .and_then(|rest| rest.strip_prefix(": "));
    // The parser may know only the beginning of the path.
    let text = start.unwrap_or(&message[..end]);
    match text.split_once(": ") {
        Some((path, rest)) if !path.is_empty() && field.starts_with(path) => rest.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
