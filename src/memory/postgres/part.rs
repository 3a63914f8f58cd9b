//! Parts of a memory in a database: as much as a change needs to know, experiences with those of their cells that it touches and their
//! neighbours. Never the whole, but where everything is to be coded anew.

use super::server::{Connection, whole};
use crate::error::Result;
use crate::memory::store::episodes;
use crate::recall::Episode;
use crate::recall::encoder::Tokens;
use crate::recall::hippocampus::{Kept, Place};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio_postgres::Row;

/// Bits of a cell's number that say which piece it is.
const PIECES: u32 = 20;

/// The number of a cell.
pub fn number((order, piece): Place) -> i64 {
    (order << PIECES) as i64 | i64::from(piece)
}

/// The reverse of [`number`].
pub fn place(number: i64) -> Place {
    (number as u64 >> PIECES, (number & ((1 << PIECES) - 1)) as u32)
}

/// Experiences by their order, each with some of its cells.
#[derive(Default)]
pub struct Part(BTreeMap<u64, (Episode, Vec<(u32, Kept)>)>);

impl Part {
    /// Experiences, in their order, with their cells by piece.
    pub fn into_all(self) -> impl Iterator<Item = (u64, Episode, Vec<(u32, Kept)>)> {
        self.0.into_iter().map(|(order, (episode, cells))| (order, episode, cells))
    }

    /// The cells in it.
    pub fn cells(&self) -> impl Iterator<Item = (Place, &Kept)> {
        self.0.iter().flat_map(|(order, (_, cells))| cells.iter().map(|(piece, kept)| ((*order, *piece), kept)))
    }

    fn take(&mut self, connection: &Connection, rows: &[Row]) -> Result<()> {
        for row in rows {
            let (order, body): (i64, &str) = (row.get(0), row.get(1));
            let episode = whole(&connection.name, order, serde_json::from_str(body).ok())?;
            self.0.entry(order as u64).or_insert((episode, Vec::new()));
        }
        Ok(())
    }

    fn take_cells(&mut self, connection: &Connection, rows: &[Row]) -> Result<()> {
        for row in rows {
            let (at, bytes): (i64, &[u8]) = (row.get(0), row.get(1));
            let kept = whole(&connection.name, at, episodes::cell(bytes))?;
            let (order, piece) = place(at);
            let (_, cells) = whole(&connection.name, at, self.0.get_mut(&order))?;
            cells.push((piece, kept));
        }
        Ok(())
    }

    /// Takes up cells by their numbers, with their experiences.
    fn take_numbers(&mut self, connection: &Connection, memory: i32, numbers: &BTreeSet<i64>) -> Result<()> {
        let orders: BTreeSet<i64> = numbers.iter().map(|number| place(*number).0 as i64).collect();
        let (orders, numbers): (Vec<i64>, Vec<i64>) = (orders.into_iter().collect(), numbers.iter().copied().collect());
        let asked = "SELECT number, body::text FROM sharpwave.experience WHERE memory = $1 AND number = ANY ($2)";
        self.take(connection, &connection.rows(asked, &[&memory, &orders])?)?;
        let asked = "SELECT number, bytes FROM sharpwave.kept WHERE memory = $1 AND number = ANY ($2) ORDER BY number";
        self.take_cells(connection, &connection.rows(asked, &[&memory, &numbers])?)
    }
}

/// Everything.
pub fn everything(connection: &Connection, memory: i32) -> Result<Part> {
    let mut part = Part::default();
    let asked = "SELECT number, body::text FROM sharpwave.experience WHERE memory = $1 ORDER BY number";
    part.take(connection, &connection.rows(asked, &[&memory])?)?;
    let asked = "SELECT number, bytes FROM sharpwave.kept WHERE memory = $1 ORDER BY number";
    part.take_cells(connection, &connection.rows(asked, &[&memory])?)?;
    Ok(part)
}

