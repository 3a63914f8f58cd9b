//! A change to a memory in a database, in one transaction: all of it, or nothing. Keeps the sums over cells, and how many cells each
//! granule cell drives, as what comes and goes makes them.

use super::cells::{Standing, moment, synapses};
use super::part::number;
use super::server::Connection;
use crate::error::{Error, Result};
use crate::memory::store::episodes::{Gone, cell_bytes, token_bytes};
use crate::recall::episode::instant;
use crate::recall::hippocampus::{Added, Hippocampus, Place};
use crate::recall::index::{Code, length};
use pgvector::SparseVector;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::types::ToSql;

/// Rows of one statement.
const ROWS: usize = 256;

/// What changes.
#[derive(Default)]
pub struct Change {
    /// Everything that is there goes first.
    pub anew: bool,
    /// Orders of experiences that go.
    pub gone: Vec<u64>,
    /// Codes as they are before it, of all cells that go or are written.
    pub before: HashMap<Place, Code>,
    /// What comes, or is as it was not.
    pub added: Added,
    /// What is left of experiences that went, by id; None where one of that id came again.
    pub forgotten: Vec<(String, Option<Gone>)>,
}

/// What a cell adds to the sums: its words, and the granule cells that drive it, by port.
#[derive(Default)]
struct Sums {
    cells: i64,
    words: [i64; 2],
    held: BTreeMap<(i16, i32), i32>,
}

impl Sums {
    fn count(&mut self, code: &Code, sign: i32) {
        self.cells += i64::from(sign);
        for (sum, words) in self.words.iter_mut().zip([&code.words, &code.around]) {
            *sum += i64::from(sign) * length(words) as i64;
        }
        let words = [&code.words, &code.around].map(|held| held.iter().map(|(granule, _)| *granule).collect::<Vec<_>>());
        for (port, granules) in (0..).zip(words.iter().chain([&code.sense, &code.sense_around])) {
            for granule in granules {
                *self.held.entry((port, i32::from(*granule))).or_default() += sign;
            }
        }
    }
}

/// Writes a change; `network` has what it made of its part, `mark` says what vectors are of.
///
/// # Errors
/// Those of the server, and another process that wrote meanwhile. Nothing is changed then.
pub fn write(
    connection: &Connection,
    memory: i32,
    standing: &Standing,
    network: &Hippocampus,
    mark: &str,
    change: &Change,
) -> Result<Standing> {
    let mut sums = Sums::default();
    let comes = change.added.cells.iter().map(|(place, _)| place);
    let was: Vec<(&Place, &Code)> = match change.anew {
        true => Vec::new(),
        false => {
            let goes = change.before.keys().filter(|(order, _)| change.gone.contains(order));
            comes.chain(goes).filter_map(|place| change.before.get_key_value(place)).collect()
        }
    };
    was.into_iter().for_each(|(_, code)| sums.count(code, -1));
    change.added.cells.iter().for_each(|(_, kept)| sums.count(&kept.code, 1));
    connection.batch("BEGIN")?;
    let with_vectors = network.whitening().width() > 0;
    let whitening = with_vectors.then(|| network.whitening().to_bytes());
    let tokens = with_vectors.then(|| network.counts().to_bytes());
    let old = if change.anew { Standing { cells: 0, words: [0; 2], ..standing.clone() } } else { standing.clone() };
    let new = Standing {
        commits: old.commits + 1,
        next: network.next() as i64,
        cells: old.cells + sums.cells,
        words: [old.words[0] + sums.words[0], old.words[1] + sums.words[1]],
        version: if with_vectors { network.whitening().version as i32 } else { old.version },
    };
    let written = connection.change(
        "UPDATE sharpwave.memory SET commits = $3, next = $4, cells = $5, own_words = $6, around_words = $7, version = $8, \
            encoder = $9, whitening = coalesce($10, whitening), tokens = coalesce($11, tokens) WHERE number = $1 AND commits = $2",
        &[
            &memory,
            &old.commits,
            &new.commits,
            &new.next,
            &new.cells,
            &new.words[0],
            &new.words[1],
            &new.version,
            &mark,
            &whitening,
            &tokens,
        ],
    )?;
    if written != 1 {
        return Err(Error::Run {
            message: format!("another process wrote in this memory of the database {} meanwhile", connection.name),
            remedy: "nothing was changed; repeat the call".into(),
        });
    }
    take_out(connection, memory, change)?;
    put_in(connection, memory, network, change)?;
    count(connection, memory, &sums.held)?;
    remember(connection, memory, change)?;
    connection.batch("COMMIT")?;
    Ok(new)
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::input(e.to_string(), "leave out what cannot be written as JSON"))
}

