//! Names of things. Owns: what a valid name is. A string from outside becomes one of these types at the
//! edge or is refused there, so no later code has to distrust it.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest name accepted, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Characters of a name beside letters and digits.
const MARKS: &str = "._-:@+=~/";
/// The same, and letters and digits, as a class of a regular expression has them.
pub const CHARACTERS: &str = r"A-Za-z0-9._\-:@+=~/";

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The string has no characters.
    #[error("an id must not be empty")]
    Empty,
    /// The string is longer than [`ID_BYTES_MAX`].
    #[error("an id has at most {ID_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The string has a character that could be misread in a log, label, path or list.
    #[error(
        "an id has letters, digits and the characters . _ - : @ + = ~ / only, this one has {0:?}"
    )]
    Character(char),
}

fn check(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(Error::TooLong(text.len()));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || MARKS.contains(*c)))
    {
        Some(character) => Err(Error::Character(character)),
        None => Ok(()),
    }
}

/// Names what an engine was made from: a hash of the fields that a user sees. Engines of one revision answer alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Reads what [`fmt::Display`] writes: up to 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The schema of a name, as [`check`] takes it.
pub fn schema() -> Schema {
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX,
        "pattern": format!("^[{CHARACTERS}]+$"),
    })
}

macro_rules! id {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a string from outside. Cloning the result is cheap.
            pub fn parse(text: &str) -> Result<Self, Error> {
                check(text).map(|()| Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = schema();
                schema.insert("description".to_owned(), concat!($($doc),+).trim().into());
                schema
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id! {
    /// Who pays for a call. Every other id is read inside one tenant.
    TenantId
}
id! {
    /// One run of an agent or workflow.
    ProgramId
}
id! {
    /// A chain of calls inside a program.
    ThreadId
}
id! {
    /// One LLM request.
    CallId
}
id! {
    /// One engine process: a pod's uid in a cluster, a name on one machine.
    EngineId
}
id! {
    /// The name by which clients ask for a model; one pool of engines serves it.
    ModelName
}
id! {
    /// What programs of one kind have in common (an agent's name); used for learning only.
    ClassName
}

impl TenantId {
    /// The tenant of callers that show no key.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }
}

impl ThreadId {
    /// The thread of a call that names none.
    pub fn main() -> Self {
        Self(Arc::from("main"))
    }
}

impl ClassName {
    /// The class of a program that names none.
    pub fn unnamed() -> Self {
        Self(Arc::from("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_where_it_could_be_misread() {
        for (text, expected) in [
            ("", Error::Empty),
            ("a b", Error::Character(' ')),
            ("a,b", Error::Character(',')),
            ("a\nb", Error::Character('\n')),
            ("é", Error::Character('é')),
        ] {
            assert_eq!(ProgramId::parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(CallId::parse(&"x".repeat(129)), Err(Error::TooLong(129)));
        assert!(CallId::parse(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn the_schema_has_the_characters_that_are_taken() {
        let marks = CHARACTERS.strip_prefix("A-Za-z0-9").unwrap();
        assert_eq!(marks.replace('\\', ""), MARKS);
    }

    #[test]
    fn a_name_is_checked_when_it_is_read_from_json() {
        assert!(serde_json::from_str::<ProgramId>("\"run-7\"").is_ok());
        assert!(serde_json::from_str::<ProgramId>("\"run 7\"").is_err());
    }
}
