//! The tables in a database, all in a schema of their own, with their version and which of how many servers this one is. What is foreign,
//! of another version or another server's is refused before anything is changed.
//!
//! ```text
//! about       version of the tables; this server's number, of how many
//! memory      a row a user: counter of commits, sums over its cells, what vectors are of, statistics of vectors and tokens
//! experience  a row an experience: its JSON, and beside it what questions are limited to
//! cell        a row an index cell: neighbours in time, and its four codes as sparse vectors, which a volley is the inner product with
//! kept        a row a cell: vector and codes, as they are; tokens: token vectors; forgotten: ids and times
//! held        how many cells each granule cell drives, by port
//! ```
//! A cell's number is 2^20 times that of its experience, plus the number of its piece.

use super::server::{Connection, stable};
use crate::error::{Error, Result};

/// Version of the tables.
pub const VERSION: i32 = 1;

const TABLES: &str = "
CREATE SCHEMA sharpwave;
CREATE TABLE sharpwave.about (version int NOT NULL, server int NOT NULL, servers int NOT NULL);
CREATE TABLE sharpwave.memory (
    number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL UNIQUE,
    commits bigint NOT NULL DEFAULT 0,
    next bigint NOT NULL DEFAULT 0,
    cells bigint NOT NULL DEFAULT 0,
    own_words bigint NOT NULL DEFAULT 0,
    around_words bigint NOT NULL DEFAULT 0,
    encoder text,
    version int NOT NULL DEFAULT 0,
    whitening bytea,
    tokens bytea
);
CREATE TABLE sharpwave.experience (
    memory int NOT NULL, number bigint NOT NULL, id text NOT NULL, body json NOT NULL,
    whose text, session text, tags text[] NOT NULL, at bigint, outcome float8, until bigint,
    supersedes text, superseded_by text, held_back boolean NOT NULL,
    PRIMARY KEY (memory, number), UNIQUE (memory, id)
);
CREATE INDEX ON sharpwave.experience (memory, session, number) WHERE session IS NOT NULL;
CREATE INDEX ON sharpwave.experience (memory, supersedes) WHERE supersedes IS NOT NULL;
CREATE INDEX ON sharpwave.experience (memory, superseded_by) WHERE superseded_by IS NOT NULL;
CREATE TABLE sharpwave.cell (
    memory int NOT NULL, number bigint NOT NULL, before bigint, after bigint, own_words int NOT NULL, around_words int NOT NULL,
    words sparsevec(65536) NOT NULL, around sparsevec(65536) NOT NULL,
    sense sparsevec(8192) NOT NULL, sense_around sparsevec(8192) NOT NULL,
    PRIMARY KEY (memory, number)
) WITH (toast_tuple_target = 8160);
CREATE TABLE sharpwave.kept (memory int NOT NULL, number bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (memory, number));
CREATE TABLE sharpwave.tokens (memory int NOT NULL, number bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (memory, number));
ALTER TABLE sharpwave.kept ALTER bytes SET STORAGE EXTERNAL;
ALTER TABLE sharpwave.tokens ALTER bytes SET STORAGE EXTERNAL;
CREATE TABLE sharpwave.held (
    memory int NOT NULL, port smallint NOT NULL, granule int NOT NULL, cells int NOT NULL, PRIMARY KEY (memory, port, granule)
);
CREATE TABLE sharpwave.forgotten (memory int NOT NULL, id text NOT NULL, body json NOT NULL, PRIMARY KEY (memory, id));
";

/// Whether the tables are there, of this version, and of server `at` of `of`; made where there are none and they are wanted.
///
/// # Errors
/// A schema that this program did not make, another version, another place among the servers, a server without pgvector.
pub fn ready(connection: &Connection, at: usize, of: usize, make: bool) -> Result<bool> {
    if there(connection, at, of)? {
        return Ok(true);
    }
    if !make {
        return Ok(false);
    }
    let name = &connection.name;
    let available = "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector'";
    let version: Option<String> = connection.row(available, &[])?.and_then(|row| row.get(0));
    let at_least = |version: &str| {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(0), Some(7))
    };
    if !version.as_deref().is_some_and(at_least) {
        let found = version.map_or("has no pgvector".into(), |version| format!("has pgvector {version}"));
        let remedy = "install pgvector 0.7 or newer on the server (postgresql-18-pgvector), and CREATE EXTENSION vector";
        return Err(Error::input(format!("the database {name} {found}"), remedy));
    }
    connection.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({})", stable("sharpwave") as i64))?;
    // Another process may have made them meanwhile.
    if !there(connection, at, of)? {
        connection.batch("CREATE EXTENSION IF NOT EXISTS vector")?;
        connection.batch(TABLES)?;
        let numbers = [VERSION, at as i32, of as i32];
        connection.change("INSERT INTO sharpwave.about VALUES ($1, $2, $3)", &[&numbers[0], &numbers[1], &numbers[2]])?;
    }
    connection.batch("COMMIT")?;
    Ok(true)
}

fn there(connection: &Connection, at: usize, of: usize) -> Result<bool> {
    let name = &connection.name;
    let asked = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'sharpwave'), \
        (SELECT count(*) FROM information_schema.columns WHERE table_schema = 'sharpwave' AND table_name = 'about' \
         AND column_name IN ('version', 'server', 'servers'))";
    let (schema, columns) = connection.row(asked, &[])?.map_or((false, 0i64), |row| (row.get(0), row.get(1)));
    if !schema {
        return Ok(false);
    }
    let foreign = || {
        let remedy = "give memories a database of their own (createdb memories), or rename that schema";
        Error::input(format!("the database {name} has a schema \"sharpwave\" that this program did not make"), remedy)
    };
    if columns != 3 {
        return Err(foreign());
    }
    let rows = connection.rows("SELECT version, server, servers FROM sharpwave.about", &[])?;
    let [row] = rows.as_slice() else { return Err(foreign()) };
    let (version, server, servers): (i32, i32, i32) = (row.get(0), row.get(1), row.get(2));
    if version != VERSION {
        let remedy = match version > VERSION {
            true => "use the version of sharpwave that made them, or a later one",
            false => {
                "list what they hold with the version of sharpwave that made them (memory notes --json), and add it to a new database"
            }
        };
        let message = format!("the tables of the database {name} have version {version}; this program reads version {VERSION}");
        return Err(Error::input(message, remedy));
    }
    if (server, servers) != (at as i32, of as i32) {
        let message = format!(
            "the database {name} is number {} of {servers} that memories were spread over, and is named as number {} of {of}",
            server + 1,
            at + 1
        );
        return Err(Error::input(
            message,
            "name all of them, in the order in which they were named at first: a user stays where it is",
        ));
    }
    Ok(true)
}
