//! How many engines a model should have. Owns: the rule. Pure: it knows no clock and no engine.
//!
//! The rule: one engine for every `threshold` waiting calls, rounded up, but never fewer than the engines that hold a
//! call now (an engine that works is not given up because its queue is short), inside `[min, max]`.

use crate::discovery::Scaling;

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Calls that are ready and at no engine.
    pub waiting: u32,
    /// Engines that hold at least one call.
    pub busy_engines: u32,
}

/// Engines that the model should have.
pub fn desired(load: Load, scaling: Scaling) -> u32 {
    let for_the_queue = load.waiting.div_ceil(scaling.threshold.max(1));
    let max = scaling.max.max(scaling.min);
    for_the_queue.max(load.busy_engines).clamp(scaling.min, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_asks_and_the_bounds_and_the_busy_decide() {
        let scaling = Scaling {
            threshold: 4,
            min: 1,
            max: 3,
        };
        let from_zero = Scaling { min: 0, ..scaling };
        for (waiting, busy_engines, scaling, expected) in [
            (0, 0, scaling, 1),
            (0, 0, from_zero, 0),
            (1, 0, from_zero, 1),
            (4, 0, scaling, 1),
            (5, 0, scaling, 2),
            (12, 0, scaling, 3),
            (13, 0, scaling, 3),
            (u32::MAX, 0, scaling, 3),
            (0, 2, scaling, 2),
            (0, 5, scaling, 3),
            (5, 1, scaling, 2),
            (9, 1, Scaling::fixed(2), 2),
            (
                0,
                0,
                Scaling {
                    threshold: 0,
                    min: 0,
                    max: 8,
                },
                0,
            ),
            (
                3,
                0,
                Scaling {
                    threshold: 0,
                    min: 0,
                    max: 8,
                },
                3,
            ),
        ] {
            let load = Load {
                waiting,
                busy_engines,
            };
            assert_eq!(desired(load, scaling), expected, "{load:?} {scaling:?}");
        }
    }
}
