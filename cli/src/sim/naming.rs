//! How calls come to their programs in a simulation. Owns: running the router's own way to find them over chats as an
//! unchanged client sends them, and what it found of each call.

use std::sync::Arc;

use anyhow::Context as _;
use lps_api::ids::{CallId, ProgramId, TenantId, ThreadId};
use lps_api::quantity::Micros;
use lps_api::tool_call;
use lps_router::conversations::digest::Digests;
use lps_router::conversations::table::Table;
use lps_router::engine_client::wire;
use lps_router::http::ChatSays;
use lps_router::identity::{Fresh, HeaderSays, Identity, Lineage, identify};
use lps_router::message::{Before, CallKey, IdentitySource, Parents, ProgramKey};
use lps_router::search::{Question, Remembered, Search};

use super::clients::At;
use super::record::name;
use super::world::World;
use crate::workload::chats::Chats;

/// Where chats are sent.
const CHATS: &str = "/v1/chat/completions";

/// Who says which program a call is of.
#[derive(Debug, Clone, Copy, Default)]
pub enum Naming {
    /// Its client, with thread and parents.
    #[default]
    Said,
    /// Nobody: each call is a program.
    Alone,
    /// Nobody, but the router looks at the messages.
    Found(Chats),
}

impl Naming {
    /// Whether clients open their programs, and end them.
    pub(super) const fn is_said(self) -> bool {
        matches!(self, Self::Said)
    }
}

/// The router's own way to find where a call belongs that says nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    digests: Digests,
    table: Table,
}

/// Where a call belongs, as far as that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) identity: Identity,
    remembered: Option<Remembered>,
}

impl Finder {
    /// Finds it by what the request says alone. `known` tells of a call by its name at engines.
    pub(crate) fn find(
        &mut self,
        (tenant, said): (&TenantId, &ChatSays<'_>),
        fresh: Fresh,
        known: impl Fn(&CallId) -> Option<Before>,
        now: Micros,
    ) -> anyhow::Result<Found> {
        let identity = identify(&HeaderSays::default(), &said.fields, fresh)?;
        let mut search = Search::new(identity, said.echoes.clone());
        while let Some(question) = search.next(|| self.digests.read(&said.messages()?)) {
            search = match question {
                Question::Echoes(echoes) => search.follow((&echoes, false), &known),
                Question::Conversation(conversation) => {
                    search.go_on_from(self.table.before(tenant, (&conversation, false), now))
                }
            };
        }
        let (identity, remembered) = search.end();
        Ok(Found {
            identity,
            remembered,
        })
    }

    /// A call was answered.
    pub(crate) fn answered(&mut self, tenant: &TenantId, found: &Found, now: Micros) {
        if let Some(Remembered {
            conversation,
            origin,
        }) = found.remembered.clone()
        {
            self.table
                .answered(tenant.clone(), &conversation, origin, now);
        }
    }
}

/// Where a call of the workload was put.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) at: At,
    pub(crate) call: CallId,
    pub(crate) program: Arc<ProgramKey>,
    pub(crate) thread: ThreadId,
    /// As the state is told.
    pub(super) parents: Parents,
    /// As the state takes it.
    pub(crate) depends_on: Vec<CallId>,
    pub(crate) source: IdentitySource,
}

impl World<'_> {
    /// Puts a call that is sent now where its client says, or where it is found to belong.
    pub(super) fn put(&mut self, at: At, key: CallKey) -> anyhow::Result<Put> {
        let spec = &self.workload.programs[at.0];
        let call = &spec.calls[at.1];
        let id = name(key)?;
        let fresh = ProgramId::parse(&format!("program-{}", key.0))?;
        let mut put = Put {
            at,
            call: id.clone(),
            program: Arc::clone(&self.programs[at.0]),
            thread: call.thread.clone(),
            parents: Parents::Unsaid,
            depends_on: Vec::new(),
            source: IdentitySource::Headers,
        };
        match self.setup.naming {
            Naming::Said if call.says_parents => {
                let parents = call.parents.iter();
                let names = parents.map(|parent| name(self.keys[&(at.0, *parent)]));
                put.parents = Parents::Named(names.collect::<anyhow::Result<_>>()?);
            }
            Naming::Said => {}
            Naming::Alone => {
                put.program = self.own(at, fresh);
                put.thread = ThreadId::main();
                put.source = IdentitySource::Single;
            }
            Naming::Found(chats) => {
                let found = self.find(at, chats, (id, fresh))?;
                let identity = found.identity.clone();
                self.found.insert(at, found);
                put.program = self.own(at, identity.program);
                put.thread = identity.thread;
                put.source = identity.source;
                if let Lineage::Calls(parents) = identity.lineage {
                    put.parents = parents;
                }
            }
        }
        put.depends_on = match &put.parents {
            Parents::Named(parents) => parents.clone(),
            Parents::Unsaid => {
                let last = self.state.last_call(&put.program, &put.thread);
                last.into_iter().collect()
            }
        };
        Ok(put)
    }

    fn own(&self, at: At, program: ProgramId) -> Arc<ProgramKey> {
        let tenant = self.workload.programs[at.0].tenant.clone();
        Arc::new(ProgramKey { tenant, program })
    }

    fn find(
        &mut self,
        at: At,
        chats: Chats,
        (call, program): (CallId, ProgramId),
    ) -> anyhow::Result<Found> {
        let tenant = &self.workload.programs[at.0].tenant;
        let asked_by = |earlier: usize| {
            let key = *self.keys.get(&(at.0, earlier))?;
            Some(tool_call::id(&wire::name(&name(key).ok()?, key), 0, 0))
        };
        let body = chats.body(self.workload, at, asked_by);
        let said = ChatSays::read(CHATS, &body).context("the router would refuse this request")?;
        let known = |wire: &CallId| {
            let (name, key) = wire::split(wire)?;
            self.state.before(tenant, (&name, key))
        };
        let fresh = Fresh { program, call };
        self.finder.find((tenant, &said), fresh, known, self.now)
    }

    /// A call was answered: others may go on from it.
    pub(super) fn found_answered(&mut self, at: At) {
        if let Some(found) = self.found.get(&at) {
            let tenant = &self.workload.programs[at.0].tenant;
            self.finder.answered(tenant, found, self.now);
        }
    }
}
