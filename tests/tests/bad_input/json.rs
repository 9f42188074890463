//! Mutations of JSON. Owns: what a hostile value is, and where one is put.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

/// Something that is done to a document.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    /// The value at a place becomes this one.
    Replace(Index, Value),
    /// The entry at a place goes.
    Remove(Index),
    /// An object gets one more entry.
    Insert(Index, String, Value),
    /// The value at one place is put at another.
    Copy(Index, Index),
}

/// Values that a reader may trip over.
pub(crate) fn hostile() -> impl Strategy<Value = Value> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let fixed = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(3),
        json!(7),
        json!(64),
        json!(1 << 20),
        json!(i32::MAX),
        json!(u32::MAX),
        json!(u64::from(u32::MAX) + 1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(0.0),
        json!(-0.5),
        json!(0.5),
        json!(1.0),
        json!(1e-300),
        json!(1e300),
        json!(f64::MAX),
        json!(""),
        json!("x"),
        json!("a\nb\u{1b}[31m\u{0}\u{2028}"),
        json!("../../etc/passwd"),
        json!("\u{feff}é字🌍"),
        json!("y".repeat(100_000)),
        json!([]),
        json!({}),
        json!([null]),
        json!([0, 1, 2]),
        json!({"": ""}),
        json!({"type": "x"}),
        json!(vec![7; 10_000]),
        deep,
    ];
    prop_oneof![
        8 => prop::sample::select(fixed),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => "\\PC{0,12}".prop_map(Value::from),
    ]
}

/// One mutation; what is inserted has one of these names.
pub(crate) fn mutation(names: &'static [&'static str]) -> impl Strategy<Value = Mutation> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    prop_oneof![
        4 => (any::<Index>(), hostile()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        1 => any::<Index>().prop_map(Mutation::Remove),
        3 => (any::<Index>(), name, hostile())
            .prop_map(|(at, name, value)| Mutation::Insert(at, name, value)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Copy(from, to)),
    ]
}

impl Mutation {
    pub(crate) fn apply(&self, document: &mut Value) {
        match self {
            Self::Replace(at, value) => *place(document, at) = value.clone(),
            Self::Copy(from, to) => {
                let value = place(document, from).clone();
                *place(document, to) = value;
            }
            Self::Insert(at, name, value) => {
                let mut objects = Vec::new();
                collect(document, &mut objects, &|value| value.is_object());
                let found = at.index(objects.len().max(1));
                let Some(Value::Object(object)) =
                    document.pointer_mut(objects.get(found).map_or("", String::as_str))
                else {
                    return;
                };
                object.insert(name.clone(), value.clone());
            }
            Self::Remove(at) => {
                let value = place(document, at);
                match value {
                    Value::Object(object) => remove_first(object),
                    Value::Array(list) => drop(list.pop()),
                    other => *other = Value::Null,
                }
            }
        }
    }
}

fn remove_first(object: &mut Map<String, Value>) {
    if let Some(name) = object.keys().next().cloned() {
        object.remove(&name);
    }
}

/// A value of the document, the root excepted where there is another.
fn place<'a>(document: &'a mut Value, at: &Index) -> &'a mut Value {
    let mut places = Vec::new();
    collect(document, &mut places, &|_| true);
    places.remove(0);
    let pointer = match places.len() {
        0 => String::new(),
        count => places.swap_remove(at.index(count)),
    };
    document.pointer_mut(&pointer).expect("it was just there")
}

fn collect(document: &Value, found: &mut Vec<String>, wanted: &dyn Fn(&Value) -> bool) {
    let mut open = vec![(String::new(), document)];
    while let Some((pointer, value)) = open.pop() {
        match value {
            Value::Object(object) => {
                for (name, inner) in object {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    open.push((format!("{pointer}/{name}"), inner));
                }
            }
            Value::Array(list) => {
                for (index, inner) in list.iter().enumerate() {
                    open.push((format!("{pointer}/{index}"), inner));
                }
            }
            _ => {}
        }
        if wanted(value) {
            found.push(pointer);
        }
    }
}
