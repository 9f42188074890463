//! Fields of `config.json`, in both generations of Hugging Face transformers, each checked when it is read. Owns: what a
//! good value is, and the line that is said about a bad one. Knows no family and no tensor.

/// Angles.
pub mod rope;

use serde_json::Value;

use crate::kernels::Activation;
use crate::model::directory::{Json, ModelDirectory};
use crate::model::torch::architecture::LayerKind;
use crate::model::{Dtype, Error};

/// Largest width, and number of heads: fifty times what the largest models have, and small enough that no product of three
/// overflows.
const SIZE_MAX: i64 = 1 << 20;
/// Most layers.
const LAYERS_MAX: i64 = 1 << 12;

/// The fields of one file.
#[derive(Debug)]
pub struct Fields<'a> {
    file: String,
    object: &'a Json,
}

impl<'a> Fields<'a> {
    /// Those of a checkpoint.
    pub fn of(directory: &'a ModelDirectory) -> Self {
        Self {
            file: directory.files.path("config.json"),
            object: &directory.config,
        }
    }

    /// Those of an object, which messages call `file`.
    pub fn of_object(file: &str, object: &'a Json) -> Self {
        Self {
            file: file.to_owned(),
            object,
        }
    }

    /// Refuses a field.
    ///
    /// # Errors
    /// Always: that line.
    pub fn fail<T>(&self, field: &str, reason: String) -> Result<T, Error> {
        let (file, field) = (self.file.clone(), field.to_owned());
        Err(Error::Field {
            file,
            field,
            reason,
        })
    }

