//! Weights of a checkpoint by name: one safetensors file, or several with an index, mapped or in the binary. Owns:
//! finding them and checking shape and type. Knows no layer.

use std::cell::Cell;
use std::collections::BTreeMap;

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype as StoredType, SafeTensors};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::kernels::blob::{self, Blob};
use crate::kernels::choice::Choice;
use crate::kernels::native;
use crate::model::directory::{File, Files, Json};
use crate::model::progress::Progress;
use crate::model::{Error, missing};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All weights of a checkpoint.
#[derive(Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Stored>,
    blobs: Vec<Blob>,
    /// Named in messages about what is missing.
    main_file: String,
    /// Bytes of those that were taken.
    taken: Cell<u64>,
    progress: Progress,
    /// Nothing is missing: what is asked for is drawn.
    drawn: bool,
}

#[derive(Debug)]
struct Stored {
    path: String,
    kind: StoredType,
    shape: Vec<i64>,
    bytes: &'static [u8],
}

/// Where and how a weight is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    /// Type.
    pub kind: Kind,
    /// Device.
    pub device: Device,
    /// What they are computed with.
    pub kernels: Choice,
}

impl Weights {
    /// Maps the files and reads their headers; `progress` is told of each release.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(files: &Files, progress: &Progress) -> Result<Self, Error> {
        let (main_file, names) = match files.json(INDEX)? {
            Some(index) => (INDEX, shards(files, index.get("weight_map"))?),
            None => (SINGLE, vec![SINGLE.to_owned()]),
        };
        let mut weights = Self {
            tensors: BTreeMap::new(),
            blobs: Vec::new(),
            main_file: files.path(main_file),
            taken: Cell::new(0),
            progress: progress.clone(),
            drawn: false,
        };
        for name in names {
            weights.add(files, &name)?;
        }
        Ok(weights)
    }

    /// Every weight there is, small and without meaning, to see how long a model of some shape takes.
    pub fn drawn() -> Self {
        Self {
            tensors: BTreeMap::new(),
            blobs: Vec::new(),
            main_file: String::new(),
            taken: Cell::new(0),
            progress: Progress::silent(),
            drawn: true,
        }
    }

    fn add(&mut self, files: &Files, name: &str) -> Result<(), Error> {
        let path = files.path(name);
        let unreadable = |source| Error::Read {
            file: path.clone(),
            source,
        };
        let blob = match files.locate(name) {
            None => return Err(unreadable(missing())),
            Some(File::Memory(bytes)) => Blob::Builtin(bytes),
            Some(File::Path(path)) => Blob::map(&path).map_err(unreadable)?,
        };
        let parsed = SafeTensors::deserialize(blob.bytes()).map_err(|error| {
            let file = path.clone();
            match at_fault(blob.bytes()) {
                Some((field, reason)) => Error::Field {
                    file,
                    field,
                    reason,
                },
                None => Error::File {
                    file,
                    reason: format!(
                        "is no whole safetensors file ({} bytes): {error}",
                        blob.bytes().len()
                    ),
                },
            }
        })?;
        for (tensor, view) in parsed.iter() {
            let stored = Stored {
                path: path.clone(),
                kind: view.dtype(),
                shape: view.shape().iter().map(|n| *n as i64).collect(),
                bytes: view.data(),
            };
            self.tensors.insert(tensor.to_owned(), stored);
        }
        self.blobs.push(blob);
        Ok(())
    }

    /// Numbers of all of them.
    pub fn numbers(&self) -> u64 {
        let numbers = |stored: &Stored| 8 * stored.bytes.len() / stored.kind.bitsize();
        self.tensors
            .values()
            .map(|stored| numbers(stored) as u64)
            .sum()
    }

    /// The file to name when no single one is at fault.
    pub fn main_file(&self) -> &str {
        &self.main_file
    }

    /// One weight. On a processor, in the stored type, it is a view of the file.
    ///
    /// # Errors
    /// When it is missing, or has another shape or a type that is not supported.
    pub fn get(&self, name: &str, shape: &[i64], placement: Placement) -> Result<Tensor, Error> {
        let fail = |file: &str, reason: String| Error::Field {
            file: file.to_owned(),
            field: name.to_owned(),
            reason,
        };
        if self.drawn {
            let options = (placement.kind, placement.device);
            let drawn = || Tensor::f_randn(shape, options)?.f_mul_scalar(0.02);
            return drawn().map_err(|error| fail(name, format!("cannot be drawn: {error}")));
        }
        // The body of a model that was saved without its output layer has names without the first part.
        let body = || self.tensors.get(name.split_once('.')?.1);
        let Some(stored) = self.tensors.get(name).or_else(body) else {
            return Err(fail(&self.main_file, "is missing".to_owned()));
        };
        if stored.shape != shape {
            let reason = format!(
                "has shape {:?}; config.json asks for {shape:?}",
                stored.shape
            );
            return Err(fail(&stored.path, reason));
        }
        let kind = match stored.kind {
            StoredType::F32 => Kind::Float,
            StoredType::BF16 => Kind::BFloat16,
            StoredType::F16 => Kind::Half,
            other => {
                let reason = format!("is of type {other:?}; supported are F32, BF16 and F16");
                return Err(fail(&stored.path, reason));
            }
        };
        let placed = || {
            blob::tensor(stored.bytes, shape, kind)?
                .f_to_device(placement.device)?
                .f_to_kind(placement.kind)
        };
        self.taken.set(self.taken.get() + stored.bytes.len() as u64);
        placed().map_err(|error| {
            let reason = format!("cannot be loaded: {}", native::reason(error));
            fail(&stored.path, reason)
        })
    }

    /// Gives back the memory of what was read; what is still used comes back from the files. Call it after each layer.
    pub fn release(&self) {
        let all = self
            .tensors
            .values()
            .map(|stored| stored.bytes.len() as u64);
        self.progress.tell(self.taken.get(), all.sum());
        for blob in &self.blobs {
            blob.release();
        }
    }
}

