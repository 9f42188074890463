//! One call's answer for several requests: a client that tries again while its call still runs gets that call's answer.
//! Owns: what makes two requests the same call, and ending the call when nobody waits for it any more. A streamed answer
//! is not shared: what of it is gone is kept nowhere.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::FutureExt;
use lps_api::ids::{CallId, TenantId};
use lps_api::wellknown::header;
use lps_runtime::task;
use ring::digest::{SHA256, digest};
use tokio::sync::oneshot;

use crate::dispatcher::{Ended, SharedAnswer, WeakAnswer};
use crate::engine_client::leg::Outgoing;
use crate::http::context::{Context, header_text};
use crate::http::error::Error;
use crate::http::translated;
use crate::identity::Fresh;

/// How the clients that OpenAI and Anthropic publish count their attempts at one request; the first is 0.
const RETRY_COUNT: &str = "x-stainless-retry-count";

/// What a request says of being one of several for the same call.
pub(super) struct Retry {
    /// Its `idempotency-key`, as names for what the client did not name.
    pub(super) fresh: Option<Fresh>,
    /// Whether its client says that there was another before.
    pub(super) is_again: bool,
}

impl Retry {
    /// Reads the headers.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let key = header_text(headers, header::IDEMPOTENCY_KEY)?;
        if key == Some("") {
            let message = format!("{} is empty", header::IDEMPOTENCY_KEY);
            return Err(Error::invalid(header::IDEMPOTENCY_KEY, message));
        }
        let count = headers
            .get(RETRY_COUNT)
            .map(axum::http::HeaderValue::as_bytes);
        Ok(Self {
            fresh: key.map(fresh),
            is_again: count.is_some_and(|count| count != b"0"),
        })
    }

    /// The answer that a call of this name will have, where it runs and was asked the same.
    pub(super) async fn running(
        &self,
        context: &Context,
        (tenant, call): (&TenantId, &CallId),
        outgoing: &Outgoing,
    ) -> Result<Option<SharedAnswer>, Ended> {
        if self.fresh.is_none() && !self.is_again {
            return Ok(None);
        }
        let (tenant, call) = (tenant.clone(), call.clone());
        let (path, body) = (outgoing.path, outgoing.body.clone());
        let look = context
            .dispatcher
            .read(move |view| view.answer_of((&tenant, &call), (path, &body)));
        let answer = look.await?;
        if answer.is_some() {
            context.metrics.attached();
        }
        Ok(answer)
    }
}

/// The same names for the same key, short enough for ids of tool calls to name the call.
fn fresh(key: &str) -> Fresh {
    let digest = digest(&SHA256, key.as_bytes());
    let (first, _) = digest.as_ref().split_first_chunk().expect("32 bytes");
    Fresh::named(&format!("{:016x}", u64::from_be_bytes(*first)))
}

/// An answer that comes, and who may still join those that wait for it.
pub(super) struct Sharing {
    sender: oneshot::Sender<Response<bytes::Bytes>>,
    answer: SharedAnswer,
}

impl Sharing {
    /// Nobody waits yet.
    pub(super) fn new() -> Self {
        let (sender, answer) = oneshot::channel();
        Self {
            sender,
            answer: answer.shared(),
        }
    }

    /// For others to join.
    pub(super) fn to_join(&self) -> Option<WeakAnswer> {
        self.answer.downgrade()
    }

    /// Waits for the answer, which comes from `call`: dropped, and so cancelled, when all have left that waited.
    pub(super) async fn run(
        self,
        call: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Ended> {
        let Self { mut sender, answer } = self;
        let whole = async {
            let (head, body) = call.await.into_parts();
            Response::from_parts(head, translated::bytes(body).await)
        };
        task::spawn("shared answer", async move {
            tokio::select! {
                () = sender.closed() => {}
                whole = whole => {
                    // The last may have left in this moment.
                    let _ = sender.send(whole);
                }
            }
        });
        wait(answer).await
    }
}

/// Waits with the others.
pub(super) async fn wait(answer: SharedAnswer) -> Result<Response, Ended> {
    // Its task ends without it only with the router.
    let whole = answer.await.map_err(|_| Ended)?;
    Ok(whole.map(Body::from))
}
