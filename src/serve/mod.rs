//! A server of agents' memories, a folder a user: by the Model Context Protocol over standard input and output or HTTP, and by HTTP in
//! OpenAI's shape, where the weights that answer are composed of the user's own experiences. What is acknowledged is on disk. Only log lines
//! go to standard error, and nothing but the protocol to standard output.
//!
//! ```text
//! mcp (tools, resource)  \                      notes (episodes, recall; encoders, each once for all)   a user's folder: recall/, memory.redb
//! http (routes, tokens)   -> work -> tools -> user
//! openai (chat, vectors) /                      brain (one model for all; learns when idle, sleeps, composes)
//! ```

mod brain;
mod encoders;
mod files;
mod guard;
mod http;
mod mcp;
mod metrics;
mod notes;
mod openai;
mod reward;
mod shown;
mod tokens;
mod tools;
mod user;
mod users;
mod work;

use crate::error::{Error, Result};
use brain::Brain;
use encoders::Encoders;
use mcp::Handler;
use metrics::Metrics;
use rmcp::ServiceExt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokens::Tokens;
use users::Users;
use work::Work;

/// What a server is started with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Folder of the users' folders; made where there is none.
    pub memories: PathBuf,
    /// The model whose weights learn and answer; None for notes alone.
    pub model: Option<String>,
    /// The encoder of new memories and of /v1/embeddings, by name or path; None for words alone.
    pub encoder: Option<String>,
    /// Settings of new memories, `name=value`.
    pub settings: Vec<String>,
    /// Serve MCP over standard input and output.
    pub stdio: bool,
    /// Serve HTTP at this address.
    pub listen: Option<SocketAddr>,
    /// File of `user token` lines; without it every request is taken, from this machine alone.
    pub tokens: Option<PathBuf>,
    /// Whose memory it is where nobody says so.
    pub user: String,
    /// Bytes of a request at most.
    pub largest: usize,
    /// Time that a request may take.
    pub timeout: Duration,
    /// Calls that may wait for a thread.
    pub queue: usize,
    /// Users whose folders are open at a time.
    pub users: usize,
    /// Idle time after which experiences that wait are learned; sooner where 20 wait.
    pub idle: Duration,
}

impl Options {
    /// Memories under a folder, with what is usual.
    pub fn new(memories: impl Into<PathBuf>) -> Options {
        Options {
            memories: memories.into(),
            model: None,
            encoder: None,
            settings: Vec::new(),
            stdio: false,
            listen: None,
            tokens: None,
            user: "me".into(),
            largest: 2 << 20,
            timeout: Duration::from_secs(120),
            queue: 256,
            users: 256,
            idle: Duration::from_secs(5),
        }
    }
}

/// Why a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its standard input did.
    Input,
    /// It was asked to (SIGTERM).
    Asked,
    /// By Ctrl-C.
    Interrupted,
}

/// Experiences that wait, at which learning begins before there is idle time.
const BATCH: usize = 20;
/// Users whose weights stay open while nobody asks for them, and how long they do.
const OPEN: usize = 16;
const LONG: Duration = Duration::from_secs(300);
/// Time that calls in flight have to end.
const GRACE: Duration = Duration::from_secs(20);

