//! Neurons that belong to a workgroup, input and all (shaders/owned.wgsl): when that pays, how many a workgroup owns, and the synapses
//! sorted by owner. Promises the synapses of the host's table, each with its units, delay and target, once; plain data, no device.
//!
//! A row (one source, one block) stands in one piece: words of `weight << 16 | address`, or pairs (address, weight) where those do not
//! fit; an address is (port | delay | seat), from the highest bit on. Rows need no headers, so that blocks may be small; in return
//! every source has a row in every block, and every block reads every spike. The rows of a source follow each other.

use super::device::MOST_ITERATIONS;
use super::layout::{Found, ModelLayout, WORKGROUP, row};
use crate::error::{Error, Result};
use crate::network::synapse_table::Tables;
use rayon::prelude::*;

/// Neurons that one workgroup takes at most where it owns the whole network.
const MOST_SEATS_OF_ONE: u32 = 4096;
/// Neurons of a workgroup among others.
const SEATS: [u32; 3] = [256, 128, 64];
/// Synapses of a spike in a block, in the mean, from which on it pays that every block looks at every spike.
const LEAST_MEAN_ROW: u64 = 4;
/// Steps of a window at most where one workgroup owns all, and otherwise.
const MOST_STEPS_OF_ONE: u32 = 256;
const MOST_STEPS: u32 = 32;
/// Sources whose rows are written by one thread at a time.
const CHUNK: usize = 256;

/// Whose words the accumulators of neurons are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Accumulators {
    /// Owned where that pays.
    #[default]
    Chosen,
    /// All workgroups add to them, in a dispatch of its own.
    Shared,
    /// Each belongs to a workgroup of that many neurons (a multiple of 64 is taken) wherever that is possible.
    Owned(u32),
}

impl std::str::FromStr for Accumulators {
    type Err = Error;

    /// "chosen", "shared", or the number of neurons that a workgroup owns.
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("chosen", _) => Ok(Accumulators::Chosen),
            ("shared", _) => Ok(Accumulators::Shared),
            (_, Ok(neurons)) if neurons > 0 => Ok(Accumulators::Owned(neurons)),
            _ => Err(Error::input(
                format!("accumulators cannot be `{text}`"),
                "give `chosen`, `shared`, or the number of neurons that a workgroup owns",
            )),
        }
    }
}

/// What is asked of the device.
pub struct Demand {
    pub wanted: Accumulators,
    /// A GPU, not a driver that computes on the processor.
    pub real: bool,
    /// Loops of an invocation end early there.
    pub limited_loops: bool,
    /// Invocations of a workgroup at most.
    pub lanes: u32,
    /// Bytes of a buffer at most.
    pub bytes: u64,
    /// Are there populations that only emit?
    pub has_sources: bool,
}

/// A network whose neurons are owned.
pub struct Owned {
    pub seats: u32,
    pub lanes: u32,
    /// Lanes that share the synapses of a spike.
    pub gang: u32,
    /// Steps between deliveries, and of a window at most.
    pub span: u32,
    pub window_steps: u32,
    pub seat_bits: u32,
    pub delay_bits: u32,
    pub wide: bool,
    /// First block of each model, and the number of all.
    pub first_block: Vec<u32>,
    /// (first word, synapses) of every block, source by source.
    pub rows: Vec<[u32; 2]>,
    pub words: Vec<u32>,
}

/// Bits that hold the numbers 0..=most.
fn bits(most: u32) -> u32 {
    u32::BITS - most.leading_zeros()
}

/// A synapse as the table has it.
struct Entry {
    accumulator: u32,
    delay: u32,
    units: i32,
}

/// Every synapse of a row without dynamics.
fn entries<'a>(row: &'a [u32], found: &'a [Found]) -> impl Iterator<Item = Entry> + 'a {
    found.iter().flat_map(move |&(_, [position, count_and_form, delay, base])| {
        let (wide, count) = (count_and_form >> 31 == 1, (count_and_form & 0x7fff_ffff) as usize);
        (0..count).map(move |k| {
            if wide {
                let at = position as usize + 2 * k;
                Entry { accumulator: row[at], delay, units: row[at + 1] as i32 }
            } else {
                let word = row[position as usize + k];
                Entry { accumulator: base + (word & 0xffff), delay, units: word as i32 >> 16 }
            }
        })
    })
}

