//! Quantities as a user writes them. Owns: the spelling of lengths of time (`10s`) and of memory (`4Gi`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::quantity::Micros;

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No length of time.
    #[error(
        "a length of time is a whole number with ms, s, m or h (250ms, 10s, 5m, 1h), not {0:?}"
    )]
    Period(String),
    /// No amount of memory.
    #[error(
        "an amount of memory is a whole number with Ki, Mi, Gi, Ti, k, M, G, T or none (4Gi, 512Mi), not {0:?}"
    )]
    Bytes(String),
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    Some((number.parse().ok()?, unit))
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A length of time in milliseconds, written `250ms`, `10s`, `5m` or `1h`; a bare number is seconds. At most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

impl Period {
    const MAX_MS: u64 = 366 * 24 * 3_600_000;

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// As quantity.
    pub const fn micros(self) -> Micros {
        Micros::from_millis(self.0)
    }

    /// As the standard library's duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Period {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let milliseconds = split_unit(text).and_then(|(number, unit)| {
            let unit_ms = match unit {
                "ms" => 1,
                "" | "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            number.checked_mul(unit_ms).filter(|ms| *ms <= Self::MAX_MS)
        });
        milliseconds
            .map(Self)
            .ok_or_else(|| TextError::Period(shortened(text)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if self.0 >= unit_ms && self.0.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", self.0 / unit_ms);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// An amount of memory in bytes, written `4Gi`, `512Mi` or as a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    const UNITS: [(&str, u64); 9] = [
        ("Ti", 1 << 40),
        ("Gi", 1 << 30),
        ("Mi", 1 << 20),
        ("Ki", 1 << 10),
        ("T", 1_000_000_000_000),
        ("G", 1_000_000_000),
        ("M", 1_000_000),
        ("k", 1_000),
        ("", 1),
    ];

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        split_unit(text)
            .and_then(|(number, unit)| {
                let (_, factor) = Self::UNITS.iter().find(|(name, _)| *name == unit)?;
                number.checked_mul(*factor).map(Self)
            })
            .ok_or_else(|| TextError::Bytes(shortened(text)))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        let binary = Self::UNITS[..4].iter().find(|(_, factor)| fits(*factor));
        let (unit, factor) = binary.copied().unwrap_or(("", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A quantity is read from a text or a whole number, and written as text.
macro_rules! as_text {
    ($name:ident, $expecting:literal, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"x-kubernetes-int-or-string": true, "pattern": $pattern})
            }
        }
    };
}

as_text!(
    Period,
    "a length of time such as 10s",
    "^[0-9]+(ms|s|m|h)?$"
);
as_text!(
    Bytes,
    "an amount of memory such as 4Gi",
    "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_unit_and_a_bound() {
        for (text, milliseconds, shown) in [
            ("250ms", 250, "250ms"),
            ("10s", 10_000, "10s"),
            ("90s", 90_000, "90s"),
            ("300", 300_000, "5m"),
            ("60m", 3_600_000, "1h"),
            ("0", 0, "0ms"),
        ] {
            let period: Period = text.parse().expect(text);
            assert_eq!(
                (period.0, period.to_string().as_str()),
                (milliseconds, shown)
            );
        }
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "9999h0",
            "99999999h",
            "99999999999999999999s",
        ] {
            assert!(bad.parse::<Period>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn memory_is_written_as_in_kubernetes() {
        for (text, bytes, shown) in [
            ("4Gi", 4 << 30, "4Gi"),
            ("1024Mi", 1 << 30, "1Gi"),
            ("1M", 1_000_000, "1000000"),
            ("512", 512, "512"),
            ("0", 0, "0"),
        ] {
            let amount: Bytes = text.parse().expect(text);
            assert_eq!((amount.get(), amount.to_string().as_str()), (bytes, shown));
        }
        for bad in ["", "Gi", "1.5Gi", "-1", "1gi", "1 Gi", "99999999999Ti"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_read_too() {
        assert_eq!(
            serde_json::from_str::<Period>("300").ok(),
            Some(Period::from_secs(300))
        );
        assert!(serde_json::from_str::<Period>("-3").is_err());
        assert!(serde_json::from_str::<Bytes>("1.5").is_err());
    }
}
