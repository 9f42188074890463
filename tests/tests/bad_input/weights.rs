//! Weights under random mutation: the header's length, its JSON, the bytes, the end of the file, the index of several
//! files. The engine's loader and `lps model check` read both.

use lps_cli::model::shape::Family;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::checkpoint::{cases, made, made_with, read, refused_by_both, write};
use crate::json::{Mutation, mutation};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// What a header's entries are made of.
const NAMES: &[&str] = &[
    "__metadata__",
    "data_offsets",
    "dtype",
    "format",
    "model.embed_tokens.weight",
    "model.norm.weight",
    "shape",
    "weight_map",
];

/// Something that is done to a file of weights.
#[derive(Debug, Clone)]
enum Damage {
    /// To the header, whose length stays true.
    Header(Vec<Mutation>),
    /// An entry's offsets are moved: they overlap others, leave gaps, or lead out of the file.
    Offsets(Index, i64, i64),
    /// An entry's type is another.
    Kind(Index, &'static str),
    /// The header is said to be so long.
    Length(u64),
    /// A byte of the first so many is another one.
    Byte(Index, u8),
    /// The file ends here.
    Cut(Index),
    /// The file goes on.
    Longer(Vec<u8>),
    /// The header is so many brackets.
    Deep(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let kinds = vec![
        "BOOL", "F4", "F6_E2M3", "F8_E4M3", "F16", "F64", "I8", "I64", "U64", "C64", "", "f32", "X",
    ];
    let shift = || prop_oneof![-64..64_i64, any::<i64>()];
    let length = prop_oneof![
        0..4096_u64,
        any::<u64>(),
        Just(u64::MAX),
        Just(u64::MAX - 7),
        Just(100_000_000)
    ];
    prop_oneof![
        6 => prop::collection::vec(mutation(NAMES), 1..4).prop_map(Damage::Header),
        3 => (any::<Index>(), shift(), shift()).prop_map(|(at, a, b)| Damage::Offsets(at, a, b)),
        2 => (any::<Index>(), prop::sample::select(kinds)).prop_map(|(at, kind)| Damage::Kind(at, kind)),
        2 => length.prop_map(Damage::Length),
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => any::<Index>().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Damage::Longer),
        1 => (1..10_000_usize).prop_map(Damage::Deep),
    ]
}

/// A file of weights, taken apart.
struct File {
    header: Value,
    numbers: Vec<u8>,
}

impl File {
    fn parse(bytes: &[u8]) -> Self {
        let (length, rest) = bytes.split_at(LENGTH);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let (header, numbers) = rest.split_at(length as usize);
        Self {
            header: serde_json::from_slice(header).expect("a sound header"),
            numbers: numbers.to_vec(),
        }
    }

    fn bytes(&self, header: &[u8]) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length, header, &self.numbers].concat()
    }

    fn damaged(&self, damage: &Damage) -> Vec<u8> {
        let mut header = self.header.clone();
        match damage {
            Damage::Header(mutations) => {
                for mutation in mutations {
                    mutation.apply(&mut header);
                }
            }
            Damage::Offsets(at, begin, end) => {
                for (place, shift) in entry(&mut header, at)["data_offsets"]
                    .as_array_mut()
                    .expect("two numbers")
                    .iter_mut()
                    .zip([begin, end])
                {
                    let moved = place.as_i64().expect("a number").wrapping_add(*shift);
                    *place = moved.into();
                }
            }
            Damage::Kind(at, kind) => entry(&mut header, at)["dtype"] = (*kind).into(),
            Damage::Deep(depth) => return self.bytes("[".repeat(*depth).as_bytes()),
            Damage::Length(_) | Damage::Byte(..) | Damage::Cut(_) | Damage::Longer(_) => {}
        }
        let header = header.to_string();
        let mut bytes = self.bytes(header.as_bytes());
        match damage {
            Damage::Length(length) => bytes[..LENGTH].copy_from_slice(&length.to_le_bytes()),
            Damage::Byte(at, byte) => bytes[at.index(LENGTH + header.len())] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Longer(more) => bytes.extend(more),
            _ => {}
        }
        bytes
    }
}

/// One of the entries that are weights.
fn entry<'a>(header: &'a mut Value, at: &Index) -> &'a mut Value {
    let header = header.as_object_mut().expect("an object");
    let names: Vec<_> = header
        .keys()
        .filter(|name| *name != "__metadata__")
        .cloned()
        .collect();
    &mut header[at.get(&names)]
}

#[test]
fn a_damaged_file_is_refused_in_a_line_that_names_it() {
    let folder = made(Family::Llama);
    let folder = folder.path();
    let sound = std::fs::read(folder.join(SINGLE)).expect("it was made");
    let file = File::parse(&sound);
    proptest!(cases(512), |(damage in damage())| {
        write(folder, SINGLE, file.damaged(&damage));
        if let Some(line) = refused_by_both(folder) {
            prop_assert!(line.starts_with("model.safetensors: "), "{}", line);
        }
    });
    // Whatever moves offsets or names another type is seen: no weight is read from where it is not.
    proptest!(cases(64), |(at in any::<Index>(), shift in prop_oneof![-64..-1_i64, 1..64_i64])| {
        for (begin, end) in [(shift, 0), (0, shift), (shift, shift)] {
            write(folder, SINGLE, file.damaged(&Damage::Offsets(at, begin, end)));
            let line = refused_by_both(folder).expect("the offsets lie");
            prop_assert!(line.contains("field `"), "{}", line);
        }
    });
    write(folder, SINGLE, &sound);
    assert_eq!(refused_by_both(folder), None);
}

#[test]
fn so_is_a_damaged_index() {
    let folder = made_with(|options| options.shards = 3);
    let folder = folder.path();
    let sound: Value = serde_json::from_str(&read(folder, INDEX)).expect("JSON");
    proptest!(cases(256), |(mutations in prop::collection::vec(mutation(NAMES), 1..4))| {
        let mut index = sound.clone();
        for mutation in &mutations {
            mutation.apply(&mut index);
        }
        write(folder, INDEX, index.to_string());
        refused_by_both(folder);
    });
    write(folder, INDEX, sound.to_string());
    assert_eq!(refused_by_both(folder), None);
}
