//! Lists that are read only as far as they may be long. Owns: where such a reading ends. What is read of a list takes many
//! times the bytes of what was written (`1,` becomes a text), so it is not read whole and refused then.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of at most so many.
#[derive(Debug)]
pub(crate) struct Few<T, const MOST: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Reader<T, MOST> {
            type Value = Few<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while let Some(one) = list.next_element()? {
                    if few.len() == MOST {
                        return Err(de::Error::invalid_length(few.len() + 1, &self));
                    }
                    few.push(one);
                }
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// The same, of a field that may be missing or null.
///
/// # Errors
/// Of one too many.
pub(crate) fn few_or_none<'de, D, T, const MOST: usize>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let few = Option::<Few<T, MOST>>::deserialize(deserializer)?;
    Ok(few.map(|Few(all)| all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_ends_the_reading() {
        type Two = Few<u8, 2>;
        let Few(read) = serde_json::from_str::<Two>("[1, 2]").unwrap();
        assert_eq!(read, [1, 2]);
        // What stands behind the third is not looked at: it is no list any more.
        let error = serde_json::from_str::<Two>("[1, 2, 3, oh").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("invalid length 3, expected a list of at most 2")
        );
    }
}
