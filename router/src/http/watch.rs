//! Watching programs. Owns: the stream of what changes, its words, and that who reads slowly is told so instead of being
//! waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use lps_api::ids::{ProgramId, TenantId};
use lps_runtime::shutdown::Shutdown;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Sleep;

use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Query;
use crate::http::gate::Scope;
use crate::state::view::Change;

/// Clients that may watch at once: each is woken for every change, whoever's it is.
const WATCHERS_MAX: usize = 256;
/// How long one request watches; then its client asks again, and so does its key.
const LIFE_MAX: Duration = Duration::from_secs(15 * 60);
/// When a client that found no place may come again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A sign of life, as a comment; the first one says that nothing is missed from here on.
const WATCHING: Bytes = Bytes::from_static(b": watching\n\n");

/// `GET /v1/programs/events?program=&tenant=`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// Of this program only.
    program: Option<ProgramId>,
    /// Of this tenant only. A key that is no administrator's has no other.
    tenant: Option<TenantId>,
}

/// `GET /v1/programs/events`: what changes, until the client leaves or the router drains.
pub(super) async fn programs(
    State(context): State<Context>,
    scope: Scope,
    Query(asked): Query<Asked>,
) -> Result<Response, Error> {
    if context.shutdown.is_draining() {
        return Err(Error::draining());
    }
    if context.dispatcher.watchers() >= WATCHERS_MAX {
        let message = format!("{WATCHERS_MAX} clients watch already");
        return Err(Error::too_many("too_many_watchers", message, RETRY_AFTER));
    }
    let watcher = Watcher {
        tenant: scope.within(asked.tenant, &context.metrics)?,
        program: asked.program,
        changes: context.dispatcher.changes(),
        period: context.limits.heartbeat,
        shutdown: context.shutdown,
        life: Box::pin(tokio::time::sleep(LIFE_MAX)),
    };
    let events = stream::unfold((watcher, true), async |(mut watcher, is_first)| {
        let event = if is_first {
            WATCHING
        } else {
            watcher.next().await?
        };
        Some((Ok::<_, Infallible>(event), (watcher, false)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// One client that watches.
struct Watcher {
    /// Of this tenant only.
    tenant: Option<TenantId>,
    /// Of this program only.
    program: Option<ProgramId>,
    changes: broadcast::Receiver<Arc<Change>>,
    /// Longest silence.
    period: Duration,
    shutdown: Shutdown,
    /// Ends the stream.
    life: Pin<Box<Sleep>>,
}

impl Watcher {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let silence = tokio::time::sleep(self.period);
        tokio::pin!(silence);
        loop {
            let told = tokio::select! {
                told = self.changes.recv() => told,
                () = &mut silence => return Some(WATCHING),
                () = self.shutdown.drain() => return None,
                () = &mut self.life => return None,
            };
            match told {
                Ok(change) if self.sees(&change) => return Some(written(&change)),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    return Some(event("lagged", &json!({"lost": lost})));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn sees(&self, change: &Change) -> bool {
        let (tenant, program) = match change {
            Change::Began(program) | Change::Ended(program) => (&program.tenant, &program.id),
            Change::Call(of) => (&of.tenant, &of.call.program),
        };
        self.tenant.as_ref().is_none_or(|wanted| wanted == tenant)
            && self.program.as_ref().is_none_or(|wanted| wanted == program)
    }
}

fn written(change: &Change) -> Bytes {
    match change {
        Change::Began(program) => event("program_began", program),
        Change::Call(call) => event("call", call),
        Change::Ended(program) => event("program_ended", program),
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("a view has text keys only");
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use lps_api::ids::ClassName;
    use lps_api::quantity::Micros;

    use super::*;
    use crate::message::{Event, ProgramKey};
    use crate::state::State;

    #[tokio::test]
    async fn who_reads_slowly_is_told_how_much_it_lost_and_goes_on() {
        let mut state = State::new();
        state.watch(true);
        let (tell, changes) = broadcast::channel(2);
        let (_trigger, shutdown) = Shutdown::manual();
        let mut watcher = Watcher {
            tenant: None,
            program: None,
            changes,
            period: Duration::from_secs(60),
            shutdown,
            life: Box::pin(tokio::time::sleep(LIFE_MAX)),
        };
        for number in 1..=5 {
            let program = ProgramKey {
                tenant: TenantId::anonymous(),
                program: ProgramId::parse(&format!("p{number}")).unwrap(),
            };
            let opened = Event::ProgramOpened {
                program,
                class: ClassName::unnamed(),
                ttl: None,
                blocks: None,
            };
            state.on(opened, Micros(number));
            for change in state.changes() {
                tell.send(Arc::new(change)).unwrap();
            }
        }
        let lagged = watcher.next().await.unwrap();
        assert_eq!(lagged, "event: lagged\ndata: {\"lost\":3}\n\n");
        for id in ["p4", "p5"] {
            let event = String::from_utf8(watcher.next().await.unwrap().to_vec()).unwrap();
            assert!(event.starts_with("event: program_began\n"), "{event}");
            assert!(event.contains(&format!("\"id\":\"{id}\"")), "{event}");
        }
    }
}
