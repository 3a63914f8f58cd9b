//! HTTP: connections, who calls, what is too large or too slow, and the routes. The only place that knows hyper's server; what a route does is
//! `mcp`'s and `openai`'s.

use super::Options;
use super::mcp::{Caller, Handler};
use super::openai::{self, Asked, ToEmbed};
use super::tokens::{Holder, Tokens};
use super::work::is_crowded;
use crate::error::{Error, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections at a time.
const CONNECTIONS: usize = 512;
/// Time that a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Time that a call of a tool may take: the longest sleep, and a minute.
const SLEEP: Duration = Duration::from_secs(660);
/// Bytes of a request that is too large that are read all the same.
const POURED: usize = 16 << 20;
/// Who a request is for, where its token may speak for anyone.
const USER: &str = "x-sharpwave-user";

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What every connection shares.
struct Server {
    handler: Handler,
    mcp: StreamableHttpService<Handler, NeverSessionManager>,
    tokens: Option<Tokens>,
    user: String,
    largest: usize,
    timeout: Duration,
}

/// Begins to listen; the task ends when all connections have, after `closing` was told.
pub async fn listen(
    options: &Options,
    address: SocketAddr,
    handler: Handler,
    tokens: Option<Tokens>,
    mut closing: watch::Receiver<bool>,
) -> Result<JoinHandle<()>> {
    let refused = |e: std::io::Error| Error::Run {
        message: format!("cannot listen at {address}: {e}"),
        remedy: "choose another --listen".into(),
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(options.largest);
    if tokens.is_some() {
        config = config.disable_allowed_hosts();
    }
    let service = {
        let handler = handler.clone();
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config)
    };
    let (user, largest, timeout) = (options.user.clone(), options.largest, options.timeout);
    let server = Arc::new(Server { handler, mcp: service, tokens, user, largest, timeout });
    super::log(&format!("listening on http://{address}"));
    Ok(tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { break };
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (server, closing) = (server.clone(), closing.clone());
                        connections.spawn(async move {
                            connection(server, stream, closing).await;
                            drop(permit);
                        });
                    }
                    // Out of descriptors, most often: others may end meanwhile.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                _ = closing.changed() => break,
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }))
}

async fn connection(server: Arc<Server>, stream: TcpStream, mut closing: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = closing.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// Pieces of a stream, as they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Why a request is not answered as it wished.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }

    fn answer(self) -> Answer {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let error = json!({ "error": { "message": self.message, "type": kind, "param": null, "code": self.status.as_u16() } });
        let mut answer = whole(self.status, "application/json", error.to_string());
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let status = match &error {
            Error::Input(_) => StatusCode::BAD_REQUEST,
            error if is_crowded(error) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = match &error {
            Error::Input(fault) => fault.message.clone(),
            other => other.to_string(),
        };
        let remedy = error.remedy().map_or(String::new(), |remedy| format!(" Remedy: {remedy}."));
        Refusal::new(status, format!("{message}.{remedy}"))
    }
}

fn whole(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a host, as a browser or client names it, is this machine.
fn is_local(host: &str) -> bool {
    let loopback = |host: &str| host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, after)| port(after)).map_or(host, |(name, _)| name);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || loopback(name) || loopback(host)
}