fn take_out(connection: &Connection, memory: i32, change: &Change) -> Result<()> {
    if change.anew {
        for sql in [
            "DELETE FROM sharpwave.experience WHERE memory = $1",
            "DELETE FROM sharpwave.cell WHERE memory = $1",
            "DELETE FROM sharpwave.kept WHERE memory = $1",
            "DELETE FROM sharpwave.tokens WHERE memory = $1",
            "DELETE FROM sharpwave.held WHERE memory = $1",
        ] {
            connection.change(sql, &[&memory])?;
        }
    }
    if change.gone.is_empty() {
        return Ok(());
    }
    let gone: Vec<i64> = change.gone.iter().map(|order| *order as i64).collect();
    for sql in [
        "DELETE FROM sharpwave.experience WHERE memory = $1 AND number = ANY ($2)",
        "DELETE FROM sharpwave.cell c USING unnest($2::bigint[]) g WHERE memory = $1 AND number >= g << 20 AND number < (g + 1) << 20",
        "DELETE FROM sharpwave.kept c USING unnest($2::bigint[]) g WHERE memory = $1 AND number >= g << 20 AND number < (g + 1) << 20",
        "DELETE FROM sharpwave.tokens c USING unnest($2::bigint[]) g WHERE memory = $1 AND number >= g << 20 AND number < (g + 1) << 20",
    ] {
        connection.change(sql, &[&memory, &gone])?;
    }
    Ok(())
}

const EXPERIENCES: &str = "
INSERT INTO sharpwave.experience
SELECT $1, number, b->>'id', b, b->>'user', b->>'session', ARRAY(SELECT json_array_elements_text(coalesce(b->'tags', '[]'))), at,
    (b->>'outcome')::float8, until, b->>'supersedes', b->>'superseded_by', b->>'quarantine' IS NOT NULL
FROM (SELECT number, body::json AS b, at, until
    FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) x(number, body, at, until)) x
ON CONFLICT (memory, number) DO UPDATE SET body = excluded.body, whose = excluded.whose, session = excluded.session,
    tags = excluded.tags, at = excluded.at, outcome = excluded.outcome, until = excluded.until, supersedes = excluded.supersedes,
    superseded_by = excluded.superseded_by, held_back = excluded.held_back";

const CELLS: &str = "
INSERT INTO sharpwave.cell
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[],
    $7::sparsevec[], $8::sparsevec[], $9::sparsevec[], $10::sparsevec[])
ON CONFLICT (memory, number) DO UPDATE SET before = excluded.before, after = excluded.after, own_words = excluded.own_words,
    around_words = excluded.around_words, words = excluded.words, around = excluded.around, sense = excluded.sense,
    sense_around = excluded.sense_around";

