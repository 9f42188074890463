//! Lines of fields. Owns: the line of a YAML text in which a field is written, found by reading up to its key and
//! failing there on purpose: the parser's error carries the place.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// One part of a path such as `spec.engine.extraArgs[1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The line, from 1, of a field in one document of a text; of the nearest field around it where it is not written.
pub(super) fn line_of(text: &str, document: usize, field: &str) -> Option<usize> {
    let mut path = steps(field);
    while !path.is_empty() {
        let inside = serde_yaml::Deserializer::from_str(text).nth(document)?;
        if let Err(stop) = Search(&path).deserialize(inside) {
            return stop.location().map(|at| at.line());
        }
        path.pop();
    }
    None
}

fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in field.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        if !key.is_empty() {
            steps.push(Step::Key(key.to_owned()));
        }
        let indices = indices
            .split('[')
            .filter_map(|index| index.trim_end_matches(']').parse().ok());
        steps.extend(indices.map(Step::Index));
    }
    steps
}

/// Reads a value, and fails at the place that the path names.
struct Search<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_any(Stop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(key), rest)) = self.0.split_first() else {
            return IgnoredAny.visit_map(map).map(drop);
        };
        while let Some(found) = map.next_key_seed(Key {
            key,
            stop: rest.is_empty(),
        })? {
            if found {
                map.next_value_seed(Search(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Index(index), rest)) = self.0.split_first() else {
            return IgnoredAny.visit_seq(seq).map(drop);
        };
        for _ in 0..*index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Search(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a key and says whether it is the one; fails at it where the path ends.
struct Key<'a> {
    key: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        if text == self.key && self.stop {
            return Err(E::custom("here"));
        }
        Ok(text == self.key)
    }
}

/// Fails at the value, whatever it is.
struct Stop;

impl<'de> Visitor<'de> for Stop {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("here"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\n---\n# comment\nspec:\n  engine:\n    args:\n      - x\n      - y\n    n: {k: 1,\n        l: 2}\n  z: 3\n";

    #[test]
    fn a_field_has_a_line() {
        for (document, field, line) in [
            (0, "a", Some(1)),
            (0, "b", None),
            (1, "spec", Some(4)),
            (1, "spec.engine", Some(5)),
            (1, "spec.engine.args[0]", Some(7)),
            (1, "spec.engine.args[1]", Some(8)),
            (1, "spec.engine.args[7]", Some(6)),
            (1, "spec.engine.n.l", Some(10)),
            (1, "spec.z", Some(11)),
            // What is not written is where it would stand.
            (1, "spec.engine.missing.deeper", Some(5)),
            (2, "spec", None),
        ] {
            assert_eq!(line_of(TEXT, document, field), line, "{field}");
        }
    }
}
