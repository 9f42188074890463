//! Conversations that were answered: which call goes on from which, where nothing but the messages say so. Owns: the task
//! that remembers them. Messages are read on the request's own task, and only numbers of them are kept.

/// A conversation in numbers.
pub mod digest;
/// Which conversations are remembered.
pub mod table;
/// A chat's messages, as they are written.
pub mod said;

use std::sync::Arc;

use lps_api::ids::TenantId;
use lps_runtime::clock::Clock;

use crate::dispatcher::Ended;
use crate::message::{Before, Origin};
use crate::owner::Owner;
use digest::{Conversation, Digests};
use said::Messages;
use table::Table;

/// A handle to the task; clones are the same.
#[derive(Debug, Clone)]
pub struct Conversations {
    digests: Arc<Digests>,
    table: Owner<Table>,
}

impl Conversations {
    /// Starts the task, which remembers nothing yet.
    pub fn start(clock: Clock) -> Self {
        Self {
            digests: Arc::default(),
            table: Owner::start("conversations", Table::default(), 0, clock),
        }
    }

    /// What a list of messages is in numbers.
    pub fn read(&self, messages: &Messages<'_>) -> Option<Conversation> {
        self.digests.read(messages)
    }

    /// The call that a conversation goes on from, which its client may say it sends again.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn before(
        &self,
        tenant: &TenantId,
        (conversation, is_again): (&Arc<Conversation>, bool),
    ) -> Result<Option<Before>, Ended> {
        if conversation.is_first() {
            return Ok(None);
        }
        let (tenant, conversation) = (tenant.clone(), Arc::clone(conversation));
        let look =
            move |table: &mut Table, now| table.before(&tenant, (&conversation, is_again), now);
        self.table.with(look).await
    }

    /// A call was answered: others may go on from it.
    ///
    /// # Errors
    /// When the router ends.
    pub async fn answered(
        &self,
        tenant: TenantId,
        conversation: Arc<Conversation>,
        origin: Origin,
    ) -> Result<(), Ended> {
        let place = self.table.place().await?;
        place.fill(move |table, now| table.answered(tenant, &conversation, origin, now));
        Ok(())
    }
}
