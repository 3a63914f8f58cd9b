//! Servers and connections to them: which server has which user, who is let in, and how long an answer may take. Promises that no password
//! is ever in an error, and that no call waits longer than its limit for a server that does not answer.

use crate::error::{Error, Result};
use md5::{Digest, Md5};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

/// How long an answer may take, where nothing else is said.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take to be reached.
const REACHED: Duration = Duration::from_secs(5);

/// The servers that memories are spread over, in their order.
#[derive(Clone)]
pub struct Servers {
    all: Vec<Config>,
    /// How long any one answer may take.
    pub limit: Duration,
}

/// A number of a name, the same in every version and on every machine: the first 8 bytes of its MD5, the most significant one first.
pub(super) fn stable(name: &str) -> u64 {
    Md5::digest(name).iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Servers {
    /// Of URLs like `postgres://user@host:5432/database`, or of words like `host=… user=… dbname=…`. A password may also come from PGPASSWORD
    /// or from the file that PGPASSFILE names, `~/.pgpass` otherwise.
    ///
    /// # Errors
    /// No URL, one that cannot be read, and one that asks for TLS.
    pub fn new<S: AsRef<str>>(urls: &[S]) -> Result<Servers> {
        let remedy = "write it like postgres://user@host:5432/database";
        if urls.is_empty() {
            return Err(Error::input("no database is named", remedy));
        }
        let one = |(at, url): (usize, &S)| -> Result<Config> {
            // What is wrong may hold the password: it is not repeated.
            let unread = |_| Error::input(format!("the URL of database {} cannot be read", at + 1), remedy);
            let mut config: Config = url.as_ref().parse().map_err(unread)?;
            if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
                return Err(Error::input(format!("the URL of database {} names no host", at + 1), remedy));
            }
            if config.get_ssl_mode() == SslMode::Require {
                let what = format!("the database {} is to be reached by TLS, which is not spoken here", name(&config));
                return Err(Error::input(
                    what,
                    "leave out sslmode, and go through a tunnel where the network is not your own (ssh -L)",
                ));
            }
            if config.get_password().is_none()
                && let Some(password) = std::env::var("PGPASSWORD").ok().or_else(|| from_file(&config))
            {
                config.password(password);
            }
            if config.get_connect_timeout().is_none() {
                config.connect_timeout(REACHED);
            }
            if config.get_application_name().is_none() {
                config.application_name("sharpwave");
            }
            Ok(config)
        };
        let all = urls.iter().enumerate().map(one).collect::<Result<_>>()?;
        Ok(Servers { all, limit: LIMIT })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Which of them has the memory of a user: the first 8 bytes of the MD5 of the name (UTF-8), as a big-endian number, modulo how many
    /// servers there are.
    pub fn of(&self, user: &str) -> usize {
        (stable(user) % self.all.len() as u64) as usize
    }
}

/// What a server is called in messages.
fn name(config: &Config) -> String {
    let (host, port) = address(config);
    format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or("postgres"))
}

fn address(config: &Config) -> (String, u16) {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map_or(String::new(), ToString::to_string),
    };
    (host, config.get_ports().first().copied().unwrap_or(5432))
}

/// The password of a server in the file that PGPASSFILE names, or else in ~/.pgpass. One that others may read is not looked at.
fn from_file(config: &Config) -> Option<String> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let path = named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pgpass")))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if std::fs::metadata(&path).ok()?.permissions().mode() & 0o077 != 0 {
            return None;
        }
    }
    let (host, port) = address(config);
    let user = config.get_user().unwrap_or("");
    let database = config.get_dbname().unwrap_or(user);
    found_in(&std::fs::read_to_string(path).ok()?, [&host, &port.to_string(), database, user])
}

/// The password of the first line that fits: host:port:database:user:password, `*` for any, `\` before a colon or backslash.
fn found_in(lines: &str, wanted: [&str; 4]) -> Option<String> {
    lines.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut characters = line.chars();
        while let Some(c) = characters.next() {
            let last = fields.len() - 1;
            match c {
                '\\' => fields[last].extend(characters.next()),
                ':' if last < 4 => fields.push(String::new()),
                c => fields[last].push(c),
            }
        }
        let fits = fields.len() == 5 && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        if fits { fields.pop() } else { None }
    })
}

/// A connection to one server.
pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
    limit: Duration,
    /// What the server is called in messages.
    pub name: String,
    statements: RefCell<HashMap<&'static str, Statement>>,
    /// Whether it failed: what was begun on it is lost.
    broken: Cell<bool>,
}

