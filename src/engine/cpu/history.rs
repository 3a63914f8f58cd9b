//! The recent spikes of the targets of plastic synapses, with their traces. Promises that what some synapse may still ask for is kept, and
//! little more, and that what nearly all ask for, a neuron's latest spikes, stands side by side. Knows steps and neurons; no rule.

use crate::model::kernel::BLOCK;
use crate::simd::{Level, for_every_level};
use std::ops::Range;

/// The spikes of one neuron that some synapse onto it may still ask for, and one before them.
#[derive(Clone, Default)]
pub struct Past {
    pub stamps: Vec<u64>,
    /// Traces just after each of them, then the states of the neuron that are read: `width` values a spike.
    pub after: Vec<f32>,
}

impl Past {
    /// How many of the spikes are stamped `last` at most. Those asked for are nearly always among the latest.
    #[inline]
    pub fn until(&self, last: u64) -> usize {
        let n = self.stamps.len();
        for k in 0..n.min(8) {
            if self.stamps[n - 1 - k] <= last {
                return n - k;
            }
        }
        self.stamps[..n - n.min(8)].partition_point(|s| *s <= last)
    }
}

/// Latest spikes of a neuron whose values are kept side by side as well.
const VALUES: usize = 3;
/// Those whose stamps are.
const STAMPS: usize = VALUES + 1;
/// Beyond so many steps the low 32 bits of stamps are not compared.
pub const FAR: u64 = 1 << 30;
/// Flag beside the number of kept spikes: the low bits of this neuron's stamps do not tell their order.
const LONG_AGO: u32 = 1 << 31;

/// The latest spikes of a neuron: how many are kept, the low 32 bits of the stamps of the last [`STAMPS`] (the latest first), then the
/// values of the last [`VALUES`]. With one value a spike all of it fills half a cache line, and a synapse asks for the spikes since its
/// source's last one, which are seldom more.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(32))]
struct Line([u32; 8]);

/// Which of a neuron's kept spikes lie in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Kept spikes up to the stretch's begin, and up to its end.
    pub next: u32,
    pub end: u32,
    /// The last of these is stamped with the end.
    pub at_end: bool,
}

/// Lanes that are compared at once.
const GROUP: usize = 64;

/// A stretch of time: after `from`, and at `until` at the latest.
#[derive(Clone, Copy)]
pub struct Stretch {
    pub from: u64,
    pub until: u64,
    /// What is stamped `until` is not before the stretch's end.
    pub ends: bool,
}

/// What a spike of a source finds at its targets, lane by lane. Beyond the last lane stands anything.
pub struct Visits {
    level: Level,
    /// ms
    dt: f64,
    /// Kept spikes up to the stretch's begin, and up to its end.
    pub next: [u32; BLOCK],
    pub end: [u32; BLOCK],
    /// Low 32 bits of the stamp of the first spike in the stretch, where there is one.
    pub first: [u32; BLOCK],
    /// From the latest spike before the stretch's end to there, in ms; infinite where there is none.
    pub since: [f32; BLOCK],
    /// Where that spike's values stand in `History::words`.
    pub place: [u32; BLOCK],
    /// Lanes where they stand among those of all kept spikes instead: lane, target, kept spikes before the stretch's end.
    pub odd: Vec<(u32, u32, u32)>,
    /// What stands side by side does not tell.
    unsure: [u32; BLOCK],
}

impl Visits {
    pub fn new(level: Level, dt: f64) -> Box<Visits> {
        let none = [0; BLOCK];
        let (next, end, first, place, unsure) = (none, none, none, none, none);
        Box::new(Visits { level, dt, next, end, first, since: [0.0; BLOCK], place, odd: Vec::new(), unsure })
    }
}

/// Of a group of lanes the number of kept spikes, the latest stamps, and where the record begins.
type Heads = [[u32; GROUP]; 2 + STAMPS];

/// What is the same for all lanes of a visit.
struct Common {
    /// Low 32 bits of the stretch's begin, its end, and the last step before it.
    from: u32,
    until: u32,
    before: u32,
    /// Values of a spike, and the place of those of no spike.
    width: u32,
    nothing: u32,
}

/// Whether a stamp is after another, told by their low bits.
#[inline(always)]
fn after(own: u32, other: u32) -> bool {
    own.wrapping_sub(other) as i32 > 0
}

