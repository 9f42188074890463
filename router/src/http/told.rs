//! What our own answers have in common. Owns: the form of a list, and of an object that says what it is.

use schemars::JsonSchema;
use serde::Serialize;

/// A list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(super) struct List<T> {
    /// `list`.
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    /// What is listed.
    data: Vec<T>,
    /// Whether there are others that are not listed.
    has_more: bool,
}

/// Something that says what it is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Object")]
pub(super) struct Object<T> {
    /// What it is.
    object: &'static str,
    #[serde(flatten)]
    it: T,
}

impl<T> List<T> {
    /// All of them.
    pub(super) fn of(data: Vec<T>) -> Self {
        let total = data.len();
        Self::first(data, total)
    }

    /// The first of so many.
    pub(super) fn first(data: Vec<T>, total: usize) -> Self {
        Self {
            object: "list",
            has_more: data.len() < total,
            data,
        }
    }
}

impl<T> Object<T> {
    /// It, as one of its kind.
    pub(super) fn new(object: &'static str, it: T) -> Self {
        Self { object, it }
    }
}
