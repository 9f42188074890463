//! Quantities. Owns: the units. Integers only, so that the same events give the same schedule everywhere.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[doc = $doc:literal])+ $name:ident($number:ty)) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[derive(Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub $number);
    };
}

quantity! {
    /// Microseconds: of service, of waiting, or since the process started (`now`).
    Micros(u64)
}

impl Micros {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than any wait.
    pub const MAX: Self = Self(u64::MAX);

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds * 1_000)
    }

    /// Seconds as a float, rounded to the nearest microsecond; negative and non-finite values give `None`.
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        (0.0..1.0e12)
            .contains(&seconds)
            .then(|| Self((seconds * 1.0e6).round() as u64))
    }

    /// Seconds, for people and files.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1.0e6
    }

    /// As the standard library's duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// `self - other`, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self + other`, or the largest value.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

quantity! {
    /// A number of tokens.
    Tokens(u32)
}

quantity! {
    /// Which try of a call this is: 0 for the first.
    Attempt(u32)
}

/// A call's place among all calls of a pool. Smaller runs first: the queue outranks the rank, because a better
/// queue means less attained service, and the rank only says who came first inside it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Order {
    /// 0 for queue 1, the most urgent.
    pub queue: u8,
    /// Place in the queue; unique among the calls of a pool. Negative places stand before all that came in order.
    pub rank: i64,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.queue, self.rank)
    }
}

/// An order that is not of the form `QUEUE,RANK`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an order is QUEUE,RANK (0..=255, an integer), not {0:?}")]
pub struct OrderError(String);

impl std::str::FromStr for Order {
    type Err = OrderError;
    fn from_str(text: &str) -> Result<Self, OrderError> {
        let parsed = text.split_once(',').and_then(|(queue, rank)| {
            Some(Self {
                queue: queue.trim().parse().ok()?,
                rank: rank.trim().parse().ok()?,
            })
        });
        parsed.ok_or_else(|| OrderError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_outranks_the_rank() {
        assert!(Order { queue: 0, rank: 9 } < Order { queue: 1, rank: -9 });
        assert_eq!("1,-9".parse(), Ok(Order { queue: 1, rank: -9 }));
        assert!("1".parse::<Order>().is_err());
    }

    #[test]
    fn seconds_that_are_no_time_are_refused() {
        assert_eq!(Micros::from_secs_f64(1.5), Some(Micros(1_500_000)));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Micros::from_secs_f64(bad), None);
        }
    }
}
