//! How the engine answers, and when calls came. Owns: the ways, and the count of attempts.

use std::time::Duration;

use clap::ValueEnum;
use lps_api::protocol::CallProgress;
use lps_runtime::clock::Clock;
use tokio::sync::watch;

/// What [`Way::Busy`] asks for.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Arrivals that are noted under one way; a count of attempts needs few.
const ARRIVALS_MAX: usize = 1_024;

/// How calls are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// At once, in one piece.
    Whole,
    /// By a stream whose pieces all come at once.
    Burst,
    /// By a stream whose pieces come one after another.
    Paced,
    /// With status 500.
    Error,
    /// With status 429 until the time after the first call is over that its `Retry-After` names; then as `Whole`.
    Busy,
    /// As each call asks: in one piece or by a stream, at once or slowly.
    Asked,
    /// Not: the connection is reset when the call has been read.
    Reset,
    /// Not: connections that are not in use are closed, and new ones refused.
    Refused,
    /// Not, for ever.
    Hang,
}

/// The present way, and the calls that came since it is so.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) way: Way,
    pub(crate) arrivals: Vec<Duration>,
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    page: watch::Sender<Page>,
    reports: watch::Sender<Vec<CallProgress>>,
    clock: Clock,
}

impl Ledger {
    /// Of an engine that answers so.
    pub(crate) fn new(way: Way) -> Self {
        let arrivals = Vec::new();
        Self {
            page: watch::Sender::new(Page { way, arrivals }),
            reports: watch::Sender::new(Vec::new()),
            clock: Clock::start(),
        }
    }

    /// Answers otherwise from now on, and forgets what came before.
    pub(crate) fn turn(&self, way: Way) {
        let arrivals = Vec::new();
        self.page.send_replace(Page { way, arrivals });
    }

    /// To wait for another way, or to read the page.
    pub(crate) fn pages(&self) -> watch::Receiver<Page> {
        self.page.subscribe()
    }

    /// A call came: how it is answered.
    pub(crate) fn arrived(&self) -> Way {
        let now = self.clock.now();
        let mut way = Way::Whole;
        // Nobody waits for arrivals, so nobody is woken.
        self.page.send_if_modified(|page| {
            if page.arrivals.len() < ARRIVALS_MAX {
                page.arrivals.push(now);
            }
            let is_free = page.way == Way::Busy && now >= page.arrivals[0] + RETRY_AFTER;
            way = if is_free { Way::Whole } else { page.way };
            false
        });
        way
    }

    /// A call's figures, for the next line of an event stream.
    pub(crate) fn report(&self, progress: CallProgress) {
        self.reports.send_if_modified(|reports| {
            reports.push(progress);
            false
        });
    }

    /// The figures since the last time.
    pub(crate) fn take_reports(&self) -> Vec<CallProgress> {
        self.reports.send_replace(Vec::new())
    }
}
