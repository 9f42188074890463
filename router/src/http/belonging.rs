//! Where a call belongs whose client did not say so. Owns: asking those who may know, the surest first.

use std::sync::Arc;

use lps_api::ids::TenantId;

use crate::conversations::Conversations;
use crate::conversations::digest::Conversation;
use crate::dispatcher::View;
use crate::echoes::Echoes;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::identity::Identity;
use crate::message::Origin;

/// A call that others may go on from, once it is answered.
pub(super) struct Said {
    conversations: Conversations,
    tenant: TenantId,
    conversation: Arc<Conversation>,
    origin: Origin,
}

/// Finds it: by what the conversation echoes of us, else by the conversation itself. Gives back, too, what is to be
/// remembered of a call that is found by nothing better.
pub(super) async fn find(
    context: &Context,
    (mut identity, tenant): (Identity, &TenantId),
    (echoes, messages): (Option<Echoes>, Option<&str>),
) -> Result<(Identity, Option<Said>), Error> {
    if let Some(echoes) = echoes.filter(|_| identity.may_follow()) {
        let whose = tenant.clone();
        let look = move |view: View<'_>| {
            identity.follow(&echoes, |call| view.origin(&whose, call));
            identity
        };
        identity = context.dispatcher.read(look).await?;
    }
    let messages = messages.filter(|_| identity.is_alone());
    let conversation = messages.and_then(|messages| context.conversations.read(messages));
    let Some(conversation) = conversation.map(Arc::new) else {
        return Ok((identity, None));
    };
    let before = context.conversations.before(tenant, &conversation).await?;
    if let Some(before) = before {
        identity.go_on_from(before.origin, before.is_fork);
    }
    let said = Said {
        conversations: context.conversations.clone(),
        tenant: tenant.clone(),
        conversation,
        origin: Origin {
            program: identity.program.clone(),
            thread: identity.thread.clone(),
            call: identity.call.clone(),
        },
    };
    Ok((identity, Some(said)))
}

impl Said {
    /// It was answered. Where nobody takes it down any more, the router ends.
    pub(super) async fn answered(self) {
        let (tenant, conversation) = (self.tenant, self.conversation);
        let told = self
            .conversations
            .answered(tenant, conversation, self.origin);
        let _ = told.await;
    }
}
