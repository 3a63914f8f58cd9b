//! Index cells in a database as a population: a volley is the inner product of the cue with the codes, summed up and cut to the first
//! cells where they lie; only these travel. Whatever is made of them is made by the network's own rules.

use super::part::place;
use super::server::{Connection, whole};
use crate::error::Result;
use crate::memory::store::episodes;
use crate::recall::codes;
use crate::recall::encoder::Tokens;
use crate::recall::episode::{Episode, Timestamp};
use crate::recall::hippocampus::{Best, Fired, Population, Struck, Volley};
use crate::recall::index::{self, Code, PORTS, WORTH, inhibition};
use crate::recall::words;
use pgvector::SparseVector;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// The cells of one memory, as its last commit left them.
pub struct Cells<'a> {
    pub connection: &'a Connection,
    pub memory: i32,
    pub standing: &'a Standing,
}

/// Where a memory stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Commits so far.
    pub commits: i64,
    /// Number of the next experience.
    pub next: i64,
    /// Cells that are there.
    pub cells: i64,
    /// Words of all of them: their own, and around.
    pub words: [i64; 2],
    /// Version of the whitening.
    pub version: i32,
}

/// Sparse vectors of words and of the dense code.
pub fn sparse(dimension: usize, values: impl IntoIterator<Item = (u16, i32)>) -> SparseVector {
    let values: BTreeMap<i32, f32> = values.into_iter().map(|(cell, value)| (i32::from(cell), value as f32)).collect();
    SparseVector::from_map(&values, dimension as i32)
}

/// The synapses onto a cell, by port.
pub fn synapses(code: &Code) -> [SparseVector; PORTS] {
    let words = |held: &[(u16, u8)]| sparse(words::CELLS, held.iter().map(|(cell, n)| (*cell, index::weight(*n))));
    let sense = |held: &[u16]| sparse(codes::CELLS, held.iter().map(|cell| (*cell, 1)));
    [words(&code.words), words(&code.around), sense(&code.sense), sense(&code.sense_around)]
}

/// Times as they are compared: microseconds since 1970.
pub fn moment(time: Timestamp) -> i64 {
    time.as_microsecond()
}

