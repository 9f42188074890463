//! Where a call belongs whose client did not say so. Owns: who is asked, the surest first: what its conversation echoes of
//! us, else the conversation itself. Pure: it says what to look up, and is told what was found.

use std::sync::Arc;

use lps_api::ids::CallId;

use crate::conversations::digest::Conversation;
use crate::echoes::Echoes;
use crate::identity::Identity;
use crate::message::{Before, Origin};

/// What is looked up next.
#[derive(Debug)]
pub enum Question {
    /// The calls that it echoes ([`Search::follow`]).
    Echoes(Echoes),
    /// The call that its conversation goes on from ([`Search::go_on_from`]).
    Conversation(Arc<Conversation>),
}

/// A call that is looked for.
#[derive(Debug)]
pub struct Search {
    identity: Identity,
    echoes: Option<Echoes>,
    conversation: Option<Arc<Conversation>>,
    is_read: bool,
}

/// What is remembered of a call once it is answered, so that others may go on from it.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// What it was asked.
    pub conversation: Arc<Conversation>,
    /// Where it belongs.
    pub origin: Origin,
}

impl Search {
    /// Begins with what its client says of it, and what it echoes of us.
    pub const fn new(identity: Identity, echoes: Option<Echoes>) -> Self {
        Self {
            identity,
            echoes,
            conversation: None,
            is_read: false,
        }
    }

    /// What could say more; nothing when all is known. `read` reads its messages, which is not done without need.
    pub fn next(&mut self, read: impl FnOnce() -> Option<Conversation>) -> Option<Question> {
        let echoes = self.echoes.take();
        if let Some(echoes) = echoes.filter(|_| self.identity.may_follow()) {
            return Some(Question::Echoes(echoes));
        }
        if self.is_read || !self.identity.is_alone() {
            return None;
        }
        self.is_read = true;
        self.conversation = read().map(Arc::new);
        self.conversation.clone().map(Question::Conversation)
    }

    /// `known` tells what is known of each call that it echoes. A request that comes again is no second way on.
    #[must_use]
    pub fn follow(
        mut self,
        (echoes, is_again): (&Echoes, bool),
        known: impl Fn(&CallId) -> Option<Before>,
    ) -> Self {
        self.identity.follow(echoes, |call| {
            let before = known(call)?;
            Some(Before {
                is_fork: before.is_fork && !is_again,
                ..before
            })
        });
        self
    }

    /// It goes on from this call, if from any.
    #[must_use]
    pub fn go_on_from(mut self, before: Option<Before>) -> Self {
        if let Some(before) = before {
            self.identity.go_on_from(before);
        }
        self
    }

    /// Where it belongs; and what is to be remembered of a call that is found by nothing better than its messages.
    pub fn end(self) -> (Identity, Option<Remembered>) {
        let origin = self.identity.origin();
        let remembered = self.conversation.map(|conversation| Remembered {
            conversation,
            origin,
        });
        (self.identity, remembered)
    }
}
