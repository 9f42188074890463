//! Safetensors files: eight bytes of header length, a JSON header, numbers. Written as a stream, so that a checkpoint of
//! any size needs little memory; read by the header alone. Owns: that format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::generator::Generator;
use super::shape::Weight;

/// Longest header that is read: what the format's own library takes.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// Types of numbers that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    /// 32 bits.
    Float32,
    /// 16 bits with the exponent of 32.
    Bfloat16,
    /// 16 bits of IEEE 754.
    Float16,
}

impl StoredType {
    /// As `config.json` has it.
    pub(super) fn config_name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
        }
    }

    fn header_name(self) -> &'static str {
        match self {
            Self::Float32 => "F32",
            Self::Bfloat16 => "BF16",
            Self::Float16 => "F16",
        }
    }

    pub(super) fn of_header(name: &str) -> Option<Self> {
        [Self::Float32, Self::Bfloat16, Self::Float16]
            .into_iter()
            .find(|kind| kind.header_name() == name)
    }

    /// Bytes of one number.
    pub(super) fn bytes(self) -> u64 {
        if self == Self::Float32 { 4 } else { 2 }
    }

    fn write(self, value: f32, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Float32 => out.write_all(&value.to_le_bytes()),
            Self::Bfloat16 => out.write_all(&bf16::from_f32(value).to_le_bytes()),
            Self::Float16 => out.write_all(&f16::from_f32(value).to_le_bytes()),
        }
    }
}

/// Writes weights with generated numbers.
pub(super) fn write(
    path: &Path,
    weights: &[Weight],
    kind: StoredType,
    seed: u64,
) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for weight in weights {
        let begin = end;
        end += weight.numbers() * kind.bytes();
        let entry = json!({
            "dtype": kind.header_name(), "shape": weight.shape, "data_offsets": [begin, end],
        });
        header.insert(weight.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    // Numbers begin at a multiple of eight, so that they can be used where they lie.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for weight in weights {
        let generator = Generator::new(seed, weight);
        for index in 0..weight.numbers() {
            kind.write(generator.at(index), &mut out)?;
        }
    }
    out.into_inner()?.sync_all()
}

/// One weight as a header describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Reads a header, and compares the file's length with what it describes.
pub(super) fn read_header(path: &Path) -> Result<BTreeMap<String, Entry>, String> {
    let read = |error: io::Error| format!("cannot be read: {error}");
    let mut file = File::open(path).map_err(read)?;
    let file_len = file.metadata().map_err(read)?.len();
    let mut len = [0; 8];
    file.read_exact(&mut len)
        .map_err(|_| format!("is no safetensors file: it has {file_len} bytes"))?;
    let len = u64::from_le_bytes(len);
    if len > HEADER_BYTES_MAX || len + 8 > file_len {
        return Err(format!(
            "is cut short, or no safetensors file: a header of {len} bytes in {file_len}"
        ));
    }
    let mut header = vec![0; len as usize];
    file.read_exact(&mut header).map_err(read)?;
    let mut header: Map<String, Value> = serde_json::from_slice(&header).map_err(|error| {
        format!("is no safetensors file: its header is no JSON object: {error}")
    })?;
    header.remove("__metadata__");
    let mut entries = BTreeMap::new();
    let mut end = 0;
    for (name, value) in header {
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| format!("weight {name}: header entry: {error}"))?;
        end = end.max(entry.data_offsets.1);
        entries.insert(name, entry);
    }
    let described = end.saturating_add(len + 8);
    if described != file_len {
        return Err(format!(
            "has {file_len} bytes where its header describes {described}: it is cut short, or was not written to its end"
        ));
    }
    Ok(entries)
}