    /// A value that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// An object inside of objects; `None` when one of them is not there.
    ///
    /// # Errors
    /// When one of them is something else.
    pub fn object(&self, path: &[&str]) -> Result<Option<Inner<'a>>, Error> {
        let mut object = self.object;
        for (depth, name) in path.iter().enumerate() {
            let full = || path[..=depth].join(".");
            object = match object.get(*name) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(inner)) => inner,
                Some(other) => {
                    return self.fail(&full(), format!("is an object, not {other}"));
                }
            };
        }
        let name = path.join(".");
        Ok(Some(Inner { name, object }))
    }

    /// A text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => self.fail(name, format!("is a string, not {other}")),
        }
    }

    /// A positive number.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) if (1..=i64::from(i32::MAX)).contains(&number) => Ok(Some(number)),
            _ => self.fail(name, format!("is a positive integer, not {value}")),
        }
    }

    /// A positive number that must be there.
    ///
    /// # Errors
    /// When it is not there, or something else.
    pub fn required(&self, name: &str) -> Result<i64, Error> {
        match self.number(name)? {
            Some(number) => Ok(number),
            None => self.fail(name, "is missing".to_owned()),
        }
    }

    /// A width, or a number of heads.
    ///
    /// # Errors
    /// When it is something else, or more than any model has.
    pub fn size(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.number(name)? {
            Some(size) => self.at_most(name, size, SIZE_MAX).map(Some),
            None => Ok(None),
        }
    }

    /// The same, where it must be there.
    ///
    /// # Errors
    /// As [`Fields::size`], and when it is not there.
    pub fn required_size(&self, name: &str) -> Result<i64, Error> {
        let size = self.required(name)?;
        self.at_most(name, size, SIZE_MAX)
    }

    /// The number of layers.
    ///
    /// # Errors
    /// As [`Fields::required_size`].
    pub fn layers(&self, name: &str) -> Result<usize, Error> {
        let layers = self.required(name)?;
        let layers = self.at_most(name, layers, LAYERS_MAX)?;
        Ok(layers.unsigned_abs() as usize)
    }

    fn at_most(&self, name: &str, number: i64, most: i64) -> Result<i64, Error> {
        if number > most {
            return self.fail(name, format!("is {number}; supported are up to {most}"));
        }
        Ok(number)
    }

    /// A positive number with fractions.
    ///
    /// # Errors
    /// When it is something else.
    pub fn float(&self, name: &str) -> Result<Option<f64>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => self.positive(name, value).map(Some),
        }
    }

    /// The same, where a field that is not there has a value and `null` is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn float_or(&self, name: &str, absent: Option<f64>) -> Result<Option<f64>, Error> {
        if self.object.contains_key(name) {
            self.float(name)
        } else {
            Ok(absent)
        }
    }

    fn positive(&self, name: &str, value: &Value) -> Result<f64, Error> {
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => self.fail(name, format!("is a positive number, not {value}")),
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str, absent: bool) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(absent),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.fail(name, format!("is true or false, not {other}")),
        }
    }

    /// A flag for something that is not there.
    ///
    /// # Errors
    /// When it is set.
    pub fn refuse_true(&self, name: &str, supported: &str) -> Result<(), Error> {
        if self.flag(name, false)? {
            return self.fail(name, format!("is true; supported is {supported}"));
        }
        Ok(())
    }

    /// Between the products of the layer between attentions.
    ///
    /// # Errors
    /// When there is no such activation.
    pub fn activation(&self, name: &str, absent: &str) -> Result<Activation, Error> {
        match self.text(name)?.unwrap_or(absent) {
            "silu" => Ok(Activation::Silu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            other => self.fail(
                name,
                format!("is {other:?}; supported are silu, gelu_new and gelu_pytorch_tanh"),
            ),
        }
    }

    /// Type of the weights.
    ///
    /// # Errors
    /// When it is another one.
    pub fn dtype(&self) -> Result<Option<Dtype>, Error> {
        let name = if self.get("dtype").is_some() {
            "dtype"
        } else {
            "torch_dtype"
        };
        match self.text(name)? {
            None => Ok(None),
            Some("float32") => Ok(Some(Dtype::Float32)),
            Some("bfloat16" | "float16") => Ok(Some(Dtype::Bfloat16)),
            Some(other) => self.fail(
                name,
                format!("is {other:?}; supported are float32, bfloat16 and float16"),
            ),
        }
    }

    /// `sliding_window`; null is none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn window(&self, absent: Option<usize>) -> Result<Option<usize>, Error> {
        if !self.object.contains_key("sliding_window") {
            return Ok(absent);
        }
        let window = self.number("sliding_window")?;
        Ok(window.map(|tokens| tokens.unsigned_abs() as usize))
    }

    /// Gives the window to the layers that have it: those that `layer_types` names, or `otherwise`.
    ///
    /// # Errors
    /// When layers are of an unknown type, or have a window that has no size.
    pub fn set_windows(
        &self,
        layers: &mut [LayerKind],
        window: Option<usize>,
        otherwise: impl Fn(usize) -> bool,
    ) -> Result<(), Error> {
        let types = self.layer_types(layers.len())?;
        for (index, layer) in layers.iter_mut().enumerate() {
            let windowed = match &types {
                Some(types) => types[index] == SLIDING,
                None => otherwise(index),
            };
            if windowed && window.is_none() {
                let reason = format!("is not given or not used, but layer {index} has a window");
                return self.fail("sliding_window", reason);
            }
            layer.window = window.filter(|_| windowed);
        }
        Ok(())
    }

    /// For families whose layers are alike: `layer_types` may say so, and nothing else.
    ///
    /// # Errors
    /// When it says something else.
    pub fn layers_all(&self, kind: &str, layers: usize) -> Result<(), Error> {
        let types = self.layer_types(layers)?;
        match types.into_iter().flatten().find(|found| *found != kind) {
            None => Ok(()),
            Some(other) => {
                let reason = format!("has {other:?}; here supported is {kind} for all layers");
                self.fail("layer_types", reason)
            }
        }
    }

    fn layer_types(&self, layers: usize) -> Result<Option<Vec<&'a str>>, Error> {
        const NAME: &str = "layer_types";
        let Some(value) = self.get(NAME) else {
            return Ok(None);
        };
        let Value::Array(list) = value else {
            return self.fail(NAME, format!("is a list, not {value}"));
        };
        if list.len() != layers {
            let reason = format!("has {} entries for {layers} layers", list.len());
            return self.fail(NAME, reason);
        }
        let known = |value: &'a Value| value.as_str().filter(|kind| [FULL, SLIDING].contains(kind));
        let types = list.iter().map(|value| match known(value) {
            Some(kind) => Ok(kind),
            None => self.fail(
                NAME,
                format!("has {value}; supported are {FULL} and {SLIDING}"),
            ),
        });
        types.collect::<Result<_, _>>().map(Some)
    }
}

/// Types of layers.
pub const FULL: &str = "full_attention";
/// As above.
pub const SLIDING: &str = "sliding_attention";

/// An object inside of the file.
#[derive(Debug)]
pub struct Inner<'a> {
    /// With dots.
    name: String,
    object: &'a Json,
}
