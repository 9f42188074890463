//! One run of an agent or workflow. Owns: what the router is told about it, and what it tells.

use std::sync::Arc;

use lps_api::ids::{ProgramId, ThreadId};
use serde::Serialize;
use serde_json::json;

use crate::error::Error;
use crate::run::Run;
use crate::stats::Stats;
use crate::thread::Thread;
use crate::wire::Wire;

/// What is said of a program when it is opened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Opening {
    /// What programs of its kind are called: the router learns by it.
    pub class: Option<String>,
    /// Its own name; the router makes one where there is none.
    pub id: Option<String>,
    /// How long it lives without a call, in seconds.
    pub ttl_s: Option<f64>,
    /// The program that it is a part of.
    pub parent: Option<ProgramId>,
    /// Whether that one waits for it: then its calls are that one's.
    pub blocking: bool,
}

impl Opening {
    /// A program of this class, and nothing else said.
    pub fn of(class: &str) -> Self {
        Self {
            class: Some(class.to_owned()),
            ..Self::default()
        }
    }
}

/// A program that is open. The router ends one by itself that is dropped and silent.
#[derive(Debug)]
pub struct Program {
    run: Arc<Run>,
}

impl Program {
    pub(crate) async fn open(wire: Wire, opening: &Opening) -> Result<Self, Error> {
        let row: Stats = wire.post("/programs", opening).await?;
        let run = Arc::new(Run::new(wire, row.id));
        Ok(Self { run })
    }

    /// Its name.
    pub fn id(&self) -> &ProgramId {
        &self.run.id
    }

    /// A thread that depends on nothing.
    pub fn thread(&self, name: ThreadId) -> Thread {
        Thread::new(Arc::clone(&self.run), name, Vec::new())
    }

    /// Its row and its calls.
    ///
    /// # Errors
    /// When the router does not answer, or does not know the program any more.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.run.wire.get(&self.path("")).await
    }

    /// Ends it: its open calls finish, and no others come.
    ///
    /// # Errors
    /// When the router does not answer, or does not know the program any more.
    pub async fn end(&self) -> Result<Stats, Error> {
        self.run.wire.post(&self.path("/end"), &json!({})).await
    }

    /// Ends it, and cancels its open calls.
    ///
    /// # Errors
    /// When the router does not answer, or does not know the program any more.
    pub async fn cancel(&self) -> Result<Stats, Error> {
        self.run.wire.post(&self.path("/cancel"), &json!({})).await
    }

    fn path(&self, of: &str) -> String {
        // Of what an id may have, only this means something in a path.
        let id = self.run.id.as_str().replace('/', "%2F");
        format!("/programs/{id}{of}")
    }
}
