//! Seeded chance. Owns: a generator whose numbers are the same everywhere (SplitMix64, Steele et al. 2014), and the few
//! distributions that workloads need.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly in `least..=most`.
    pub(crate) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + (self.next() % u64::from(most - least + 1)) as u32
    }

    /// Whether what happens with this probability does.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() <= probability
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    fn standard_normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Normal with this mean and standard deviation.
    pub(crate) fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.standard_normal()
    }

    /// Log-normal with this mean; `sigma` is the spread of the logarithm.
    pub(crate) fn log_normal(&mut self, mean: f64, sigma: f64) -> f64 {
        (mean.ln() - sigma * sigma / 2.0 + sigma * self.standard_normal()).exp()
    }

    /// Log-normal with this mean and standard deviation; 0 where the mean is.
    pub(crate) fn log_normal_by(&mut self, mean: f64, deviation: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        self.log_normal(mean, (deviation / mean).powi(2).ln_1p().sqrt())
    }

    /// Log-normal with this median; `sigma` is the spread of the logarithm.
    pub(crate) fn around(&mut self, median: f64, sigma: f64) -> f64 {
        (median.ln() + sigma * self.standard_normal()).exp()
    }

    /// Gamma with this mean and coefficient of variation (Marsaglia and Tsang 2000, with their boost below shape 1).
    pub(crate) fn gamma(&mut self, mean: f64, variation: f64) -> f64 {
        let shape = variation.powi(-2);
        let boost = if shape < 1.0 {
            self.unit().powf(1.0 / shape)
        } else {
            1.0
        };
        let d = (if shape < 1.0 { shape + 1.0 } else { shape }) - 1.0 / 3.0;
        let c = (9.0 * d).sqrt().recip();
        // Each turn is taken with a probability above 0.95.
        loop {
            let x = self.standard_normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * boost * mean / shape;
            }
        }
    }
}