/// Block and seat in it, by index of a neuron in the table's block.
fn seats(tables: &Tables, layouts: &[ModelLayout], first_block: &[u32], size: u32) -> Vec<(u32, u32)> {
    let block = &tables.blocks[0];
    let mut seats = vec![(0, 0); block.stride as usize];
    for (m, layout) in layouts.iter().enumerate() {
        for (team, place) in layout.table_words.chunks_exact(2).take(layout.teams as usize).enumerate() {
            let (p, first) = (layout.populations[place[0] as usize].0, place[1]);
            let own = block.slices[p].end.min(first + WORKGROUP) - first;
            for lane in 0..own {
                let seat = team as u32 * WORKGROUP + lane;
                seats[(block.offset[p] + first + lane) as usize] = (first_block[m] + seat / size, seat % size);
            }
        }
    }
    seats
}

/// How rows are sorted by block.
struct Sorting<'a> {
    tables: &'a Tables,
    /// As `seats` gives it.
    seat_of: Vec<(u32, u32)>,
    blocks: usize,
    seat_bits: u32,
    delay_bits: u32,
    wide: bool,
}

impl Sorting<'_> {
    fn words_each(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    /// The rows and words of all sources, and the synapses of the longest row.
    fn write(&self, out_degree: &[u32]) -> (Vec<[u32; 2]>, Vec<u32>, u32) {
        let words_of = |degrees: &[u32]| self.words_each() * degrees.iter().map(|&n| n as usize).sum::<usize>();
        let mut rows = vec![[0; 2]; out_degree.len() * self.blocks];
        let mut words = vec![0; words_of(out_degree)];
        let (mut rest, mut chunks, mut first_word) = (&mut words[..], Vec::new(), 0);
        for (k, (rows, degrees)) in rows.chunks_mut(CHUNK * self.blocks).zip(out_degree.chunks(CHUNK)).enumerate() {
            let n = words_of(degrees);
            let (head, tail) = rest.split_at_mut(n);
            chunks.push((k * CHUNK, first_word, rows, head));
            (rest, first_word) = (tail, first_word + n as u32);
        }
        let some = |found: &mut Vec<Found>,
                    (first_source, first_word, rows, words): (usize, u32, &mut [[u32; 2]], &mut [u32])| {
            let mut end = first_word;
            for (i, rows) in rows.chunks_exact_mut(self.blocks).enumerate() {
                self.write_source(first_source + i, rows, words, first_word, &mut end, found);
            }
            rows.iter().map(|row| row[1]).max().unwrap_or(0)
        };
        let longest = chunks.into_par_iter().map_init(Vec::new, some).max().unwrap_or(0);
        (rows, words, longest)
    }

    /// The rows of one source, from word `end` on, of which `words` hold those from `first_word` on.
    fn write_source(
        &self,
        source: usize,
        rows: &mut [[u32; 2]],
        words: &mut [u32],
        first_word: u32,
        end: &mut u32,
        found: &mut Vec<Found>,
    ) {
        let stride = self.tables.blocks[0].stride;
        let block_of = |entry: &Entry| self.seat_of[(entry.accumulator % stride) as usize];
        let row = row(self.tables, source, found);
        entries(row, found).for_each(|entry| rows[block_of(&entry).0 as usize][1] += 1);
        for own in rows.iter_mut() {
            own[0] = *end;
            *end += self.words_each() as u32 * std::mem::take(&mut own[1]);
        }
        for entry in entries(row, found) {
            let (block, seat) = block_of(&entry);
            let port = entry.accumulator / stride;
            let address = port << (self.seat_bits + self.delay_bits) | entry.delay << self.seat_bits | seat;
            let own = &mut rows[block as usize];
            let at = (own[0] - first_word) as usize + self.words_each() * own[1] as usize;
            if self.wide {
                words[at..at + 2].copy_from_slice(&[address, entry.units as u32]);
            } else {
                words[at] = address | (entry.units as u32) << 16;
            }
            own[1] += 1;
        }
    }
}