/// A line of the log.
fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Serves until its input ends or it is told to stop; calls in flight are finished.
///
/// # Errors
/// A model, an encoder, a folder, a file of tokens or an address that cannot be used.
pub fn run(options: &Options) -> Result<Ended> {
    let tokens = options.tokens.as_deref().map(Tokens::read).transpose()?;
    if let Some(address) = options.listen.filter(|a| tokens.is_none() && !a.ip().is_loopback()) {
        let what = format!("{address} can be reached by others, and there are no tokens");
        return Err(Error::input(what, "give --token-file, or listen on 127.0.0.1"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Error::Run { message: format!("no threads: {e}"), remedy: "start again".into() })?;
    let brain = match &options.model {
        Some(model) => {
            log(&format!("reading {model}"));
            Some(Brain::open(model, &options.settings, &stop)?)
        }
        None => None,
    };
    let encoders = Encoders::new(options.encoder.as_deref())?;
    let users = Arc::new(Users::new(&options.memories, options.users, encoders, brain)?);
    if options.stdio {
        // Whoever starts a server over standard input learns at once that its folder is in use.
        users.get(&options.user)?;
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let handler = Handler {
        users: users.clone(),
        work: Work::new(2 * threads, options.queue),
        metrics: Arc::new(Metrics::default()),
        user: tokens.is_none().then(|| options.user.clone()).or(options.stdio.then(|| options.user.clone())),
        stop: stop.clone(),
    };
    let ended = runtime.block_on(serve(options, handler, tokens, users, stop));
    // A thread that waits for standard input ends with the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(
    options: &Options,
    handler: Handler,
    tokens: Option<Tokens>,
    users: Arc<Users>,
    stop: Arc<AtomicBool>,
) -> Result<Ended> {
    let closing = tokio::sync::watch::Sender::new(false);
    let http = match options.listen {
        Some(address) => Some(http::listen(options, address, handler.clone(), tokens, closing.subscribe()).await?),
        None => None,
    };
    let keeper = tokio::task::spawn_blocking({
        let (users, stop, idle) = (users.clone(), stop.clone(), options.idle);
        move || learn_when_idle(&users, idle, &stop)
    });
    let hush = || {
        stop.store(true, Ordering::Relaxed);
        users.at_work().iter().filter_map(std::sync::Weak::upgrade).for_each(|user| user.wake.store(true, Ordering::Relaxed));
    };
    let ended = if options.stdio {
        let handler = Handler { user: Some(options.user.clone()), ..handler };
        let work = handler.work.clone();
        let transport = rmcp::transport::async_rw::AsyncRwTransport::new_server(tokio::io::stdin(), tokio::io::stdout());
        let session = async {
            match handler.serve(transport.with_max_line_length(options.largest)).await {
                Ok(session) => drop(session.waiting().await),
                Err(error) => log(&format!("the session ended: {error}")),
            }
        };
        tokio::pin!(session);
        let ended = tokio::select! {
            () = &mut session => Ended::Input,
            ended = signal() => ended,
        };
        if ended != Ended::Input {
            hush();
            // What is in flight is done and told.
            let told = async {
                work.rest().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokio::select! {
                () = &mut session => (),
                () = told => (),
                () = tokio::time::sleep(GRACE) => log("calls in flight did not end in time"),
            }
        }
        ended
    } else {
        signal().await
    };
    hush();
    let _ = closing.send(true);
    let calm = async {
        if let Some(http) = http {
            let _ = http.await;
        }
        let _ = keeper.await;
    };
    if tokio::time::timeout(GRACE, calm).await.is_err() {
        log("calls in flight did not end in time");
    }
    Ok(ended)
}

/// Waits for whoever stops the program.
async fn signal() -> Ended {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = terminate.recv() => Ended::Asked,
                _ = tokio::signal::ctrl_c() => Ended::Interrupted,
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    Ended::Interrupted
}

/// Writes the experiences that wait into the weights of users who are idle, or of whom many wait, and closes weights that nobody asks for.
fn learn_when_idle(users: &Users, idle: Duration, stop: &AtomicBool) {
    let Some(brain) = &users.brain else { return };
    let mut failed: Vec<(String, Instant)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        failed.retain(|(_, when)| when.elapsed() < Duration::from_secs(60));
        for user in users.at_work() {
            let Some(user) = user.upgrade() else { continue };
            if stop.load(Ordering::Relaxed) || failed.iter().any(|(name, _)| *name == user.name) {
                continue;
            }
            let waiting = user.notes().waiting();
            if waiting > 0
                && (waiting >= BATCH || user.idle() >= idle)
                && let Err(error) = brain.learn(&user, BATCH, stop)
            {
                log(&format!("the weights of a user cannot learn: {error}"));
                failed.push((user.name.clone(), Instant::now()));
            }
        }
        let mut resting: Vec<_> =
            users.at_work().iter().filter_map(std::sync::Weak::upgrade).filter(|user| user.rests()).collect();
        resting.sort_by_key(|user| std::cmp::Reverse(user.turn()));
        resting.iter().enumerate().filter(|(n, user)| *n >= OPEN || user.idle() >= LONG).for_each(|(_, user)| user.close());
        drop(resting);
        std::thread::sleep(Duration::from_millis(100));
    }
}
