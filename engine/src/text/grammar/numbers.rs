//! Numbers that a grammar can count in. Owns: which bounds and steps of a schema those are. `llguidance` reads bounds as `f64`
//! and counts whole numbers in `i64`; of multiples it keeps a state for each remainder, with neither time nor memory bounded.

use serde_json::Value;

use super::{GrammarError, closed};

/// Largest bound that is still one in `i64`: the last `f64` before 2^63.
const BOUND_MAX: i64 = i64::MAX - 1023;
/// Whole numbers below are exact in `f64`: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// Remainders that are told apart at most, of all steps of a schema together. The library multiplies two of them in `u32`.
const REMAINDERS_MAX: u64 = u16::MAX as u64;
/// Places behind the point of a step, at most, for the same reason.
const PLACES_MAX: u32 = 8;

/// Bounds of the kind "at least".
const LOWER: [&str; 2] = ["minimum", "exclusiveMinimum"];
/// Bounds of the kind "at most".
const UPPER: [&str; 2] = ["maximum", "exclusiveMaximum"];
/// What puts schemas together, or lets a text follow several, beside what [`closed`] knows.
const TOGETHER: [&str; 5] = ["anyOf", "oneOf", "not", "if", "dependentSchemas"];
/// Whose values are texts' own.
const VALUES: [&str; 2] = ["const", "enum"];
/// Whose values are no schemas, whatever they look like, and no texts' own either.
const REMARKS: [&str; 2] = ["default", "examples"];
/// Whose fields are names, and their values schemas.
const BY_NAME: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Narrows bounds that are further out than can be counted, as those of a 64-bit number are, to the last that can: whatever
/// has the narrower form has the wider. Recursion goes as deep as the schema does.
///
/// # Errors
/// When a reference is to no schema, nothing can be counted within a bound, the steps are too large, or have too many places, to be told apart, or a value is
/// a number that would not be written as it is.
pub(super) fn fit(schema: &mut Value) -> Result<(), GrammarError> {
    let mut steps = Vec::new();
    fit_all(schema, &mut steps)?;
    if !closed::composes(schema) && !puts_together(schema) {
        return Ok(());
    }
    // They are followed at once then: as if all were one.
    let places = steps.iter().map(|step: &Step| step.places).max();
    let mut together = 1;
    for step in &steps {
        let units = step.digits * 10_u64.pow(places.unwrap_or(0) - step.places);
        together = lcm(together, units);
        if together > REMAINDERS_MAX {
            let text = format!("multipleOf: {}, together with the others", step.number);
            return Err(GrammarError::Number(text));
        }
    }
    Ok(())
}

fn puts_together(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| TOGETHER.contains(&name.as_str()) || puts_together(value)),
        Value::Array(schemas) => schemas.iter().any(puts_together),
        _ => false,
    }
}

/// What numbers are multiples of.
struct Step {
    /// As it was said.
    number: f64,
    /// Without its point; at most [`REMAINDERS_MAX`].
    digits: u64,
    /// Behind the point; at most [`PLACES_MAX`].
    places: u32,
}

fn fit_all(schema: &mut Value, steps: &mut Vec<Step>) -> Result<(), GrammarError> {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(schemas) => return schemas.iter_mut().try_for_each(|one| fit_all(one, steps)),
        _ => return Ok(()),
    };
    for (name, value) in fields {
        let name = name.as_str();
        let refused = |number: f64| GrammarError::Number(format!("{name}: {number}"));
        if VALUES.contains(&name) {
            are_exact(value)?;
        } else if let Some(number) = value.as_f64() {
            if name == "multipleOf" {
                steps.push(step(number).ok_or_else(|| refused(number))?);
            } else if LOWER.contains(&name) {
                narrow(value, number, -1).ok_or_else(|| refused(number))?;
            } else if UPPER.contains(&name) {
                narrow(value, number, 1).ok_or_else(|| refused(number))?;
            }
        } else if let (true, Value::Object(schemas)) = (BY_NAME.contains(&name), &mut *value) {
            let mut schemas = schemas.values_mut();
            schemas.try_for_each(|one| fit_all(one, steps))?;
        } else if let ("$ref", Value::String(path)) = (name, &mut *value) {
            is_to_a_schema(path)?;
        } else if !REMARKS.contains(&name) {
            fit_all(value, steps)?;
        }
    }
    Ok(())
}

/// Refuses references to values that only look like schemas: nothing here looks at them.
fn is_to_a_schema(path: &str) -> Result<(), GrammarError> {
    let mut steps = path.split('/').skip(1).peekable();
    // A definition may have any name.
    if steps
        .next_if(|step| *step == "$defs" || *step == "definitions")
        .is_some()
    {
        steps.next();
    }
    let is_value = |step: &str| VALUES.contains(&step) || REMARKS.contains(&step);
    match steps.any(is_value) {
        true => Err(GrammarError::Form(format!(
            "$ref: {path}: it is to no schema"
        ))),
        false => Ok(()),
    }
}

/// Refuses numbers that may be written as others, since the library reads them as `f64`: those that have neighbours there
/// which are not the next whole numbers.
fn are_exact(value: &Value) -> Result<(), GrammarError> {
    match value {
        Value::Array(values) => values.iter().try_for_each(are_exact),
        Value::Object(fields) => fields.values().try_for_each(are_exact),
        Value::Number(number) => {
            let is_sparse = |number: f64| number.abs() >= EXACT_BELOW;
            match number.as_f64().is_some_and(is_sparse) {
                true => Err(GrammarError::Number(number.to_string())),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Narrows a bound that lies outward in this direction; nothing where it lies too far inward.
fn narrow(bound: &mut Value, number: f64, outward: i64) -> Option<()> {
    let (max, out) = (BOUND_MAX as f64, number * outward as f64);
    if out > max {
        *bound = Value::from(BOUND_MAX * outward);
    }
    (out >= -max).then_some(())
}

fn step(number: f64) -> Option<Step> {
    let (mut digits, mut places) = (number, 0);
    // As the library moves the point, so that both find as many places.
    while digits.fract() != 0.0 && places < PLACES_MAX {
        digits *= 10.0;
        places += 1;
    }
    let is_counted = digits.fract() == 0.0 && (1.0..=REMAINDERS_MAX as f64).contains(&digits);
    is_counted.then_some(Step {
        number,
        digits: digits as u64,
        places,
    })
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}