impl Connection {
    /// Reaches a server.
    pub fn open(servers: &Servers, at: usize) -> Result<Connection> {
        let config = &servers.all[at];
        let (name, limit) = (name(config), servers.limit);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| Error::file("a connection", e))?;
        let reached = runtime.block_on(async { tokio::time::timeout(limit.min(2 * REACHED), config.connect(NoTls)).await });
        let (client, connection) = match reached {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(refused(&name, config.get_user().unwrap_or(""), &error)),
            Err(_) => return Err(unreached(&name, "it does not answer")),
        };
        runtime.spawn(async move { connection.await.ok() });
        let own = Connection { runtime, client, limit, name, statements: RefCell::default(), broken: Cell::new(false) };
        // The server gives up as well, and lets go of what a machine that is gone held. An inner product costs far more than it is held for:
        // more than one core is worth it early.
        own.batch(&format!(
            "SET statement_timeout = {}; SET client_min_messages = warning; SET jit = off; SET work_mem = '64MB'; \
             SET parallel_setup_cost = 100; SET parallel_tuple_cost = 0.001; SET min_parallel_table_scan_size = '4MB'; \
             SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3",
            limit.as_millis()
        ))?;
        Ok(own)
    }

    /// Whether it can go on being used.
    pub fn is_whole(&self) -> bool {
        !self.broken.get() && !self.client.is_closed()
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        // A server that is there gives up by itself, a little earlier.
        let done = self.runtime.block_on(async { tokio::time::timeout(self.limit + self.limit / 4, work).await });
        let what = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                self.broken.set(true);
                return Err(trouble(&self.name, &error));
            }
            Err(_) => format!("does not answer; {:.1?} were waited", self.limit + self.limit / 4),
        };
        self.broken.set(true);
        Err(lost(&self.name, &what))
    }

    fn statement(&self, sql: &'static str) -> Result<Statement> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let fresh = self.wait(self.client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql, fresh.clone());
        Ok(fresh)
    }

    /// The rows of a question.
    pub fn rows(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let statement = self.statement(sql)?;
        self.wait(self.client.query(&statement, parameters))
    }

    /// The one row of a question; None where there is none.
    pub fn row(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>> {
        Ok(self.rows(sql, parameters)?.into_iter().next())
    }

    /// Makes a change; returns how many rows it is of.
    pub fn change(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.statement(sql)?;
        self.wait(self.client.execute(&statement, parameters))
    }

    /// Statements without parameters, one after another.
    pub fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }
}

/// What a library said, with its causes; no URL is among it.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => said.message().into(),
        None => match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

fn unreached(name: &str, why: &str) -> Error {
    Error::Run {
        message: format!("the database {name} cannot be reached: {why}"),
        remedy: "see that the server runs and takes connections from here, and start again; nothing was changed".into(),
    }
}

fn lost(name: &str, what: &str) -> Error {
    Error::Run {
        message: format!("the database {name} {what}"),
        remedy: "what was acknowledged is kept; when the server runs again, repeat the call: what it added is not added twice"
            .into(),
    }
}

/// What a record of a table holds, or that it is damaged.
pub fn whole<T>(database: &str, number: i64, what: Option<T>) -> Result<T> {
    what.ok_or_else(|| Error::Run {
        message: format!("a record of number {number} in the database {database} is damaged"),
        remedy: "restore the database from a backup".into(),
    })
}

/// An error on the way to a server.
fn refused(name: &str, user: &str, error: &tokio_postgres::Error) -> Error {
    let why = words(error);
    match error.code() {
        Some(code) if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) => {
            let remedy =
                "give the user and password in the URL, in PGPASSWORD or in ~/.pgpass (which others must not be able to read)";
            Error::input(format!("the database {name} does not let {user:?} in: {why}"), remedy)
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            let remedy = "make it (createdb), or name another one in the URL";
            Error::input(format!("the server has no database {name}: {why}"), remedy)
        }
        _ if why.contains("password missing") => {
            let remedy = "give it in the URL, in PGPASSWORD or in ~/.pgpass (which others must not be able to read)";
            Error::input(format!("the database {name} asks for a password"), remedy)
        }
        _ => unreached(name, &why),
    }
}

/// An error on a connection.
fn trouble(name: &str, error: &tokio_postgres::Error) -> Error {
    let why = words(error);
    match error.code() {
        Some(code) if *code == SqlState::QUERY_CANCELED => lost(name, &format!("gave up: {why}")),
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let remedy = "as its owner: GRANT CREATE ON DATABASE … TO …, and CREATE EXTENSION vector";
            Error::input(format!("the database {name} does not allow it: {why}"), remedy)
        }
        // Shut down, out of room, out of connections, or gone in the middle of it.
        Some(code) if !["53", "57", "58", "08"].iter().any(|class| code.code().starts_with(class)) => Error::Run {
            message: format!("the database {name} refuses: {why}"),
            remedy: "nothing was changed; its log says more".into(),
        },
        _ => lost(name, &format!("went away: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_stay_where_they_are_and_spread() {
        let servers = Servers::new(&["postgres://a@x/one", "postgres://a@y/two", "host=z user=a"]).unwrap();
        // md5("ada") begins 8c8d357b5e872bbacd45197626bd5759.
        assert_eq!(stable("ada"), 0x8c8d_357b_5e87_2bba);
        assert_eq!(servers.of("ada"), (0x8c8d_357b_5e87_2bbau64 % 3) as usize);
        let mut counts = [0; 3];
        (0..3000).for_each(|i| counts[servers.of(&format!("user {i}"))] += 1);
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_password() {
        for url in ["postgres://a:geheim@x:port/y", "host=", "nonsense geheim", "", "postgres://a:geheim@x/y?sslmode=require"] {
            let error = Servers::new(&[url]).err().unwrap_or_else(|| panic!("{url}"));
            assert!(error.remedy().is_some() && !format!("{error} {error:?}").contains("geheim"), "{error}");
        }
        assert!(Servers::new::<&str>(&[]).is_err());
    }

    #[test]
    fn passwords_of_a_file() {
        let lines = "# x\nh:5432:d:u:one\n*:*:*:ann:two:with\\:colons\n\\:1:*:*:*:three\nh:1:d\n";
        let of = |host, port, user| found_in(lines, [host, port, "d", user]);
        assert_eq!(of("h", "5432", "u").as_deref(), Some("one"));
        assert_eq!(of("other", "1", "ann").as_deref(), Some("two:with:colons"));
        assert_eq!(of(":1", "7", "u").as_deref(), Some("three"));
        assert_eq!(of("h", "1", "u"), None);
    }
}