for_every_level! {
    /// The visits of the first n lanes, which are those from `start` on; whether any is unsure.
    fn compare(heads: &Heads, n: usize, common: &Common, start: usize, seen: &mut Visits) -> bool {
        let &Common { from, until, before, width, nothing } = common;
        let [kept, stamps @ .., record] = heads;
        let (range, dt) = (start..start + GROUP, seen.dt);
        let (next, end, first) = (&mut seen.next[range.clone()], &mut seen.end[range.clone()], &mut seen.first[range.clone()]);
        let (since, place, unsure) = (&mut seen.since[range.clone()], &mut seen.place[range.clone()], &mut seen.unsure[range]);
        let mut any = 0;
        // Whole vectors: what is beyond the last lane is never looked at.
        for i in 0..n.next_multiple_of(16).min(GROUP) {
            let (kept, mut newer, mut later, mut back, mut oldest, mut latest) = (kept[i], 0, 0, 0, 0, 0);
            for stamp in stamps {
                let own = stamp[i];
                newer += after(own, from) as u32;
                later += after(own, until) as u32;
                back += after(own, before) as u32;
                oldest = if after(own, from) { own } else { oldest };
            }
            for stamp in stamps.iter().rev() {
                let own = stamp[i];
                latest = if after(own, before) { latest } else { own };
            }
            next[i] = kept - newer;
            end[i] = kept - later;
            first[i] = oldest;
            // Both in any case: there are no branches in vectors.
            let age = (until.wrapping_sub(latest) as i32 as f64 * dt) as f32;
            let at = record[i] + 1 + STAMPS as u32 + back * width;
            since[i] = if back < kept { age } else { f32::INFINITY };
            place[i] = if back < kept { at } else { nothing };
            // Of long ago, or more may be asked for than stand side by side.
            let more = (kept >= LONG_AGO) | (newer > VALUES as u32) | (back >= VALUES as u32);
            unsure[i] = ((kept > VALUES as u32) & more) as u32;
            any |= unsure[i];
        }
        any != 0
    }
}

/// Recent spikes (or other events) of the owned neurons of a population onto which plastic synapses of one projection project.
#[derive(Clone, Default)]
pub struct History {
    /// Time constants of the traces, in steps.
    pub taus: Vec<f64>,
    /// Values kept of each spike: the traces and the states that are read.
    pub width: usize,
    pub neurons: Vec<Past>,
    /// Stamp of each neuron's latest spike (-inf: none yet), and the traces just after it (0), each in a row of its own: most
    /// synapses ask for no other.
    pub latest: Vec<f64>,
    pub latest_after: Vec<Vec<f32>>,
    /// After the neurons' a record of nothing.
    side: Vec<Line>,
    /// Lines of a neuron in it.
    lines: usize,
}

impl History {
    /// Of so many neurons, none of which has spiked; `width` values are kept of each spike, the traces first.
    pub fn new(taus: Vec<f64>, width: usize, neurons: usize) -> Self {
        let lines = (1 + STAMPS + VALUES * width).div_ceil(8);
        History {
            width,
            neurons: vec![Past::default(); neurons],
            latest: vec![f64::NEG_INFINITY; neurons],
            latest_after: vec![vec![0.0; neurons]; taus.len()],
            side: vec![Line([0; 8]); (neurons + 1) * lines],
            lines,
            taus,
        }
    }

    /// An owned neuron has spiked; the states it is left with.
    pub fn push(&mut self, local: usize, stamp: u64, states: impl Iterator<Item = f32>) {
        let past = &mut self.neurons[local];
        let before = past.after.len().saturating_sub(self.width);
        for (t, tau) in self.taus.iter().enumerate() {
            let decayed =
                past.stamps.last().map_or(0.0, |last| past.after[before + t] as f64 * (-((stamp - last) as f64) / tau).exp());
            past.after.push((decayed + 1.0) as f32);
        }
        past.after.extend(states);
        past.stamps.push(stamp);
        self.latest(local);
    }

    #[inline(always)]
    fn record(&self, local: u32) -> &[u32] {
        let first = local as usize * self.lines;
        bytemuck::cast_slice(&self.side[first..first + self.lines])
    }

