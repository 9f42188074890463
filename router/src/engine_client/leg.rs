//! One attempt of one call at one engine. Owns: posting the call, passing its answer on byte for byte, and holding the
//! answer's end back until its figures are folded. It must not know whether the call is tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{AbortHandle, AbortRegistration, Abortable, Aborted};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use lps_api::ids::{CallId, EngineId, ProgramId};
use lps_api::protocol::{self, CallUsage, Resume};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_api::wellknown::header;
use lps_runtime::causes::with_causes;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::engine_client::connection::{Answer, Connections, read_whole};
use crate::engine_client::given::{Given, body_to_resume};
use crate::engine_client::sse::{self, Passed, Scan};
use crate::engine_client::{Head, LegEnd, Piece, Report};
use crate::message::CallKey;

/// After `[DONE]`, the connection is worth keeping only if the stream ends within this time.
const TRAILER_LIMIT: Duration = Duration::from_millis(500);

/// A client's request as it goes to any engine.
#[derive(Debug)]
pub struct Outgoing {
    /// `/v1/chat/completions` or `/v1/completions`.
    pub path: &'static str,
    /// The client's own bytes.
    pub body: Bytes,
    /// Headers that go along: request id, trace context.
    pub headers: HeaderMap,
}

/// What one attempt needs to know.
#[derive(Debug)]
pub struct Post {
    /// Whose attempt.
    pub call: CallKey,
    /// Which one.
    pub attempt: Attempt,
    /// The call's name at the engine.
    pub wire: CallId,
    /// Its program.
    pub program: ProgramId,
    /// Its place at the engine.
    pub order: Order,
    /// Which engine.
    pub engine: EngineId,
    /// Where.
    pub uri: Uri,
    /// Time that it waited before.
    pub queued: Micros,
    /// The call's span, instead of what its client said of a trace.
    pub trace: Option<String>,
    /// What is posted.
    pub request: Arc<Outgoing>,
    /// What the client has of the answer, where the engine is to go on with it.
    pub resume: Option<Arc<Resume>>,
}

/// What all attempts share.
#[derive(Debug, Clone)]
pub struct Rim {
    /// To engines.
    pub connections: Connections,
    /// To the dispatcher.
    pub reports: mpsc::Sender<Report>,
    /// The process's time.
    pub clock: Clock,
    /// How long a client may not read.
    pub stall_limit: Duration,
}

/// Starts the attempt; the handle cuts it.
pub fn start(post: Post, pieces: mpsc::Sender<Piece>, rim: Rim) -> AbortHandle {
    let (handle, cut) = AbortHandle::new_pair();
    let resume = post.resume.as_deref();
    let leg = Leg {
        pieces,
        rim,
        started: resume.is_some(),
        given: resume.map_or_else(Given::default, Given::resumed),
        post,
    };
    task::spawn("leg", leg.run(cut));
    handle
}

struct Leg {
    post: Post,
    pieces: mpsc::Sender<Piece>,
    rim: Rim,
    /// Whether the client has part of the answer.
    started: bool,
    /// That part.
    given: Given,
}

/// Why an attempt has no whole answer.
enum Stop {
    Broken(String),
    Busy(Option<Duration>),
    Stalled,
}

/// The part of an answer that waits for the fold.
struct Ending {
    success: bool,
    usage: Option<CallUsage>,
    pieces: Vec<Piece>,
    rest: Option<Incoming>,
}

impl Leg {
    async fn run(mut self, cut: AbortRegistration) {
        let ended = Abortable::new(self.exchange(), cut).await;
        let ended = ended.unwrap_or_else(|Aborted| Err(Stop::Broken("cut".to_owned())));
        match ended {
            Ok(ending) => self.finish(ending).await,
            Err(stop) => {
                let given = std::mem::take(&mut self.given);
                let end = match stop {
                    Stop::Busy(retry_after) => LegEnd::Busy { retry_after },
                    Stop::Stalled => LegEnd::Stalled,
                    Stop::Broken(cause) => LegEnd::Broken {
                        started: self.started,
                        resume: given.into_resume().map(Box::new),
                        cause,
                    },
                };
                self.report(end).await;
            }
        }
    }

    async fn exchange(&mut self) -> Result<Ending, Stop> {
        let posted = self.rim.clock.now();
        let sent = self.rim.connections.send(self.request()).await;
        let response = sent.map_err(|error| Stop::Broken(with_causes(&error)))?;
        let status = response.status();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let seconds = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.parse().ok());
            return Err(Stop::Busy(seconds.map(Duration::from_secs)));
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_stream =
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if status.is_success() && is_stream {
            self.pass_stream(response, posted).await
        } else if self.started && status == StatusCode::CONFLICT {
            // It has not noticed yet that an earlier attempt of the call was given up.
            Err(Stop::Busy(None))
        } else if self.started {
            Err(Stop::Broken(format!(
                "asked to go on, the engine answered {status}"
            )))
        } else {
            let answer = read_whole(&self.post.uri, response).await;
            let answer = answer.map_err(|error| Stop::Broken(with_causes(&error)))?;
            Ok(self.whole(answer, posted))
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let post = &self.post;
        let body = &post.request.body;
        let body = match &post.resume {
            None => body.clone(),
            Some(resume) => body_to_resume(body, resume),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = post.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&post.request.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::PROTOCOL, HeaderValue::from(protocol::VERSION));
        let trace = post.trace.as_deref();
        let names = [
            (header::CALL_ID, post.wire.as_str()),
            (header::PROGRAM_ID, post.program.as_str()),
            (header::ORDER, &post.order.to_string()),
            (header::ATTEMPT, &post.attempt.0.to_string()),
        ];
        for (name, text) in names
            .into_iter()
            .chain(trace.map(|trace| (header::TRACE, trace)))
        {
            let value = HeaderValue::from_str(text).expect("ids and numbers are printable");
            headers.insert(name, value);
        }
        request
    }

