//! The recent spikes of the targets of plastic synapses, with their traces. Promises that what some synapse may still ask for is kept, and
//! little more, and that what nearly all ask for, a neuron's latest spikes, stands side by side. Knows steps and neurons; no rule.

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

/// Spikes of a neuron that are kept side by side as well.
const SIDE: usize = 3;
/// Beyond so many steps the low 32 bits of stamps are not compared.
pub const FAR: u64 = 1 << 30;
/// Flag beside the number of kept spikes: the low bits of this neuron's stamps do not tell their order.
const LONG_AGO: u32 = 1 << 31;

/// The latest spikes of a neuron: how many are kept, the low 32 bits of the stamps of the last [`SIDE`] (the latest first), then the values
/// of each. With one value a spike all of it lies in half a cache line, and a synapse asks for the spikes since its source's last one, which
/// are seldom more.
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

/// What a spike of a source finds at one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// Kept spikes up to the stretch's begin, up to its end, and before its end.
    pub next: u32,
    pub end: u32,
    pub before: u32,
    /// Steps from the last of these to the end; infinite where there is none.
    pub age: f64,
    /// Low 32 bits of the stamp of the first spike in the stretch, where there is one.
    pub first: u32,
    /// Where the values of the spike that `age` counts from stand in `History::words`; None: among those of all kept spikes.
    pub place: Option<u32>,
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
        let lines = (1 + SIDE * (1 + width)).div_ceil(8);
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
        let after =
            |stamp: u64| record[1..1 + SIDE].iter().filter(|own| own.wrapping_sub(stamp as u32) as i32 > 0).count() as u32;
        let (newer, later) = (after(from), after(until));
        if newer == SIDE as u32 && kept > SIDE as u32 {
            return self.find_among_all(local, from, until);
        }
        let at_end = later < kept.min(SIDE as u32) && record[1 + later as usize] == until as u32;
        Found { next: kept - newer, end: kept - later, at_end }
    }

    #[cold]
    fn find_among_all(&self, local: u32, from: u64, until: u64) -> Found {
        let past = &self.neurons[local as usize];
        let end = past.until(until);
        Found { next: past.until(from) as u32, end: end as u32, at_end: end > 0 && past.stamps[end - 1] == until }
    }

    /// Calls `each` with the lane, the local id and what is found there of the spikes stamped after `from` and at `until` at the latest;
    /// one stamped `until` counts as before the end unless `ends` says that the end is there.
    #[inline(always)]
    pub fn visit(&self, targets: &[u32], base: u32, from: u64, until: u64, ends: bool, mut each: impl FnMut(usize, u32, Visit)) {
        const AHEAD: usize = 12;
        let (words, stride, width) = (self.words(), self.lines * 8, self.width as u32);
        let (nothing, far) = ((words.len() - stride) as u32, until.wrapping_sub(from) > FAR);
        let ends = ends && until > 0;
        for (lane, &target) in targets.iter().enumerate() {
            if let Some(ahead) = targets.get(lane + AHEAD) {
                self.prefetch(ahead - base);
            }
            let local = target - base;
            let place = local as usize * stride;
            let [kept, a, b, c]: [u32; 4] = words[place..place + 4].try_into().expect("four words");
            let after = |stamp: u64| {
                let later = |own: u32| (own.wrapping_sub(stamp as u32) as i32 > 0) as u32;
                later(a) + later(b) + later(c)
            };
            let (newer, later) = (after(from), after(until));
            let at_end = (a == until as u32) | (b == until as u32) | (c == until as u32);
            let back = later + (at_end & ends) as u32;
            // More than stand side by side are asked for, or these cannot be told apart by their low bits.
            let visit = if far | (kept > SIDE as u32) & (kept & LONG_AGO != 0 || newer.max(back) >= SIDE as u32) {
                self.visit_all(local, from, until, ends)
            } else {
                let of = |back: u32| {
                    if back == 0 {
                        a
                    } else if back == 1 {
                        b
                    } else {
                        c
                    }
                };
                let some = back < kept;
                Visit {
                    next: kept - newer,
                    end: kept - later,
                    before: kept - back,
                    age: if some { f64::from((until as u32).wrapping_sub(of(back))) } else { f64::INFINITY },
                    first: of(newer.wrapping_sub(1)),
                    place: Some(if some { place as u32 + 1 + SIDE as u32 + back * width } else { nothing }),
                }
            };
            each(lane, local, visit);
        }
    }

    #[cold]
    fn visit_all(&self, local: u32, from: u64, until: u64, ends: bool) -> Visit {
        let Found { next, end, at_end } = self.find_among_all(local, from, until);
        let before = end - (at_end && ends) as u32;
        let stamps = &self.neurons[local as usize].stamps;
        let stamp = before.checked_sub(1).map(|index| stamps[index as usize]);
        let age = stamp.map_or(f64::INFINITY, |stamp| (until - stamp) as f64);
        Visit { next, end, before, age, first: stamps.get(next as usize).map_or(0, |s| *s as u32), place: None }
    }

    /// What `Visit::place` points into: the values of a spike, slot by slot, as bits.
    pub fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.side)
    }

    /// Stamp of the kept spike `index` of a neuron, which is `near` at the latest.
    #[inline(always)]
    pub fn stamp(&self, local: u32, index: u32, near: u64) -> u64 {
        let record = self.record(local);
        let back = record[0].wrapping_sub(1 + index) as usize;
        match back < SIDE {
            true => near - u64::from((near as u32).wrapping_sub(record[1 + back])),
            false => self.neurons[local as usize].stamps[index as usize],
        }
    }

    /// Value `slot` (a trace, or a state after the traces) of the kept spike `index` of a neuron.
    #[inline(always)]
    pub fn after(&self, local: u32, index: u32, slot: usize) -> f32 {
        let record = self.record(local);
        let back = record[0].wrapping_sub(1 + index) as usize;
        match back < SIDE {
            true => f32::from_bits(record[1 + SIDE + back * self.width + slot]),
            false => self.neurons[local as usize].after[index as usize * self.width + slot],
        }
    }

    /// Take over the latest spikes of a neuron into what stands side by side; nothing that is asked for is stamped after `now` + [`FAR`].
    fn put_aside(&mut self, local: usize, now: u64) {
        let (past, width) = (&self.neurons[local], self.width);
        let record: &mut [u32] = bytemuck::cast_slice_mut(&mut self.side[local * self.lines..(local + 1) * self.lines]);
        let kept = past.stamps.len();
        record[0] = kept as u32;
        for back in 0..SIDE {
            // Where there is none, as at the beginning of time.
            let index = kept.checked_sub(1 + back);
            let stamp = index.map_or(0, |index| past.stamps[index]);
            record[1 + back] = stamp as u32;
            if stamp + FAR < now {
                record[0] |= LONG_AGO;
            }
            let values = index.map_or(&[][..], |index| &past.after[index * width..(index + 1) * width]).iter();
            record[1 + SIDE + back * width..].iter_mut().zip(values).for_each(|(word, x)| *word = x.to_bits());
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
                        history.visit(&[7], 7, from, until, ends, |lane, local, visit| {
                            assert_eq!((lane, local, visit.next, visit.end), (0, 0, next as u32, end as u32), "{from} {until}");
                            assert_eq!((visit.before, visit.age), (before as u32, age), "{from} {until} {ends}");
                            assert!(next == end || visit.first == past.stamps[next] as u32, "{from} {until}");
                            let value = if before == 0 { 0.0 } else { past.after[before - 1] };
                            assert!(visit.place.is_none_or(|place| history.words()[place as usize] == value.to_bits()));
                        });
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
                assert!(history.neurons[0].stamps.len() <= SIDE);
            }
        }
    }

    /// Beyond what the low bits of stamps tell apart: a spike of long ago, and a stretch from long ago.
    #[test]
    fn spikes_of_long_ago_are_found_as_well() {
        let mut history = history();
        let long = 5 << 30;
        for stamp in [7, 9, long + 3, long + 4, long + 8] {
            history.push(0, stamp, [].into_iter());
            let past = &history.neurons[0];
            for (from, until) in
                [(0, 8), (8, long + 3), (0, long + 9), (long + 1, long + 9), (long + 3, long + 4), (long, long + 2)]
            {
                let (next, end) = (past.until(from) as u32, past.until(until) as u32);
                let found = history.find(0, from, until);
                assert_eq!((found.next, found.end), (next, end), "{from} to {until} after {stamp}");
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