    /// Has what `find` reads of a neuron brought near.
    #[inline(always)]
    pub fn prefetch(&self, local: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(line) = self.side.get(local as usize * self.lines) {
            // SAFETY: a prefetch of an address inside the slice has no effect but on the cache.
            unsafe { std::arch::x86_64::_mm_prefetch(line as *const Line as *const i8, std::arch::x86_64::_MM_HINT_T0) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = local;
    }

    /// The kept spikes of a neuron stamped after `from` and at `until` at the latest.
    #[inline(always)]
    pub fn find(&self, local: u32, from: u64, until: u64) -> Found {
        let record = self.record(local);
        let kept = record[0];
        if kept & LONG_AGO != 0 || until.wrapping_sub(from) > FAR {
            return self.find_among_all(local, from, until);
        }
        let count = |stamp: u64| record[1..1 + STAMPS].iter().filter(|own| after(**own, stamp as u32)).count() as u32;
        let (newer, later) = (count(from), count(until));
        if newer == STAMPS as u32 && kept > STAMPS as u32 {
            return self.find_among_all(local, from, until);
        }
        let at_end = later < kept.min(STAMPS as u32) && record[1 + later as usize] == until as u32;
        Found { next: kept - newer, end: kept - later, at_end }
    }

    #[cold]
    fn find_among_all(&self, local: u32, from: u64, until: u64) -> Found {
        let past = &self.neurons[local as usize];
        let end = past.until(until);
        Found { next: past.until(from) as u32, end: end as u32, at_end: end > 0 && past.stamps[end - 1] == until }
    }

    /// The spikes of each target in a stretch of time, and the latest before its end. The neuron of target `base` is the first.
    pub fn visit(&self, all: &[u32], base: u32, stretch: Stretch, seen: &mut Visits) {
        const AHEAD: usize = 12;
        let Stretch { from, until, ends } = stretch;
        let (far, before) = (until.wrapping_sub(from) > FAR, until.saturating_sub(ends as u64));
        let nothing = ((self.side.len() - self.lines) * 8) as u32;
        let common = Common { from: from as u32, until: until as u32, before: before as u32, width: self.width as u32, nothing };
        let mut heads: Heads = [[0; GROUP]; 2 + STAMPS];
        seen.odd.clear();
        for (start, targets) in (0..).step_by(GROUP).zip(all.chunks(GROUP)) {
            let [rest @ .., record] = &mut heads;
            for (k, target) in targets.iter().enumerate() {
                if let Some(ahead) = all.get(start + k + AHEAD) {
                    self.prefetch(ahead - base);
                }
                let line = (target - base) as usize * self.lines;
                rest.iter_mut().zip(&self.side[line].0).for_each(|(column, word)| column[k] = *word);
                record[k] = 8 * line as u32;
            }
            if compare(seen.level, &heads, targets.len(), &common, start, seen) | far {
                for (lane, target) in (start..).zip(targets) {
                    if far || seen.unsure[lane] != 0 {
                        self.visit_all(lane, target - base, stretch, seen);
                    }
                }
            }
        }
    }

    #[cold]
    fn visit_all(&self, lane: usize, local: u32, stretch: Stretch, seen: &mut Visits) {
        let Stretch { from, until, ends } = stretch;
        let Found { next, end, at_end } = self.find_among_all(local, from, until);
        let before = end - (at_end && ends) as u32;
        let stamps = &self.neurons[local as usize].stamps;
        let stamp = before.checked_sub(1).map(|index| stamps[index as usize]);
        (seen.next[lane], seen.end[lane]) = (next, end);
        seen.first[lane] = stamps.get(next as usize).map_or(0, |s| *s as u32);
        seen.since[lane] = stamp.map_or(f32::INFINITY, |stamp| ((until - stamp) as f64 * seen.dt) as f32);
        seen.place[lane] = 0;
        seen.odd.push((lane as u32, local, before));
    }

    /// What `Visits::place` points into: the values of a spike, slot by slot, as bits.
    pub fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.side)
    }

    /// Stamp of the kept spike `index` of a neuron, which is `near` at the latest.
    #[inline(always)]
    pub fn stamp(&self, local: u32, index: u32, near: u64) -> u64 {
        let record = self.record(local);
        let back = record[0].wrapping_sub(1 + index) as usize;
        match back < STAMPS {
            true => near - u64::from((near as u32).wrapping_sub(record[1 + back])),
            false => self.neurons[local as usize].stamps[index as usize],
        }
    }

    /// Value `slot` (a trace, or a state after the traces) of the kept spike `index` of a neuron.
    #[inline(always)]
    pub fn after(&self, local: u32, index: u32, slot: usize) -> f32 {
        let record = self.record(local);
        let back = record[0].wrapping_sub(1 + index) as usize;
        match back < VALUES {
            true => f32::from_bits(record[1 + STAMPS + back * self.width + slot]),
            false => self.neurons[local as usize].after[index as usize * self.width + slot],
        }
    }