fn put_in(connection: &Connection, memory: i32, network: &Hippocampus, change: &Change) -> Result<()> {
    let added = &change.added;
    // What was changed twice is as it was changed last.
    let experiences: BTreeMap<u64, _> = added.episodes.iter().map(|(order, episode)| (*order, episode)).collect();
    let experiences: Vec<_> = experiences.into_iter().collect();
    for rows in experiences.chunks(ROWS) {
        let orders: Vec<i64> = rows.iter().map(|(order, _)| *order as i64).collect();
        let bodies: Vec<String> = rows.iter().map(|(_, episode)| json(episode)).collect::<Result<_>>()?;
        let at: Vec<Option<i64>> = rows.iter().map(|(_, e)| e.instant().map(moment)).collect();
        let until: Vec<Option<i64>> = rows.iter().map(|(_, e)| e.until.as_deref().and_then(instant).map(moment)).collect();
        connection.change(EXPERIENCES, &[&memory, &orders, &bodies, &at, &until])?;
    }
    let links: HashMap<Place, [Option<Place>; 2]> = network.links().collect();
    for rows in added.cells.chunks(ROWS) {
        let numbers: Vec<i64> = rows.iter().map(|(place, _)| number(*place)).collect();
        let beside = |side: usize| -> Vec<Option<i64>> {
            rows.iter().map(|(place, _)| links.get(place).and_then(|links| links[side]).map(number)).collect()
        };
        let (before, after) = (beside(0), beside(1));
        let spans =
            |of: fn(&Code) -> &[(u16, u8)]| -> Vec<i32> { rows.iter().map(|(_, kept)| length(of(&kept.code)) as i32).collect() };
        let (own, around) = (spans(|code| &code.words), spans(|code| &code.around));
        let mut ports: [Vec<SparseVector>; 4] = Default::default();
        for (_, kept) in rows {
            ports.iter_mut().zip(synapses(&kept.code)).for_each(|(all, one)| all.push(one));
        }
        let [words, words_around, sense, sense_around] = &ports;
        let parameters: [&(dyn ToSql + Sync); 10] =
            [&memory, &numbers, &before, &after, &own, &around, words, words_around, sense, sense_around];
        connection.change(CELLS, &parameters)?;
        let kept: Vec<Vec<u8>> = rows.iter().map(|(_, kept)| cell_bytes(kept)).collect();
        let sql = "INSERT INTO sharpwave.kept SELECT $1, * FROM unnest($2::bigint[], $3::bytea[]) \
            ON CONFLICT (memory, number) DO UPDATE SET bytes = excluded.bytes";
        connection.change(sql, &[&memory, &numbers, &kept])?;
    }
    for rows in added.tokens.chunks(ROWS) {
        let numbers: Vec<i64> = rows.iter().map(|(place, _)| number(*place)).collect();
        let tokens: Vec<Vec<u8>> = rows.iter().map(|(_, tokens)| token_bytes(tokens)).collect();
        let sql = "INSERT INTO sharpwave.tokens SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])";
        connection.change(sql, &[&memory, &numbers, &tokens])?;
    }
    Ok(())
}

fn count(connection: &Connection, memory: i32, held: &BTreeMap<(i16, i32), i32>) -> Result<()> {
    let changed: Vec<_> = held.iter().filter(|(_, n)| **n != 0).collect();
    for rows in changed.chunks(16 * ROWS) {
        let ports: Vec<i16> = rows.iter().map(|((port, _), _)| *port).collect();
        let granules: Vec<i32> = rows.iter().map(|((_, granule), _)| *granule).collect();
        let counts: Vec<i32> = rows.iter().map(|(_, n)| **n).collect();
        let sql = "INSERT INTO sharpwave.held SELECT $1, * FROM unnest($2::smallint[], $3::int[], $4::int[]) \
            ON CONFLICT (memory, port, granule) DO UPDATE SET cells = held.cells + excluded.cells";
        connection.change(sql, &[&memory, &ports, &granules, &counts])?;
        if counts.iter().any(|n| *n < 0) {
            let sql = "DELETE FROM sharpwave.held h USING unnest($2::smallint[], $3::int[]) x(port, granule) \
                WHERE h.memory = $1 AND h.port = x.port AND h.granule = x.granule AND h.cells = 0";
            connection.change(sql, &[&memory, &ports, &granules])?;
        }
    }
    Ok(())
}

fn remember(connection: &Connection, memory: i32, change: &Change) -> Result<()> {
    for (id, gone) in &change.forgotten {
        match gone {
            Some(gone) => {
                let body = json(gone)?;
                let sql = "INSERT INTO sharpwave.forgotten SELECT $1, $2, $3::text::json \
                    ON CONFLICT (memory, id) DO UPDATE SET body = excluded.body";
                connection.change(sql, &[&memory, id, &body])?;
            }
            None => drop(connection.change("DELETE FROM sharpwave.forgotten WHERE memory = $1 AND id = $2", &[&memory, id])?),
        }
    }
    Ok(())
}
