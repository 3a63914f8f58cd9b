//! Experiences recalled from PostgreSQL with pgvector, for more of them than one machine or process holds: the memory of a user lies on one
//! of the servers given, and no process holds it whole. Answers are those of a memory in a folder: codes are made, changed and ranked by
//! the same network, which here has a part of the experiences at a time, and the volley is served where the cells lie.
//!
//! A memory has one writer at a time (an advisory lock) and any number of readers; a change is one transaction, a question sees one moment.
//! The one difference: a folder's tables keep the 192 rarest words of a long text and its neighbours, a database keeps all of them.

mod cells;
mod change;
mod part;
mod schema;
mod server;

pub use schema::VERSION;
pub use server::Servers;

use self::cells::{Cells, Standing};
use self::change::{Change, write};
use self::part::{Part, everything, going, met, named};
use self::server::{Connection, stable, whole};
use super::episodic::{Chosen, Mark, Recall, Size, With, agreed, encoder, mark};
use super::experience::now;
use super::store::episodes::Gone;
use crate::error::{Error, Result};
use crate::recall::codes::Whitening;
use crate::recall::encoder::{Encoder, TokenCounts};
use crate::recall::hippocampus::{Added, Answer, Late, Place, Receipt};
use crate::recall::index::Code;
use crate::recall::{Ask, Episode, Hippocampus};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a memory that was closed a moment ago may still count as written in.
const CLOSING: Duration = Duration::from_secs(1);

/// The memory of one user in a database.
pub struct Remote {
    servers: Servers,
    user: String,
    /// Whether it may be changed.
    writes: bool,
    /// None after it failed; the next call makes another.
    connection: Option<Connection>,
    /// Number of the memory in its database.
    number: i32,
    /// As the statistics of the network are; None where they are not known.
    standing: Option<Standing>,
    /// Encoder, statistics, and the part of the experiences that a change needed last.
    network: Hippocampus,
    mark: Mark,
    without: Option<String>,
}

impl Remote {
    /// The memory of a user, to write; begun where there is none.
    ///
    /// # Errors
    /// A database that cannot be reached, or that another program or version made; a memory that another process writes in; vectors of
    /// another encoder than the named one.
    pub fn open(servers: &Servers, user: &str, with: &With) -> Result<Remote> {
        Remote::begin(servers, user, true, |kept| with.choose(kept))
    }