const VOLLEY: &str = "
WITH asked AS MATERIALIZED (
    SELECT c.number, c.before, c.after, e.outcome, e.at,
        (-(c.words <#> $2) * $4::float8 / ($6::float8 + $7::float8 * c.own_words))::real AS a, (-(c.around <#> $2) * $4::float8 / ($8::float8 + $9::float8 * c.around_words))::real AS b,
        (-(c.sense <#> $3) * $5::float8)::real AS c, (-(c.sense_around <#> $3) * $5::float8)::real AS d
    FROM sharpwave.cell c JOIN sharpwave.experience e ON e.memory = $1 AND e.number = c.number >> 20
    WHERE c.memory = $1 AND NOT e.held_back
        AND ($10::text IS NULL OR e.whose = $10) AND ($11::text IS NULL OR e.session = $11) AND e.tags @> $12::text[]
        AND ($13::bigint IS NULL OR e.at >= $13) AND ($14::bigint IS NULL OR e.at < $14)
        AND ($15::float8 IS NULL OR e.outcome >= $15)
        AND ($16::boolean OR (e.superseded_by IS NULL AND (e.until IS NULL OR e.until > $17::bigint)))
), sums AS (
    SELECT count(*) AS n, ARRAY[sum(a::float8), sum(b::float8), sum(c::float8), sum(d::float8)] AS sum,
        ARRAY[sum(a::float8 * a), sum(b::float8 * b), sum(c::float8 * c), sum(d::float8 * d)] AS squares
    FROM asked
), gains AS MATERIALIZED (
    SELECT n, ARRAY(
        SELECT CASE WHEN q / n - (s / n) ^ 2 > 0 THEN w / sqrt(q / n - (s / n) ^ 2) ELSE 0 END
        FROM unnest(sum, squares, $18::float8[]) WITH ORDINALITY AS x(s, q, w, i) ORDER BY i
    ) AS g FROM sums
), early AS (
    SELECT number, before, after FROM asked, gains ORDER BY a * g[1] + b * g[2] + c * g[3] + d * g[4] DESC, number
    LIMIT (SELECT 2 * greatest($19::bigint, 4 * least($20::bigint, n)) FROM sums)
), near AS (
    SELECT number FROM early UNION SELECT before FROM early UNION SELECT after FROM early
), around AS (
    SELECT x.number FROM sharpwave.cell c JOIN near ON c.memory = $1 AND c.number = near.number
        CROSS JOIN LATERAL (VALUES (c.before), (c.after)) x(number)
    UNION SELECT number FROM near
), struck AS (
    SELECT asked.* FROM asked JOIN around ON asked.number = around.number ORDER BY number
)
SELECT n, sum, squares,
    (SELECT coalesce(sum(cells), 0)::bigint FROM sharpwave.held
     WHERE memory = $1 AND (port IN (0, 1) AND granule = ANY ($21::int[]) OR port IN (2, 3) AND granule = ANY ($22::int[]))),
    ARRAY(SELECT number FROM struck), ARRAY(SELECT before FROM struck), ARRAY(SELECT after FROM struck),
    ARRAY(SELECT outcome FROM struck), ARRAY(SELECT at FROM struck),
    ARRAY(SELECT a FROM struck), ARRAY(SELECT b FROM struck), ARRAY(SELECT c FROM struck), ARRAY(SELECT d FROM struck)
FROM sums";

impl Population for Cells<'_> {
    fn holding(&self, words: &[u16]) -> Result<(usize, Vec<u32>)> {
        let granules: Vec<i32> = words.iter().map(|word| i32::from(*word)).collect();
        let asked = "SELECT granule, cells FROM sharpwave.held WHERE memory = $1 AND port = 0 AND granule = ANY ($2)";
        let rows = self.connection.rows(asked, &[&self.memory, &granules])?;
        let held: HashMap<i32, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let of = |granule: &i32| held.get(granule).copied().unwrap_or(0).max(0) as u32;
        Ok((self.standing.cells as usize, granules.iter().map(of).collect()))
    }

    fn volley(&self, volley: &Volley) -> Result<Fired> {
        let spikes = |cue: &[(u16, f32)]| -> Vec<(u16, i32)> {
            cue.iter().map(|(cell, a)| (*cell, index::units(*a))).filter(|(_, a)| *a != 0).collect()
        };
        let (of_words, of_sense) = (spikes(&volley.cue.words), spikes(&volley.cue.sense));
        let granules = |spikes: &[(u16, i32)]| -> Vec<i32> { spikes.iter().map(|(cell, _)| i32::from(*cell)).collect() };
        let (word_granules, sense_granules) = (granules(&of_words), granules(&of_sense));
        let (of_words, of_sense) = (sparse(words::CELLS, of_words), sparse(codes::CELLS, of_sense));
        let worth = WORTH.map(f64::from);
        let alive = self.standing.cells.max(0) as usize;
        let divisors = self.standing.words.map(|words| inhibition(words.max(0) as u64, alive).map(f64::from));
        let filter = volley.filter;
        let (since, until) = (filter.since.map(moment), filter.until.map(moment));
        let now = moment(volley.now);
        let weights: Vec<f64> = volley.weights.iter().map(|w| f64::from(*w)).collect();
        // Large enough for every count, small enough for sums of them.
        let most = |n: usize| n.min(1 << 40) as i64;
        let row = self.connection.row(
            VOLLEY,
            &[
                &self.memory,
                &of_words,
                &of_sense,
                &worth[0],
                &worth[1],
                &divisors[0][0],
                &divisors[0][1],
                &divisors[1][0],
                &divisors[1][1],
                &filter.user,
                &filter.session,
                &filter.tags,
                &since,
                &until,
                &filter.outcome,
                &filter.history,
                &now,
                &weights,
                &most(volley.rescored),
                &most(volley.k),
                &word_granules,
                &sense_granules,
            ],
        )?;
        let Some(row) = row else { return Ok(Fired { allowed: 0, events: 0, normal: [(0.0, 0.0); PORTS], cells: Vec::new() }) };
        let n: i64 = row.get(0);
        let (sum, squares): (Vec<Option<f64>>, Vec<Option<f64>>) = (row.get(1), row.get(2));
        let normal = std::array::from_fn(|port| {
            let of = |all: &[Option<f64>]| all[port].unwrap_or(0.0) / n.max(1) as f64;
            let mean = of(&sum);
            (mean as f32, (of(&squares) - mean * mean).max(0.0).sqrt() as f32)
        });
        let numbers: Vec<i64> = row.get(4);
        let neighbours: [Vec<Option<i64>>; 2] = [row.get(5), row.get(6)];
        let (outcomes, times): (Vec<Option<f64>>, Vec<Option<i64>>) = (row.get(7), row.get(8));
        let drives: [Vec<f32>; PORTS] = [row.get(9), row.get(10), row.get(11), row.get(12)];
        let beside = |number: Option<i64>| numbers.binary_search(&number?).ok().map(|at| at as u32);
        let struck = |(at, number): (usize, &i64)| Struck {
            cell: *number as u64,
            experience: place(*number).0,
            beside: [beside(neighbours[0][at]), beside(neighbours[1][at])],
            drives: std::array::from_fn(|port| drives[port][at]),
            outcome: outcomes[at],
            instant: times[at].and_then(|time| Timestamp::from_microsecond(time).ok()),
        };
        let cells = numbers.iter().enumerate().map(struck).collect();
        Ok(Fired { allowed: n as usize, events: row.get::<_, i64>(3) as u64, normal, cells })
    }

    fn late(&self, cells: &[u64], best: &Best) -> Result<Vec<Option<Vec<f32>>>> {
        let numbers: Vec<i64> = cells.iter().map(|cell| *cell as i64).collect();
        let asked = "SELECT number, bytes FROM sharpwave.tokens WHERE memory = $1 AND number = ANY ($2)";
        let rows = self.connection.rows(asked, &[&self.memory, &numbers])?;
        let records: Vec<(i64, &[u8])> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let database = self.connection.name.as_str();
        let one = |(number, bytes): &(i64, &[u8])| -> Result<Option<(i64, Vec<f32>)>> {
            let tokens: Tokens = whole(database, *number, episodes::tokens(bytes))?;
            Ok(best(&tokens).map(|best| (*number, best)))
        };
        let found: Vec<Option<(i64, Vec<f32>)>> = records.par_iter().map(one).collect::<Result<_>>()?;
        let mut found: HashMap<i64, Vec<f32>> = found.into_iter().flatten().collect();
        Ok(numbers.iter().map(|number| found.remove(number)).collect())
    }

    fn experiences(&self, cells: &[u64]) -> Result<Vec<Option<(Episode, Code)>>> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i64> = cells.iter().map(|cell| *cell as i64).collect();
        let asked = "SELECT k.number, k.bytes, e.body::text FROM sharpwave.kept k \
            JOIN sharpwave.experience e ON e.memory = k.memory AND e.number = k.number >> 20 WHERE k.memory = $1 AND k.number = ANY ($2)";
        let mut found = HashMap::new();
        for row in self.connection.rows(asked, &[&self.memory, &numbers])? {
            let (at, bytes, body): (i64, &[u8], &str) = (row.get(0), row.get(1), row.get(2));
            let kept = whole(&self.connection.name, at, episodes::cell(bytes))?;
            let episode: Episode = whole(&self.connection.name, at, serde_json::from_str(body).ok())?;
            found.insert(at, (episode, kept.code));
        }
        // A neighbour may have passed on to several.
        Ok(numbers.iter().map(|number| found.get(number).cloned()).collect())
    }
}