/// What experiences that are to be added meet: those of their ids and those that they supersede, and the ends of their sessions.
pub fn met(connection: &Connection, memory: i32, fresh: &[Episode]) -> Result<Part> {
    let id = |e: &Episode| if e.id.is_empty() { e.derived_id() } else { e.id.clone() };
    let ids: Vec<String> = fresh.iter().flat_map(|e| [Some(id(e)), e.supersedes.clone()]).flatten().collect();
    let mut part = named(connection, memory, &ids)?;
    let sessions: BTreeSet<(Option<String>, String)> =
        fresh.iter().filter_map(|e| Some((e.user.clone(), e.session.clone()?))).collect();
    let (whose, sessions): (Vec<Option<String>>, Vec<String>) = sessions.into_iter().unzip();
    let asked = "SELECT c.number, c.before FROM unnest($2::text[], $3::text[]) s(whose, session) \
        CROSS JOIN LATERAL (SELECT number FROM sharpwave.experience e WHERE e.memory = $1 AND e.session = s.session \
            AND e.whose IS NOT DISTINCT FROM s.whose ORDER BY number DESC LIMIT 1) last \
        CROSS JOIN LATERAL (SELECT number, before FROM sharpwave.cell WHERE memory = $1 AND number >= last.number << 20 \
            AND number < (last.number + 1) << 20 ORDER BY number DESC LIMIT 1) c";
    let rows = connection.rows(asked, &[&memory, &whose, &sessions])?;
    let ends = rows.iter().flat_map(|row| [Some(row.get::<_, i64>(0)), row.get(1)]).flatten().collect();
    part.take_numbers(connection, memory, &ends)?;
    Ok(part)
}

/// Experiences by their ids, without cells.
pub fn named(connection: &Connection, memory: i32, ids: &[String]) -> Result<Part> {
    let mut part = Part::default();
    let asked = "SELECT number, body::text FROM sharpwave.experience WHERE memory = $1 AND id = ANY ($2)";
    part.take(connection, &connection.rows(asked, &[&memory, &ids])?)?;
    Ok(part)
}

/// What forgetting experiences of these ids touches: their cells, neighbours in time and theirs, what they took the place of, and what else
/// would take it; with the token vectors of their cells.
pub fn going(connection: &Connection, memory: i32, ids: &[String]) -> Result<(Part, HashMap<Place, Tokens>)> {
    let mut part = named(connection, memory, ids)?;
    let orders: Vec<i64> = part.0.keys().map(|order| *order as i64).collect();
    let asked = "WITH freed AS (SELECT id FROM sharpwave.experience WHERE memory = $1 AND superseded_by = ANY ($2)) \
        SELECT number, body::text FROM sharpwave.experience WHERE memory = $1 \
        AND (superseded_by = ANY ($2) OR supersedes IN (SELECT id FROM freed))";
    part.take(connection, &connection.rows(asked, &[&memory, &ids])?)?;
    let asked = "SELECT c.number, c.before, c.after FROM unnest($2::bigint[]) gone JOIN sharpwave.cell c \
        ON c.memory = $1 AND c.number >= gone << 20 AND c.number < (gone + 1) << 20";
    let rows = connection.rows(asked, &[&memory, &orders])?;
    let own: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut numbers: BTreeSet<i64> = own.iter().copied().collect();
    let beside =
        |rows: &[Row]| -> Vec<i64> { rows.iter().flat_map(|row| [row.get::<_, Option<i64>>(1), row.get(2)]).flatten().collect() };
    let neighbours = beside(&rows);
    let asked = "SELECT number, before, after FROM sharpwave.cell WHERE memory = $1 AND number = ANY ($2)";
    numbers.extend(beside(&connection.rows(asked, &[&memory, &neighbours])?));
    numbers.extend(neighbours);
    part.take_numbers(connection, memory, &numbers)?;
    let asked = "SELECT number, bytes FROM sharpwave.tokens WHERE memory = $1 AND number = ANY ($2)";
    let mut tokens = HashMap::new();
    for row in connection.rows(asked, &[&memory, &own])? {
        let (at, bytes): (i64, &[u8]) = (row.get(0), row.get(1));
        tokens.insert(place(at), whole(&connection.name, at, episodes::tokens(bytes))?);
    }
    Ok((part, tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_numbers() {
        for at in [(0, 0), (0, 7), (1, 0), (12_345_678, 4000), ((1 << 43) - 1, (1 << 20) - 1)] {
            assert_eq!(place(number(at)), at);
        }
        assert!(number((3, 9999)) < number((4, 0)));
    }
}