    /// Take over the latest spikes of a neuron into what stands side by side; nothing that is asked for is stamped after `now` + [`FAR`].
    fn put_aside(&mut self, local: usize, now: u64) {
        let (past, width) = (&self.neurons[local], self.width);
        let record: &mut [u32] = bytemuck::cast_slice_mut(&mut self.side[local * self.lines..(local + 1) * self.lines]);
        let kept = past.stamps.len();
        record[0] = kept as u32;
        for back in 0..STAMPS {
            // Where there is none, as at the beginning of time.
            let index = kept.checked_sub(1 + back);
            let stamp = index.map_or(0, |index| past.stamps[index]);
            record[1 + back] = stamp as u32;
            if stamp + FAR < now {
                record[0] |= LONG_AGO;
            }
            if let Some(index) = index.filter(|_| back < VALUES) {
                let values = &past.after[index * width..(index + 1) * width];
                record[1 + STAMPS + back * width..].iter_mut().zip(values).for_each(|(word, x)| *word = x.to_bits());
            }
        }
    }

    /// Take over the latest spike of a neuron.
    fn latest(&mut self, local: usize) {
        let past = &self.neurons[local];
        let newest = past.stamps.last().copied().unwrap_or(0);
        self.put_aside(local, newest);
        let past = &self.neurons[local];
        self.latest[local] = past.stamps.last().map_or(f64::NEG_INFINITY, |stamp| *stamp as f64);
        let at = past.after.len().saturating_sub(self.width);
        for (t, row) in self.latest_after.iter_mut().enumerate() {
            row[local] = past.after.get(at + t).copied().unwrap_or(0.0);
        }
    }

    /// What was stamped before `last` is not asked for again, but for the spike that traces start from.
    pub fn forget(&mut self, last: u64) {
        for past in &mut self.neurons {
            let gone = past.until(last).saturating_sub(1);
            past.stamps.drain(..gone);
            past.after.drain(..gone * self.width);
        }
        self.renew(last);
    }

    /// It is `now`: which spikes are of long ago is seen anew.
    pub fn renew(&mut self, now: u64) {
        (0..self.neurons.len()).for_each(|local| self.put_aside(local, now));
    }

    /// For each owned neuron the number of its spikes, and of each the stamp and the traces.
    pub fn store(&self, flat: &mut Vec<u64>) {
        for past in &self.neurons {
            flat.push(past.stamps.len() as u64);
            for (k, stamp) in past.stamps.iter().enumerate() {
                flat.push(*stamp);
                let after = &past.after[k * self.width..(k + 1) * self.width];
                flat.extend(after.iter().map(|x| x.to_bits() as u64));
            }
        }
    }

