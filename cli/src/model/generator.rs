//! Random weights that are a function of seed, name and place alone, so that a checkpoint is its recipe: no file needs
//! to be kept. `tests/goldens/weights.py` computes the same numbers with numpy. Owns: the function.

use super::shape::{Role, Weight};

/// FNV-1a, 64 bits.
fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The numbers of one weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generator {
    key: u64,
    mean: f64,
    /// What the sum of four 16-bit numbers, less its mean, is multiplied with.
    factor: f64,
}

impl Generator {
    /// Products enlarge a little what passes through them, and embeddings are small beside it: so every layer counts,
    /// texts depend on all of their context, and even a tied model does not repeat itself. Logits have a standard
    /// deviation near 1.
    pub(super) fn new(seed: u64, weight: &Weight) -> Self {
        let inputs = match weight.role {
            Role::TransposedProduct => weight.shape.first(),
            _ => weight.shape.last(),
        };
        let inputs = inputs.copied().unwrap_or(1) as f64;
        let (mean, deviation) = match weight.role {
            Role::Vocabulary => (0.0, 1.0 / inputs.sqrt()),
            Role::ScaledVocabulary => (0.0, 0.25 / inputs.sqrt()),
            Role::Product | Role::TransposedProduct => (0.0, 1.5 / inputs.sqrt()),
            Role::Norm => (1.0, 0.1),
            Role::NormLessOne | Role::Bias => (0.0, 0.1),
        };
        Self {
            key: mix(seed ^ hash_name(&weight.name)),
            mean,
            // A sum of four uniform 16-bit numbers has a standard deviation of 65536 / sqrt(3).
            factor: deviation * 3_f64.sqrt() / 65_536.0,
        }
    }

    /// The number at a place. The same to the last bit on every machine: integers, then one product and one sum.
    pub(super) fn at(&self, index: u64) -> f32 {
        let bits = mix(self.key.wrapping_add(index));
        let sum = (0..4)
            .map(|part| (bits >> (16 * part)) & 0xffff)
            .sum::<u64>();
        (self.mean + (sum as i64 - 131_070) as f64 * self.factor) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(role: Role) -> Generator {
        let weight = Weight {
            name: "a".to_owned(),
            shape: vec![64, 64],
            role,
        };
        Generator::new(7, &weight)
    }

    #[test]
    fn numbers_are_those_that_numpy_computes() {
        // From `tests/goldens/weights.py`: numbers(7, "a", (64, 64), role)[[0, 1, 4095]].
        let expected = [
            [-0.099_108_74, 0.124_852_24, 0.101_834_23],
            [0.947_142, 1.066_587_8, 1.054_311_6],
        ];
        let found = [Role::Product, Role::Norm]
            .map(|role| [0, 1, 4095].map(|index| generator(role).at(index)));
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_have_the_size_that_was_asked_for() {
        let values: Vec<f64> = (0..4096)
            .map(|i| f64::from(generator(Role::Product).at(i)))
            .collect();
        let mean = values.iter().sum::<f64>() / 4096.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4096.0;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.1875).abs() < 0.005, "{variance}");
    }
}
