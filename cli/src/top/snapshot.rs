//! What a router says at one time. Owns: which of its answers are read, and how long that may take.

use std::time::Duration;

use hyper::StatusCode;
use lps_api::ids::TenantId;
use serde::Serialize;
use serde_json::Value;

use crate::client::{Client, Error, path_part};

/// How long a router may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What programs are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Sort {
    /// Time that its calls waited
    #[default]
    Wait,
    /// Attained service
    Service,
    /// The longest chain of its calls' service
    CriticalPath,
    /// The oldest first
    Arrival,
}

impl Sort {
    /// As the router knows it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Service => "service",
            Self::CriticalPath => "critical_path",
            Self::Arrival => "arrival",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Wait => Self::Service,
            Self::Service => Self::CriticalPath,
            Self::CriticalPath => Self::Arrival,
            Self::Arrival => Self::Wait,
        }
    }
}

/// What a router is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ask {
    pub(super) sort: Sort,
    /// Whether programs that have ended are wanted.
    pub(super) with_ended: bool,
    /// The program whose calls are wanted.
    pub(super) program: Option<Name>,
}

/// A program: its id is its tenant's own, and may have been another's before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) tenant: TenantId,
    pub(super) id: String,
    generation: Option<u64>,
}

impl Name {
    /// That of a row.
    pub(super) fn of(row: &Value) -> Option<Self> {
        Some(Self {
            tenant: TenantId::parse(row["tenant"].as_str()?).ok()?,
            id: row["id"].as_str()?.to_owned(),
            generation: row["generation"].as_u64(),
        })
    }

    /// Whether a row is its.
    pub(super) fn is_of(&self, row: &Value) -> bool {
        Self::of(row).as_ref() == Some(self)
    }

    /// Whether a row is of its name, which the router takes for the latest that had it.
    fn is_like(&self, row: &Value) -> bool {
        row["tenant"] == self.tenant.as_str() && row["id"] == self.id
    }
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Snapshot {
    pub(super) models: Vec<Value>,
    pub(super) engines: Vec<Value>,
    pub(super) programs: Vec<Value>,
    /// Whether there are more programs than it lists.
    pub(super) has_more: bool,
    /// The program whose calls are wanted; `None` where it knows none of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) program: Option<Value>,
}

impl Snapshot {
    /// Reads all that is asked for.
    ///
    /// # Errors
    /// When the router does not answer, or not in time.
    pub(super) async fn read(client: &Client, ask: &Ask) -> Result<Self, Error> {
        let read = tokio::time::timeout(ANSWER_TIMEOUT, Self::read_all(client, ask)).await;
        read.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                url: client.url().to_owned(),
                cause: format!("no answer in {} s", ANSWER_TIMEOUT.as_secs()),
            })
        })
    }

    async fn read_all(client: &Client, ask: &Ask) -> Result<Self, Error> {
        let states = if ask.with_ended {
            ""
        } else {
            "&state=live,in_tool,ending"
        };
        let path = format!("/v1/programs?sort={}{states}", ask.sort.as_str());
        let (models, engines, programs, program) = tokio::try_join!(
            client.get("/v1/models"),
            client.get("/v1/engines"),
            client.get(&path),
            one(client, ask.program.as_ref()),
        )?;
        Ok(Self {
            models: list(models),
            engines: list(engines),
            has_more: programs["has_more"] == true,
            programs: list(programs),
            program,
        })
    }
}

fn list(mut answer: Value) -> Vec<Value> {
    match answer["data"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

async fn one(client: &Client, program: Option<&Name>) -> Result<Option<Value>, Error> {
    let Some(program) = program else {
        return Ok(None);
    };
    let path = format!("/v1/programs/{}", path_part(&program.id));
    let told = client
        .clone()
        .of_tenant(Some(program.tenant.clone()))
        .get(&path)
        .await;
    match told {
        Err(Error::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
        told => told.map(Some),
    }
}

/// What is known of a router.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where it is.
    pub(super) url: String,
    /// The last that it said.
    pub(super) last: Option<Snapshot>,
    /// Why it says nothing since.
    pub(super) problem: Option<String>,
}

impl Known {
    pub(super) fn told(&mut self, said: Result<Snapshot, Error>) {
        match said {
            Ok(snapshot) => (self.last, self.problem) = (Some(snapshot), None),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    pub(super) fn programs(&self) -> &[Value] {
        self.last.as_ref().map_or(&[], |last| &last.programs)
    }

    /// A program with its calls, once it was asked for.
    pub(super) fn program(&self, name: &Name) -> Option<&Value> {
        let program = self.last.as_ref()?.program.as_ref();
        program.filter(|whole| name.is_like(whole))
    }

    /// Its calls: those that wait, those that run, the others; of each the last one first.
    pub(super) fn calls(&self, program: &Name) -> Vec<&Value> {
        let whole = self.program(program);
        let calls = whole.and_then(|whole| whole["calls"].as_array());
        let mut calls: Vec<&Value> = calls.into_iter().flatten().rev().collect();
        calls.sort_by_key(|call| match call["state"].as_str() {
            Some("pending") => 0,
            Some("running") => 1,
            _ => 2,
        });
        calls
    }
}