    /// Take up the neurons `owned` of what was stored for `n`.
    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>, n: u64, owned: Range<u64>) -> Option<()> {
        for local in 0..n {
            let mut past = Past::default();
            for _ in 0..words.next()? {
                past.stamps.push(words.next()?);
                for _ in 0..self.width {
                    past.after.push(f32::from_bits(words.next()? as u32));
                }
            }
            if past.stamps.windows(2).any(|s| s[0] >= s[1]) {
                return None;
            }
            if owned.contains(&local) {
                self.neurons[(local - owned.start) as usize] = past;
                self.latest((local - owned.start) as usize);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;

    fn history() -> History {
        History::new(vec![200.0], 1, 1)
    }

    /// What may still be asked for is kept, with its traces, and the spike before it.
    #[test]
    fn histories_keep_what_is_needed_and_no_more() {
        let (mut history, mut all) = (history(), Past::default());
        for now in 1..20_000u64 {
            if now % 20 == 0 {
                history.push(0, now, [].into_iter());
                let last =
                    all.stamps.last().map_or(0.0, |s| *all.after.last().unwrap() as f64 * (-((now - s) as f64) / 200.0).exp());
                all.stamps.push(now);
                all.after.push((last + 1.0) as f32);
            }
            if now % 777 == 0 {
                history.forget(now - 100);
                let past = &history.neurons[0];
                let gone = all.stamps.len() - past.stamps.len();
                assert_eq!((&past.stamps[..], &past.after[..]), (&all.stamps[gone..], &all.after[gone..]));
                assert!(past.stamps[0] <= now - 100 && past.stamps[1] > now - 100, "at {now} the oldest is {}", past.stamps[0]);
            }
        }
    }

    #[test]
    fn spikes_are_counted_up_to_a_time() {
        let past = Past { stamps: (1..40).map(|k| 3 * k).collect(), after: vec![] };
        for last in 0..130 {
            assert_eq!(past.until(last), past.stamps.iter().filter(|s| **s <= last).count(), "{last}");
        }
    }

    /// Among the latest side by side, and among all where these do not reach.
    #[test]
    fn spikes_of_a_stretch_of_time_are_found() {
        let mut history = history();
        let mut seen: Vec<_> = levels().into_iter().map(|level| Visits::new(level, 0.5)).collect();
        for k in 0..12u64 {
            let past = &history.neurons[0];
            for from in 0..45 {
                for until in from..45 {
                    let (next, end) = (past.until(from), past.until(until));
                    let at_end = end > 0 && past.stamps[end - 1] == until;
                    assert_eq!(
                        history.find(0, from, until),
                        Found { next: next as u32, end: end as u32, at_end },
                        "{from} {until}"
                    );
                    for ends in [true, false] {
                        let before = end - (ends && at_end) as usize;
                        let age = if before == 0 { f64::INFINITY } else { (until - past.stamps[before - 1]) as f64 };
                        for seen in &mut seen {
                            history.visit(&[7], 7, Stretch { from, until, ends }, seen);
                            assert_eq!((seen.next[0], seen.end[0]), (next as u32, end as u32), "{from} {until}");
                            assert_eq!(seen.since[0], (age * 0.5) as f32, "{from} {until} {ends}");
                            assert!(next == end || seen.first[0] == past.stamps[next] as u32, "{from} {until}");
                            match seen.odd[..] {
                                [] => {
                                    let value = if before == 0 { 0.0 } else { past.after[before - 1] };
                                    assert_eq!(history.words()[seen.place[0] as usize], value.to_bits());
                                }
                                _ => assert_eq!(seen.odd, [(0, 0, before as u32)]),
                            }
                        }
                    }
                }
            }
            for (index, stamp) in (0..).zip(&past.stamps) {
                assert_eq!(history.stamp(0, index, *stamp + 7), *stamp);
                assert_eq!(history.after(0, index, 0), past.after[index as usize]);
            }
            history.push(0, 3 * k + 2, [].into_iter());
            if k == 8 {
                history.forget(24);
                assert!(history.neurons[0].stamps.len() <= STAMPS);
            }
        }
    }

    /// Beyond what the low bits of stamps tell apart: a spike of long ago, and a stretch from long ago.
    #[test]
    fn spikes_of_long_ago_are_found_as_well() {
        let mut history = history();
        let long = 5 << 30;
        let mut seen = Visits::new(levels()[0], 0.5);
        for stamp in [7, 9, long + 3, long + 4, long + 8] {
            history.push(0, stamp, [].into_iter());
            let past = &history.neurons[0];
            for (from, until) in
                [(0, 8), (8, long + 3), (0, long + 9), (long + 1, long + 9), (long + 3, long + 4), (long, long + 2)]
            {
                let (next, end) = (past.until(from) as u32, past.until(until) as u32);
                let found = history.find(0, from, until);
                assert_eq!((found.next, found.end), (next, end), "{from} to {until} after {stamp}");
                history.visit(&[0], 0, Stretch { from, until, ends: false }, &mut seen);
                assert_eq!((seen.next[0], seen.end[0]), (next, end), "{from} to {until} after {stamp}");
            }
        }
        history.forget(9);
        history.forget(3 * long);
        assert_eq!(history.find(0, 3 * long, 3 * long + 5), Found { next: 1, end: 1, at_end: false });
    }

    #[test]
    fn histories_are_stored_and_restored_for_other_blocks() {
        let mut from = history();
        for stamp in [3, 50, 51] {
            from.push(0, stamp, [].into_iter());
        }
        let mut flat = vec![];
        from.store(&mut flat);
        let one = flat.len();
        flat.extend([0, 1, 9, 1.0f32.to_bits() as u64]);
        let (mut first, mut last) = (history(), history());
        let restored = |h: &mut History, flat: &[u64], owned| h.restore(&mut flat.iter().copied(), 3, owned);
        assert!(restored(&mut first, &flat, 0..1).is_some() && restored(&mut last, &flat, 2..3).is_some());
        let mut again = vec![];
        first.store(&mut again);
        assert_eq!(again, flat[..one]);
        again.clear();
        last.store(&mut again);
        assert_eq!(again, flat[one + 1..]);
        for bad in 0..flat.len() {
            assert!(restored(&mut first, &flat[..bad], 0..1).is_none(), "cut at {bad}");
        }
    }
}