impl Owned {
    /// None where the accumulators are better shared, or have to be. `out_degree`: entries of each source's row.
    pub fn plan(tables: &Tables, layouts: &[ModelLayout], out_degree: &[u32], demand: &Demand) -> Option<Owned> {
        let table = &tables.tables[0];
        if !table.dynamics.is_empty() || layouts.is_empty() || demand.wanted == Accumulators::Shared {
            return None;
        }
        let largest = layouts.iter().map(|l| l.teams * WORKGROUP).max()?;
        let (delay_bits, port_bits) = (bits(tables.max_delay), bits(tables.blocks[0].ports.max(1) - 1));
        let address_bits = |seats: u32| bits(seats - 1) + delay_bits + port_bits;
        let alone = layouts.len() == 1 && !demand.has_sources;
        let size = match demand.wanted {
            Accumulators::Owned(seats) => seats.clamp(WORKGROUP, largest).next_multiple_of(WORKGROUP),
            _ if alone && largest <= MOST_SEATS_OF_ONE => largest,
            _ => SEATS.into_iter().find(|&seats| address_bits(seats) <= 16).unwrap_or(SEATS[0]).min(largest),
        };
        let mut first_block = vec![0];
        for layout in layouts {
            first_block.push(first_block[first_block.len() - 1] + (layout.teams * WORKGROUP).div_ceil(size));
        }
        let (ids, blocks) = (out_degree.len(), first_block[layouts.len()] as usize);
        let one = alone && blocks == 1;
        let synapses: u64 = out_degree.iter().map(|&n| u64::from(n)).sum();
        let pays = one || demand.wanted != Accumulators::Chosen || synapses >= LEAST_MEAN_ROW * (ids * blocks) as u64;
        let fits = |words: u64| words * 4 <= demand.bytes && words <= u64::from(u32::MAX);
        if !pays || address_bits(size) > 31 || !fits(2 * (ids * blocks) as u64) {
            return None;
        }

        // Two words a synapse where an address is long, or a weight that the table has as a wide one.
        let large = |found: &mut Vec<Found>, source: usize| {
            let row = row(tables, source, found);
            found.retain(|(_, stretch)| stretch[1] >> 31 == 1);
            entries(row, found).any(|entry| i16::try_from(entry.units).is_err())
        };
        let wide = address_bits(size) > 16 || (0..ids).into_par_iter().map_init(Vec::new, large).any(|large| large);
        let seat_of = seats(tables, layouts, &first_block, size);
        let seat_bits = bits(size - 1);
        let sorting = Sorting { tables, seat_of, blocks, seat_bits, delay_bits, wide };
        if !fits(sorting.words_each() as u64 * synapses) {
            return None;
        }
        let (rows, words, longest) = sorting.write(out_degree);

        // How lanes share the work, and how long a window may be.
        let usual = match (demand.real, one) {
            (true, true) => 512,
            (true, false) => 256,
            (false, _) => 64,
        };
        let lanes = 1 << demand.lanes.min(usual).min(size.next_power_of_two()).max(1).ilog2();
        let mean = (synapses / (ids * blocks).max(1) as u64).min(32) as u32;
        let gang = mean.next_power_of_two().clamp(4, 32).min(lanes);
        let updates = layouts.iter().map(|l| l.iterations).max()? * u64::from(size.div_ceil(lanes));
        let spikes = (ids as u64).div_ceil(u64::from(lanes / gang)) * (1 + u64::from(longest.div_ceil(gang)));
        let by_loops = if demand.limited_loops { (MOST_ITERATIONS / (updates + spikes)) as u32 } else { u32::MAX };
        let span = tables.min_delay.max(1).min(MOST_STEPS).min(by_loops);
        if span == 0 {
            return None;
        }
        let window_steps = if one { MOST_STEPS_OF_ONE.min(by_loops) } else { span };
        Some(Owned { seats: size, lanes, gang, span, window_steps, seat_bits, delay_bits, wide, first_block, rows, words })
    }

    /// Workgroups of a model.
    pub fn blocks(&self, model: usize) -> u32 {
        self.first_block[model + 1] - self.first_block[model]
    }

    /// Bytes of the synapses.
    pub fn bytes(&self) -> u64 {
        self.rows.len() as u64 * 8 + self.words.len() as u64 * 4
    }