    /// The same with an encoder of the program's own, or words alone.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn open_with(servers: &Servers, user: &str, encoder: Option<Arc<dyn Encoder>>) -> Result<Remote> {
        Remote::begin(servers, user, true, |_| Ok((encoder, None)))
    }

    /// The memory of a user, for asking, beside a process that writes.
    ///
    /// # Errors
    /// As [`Remote::open`]; a user that has no memory.
    pub fn read(servers: &Servers, user: &str, with: &With) -> Result<Remote> {
        Remote::begin(servers, user, false, |kept| with.choose(kept))
    }

    /// The same with an encoder of the program's own, or words alone.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn read_with(servers: &Servers, user: &str, encoder: Option<Arc<dyn Encoder>>) -> Result<Remote> {
        Remote::begin(servers, user, false, |_| Ok((encoder, None)))
    }

    fn begin(
        servers: &Servers,
        user: &str,
        writes: bool,
        choose: impl FnOnce(Option<&Mark>) -> Result<Chosen>,
    ) -> Result<Remote> {
        if user.trim().is_empty() || user.contains('\0') {
            return Err(Error::input(format!("{user:?} is no user"), "name whose memory it is: --user NAME"));
        }
        let connection = connected(servers, user, writes.then_some(CLOSING))?;
        let (number, kept) = memory(&connection, user, writes)?;
        let (encoder, without) = choose(kept.as_ref())?;
        let remedy = "leave --encoder out: the memory's own is at work then";
        let came_first = kept.as_ref().is_some_and(|kept| kept.width == 0) && encoder.is_some();
        let mark = agreed(kept, encoder.as_ref(), &format!("of {user} in {}", connection.name), remedy)?;
        let mut own = Remote {
            servers: servers.clone(),
            user: user.into(),
            writes,
            connection: Some(connection),
            number,
            standing: None,
            network: Hippocampus::new(encoder),
            mark,
            without,
        };
        // Words came before the encoder did.
        if writes && came_first {
            own.recode_by(&mut |_, _| ControlFlow::Continue(()))?;
        }
        Ok(own)
    }

    /// Which of the servers has it.
    pub fn server(&self) -> usize {
        self.servers.of(&self.user)
    }

    /// Work on a connection, made anew where it failed before. After an error nothing of what was begun is left.
    fn session<T>(&mut self, work: impl FnOnce(&mut Remote, &Connection) -> Result<T>) -> Result<T> {
        let connection = match self.connection.take().filter(Connection::is_whole) {
            Some(connection) => connection,
            None => {
                self.standing = None;
                // The server may not have noticed yet that the one before is gone.
                connected(&self.servers, &self.user, self.writes.then_some(self.servers.limit))?
            }
        };
        let done = work(self, &connection);
        if done.is_err() {
            self.standing = None;
        }
        if connection.is_whole() && (done.is_ok() || connection.batch("ROLLBACK").is_ok()) {
            self.connection = Some(connection);
        }
        done
    }

    /// Takes up what the last commit left of the statistics, where that is not known yet.
    fn refresh(&mut self, connection: &Connection) -> Result<Standing> {
        let asked =
            "SELECT commits, next, cells, own_words, around_words, version, encoder FROM sharpwave.memory WHERE number = $1";
        let gone = || Error::input(format!("the memory of {} is gone", self.user), "open it again");
        let row = connection.row(asked, &[&self.number])?.ok_or_else(gone)?;
        let standing = Standing {
            commits: row.get(0),
            next: row.get(1),
            cells: row.get(2),
            words: [row.get(3), row.get(4)],
            version: row.get(5),
        };
        if self.standing.as_ref() == Some(&standing) {
            return Ok(standing);
        }
        let kept: Option<Mark> = row.get::<_, Option<&str>>(6).and_then(|json| serde_json::from_str(json).ok());
        if kept.is_some_and(|kept| kept.width > 0 && self.mark.width > 0 && kept.fingerprint != self.mark.fingerprint) {
            let what = format!("the memory of {} was coded anew by another encoder", self.user);
            return Err(Error::input(what, "open it again"));
        }
        // Who only asks needs the whitening of another version alone, and it is large.
        let whole = self.writes || self.standing.as_ref().is_none_or(|known| known.version != standing.version);
        let asked = "SELECT tokens, CASE WHEN $2 THEN whitening END FROM sharpwave.memory WHERE number = $1";
        if let Some(row) = connection.row(asked, &[&self.number, &whole])? {
            let counts = row.get::<_, Option<&[u8]>>(0).and_then(TokenCounts::from_bytes);
            let known = self.network.whitening();
            let whitening = match whole {
                true => row
                    .get::<_, Option<&[u8]>>(1)
                    .and_then(Whitening::from_bytes)
                    .unwrap_or_else(|| Whitening::new(known.width())),
                false => known.clone(),
            };
            self.network.remember(Some(whitening), counts);
        }
        self.standing = Some(standing.clone());
        Ok(standing)
    }

    fn writable(&self) -> Result<()> {
        match self.writes {
            true => Ok(()),
            false => Err(Error::input(format!("the memory of {} is open for reading only", self.user), "open it to write")),
        }
    }

    /// Has the network take up a part, and notes its codes as they are.
    fn take(&mut self, standing: &Standing, part: Part) -> HashMap<Place, Code> {
        let before = part.cells().map(|(place, kept)| (place, kept.code.clone())).collect();
        self.network.take_part(standing.next as u64, part.into_all());
        before
    }

    fn write(&mut self, connection: &Connection, standing: &Standing, change: &Change) -> Result<()> {
        let mark = serde_json::to_string(&self.mark).map_err(|e| Error::input(e.to_string(), "name another encoder"))?;
        self.standing = Some(write(connection, self.number, standing, &self.network, &mark, change)?);
        Ok(())
    }

    /// Codes everything anew by an encoder (or words alone), in one commit. Takes up the whole memory.
    ///
    /// # Errors
    /// An encoder that cannot be opened, and those of the server. Everything is as it was then.
    pub fn recode(&mut self, with: &With, each: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<()> {
        let encoder = match with {
            With::Named(name) => Some(encoder(name)?),
            With::Words => None,
            With::Own => self.network.encoder().cloned(),
        };
        let before = std::mem::replace(&mut self.network, Hippocampus::new(encoder));
        let done = self.recode_by(each);
        match done {
            Ok(()) => self.without = None,
            Err(_) => (self.network, self.standing) = (before, None),
        }
        done
    }

    fn recode_by(&mut self, each: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<()> {
        self.writable()?;
        self.session(|own, connection| {
            let asked = "SELECT commits FROM sharpwave.memory WHERE number = $1";
            let commits = connection.row(asked, &[&own.number])?.map_or(0, |row| row.get(0));
            let whole = everything(connection, own.number)?.into_all().map(|(order, episode, _)| (order, episode, Vec::new()));
            own.network.take_part(0, whole);
            let added = own.network.encode_again(each)?;
            let before = std::mem::replace(&mut own.mark, mark(own.network.encoder()));
            let standing = Standing { commits, ..Standing::default() };
            let written = own.write(connection, &standing, &Change { anew: true, added, ..Change::default() });
            if written.is_err() {
                own.mark = before;
            }
            written
        })
    }

    /// Records of cells in any table whose experience is not there. Proves a receipt.
    ///
    /// # Errors
    /// Those of the server.
    pub fn ghosts(&mut self) -> Result<usize> {
        self.session(|own, connection| {
            let asked = "SELECT count(*) FROM (SELECT number FROM sharpwave.cell WHERE memory = $1 \
                UNION ALL SELECT number FROM sharpwave.kept WHERE memory = $1 UNION ALL SELECT number FROM sharpwave.tokens WHERE memory = $1) c \
                WHERE NOT EXISTS (SELECT FROM sharpwave.experience e WHERE e.memory = $1 AND e.number = c.number >> 20)";
            Ok(connection.row(asked, &[&own.number])?.map_or(0, |row| row.get::<_, i64>(0) as usize))
        })
    }

    /// What is left of an experience that was forgotten.
    ///
    /// # Errors
    /// Those of the server.
    pub fn gone(&mut self, id: &str) -> Result<Option<Gone>> {
        self.session(|own, connection| {
            let asked = "SELECT body::text FROM sharpwave.forgotten WHERE memory = $1 AND id = $2";
            let row = connection.row(asked, &[&own.number, &id])?;
            row.map(|row| whole(&connection.name, 0, serde_json::from_str::<Gone>(row.get(0)).ok())).transpose()
        })
    }
}

/// A connection to the server that has a user's memory, the tables looked at; to write with the writer's lock, for which it waits so long.
fn connected(servers: &Servers, user: &str, writes: Option<Duration>) -> Result<Connection> {
    let at = servers.of(user);
    let connection = Connection::open(servers, at)?;
    if !schema::ready(&connection, at, servers.len(), writes.is_some())? {
        return Err(empty(&connection, user));
    }
    let Some(patience) = writes else { return Ok(connection) };
    let key = stable(&format!("sharpwave memory of {user}")) as i64;
    let begun = Instant::now();
    while !connection.row("SELECT pg_try_advisory_lock($1)", &[&key])?.is_some_and(|row| row.get(0)) {
        if begun.elapsed() > patience {
            let message = format!("the memory of {user} in {} is in use: another process writes in it", connection.name);
            return Err(Error::input(message, "wait until that process has ended, or stop it; recall works meanwhile"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(connection)
}

/// The number of a user's memory and what its vectors are of; made where there is none and it is wanted.
fn memory(connection: &Connection, user: &str, make: bool) -> Result<(i32, Option<Mark>)> {
    if make {
        connection.change("INSERT INTO sharpwave.memory (owner) VALUES ($1) ON CONFLICT DO NOTHING", &[&user])?;
    }
    let row = connection.row("SELECT number, encoder FROM sharpwave.memory WHERE owner = $1", &[&user])?;
    let Some(row) = row else { return Err(empty(connection, user)) };
    let number: i32 = row.get(0);
    let kept = match row.get::<_, Option<&str>>(1) {
        Some(json) => Some(whole(&connection.name, number.into(), serde_json::from_str(json).ok())?),
        None => None,
    };
    Ok((number, kept))
}

fn empty(connection: &Connection, user: &str) -> Error {
    let message = format!("the database {} holds nothing that could be recalled of {user}", connection.name);
    Error::input(message, "add something: sharpwave memory add --database URL --user NAME FILE")
}

/// What a database's texts cannot hold, and whose it is.
fn fitting(episode: &Episode, user: &str) -> Result<()> {
    if let Some(other) = episode.user.as_ref().filter(|other| *other != user) {
        let message = format!("experience {:?} is {other}'s, and this is the memory of {user}", episode.id);
        return Err(Error::input(message, "add it to that user's memory, or leave `user` out"));
    }
    let texts = [&episode.speaker, &episode.session, &episode.supersedes, &episode.path, &episode.quarantine];
    if texts.into_iter().flatten().chain(&episode.tags).any(|text| text.contains('\0')) {
        let message = format!("experience {:?} has NUL characters, which a database does not hold", episode.id);
        return Err(Error::input(message, "take them out"));
    }
    Ok(())
}

impl Recall for Remote {
    fn without(&self) -> Option<&str> {
        self.without.as_deref()
    }

    fn add(&mut self, mut episodes: Vec<Episode>) -> Result<Vec<(String, bool)>> {
        self.writable()?;
        let told = now();
        let mut pieces = 0;
        for episode in &mut episodes {
            fitting(episode, &self.user)?;
            episode.check()?;
            episode.told = episode.told.take().or(Some(told.clone()));
            pieces += episode.pieces().len() as u64;
        }
        self.session(|own, connection| {
            let standing = own.refresh(connection)?;
            // Where the whitening may be made anew, all codes are.
            let part = match own.network.encoder().is_some() && own.network.whitening().is_due_with(pieces) {
                true => everything(connection, own.number)?,
                false => met(connection, own.number, &episodes)?,
            };
            let before = own.take(&standing, part);
            let added = own.network.add(episodes)?;
            let ids = added.ids.clone();
            if !added.episodes.is_empty() {
                let forgotten = ids.iter().filter(|(_, new)| *new).map(|(id, _)| (id.clone(), None)).collect();
                own.write(connection, &standing, &Change { before, added, forgotten, ..Change::default() })?;
            }
            Ok(ids)
        })
    }

    fn recall_by(&mut self, ask: &Ask, late: Late) -> Result<Answer> {
        self.session(|own, connection| {
            connection.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            let standing = own.refresh(connection)?;
            let cells = Cells { connection, memory: own.number, standing: &standing };
            let answer = own.network.recall_from(&cells, ask, late)?;
            connection.batch("COMMIT")?;
            Ok(answer)
        })
    }

    fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.writable()?;
        let when = now();
        self.session(|own, connection| {
            let standing = own.refresh(connection)?;
            let names: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
            let (part, tokens) = going(connection, own.number, &names)?;
            let before = own.take(&standing, part);
            let left = |id: &&str| {
                let told = own.network.get(id)?.told.clone();
                Some((id.to_string(), Some(Gone { told, when: when.clone() })))
            };
            let forgotten = ids.iter().filter_map(left).collect();
            let (receipts, gone, added) = own.network.forget(ids, &|place| Ok(tokens.get(&place).cloned()))?;
            own.write(connection, &standing, &Change { gone, before, added, forgotten, anew: false })?;
            Ok(receipts)
        })
    }

    fn amend(&mut self, ids: &[&str], change: &mut dyn FnMut(&mut Episode)) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.writable()?;
        self.session(|own, connection| {
            let standing = own.refresh(connection)?;
            let mut names: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
            own.take(&standing, named(connection, own.number, &names)?);
            let changed = own.network.amend(ids, change)?;
            changed.iter().try_for_each(|(_, episode)| fitting(episode, &own.user))?;
            // Once more, with those whose place they take now.
            names.extend(changed.iter().filter_map(|(_, episode)| episode.supersedes.clone()));
            let changed: HashMap<String, Episode> = changed.into_iter().map(|(_, e)| (e.id.clone(), e)).collect();
            let before = own.take(&standing, named(connection, own.number, &names)?);
            let episodes = own.network.amend(ids, |episode| {
                if let Some(changed) = changed.get(&episode.id) {
                    episode.clone_from(changed);
                }
            })?;
            let added = Added { episodes, ..Added::default() };
            own.write(connection, &standing, &Change { before, added, ..Change::default() })
        })
    }

    fn episodes(&mut self) -> Result<Vec<Episode>> {
        self.session(|own, connection| {
            let asked = "SELECT number, body::text FROM sharpwave.experience WHERE memory = $1 ORDER BY number";
            let one =
                |row: &tokio_postgres::Row| whole(&connection.name, row.get(0), serde_json::from_str::<Episode>(row.get(1)).ok());
            connection.rows(asked, &[&own.number])?.iter().map(one).collect()
        })
    }

    fn count(&mut self) -> Result<usize> {
        self.session(|own, connection| {
            let asked = "SELECT count(*) FROM sharpwave.experience WHERE memory = $1";
            Ok(connection.row(asked, &[&own.number])?.map_or(0, |row| row.get::<_, i64>(0) as usize))
        })
    }

    fn size(&mut self) -> Result<Size> {
        self.session(|own, connection| {
            let asked = "SELECT count(*), count(*) FILTER (WHERE superseded_by IS NOT NULL OR until <= $2), \
                count(*) FILTER (WHERE (body->>'pinned')::boolean), count(DISTINCT session), sum(pg_column_size(e.*))::bigint \
                FROM sharpwave.experience e WHERE memory = $1";
            let of_cells = "SELECT count(*), sum(pg_column_size(c.*))::bigint, \
                (SELECT sum(cells)::bigint FROM sharpwave.held WHERE memory = $1), \
                (SELECT sum(pg_column_size(bytes))::bigint FROM sharpwave.kept WHERE memory = $1), \
                (SELECT sum(pg_column_size(bytes))::bigint FROM sharpwave.tokens WHERE memory = $1) \
                FROM sharpwave.cell c WHERE memory = $1";
            connection.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            let standing = own.refresh(connection)?;
            let moment = cells::moment(jiff::Timestamp::now());
            let experiences = connection.row(asked, &[&own.number, &moment])?;
            let cells = connection.row(of_cells, &[&own.number])?;
            connection.batch("COMMIT")?;
            let of = |row: &Option<tokio_postgres::Row>, at: usize| -> u64 {
                row.as_ref().and_then(|row| row.get::<_, Option<i64>>(at)).unwrap_or(0) as u64
            };
            Ok(Size {
                experiences: of(&experiences, 0) as usize,
                history: of(&experiences, 1) as usize,
                pinned: of(&experiences, 2) as usize,
                sessions: of(&experiences, 3) as usize,
                cells: of(&cells, 0) as usize,
                synapses: of(&cells, 2),
                table_bytes: of(&cells, 1),
                file_bytes: of(&experiences, 4) + of(&cells, 1) + of(&cells, 3) + of(&cells, 4),
                encoder: own.mark.clone(),
                version: standing.version as u32,
            })
        })
    }
}
