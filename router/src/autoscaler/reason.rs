//! What was decided, and why. Owns: the words of reasons, which users, metrics and the resource's status see. A word
//! never changes its meaning.

use lps_api::quantity::Micros;

/// Why so many engines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// As many as there are, are enough and not too many.
    Steady,
    /// More: the calls of the last minute are too many.
    Load,
    /// More, and none goes: within seconds calls came for twice the engines.
    Burst,
    /// More: quiet programs are expected to call before an engine could start.
    Prewarm,
    /// Calls came and there is no engine.
    FromZero,
    /// A live program keeps the last engine.
    LivePrograms,
    /// More: by the rule `Queue`, so many calls wait.
    Queue,
    /// One less: fewer were enough for a while.
    LessLoad,
    /// One less: nothing was live for a while.
    Idle,
    /// The number was outside of `min` and `max`.
    Bounds,
    /// More would be wanted than `max`.
    AtMaximum,
    /// More are wanted, but so many were asked for just now.
    StepLimit,
    /// Engines that were asked for do not come; more would not either.
    StartsLate,
    /// Fewer are enough, but the router, the settings or a rollout are too recent.
    Settling,
    /// Fewer are enough, but one still drains.
    Draining,
    /// Fewer are enough on the whole, but the calls or contexts of now would not fit well.
    TooFull,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Steady,
        Self::Load,
        Self::Burst,
        Self::Prewarm,
        Self::FromZero,
        Self::LivePrograms,
        Self::Queue,
        Self::LessLoad,
        Self::Idle,
        Self::Bounds,
        Self::AtMaximum,
        Self::StepLimit,
        Self::StartsLate,
        Self::Settling,
        Self::Draining,
        Self::TooFull,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "Steady",
            Self::Load => "Load",
            Self::Burst => "Burst",
            Self::Prewarm => "Prewarm",
            Self::FromZero => "FromZero",
            Self::LivePrograms => "LivePrograms",
            Self::Queue => "Queue",
            Self::LessLoad => "LessLoad",
            Self::Idle => "Idle",
            Self::Bounds => "Bounds",
            Self::AtMaximum => "AtMaximum",
            Self::StepLimit => "StepLimit",
            Self::StartsLate => "StartsLate",
            Self::Settling => "Settling",
            Self::Draining => "Draining",
            Self::TooFull => "TooFull",
        }
    }

    /// The same in words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Steady => "the engines are enough and not too many",
            Self::Load => "the calls of the last minute need more",
            Self::Burst => {
                "calls for twice the engines came within seconds; none goes for a minute"
            }
            Self::Prewarm => "quiet programs are expected to call before an engine could start",
            Self::FromZero => "calls came and there was no engine",
            Self::LivePrograms => "a live program keeps the last engine",
            Self::Queue => "so many calls wait",
            Self::LessLoad => "fewer were enough for as long as scaleDownDelay",
            Self::Idle => "no program was live for as long as idleAfter, or two starts",
            Self::Bounds => "scaling.min asks for more engines, or scaling.max for fewer",
            Self::AtMaximum => "more would be wanted than max",
            Self::StepLimit => "more are wanted; the last step was less than 15 s ago",
            Self::StartsLate => "engines start for twice as long as usual; more would not help",
            Self::Settling => {
                "fewer are enough; the router, the settings or a rollout are younger than a minute"
            }
            Self::Draining => "fewer are enough; an engine still drains",
            Self::TooFull => "one less would be more than 80 % full of calls or contexts",
        }
    }
}

/// What is to be, as of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Engines to ask for. In a dry run those that are asked for now.
    pub desired: u32,
    /// Engines decided for: `desired`, or in a dry run what it would be.
    pub to: u32,
    /// Engines that the load of now calls for, before bounds, delays and steps.
    pub recommended: u32,
    /// Engines that are up, and those that start and are not late.
    pub capacity: u32,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the figures that led to it.
    pub text: String,
    /// Whether this is a new change; it stands first in the history then.
    pub changed: bool,
}

/// A change of the number of engines; in a dry run one that would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, since the process started.
    pub at: Micros,
    /// Engines before.
    pub from: u32,
    /// Engines wanted since.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the figures that led to it.
    pub text: String,
}
