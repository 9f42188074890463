//! Where engines live. Owns: the seam to pods of a cluster and to processes of one machine. It decides nothing.

use std::future::Future;

use lps_api::ids::EngineId;

use crate::plan::{DeleteReason, EngineSpec, ObservedEngine};

/// The engines of one pool, wherever they live.
pub trait EngineHome {
    /// Why something could not be done.
    type Error: std::error::Error + Send + Sync + 'static;

    /// All engines that there are, those that ended by themselves included until they are deleted.
    fn list(&mut self) -> impl Future<Output = Result<Vec<ObservedEngine>, Self::Error>> + Send;

    /// Starts an engine; returns before it is ready.
    fn create(&mut self, spec: EngineSpec) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Lets no new call reach an engine, or (`false`) lets calls reach it again.
    fn drain(
        &mut self,
        id: &EngineId,
        drain: bool,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends an engine, or forgets one that ended; returns before it is gone.
    fn delete(
        &mut self,
        id: &EngineId,
        reason: DeleteReason,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