/// Reads what nobody wants, so that a client that is still sending hears the answer; no more than is decent.
async fn pour_away(mut body: Incoming) {
    let mut left = POURED;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            break;
        }
    }
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let started = Instant::now();
        let path = request.uri().path().to_string();
        let route = match path.as_str() {
            "/health" | "/metrics" | "/mcp" | "/v1/models" | "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => {
                path.as_str()
            }
            _ => "other",
        };
        // A memory may be asked to sleep for long.
        let timeout = if route == "/mcp" { self.timeout.max(SLEEP) } else { self.timeout };
        let answer = match tokio::time::timeout(timeout, self.clone().route(request, &path)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => refusal.answer(),
            Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "The request took too long. Remedy: ask for less, or try again.")
                .answer(),
        };
        self.handler.metrics.count(route, answer.status().is_success(), started.elapsed());
        answer
    }

    async fn route(self: Arc<Self>, mut request: Request<Incoming>, path: &str) -> Result<Answer, Refusal> {
        if path == "/health" {
            return Ok(whole(StatusCode::OK, "application/json", json!({ "status": "ok" }).to_string()));
        }
        let holder = self.holder(request.headers())?;
        let get = request.method() == Method::GET;
        let post = request.method() == Method::POST;
        let length = header(request.headers(), CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<usize>().ok());
        if length.is_some_and(|n| n > self.largest) {
            pour_away(request.into_body()).await;
            return Err(self.too_large());
        }
        match path {
            "/metrics" if get => Ok(whole(StatusCode::OK, "text/plain; version=0.0.4", self.metrics())),
            "/v1/models" if get => {
                let users = &self.handler.users;
                let models = openai::models(users.brain.as_ref(), users.encoders.served.as_ref());
                Ok(whole(StatusCode::OK, "application/json", models.to_string()))
            }
            "/mcp" => {
                let user = self.user(&holder, request.headers(), None)?;
                request.extensions_mut().insert(Caller(user));
                Ok(self.mcp.handle(request).await)
            }
            "/v1/chat/completions" | "/v1/completions" if post => {
                self.chat(request, holder, path == "/v1/chat/completions").await
            }
            "/v1/embeddings" if post => self.embeddings(request).await,
            "/metrics" | "/v1/models" | "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => {
                let verb = if matches!(path, "/metrics" | "/v1/models") { "GET" } else { "POST" };
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} answers to {verb}.")))
            }
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "There is nothing here. Remedy: /mcp, /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /health, /metrics.",
            )),
        }
    }

    /// Whom a request's token stands for.
    fn holder(&self, headers: &HeaderMap) -> Result<Holder, Refusal> {
        let Some(tokens) = &self.tokens else {
            // Pages of a browser reach this machine too; they are not its users.
            let foreign = |name: &str| {
                header(headers, name).is_some_and(|host| !is_local(host.split_once("://").map_or(host, |(_, host)| host)))
            };
            if foreign(HOST.as_str()) || foreign(ORIGIN.as_str()) {
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "Only this machine may call. Remedy: start the server with --token-file.",
                ));
            }
            return Ok(Holder::Any);
        };
        let token = header(headers, AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let holder = token.and_then(|token| tokens.holder(token));
        holder.cloned().ok_or_else(|| {
            Refusal::new(StatusCode::UNAUTHORIZED, "The bearer token is missing or unknown. Remedy: Authorization: Bearer TOKEN.")
        })
    }

    /// Whose memory a request is about: the token's holder; or, where that is anyone, whom the request names.
    fn user(&self, holder: &Holder, headers: &HeaderMap, named: Option<&str>) -> Result<String, Refusal> {
        let named = named.or_else(|| header(headers, USER)).filter(|name| !name.is_empty());
        match (holder, named) {
            (Holder::User(own), Some(other)) if own != other => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "This token is another user's. Remedy: leave `user` out, or use that user's own token.",
            )),
            (Holder::User(own), _) => Ok(own.clone()),
            (Holder::Any, Some(named)) => Ok(named.into()),
            (Holder::Any, None) if self.tokens.is_none() => Ok(self.user.clone()),
            (Holder::Any, None) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, format!("Nobody is named. Remedy: give `user`, or the header {USER}.")))
            }
        }
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The request has more than {} bytes. Remedy: send less.", self.largest),
        )
    }

    fn metrics(&self) -> String {
        self.handler.metrics.text(&[
            ("users_open", "Users whose folders are open.", self.handler.users.at_work().len()),
            ("calls_waiting", "Calls that wait for a thread.", self.handler.work.waiting()),
        ])
    }

    /// The body of a request as JSON.
    async fn json(&self, request: Request<Incoming>) -> Result<Value, Refusal> {
        let kind = header(request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The request is not JSON. Remedy: Content-Type: application/json.",
            ));
        }
        let body = Limited::new(request.into_body(), self.largest).collect().await.map_err(|error| {
            match error.is::<http_body_util::LengthLimitError>() {
                true => self.too_large(),
                false => Refusal::new(StatusCode::BAD_REQUEST, format!("The request broke off: {error}.")),
            }
        })?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, format!("The request is not JSON: {e}.")))
    }

    /// The body of a request in one of OpenAI's shapes.
    async fn shaped<T: DeserializeOwned>(&self, request: Request<Incoming>) -> Result<T, Refusal> {
        serde_json::from_value(self.json(request).await?).map_err(|e| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("The request cannot be used: {e}. Remedy: write it as OpenAI's API has it."),
            )
        })
    }

    async fn embeddings(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let Some(encoder) = self.handler.users.encoders.served.clone() else {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "No encoder is served, so there are no embeddings. Remedy: start the server with --encoder minilm, or search by \
                 memory_search, which needs none.",
            ));
        };
        let asked: ToEmbed = self.shaped(request).await?;
        let answer = self.handler.work.run(move || asked.answer(&encoder)).await??;
        Ok(whole(StatusCode::OK, "application/json", answer.to_string()))
    }

    async fn chat(self: Arc<Self>, request: Request<Incoming>, holder: Holder, chat: bool) -> Result<Answer, Refusal> {
        let headers = request.headers().clone();
        let asked: Asked = self.shaped(request).await?;
        let name = self.user(&holder, &headers, asked.user.as_deref())?;
        let until = Instant::now() + self.timeout;
        let (stream, usage) = (asked.stream, asked.stream_options.as_ref().is_some_and(|o| o.include_usage));
        let users = self.handler.users.clone();
        let prepared = self.handler.work.run(move || {
            let user = users.get(&name)?;
            let prepared = asked.prepare(&user, users.brain.as_ref(), chat)?;
            Ok::<_, Error>((user, prepared))
        });
        let (user, mut prepared) = prepared.await??;
        let users = self.handler.users.clone();
        if !stream {
            let answered = self.handler.work.run(move || {
                let Some(brain) = &users.brain else { return Ok(Value::Null) };
                let (text, used) = prepared.answer(&user, brain, until, |_| ControlFlow::Continue(()))?;
                Ok::<_, Error>(prepared.whole(&text, used))
            });
            return Ok(whole(StatusCode::OK, "application/json", answered.await??.to_string()));
        }
        let (sender, receiver) = mpsc::channel::<Bytes>(64);
        let work = self.handler.work.clone();
        tokio::spawn(async move {
            let last = sender.clone();
            let done = work.run(move || {
                let event = |value: &Value| match sender.blocking_send(Bytes::from(format!("data: {value}\n\n"))) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                };
                let Some(brain) = &users.brain else { return Ok(()) };
                let _ = event(&prepared.piece(None, None));
                let (shell, mut lead) = (prepared.piece(Some(""), None), chat);
                let (_, used) = prepared.answer(&user, brain, until, |text| {
                    // What a template puts before an answer is none of it.
                    let text = if lead { text.trim_start() } else { text };
                    if text.is_empty() {
                        return ControlFlow::Continue(());
                    }
                    lead = false;
                    let mut piece = shell.clone();
                    match chat {
                        true => piece["choices"][0]["delta"]["content"] = text.into(),
                        false => piece["choices"][0]["text"] = text.into(),
                    }
                    event(&piece)
                })?;
                let _ = event(&prepared.piece(None, Some(used.finish())));
                if usage {
                    let _ = event(&prepared.usage(used));
                }
                let _ = sender.blocking_send(Bytes::from_static(b"data: [DONE]\n\n"));
                Ok::<_, Error>(())
            });
            if let Err(error) = done.await.and_then(|done| done) {
                let refusal = Refusal::from(error);
                let error =
                    json!({ "error": { "message": refusal.message, "type": "server_error", "code": refusal.status.as_u16() } });
                let _ = last.send(Bytes::from(format!("data: {error}\n\n"))).await;
            }
        });
        let mut answer = Response::new(Pieces(receiver).boxed());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        answer.headers_mut().insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_others() {
        for host in ["localhost", "localhost:80", "127.0.0.1:8080", "[::1]:99", "::1", "LOCALHOST"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["example.com", "example.com:80", "127.0.0.1.evil.org", "localhost.evil.org:80", "10.0.0.1", ""] {
            assert!(!is_local(host), "{host}");
        }
    }
}
