//! A call's priority p. Owns: what each policy reads of the table, once, when the call becomes ready (Autellix,
//! arXiv 2502.13965, equations 1 and 2). Smaller is more urgent.

use lps_api::ids::CallId;
use lps_api::quantity::Micros;
use lps_api::scheduling::{Estimator, Policy, Settings};

use super::call::Call;
use super::row::Row;
use super::{Known, ProcessTable};
use crate::message::Parents;

impl ProcessTable {
    /// p, and whether all parents that it names are known.
    pub(super) fn priority(&self, call: &Call, settings: &Settings) -> (Micros, bool) {
        let Some(row) = self.rows.get(&call.row) else {
            return (Micros::ZERO, true);
        };
        let path = self.path_over_parents(row, call);
        let p = match (settings.policy, settings.estimator) {
            (Policy::Fcfs | Policy::Mlfq, _) => Micros::ZERO,
            (Policy::ProgramFcfs, _) => row.arrived,
            (Policy::Plas | Policy::Gittins, _) => row.service_total(),
            (Policy::Atlas, Estimator::Scalar) => row.critical_path(),
            (Policy::Atlas, Estimator::Dag) => path.unwrap_or_else(|| row.critical_path()),
        };
        (p, path.is_some() || call.parents == Parents::Unsaid)
    }

    /// The longest chain over the call's parents; `None` where a parent is not known, or nothing tells the parents.
    fn path_over_parents(&self, row: &Row, call: &Call) -> Option<Micros> {
        let path = |parent: &CallId| {
            Some(match self.known(row, *row.ids.get(parent)?)? {
                Known::Open(parent) => parent.p + parent.service(),
                Known::Ended(parent) => parent.p + parent.service,
            })
        };
        match &call.parents {
            Parents::Unsaid => path(row.last_call(&call.thread)?),
            Parents::Named(parents) => parents.iter().try_fold(Micros::ZERO, |longest, parent| {
                Some(longest.max(path(parent)?))
            }),
        }
    }
}