    fn head(&self, answer: &Answer, posted: Duration, cached: Option<Tokens>) -> Piece {
        Piece::Head(Head {
            status: answer.status,
            content_type: answer.content_type.clone(),
            engine: self.post.engine.clone(),
            queued: self.post.queued,
            in_engine: Micros::from(self.rim.clock.now().saturating_sub(posted)),
            cached_tokens: cached,
        })
    }

    fn whole(&self, answer: Answer, posted: Duration) -> Ending {
        let usage = sse::figures(&answer.body);
        let head = self.head(&answer, posted, usage.map(|usage| usage.cached_tokens));
        Ending {
            success: answer.status.is_success(),
            usage,
            pieces: vec![head, Piece::Data(answer.body), Piece::End],
            rest: None,
        }
    }

    async fn pass_stream(
        &mut self,
        response: Response<Incoming>,
        posted: Duration,
    ) -> Result<Ending, Stop> {
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let blank = Answer {
            status: response.status(),
            content_type,
            body: Bytes::new(),
        };
        let mut body = response.into_body();
        let mut scan = Scan::default();
        while !scan.is_over() {
            let frame = match body.frame().await {
                None => break,
                Some(Err(error)) => return Err(Stop::Broken(with_causes(&error))),
                Some(Ok(frame)) => frame,
            };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            let Passed { forward, reached } = scan
                .push(&bytes)
                .map_err(|error| Stop::Broken(error.to_string()))?;
            if forward.is_empty() {
                continue;
            }
            self.check_goes_on(&scan)?;
            if !self.started {
                let head = self.head(&blank, posted, None);
                self.give(head).await?;
                self.started = true;
                // Whoever has the head has nothing yet, but of this answer.
                self.given.begin(scan.beginning());
            }
            self.give(Piece::Data(Bytes::from(forward))).await?;
            for checkpoint in &reached {
                self.given.add(checkpoint);
            }
        }
        if scan.is_lost() {
            return Err(Stop::Broken("the engine failed".to_owned()));
        }
        if !scan.is_over() {
            return Err(Stop::Broken("the stream ended before [DONE]".to_owned()));
        }
        self.check_goes_on(&scan)?;
        let mut pieces = Vec::with_capacity(3);
        if !self.started {
            pieces.push(self.head(&blank, posted, None));
        }
        let (success, usage) = (!scan.has_error(), scan.usage());
        pieces.extend([Piece::Data(scan.into_held()), Piece::End]);
        Ok(Ending {
            success,
            usage,
            pieces,
            rest: Some(body),
        })
    }

    /// An engine that does not know how to go on begins anew, and the client would get everything twice.
    fn check_goes_on(&self, scan: &Scan) -> Result<(), Stop> {
        match self.post.resume.as_deref() {
            Some(resume) if !scan.has_error() && scan.beginning() != Some(resume.beginning) => {
                let cause = "asked to go on, the engine began anew";
                Err(Stop::Broken(cause.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Waits for a client that reads slowly, but not for ever. A client that left is noticed elsewhere; here its
    /// attempt only ends.
    async fn give(&self, piece: Piece) -> Result<(), Stop> {
        let left = || Stop::Broken("the client left".to_owned());
        // Nearly always there is room, and no timer is needed.
        let piece = match self.pieces.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(left()),
            Err(TrySendError::Full(piece)) => piece,
        };
        match tokio::time::timeout(self.rim.stall_limit, self.pieces.send(piece)).await {
            Ok(sent) => sent.map_err(|_| left()),
            Err(_) => Err(Stop::Stalled),
        }
    }

    /// Reports the figures, waits until they are folded, and only then lets the end of the answer go.
    async fn finish(self, ending: Ending) {
        let (folded, fold) = oneshot::channel();
        let Ending {
            success,
            usage,
            pieces,
            rest,
        } = ending;
        self.report(LegEnd::Answered {
            success,
            usage,
            folded,
        })
        .await;
        if fold.await.is_err() {
            return;
        }
        for piece in pieces {
            if self.give(piece).await.is_err() {
                return;
            }
        }
        // The client has all; reading the stream to its end lets the connection be used again.
        if let Some(mut rest) = rest {
            let drained = async { while let Some(Ok(_)) = rest.frame().await {} };
            let _ = tokio::time::timeout(TRAILER_LIMIT, drained).await;
        }
    }

    async fn report(&self, end: LegEnd) {
        let Post { call, attempt, .. } = self.post;
        // Nobody listens only when the router ends.
        let _ = self
            .rim
            .reports
            .send(Report::Leg { call, attempt, end })
            .await;
    }
}