/// Which entry of a refused header is at fault, and what is wrong with it; `None` where no single one is. Entries lie one
/// after the other, and each has as many bytes as its shape and type need.
fn at_fault(bytes: &[u8]) -> Option<(String, String)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let header: Json = serde_json::from_slice(rest.get(..length)?).ok()?;
    let mut entries = Vec::with_capacity(header.len());
    for (name, entry) in header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
    {
        match serde_json::from_value::<TensorInfo>(entry) {
            Ok(entry) => entries.push((name, entry)),
            Err(error) => return Some((name, format!("is described wrongly: {error}"))),
        }
    }
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = 0;
    for (name, entry) in entries {
        let (from, to) = entry.data_offsets;
        if from != end || to < from {
            let reason = format!("has the bytes {from} to {to}; what lies before it ends at {end}");
            return Some((name, reason));
        }
        let bits = entry.dtype.bitsize();
        let bits = entry
            .shape
            .iter()
            .try_fold(bits, |bits, n| bits.checked_mul(*n));
        let bytes = bits.map(|bits| bits / 8);
        if bytes != Some(to - from) {
            let (shape, kind) = (entry.shape, entry.dtype);
            let reason = format!(
                "has {} bytes, which is not what shape {shape:?} of type {kind:?} needs",
                to - from
            );
            return Some((name, reason));
        }
        end = to;
    }
    None
}

/// The files that an index names, each once.
fn shards(files: &Files, map: Option<&Value>) -> Result<Vec<String>, Error> {
    let fail = |reason: &str| Error::Field {
        file: files.path(INDEX),
        field: "weight_map".to_owned(),
        reason: reason.to_owned(),
    };
    let Some(Value::Object(map)) = map else {
        return Err(fail("is missing, or no object from weights to files"));
    };
    let mut names = std::collections::BTreeSet::new();
    for file in map.values() {
        match file.as_str() {
            // A name from a file must not lead out of the folder.
            Some(name) if !name.is_empty() && !name.contains(['/', '\\']) => {
                names.insert(name.to_owned());
            }
            _ => return Err(fail("names something that is no file in this folder")),
        }
    }
    Ok(names.into_iter().collect())
}
