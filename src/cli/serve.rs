//! `sharpwave serve`: memories of agents by MCP and HTTP.

use clap::Args;
use sharpwave::error::Result;
use sharpwave::serve::{self, Ended, Options};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where HTTP is served if nobody says where.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7077);

#[derive(Args)]
pub struct ServeArguments {
    /// A folder of memory folders, one a user; made where there is none
    #[arg(long, value_name = "DIR")]
    memories: PathBuf,
    /// Model folder, GGUF file, a model that was pulled, or stories260k: its weights learn and answer. Without it notes alone are kept
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// Encoder of new memories and of /v1/embeddings: a BERT folder or GGUF file, or a name that `model pull` knows (minilm). A memory that
    /// was made with one keeps it; without any, memories are found by their words
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// Serve MCP over standard input and output, until that ends
    #[arg(long)]
    stdio: bool,
    /// Serve HTTP (MCP at /mcp, OpenAI's API at /v1) here; 127.0.0.1:7077 without --stdio. Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Who may call: a user and a bearer token a line; `*` for a program that names the user of each call. Without it this machine alone may
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Whose memory it is over standard input, or where a call names nobody
    #[arg(long, value_name = "NAME", default_value = "me")]
    user: String,
    /// A setting of new memories, such as coding=exact; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "model")]
    set: Vec<String>,
    /// MiB of a request at most
    #[arg(long, value_name = "MIB", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_request: u16,
    /// Seconds that a request may take
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Calls that may wait for a thread; further ones are told to come again
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Users whose folders are open at a time
    #[arg(long, value_name = "N", default_value_t = 256)]
    users: usize,
}

pub fn serve(a: &ServeArguments) -> Result<ExitCode> {
    let mut options = Options::new(&a.memories);
    options.model = a.model.clone();
    options.encoder = a.encoder.clone();
    options.settings = a.set.clone();
    options.stdio = a.stdio;
    options.listen = a.listen.or((!a.stdio).then(|| ADDRESS.into()));
    options.tokens = a.token_file.clone();
    options.user = a.user.clone();
    options.largest = usize::from(a.max_request) << 20;
    options.timeout = Duration::from_secs(a.timeout.into());
    options.queue = a.queue;
    options.users = a.users;
    Ok(match serve::run(&options)? {
        Ended::Input | Ended::Asked => ExitCode::SUCCESS,
        Ended::Interrupted => ExitCode::from(130),
    })
}