    /// The values of the constants of shaders/owned.wgsl for one model.
    pub fn constants(&self, model: usize, ports: u32, ring_slots: u32) -> [(&'static str, u32); 13] {
        let seats = self.blocks(model) * self.seats;
        [
            ("ring_slots", ring_slots),
            ("ring_stride", ports * seats),
            ("port_stride", seats),
            ("lanes", self.lanes),
            ("gang", self.gang),
            ("seats", self.seats),
            ("block_count", self.blocks(model)),
            ("first_block", self.first_block[model]),
            ("all_blocks", self.first_block[self.first_block.len() - 1]),
            ("span", self.span),
            ("seat_bits", self.seat_bits),
            ("delay_bits", self.delay_bits),
            ("wide", u32::from(self.wide)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gpu::layout;
    use crate::model::library::Library;
    use crate::network::Network;
    use crate::network::connectivity::Rows;
    use crate::network::synapse_table;
    use crate::scenario::Scenario;

    /// Two models, a source; drawn delays and weights of both signs.
    fn network(indegree: u32) -> Network {
        let text = format!(
            r#"
[simulation]
dt = "0.1 ms"
duration = "1 s"
[populations.A]
model = "iaf_psc_exp"
n = 300
[populations.B]
model = "iaf_psc_alpha"
n = 90
[populations.S]
model = "poisson"
n = 20
rate = "5 Hz"
[[projections]]
source = "A"
target = "A"
rule = {{ name = "fixed_indegree", indegree = {indegree} }}
weight = {{ distribution = "normal", mean = "50 pA", std = "10 pA" }}
delay = {{ distribution = "uniform", low = "0.3 ms", high = "4 ms" }}
[[projections]]
source = "A"
target = "B"
rule = {{ name = "fixed_indegree", indegree = {indegree} }}
weight = "-30 pA"
delay = "0.5 ms"
[[projections]]
source = "S"
target = "A"
rule = {{ name = "fixed_indegree", indegree = 2 }}
weight = "80 pA"
delay = "1 ms"
"#
        );
        let plan = Scenario::parse("test.toml", &text, &[], None).and_then(|s| s.plan(Library::built_in()?));
        plan.unwrap_or_else(|e| panic!("{e}")).network
    }

    fn demand(wanted: Accumulators) -> Demand {
        Demand { wanted, real: true, limited_loops: false, lanes: 1024, bytes: 1 << 30, has_sources: true }
    }

    /// Every synapse of the table is in one row of its target's block, with the same delay and units.
    #[test]
    fn blocks_hold_the_synapses_of_the_table() {
        let net = network(40);
        let rows = Rows::prepare(&net, &|_| ()).unwrap();
        let tables = synapse_table::build(&net, &rows, 1, &|_| ()).unwrap();
        let layouts = layout::models(&net, &tables).unwrap();
        let block = &tables.blocks[0];
        let out_degree = layout::out_degrees(&tables, 410);
        let mut expected = Vec::new();
        let mut found = Vec::new();
        for source in 0..410 {
            let row = row(&tables, source, &mut found);
            expected.extend(entries(row, &found).map(|e| (source, e.accumulator, e.delay, e.units)));
        }
        expected.sort_unstable();
        assert_eq!(expected.len(), 40 * 390 + 600);
        for size in [64, 128, u32::MAX] {
            let owned = Owned::plan(&tables, &layouts, &out_degree, &demand(Accumulators::Owned(size))).unwrap();
            assert_eq!((owned.span, owned.window_steps), (3, 3));
            let blocks = owned.first_block[2] as usize;
            let mut got = Vec::new();
            for (k, &[first, count]) in owned.rows.iter().enumerate() {
                let (source, b) = (k / blocks, (k % blocks) as u32);
                let m = if b < owned.first_block[1] { 0 } else { 1 };
                let each = if owned.wide { 2 } else { 1 };
                for word in owned.words[first as usize..].chunks(each).take(count as usize) {
                    let (address, units) =
                        if owned.wide { (word[0], word[1] as i32) } else { (word[0] & 0xffff, word[0] as i32 >> 16) };
                    let seat = (b - owned.first_block[m]) * owned.seats + (address & ((1 << owned.seat_bits) - 1));
                    let delay = address >> owned.seat_bits & ((1 << owned.delay_bits) - 1);
                    let port = address >> (owned.seat_bits + owned.delay_bits);
                    // Each model here has one population, whose teams follow each other.
                    got.push((source, port * block.stride + block.offset[m] + seat, delay, units));
                }
            }
            got.sort_unstable();
            assert!(got == expected, "{size}");
            assert_eq!(out_degree.iter().sum::<u32>() as usize, expected.len());
        }
    }

    #[test]
    fn owning_is_chosen_where_it_pays() {
        for (indegree, pays) in [(40, true), (3, false)] {
            let net = network(indegree);
            let rows = Rows::prepare(&net, &|_| ()).unwrap();
            let tables = synapse_table::build(&net, &rows, 1, &|_| ()).unwrap();
            let layouts = layout::models(&net, &tables).unwrap();
            let out_degree = layout::out_degrees(&tables, 410);
            let plan = |demand: Demand| Owned::plan(&tables, &layouts, &out_degree, &demand);
            assert_eq!(plan(demand(Accumulators::Chosen)).is_some(), pays);
            assert!(plan(demand(Accumulators::Shared)).is_none());
            assert!(plan(Demand { bytes: 1000, ..demand(Accumulators::Owned(64)) }).is_none());
            // A driver that ends loops: shorter windows, or none.
            let few = plan(Demand { limited_loops: true, real: false, ..demand(Accumulators::Owned(64)) });
            assert!(few.is_some_and(|f| f.window_steps <= 3));
        }
        assert_eq!("shared".parse::<Accumulators>().unwrap(), Accumulators::Shared);
        assert_eq!("256".parse::<Accumulators>().unwrap(), Accumulators::Owned(256));
        assert!("0".parse::<Accumulators>().is_err() && "owned".parse::<Accumulators>().is_err());
    }
}
