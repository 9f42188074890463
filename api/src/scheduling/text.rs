//! How the values of scheduling settings are written. Owns: reading lengths of time, switches, units and lists, and the
//! type by which the resource takes either a number or a text. It must not know what a value is for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::quantity::Micros;

/// A value in the resource: a text, or a number written without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

/// A switch in the resource: `true` and `false`, or `on` and `off`, which some readers of YAML leave as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Serialize for Switch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.0)
    }
}

struct SwitchVisitor;

impl de::Visitor<'_> for SwitchVisitor {
    type Value = Switch;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("on or off")
    }

    fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<Switch, E> {
        Ok(Switch(is_on))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Switch, E> {
        switch(text)
            .map(Switch)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchVisitor)
    }
}

impl JsonSchema for Switch {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "boolean"})
    }
}

/// `on`, `off`, `true`, `false`.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

/// A length of time: `1.5`, `8s`, `250ms`, `2m`, `1h`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Option<Micros> {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit());
    let seconds: f64 = is_plain.then(|| number.parse().ok())??;
    Micros::from_secs_f64(seconds * factor)
}

/// A decimal number in thousandths.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit());
    let number: f64 = is_plain.then(|| text.parse().ok())??;
    (0.0..1e12)
        .contains(&number)
        .then(|| (number * 1e3).round() as u64)
}

/// The members of a comma list.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, micros) in [
            ("1.5", 1_500_000),
            ("8s", 8_000_000),
            ("250ms", 250_000),
            ("7us", 7),
            ("2m", 120_000_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Some(Micros(micros)), "{text}");
        }
        for bad in [
            "",
            "s",
            "-1",
            "+1",
            "1d",
            "NaN",
            "inf",
            "1e3",
            "1..2",
            "1 s",
            "99999999999999",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_switch_is_a_word_or_a_boolean() {
        assert!(serde_json::from_str::<Switch>("\"on\"").is_ok_and(|on| on.0));
        assert!(serde_json::from_str::<Switch>("false").is_ok_and(|on| !on.0));
        assert!(serde_json::from_str::<Switch>("\"maybe\"").is_err());
    }
}
