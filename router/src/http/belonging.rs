//! Where a call belongs whose client did not say so. Owns: asking those who may know.

use lps_api::ids::TenantId;

use crate::conversations::Conversations;
use crate::conversations::said::Messages;
use crate::dispatcher::View;
use crate::echoes::Echoes;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::identity::Identity;
use crate::search::{Question, Remembered, Search};

/// A call that others may go on from, once it is answered.
pub(super) struct Said {
    conversations: Conversations,
    tenant: TenantId,
    remembered: Remembered,
}

/// Finds it. Gives back, too, what is to be remembered of a call that is found by nothing better than its messages.
pub(super) async fn find(
    context: &Context,
    (identity, tenant): (Identity, &TenantId),
    (echoes, messages, is_again): (Option<Echoes>, Option<Messages<'_>>, bool),
) -> Result<(Identity, Option<Said>), Error> {
    let conversations = &context.conversations;
    let mut search = Search::new(identity, echoes);
    while let Some(question) = search.next(|| conversations.read(messages.as_ref()?)) {
        search = match question {
            Question::Echoes(echoes) => {
                let whose = tenant.clone();
                let look = move |view: View<'_>| {
                    search.follow((&echoes, is_again), |call| view.before(&whose, call))
                };
                context.dispatcher.read(look).await?
            }
            Question::Conversation(conversation) => {
                let asked = (&conversation, is_again);
                search.go_on_from(conversations.before(tenant, asked).await?)
            }
        };
    }
    let (identity, remembered) = search.end();
    let said = remembered.map(|remembered| Said {
        conversations: conversations.clone(),
        tenant: tenant.clone(),
        remembered,
    });
    Ok((identity, said))
}

impl Said {
    /// It was answered. Where nobody takes it down any more, the router ends.
    pub(super) async fn answered(self) {
        let Remembered {
            conversation,
            origin,
        } = self.remembered;
        let told = self
            .conversations
            .answered(self.tenant, conversation, origin);
        let _ = told.await;
    }
}
