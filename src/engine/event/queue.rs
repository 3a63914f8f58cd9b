//! A calendar queue (Brown 1988, "Calendar queues: a fast O(1) priority queue"): a year of days of equal width, each an unsorted
//! bucket; the current day is a small heap; what lies beyond the year waits in one list. Promises the order of [`Event`]
//! exactly, constant time per event when the width fits, and never worse than a heap's. Knows nothing of neurons.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What happens at one moment; the declaration order decides among events of equal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    /// Signal `a` jumps: `b` is 0 for a jump of the scenario, 1 for one by a spike.
    Jump = 0,
    /// Neuron `a` may reach threshold.
    Crossing = 1,
    /// Current drives of population `a` take other values.
    Change = 2,
    /// The spike of source `a` at `stamp` has reached position `b` of its row.
    Arrival = 3,
    /// Poisson drive `a` hits its target `b`.
    Drive = 4,
    /// Source neuron `b` of population `a` emits.
    Source = 5,
}

/// An entry of the queue: 32 bytes. Ordered by (time, kind, a, b, stamp), the longer `elapsed` first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// ms, finite, not negative.
    pub time: f64,
    pub kind: Kind,
    pub a: u32,
    pub b: u32,
    /// Rides along: ms since the source's previous spike.
    pub elapsed: f32,
    /// Time of the spike that is under way.
    pub stamp: f64,
}

impl Eq for Event {}

impl PartialOrd for Event {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.time.total_cmp(&other.time).then_with(|| {
            (self.kind, self.a, self.b)
                .cmp(&(other.kind, other.a, other.b))
                .then(self.stamp.total_cmp(&other.stamp))
                .then(other.elapsed.total_cmp(&self.elapsed))
        })
    }
}

/// Days in a year: at least this many, at most 2^16. A year is kept short, so that its days stay in the cache.
const FEWEST: usize = 64;
const MOST: usize = 1 << 16;
/// Waiting events for each day: what lies beyond the year is looked through once a year.
const SHARE: usize = 16;
/// Events of a day for which its width is chosen, and more than which make the queue measure anew.
const FEW: f64 = 2.0;
const CROWD: usize = 128;
/// Pops from which the density of events is known.
const KNOWN: usize = 64;

#[derive(Debug)]
pub struct Calendar {
    /// Events of the current day and before.
    today: BinaryHeap<Reverse<Event>>,
    days: Vec<Vec<Event>>,
    /// Index of the current day; days before it are empty.
    day: usize,
    /// Time at which the year began and days in a ms.
    start: f64,
    per_ms: f64,
    /// Beyond the year.
    far: Vec<Event>,
    len: usize,
    /// Pops in this year, and since all events were last measured.
    pops: usize,
    since: usize,
}

impl Default for Calendar {
    fn default() -> Self {
        Calendar {
            today: BinaryHeap::new(),
            days: vec![Vec::new(); FEWEST],
            day: FEWEST - 1,
            start: 0.0,
            per_ms: 1.0,
            far: Vec::new(),
            len: 0,
            pops: 0,
            since: 0,
        }
    }
}

impl Calendar {
    pub fn push(&mut self, event: Event) {
        debug_assert!(event.time.is_finite() && event.time >= 0.0);
        self.len += 1;
        self.place(event);
    }

    /// The index of a day never falls as time grows, so that whole days can be ordered by it.
    #[inline]
    fn place(&mut self, event: Event) {
        let day = ((event.time - self.start) * self.per_ms) as usize;
        if day <= self.day {
            self.today.push(Reverse(event));
        } else if let Some(bucket) = self.days.get_mut(day) {
            bucket.push(event);
        } else {
            self.far.push(event);
        }
    }

    /// The earliest event.
    #[inline]
    pub fn peek(&mut self) -> Option<&Event> {
        if self.today.is_empty() {
            self.turn();
        }
        self.today.peek().map(|Reverse(event)| event)
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Event> {
        if self.today.is_empty() {
            self.turn();
        } else if self.today.len() > CROWD && self.since > self.len {
            self.measure();
        }
        let Reverse(event) = self.today.pop()?;
        self.len -= 1;
        self.pops += 1;
        self.since += 1;
        Some(event)
    }

    /// On to the next day that holds an event.
    fn turn(&mut self) {
        if self.len == 0 {
            return;
        }
        while self.day + 1 < self.days.len() {
            self.day += 1;
            let bucket = &mut self.days[self.day];
            if !bucket.is_empty() {
                // The heap is empty and its allocation stays in use.
                let mut today = std::mem::take(&mut self.today).into_vec();
                today.extend(bucket.drain(..).map(Reverse));
                self.today = today.into();
                return;
            }
        }
        // A year that saw enough events tells the width of the next.
        let first = earliest(&self.far);
        if self.pops >= KNOWN && first > self.start {
            self.begin(first, (first - self.start) / self.pops as f64);
        } else {
            self.measure();
        }
    }

    /// Look at all events and begin a new year. Many are short-lived, entered and reached within the year: the density of those
    /// that were reached counts as well as that of those that wait.
    fn measure(&mut self) {
        self.days.iter_mut().for_each(|bucket| self.far.append(bucket));
        self.far.extend(self.today.drain().map(|Reverse(event)| event));
        self.since = 0;
        let n = self.far.len();
        if n == 0 {
            return;
        }
        let near = (n / 4).max(16).min(n);
        let mut times: Vec<f64> = self.far.iter().map(|e| e.time).collect();
        let (_, last, _) = times.select_nth_unstable_by(near - 1, f64::total_cmp);
        let first = earliest(&self.far);
        let waiting = (*last - first) / near as f64;
        let reached = if self.pops >= KNOWN { (first - self.start) / self.pops as f64 } else { f64::INFINITY };
        self.begin(first, waiting.min(reached));
    }

    /// Begin a year at `first`, its earliest event; events lie about `gap` ms apart.
    fn begin(&mut self, first: f64, gap: f64) {
        // Never so narrow that a day is less than a few roundings of the time itself.
        self.per_ms = 1.0 / (FEW * gap).max(first.max(1.0) * 1e-13);
        self.start = first;
        self.day = 0;
        self.pops = 0;
        self.days.resize_with((self.len / SHARE).next_power_of_two().clamp(FEWEST, MOST), Vec::new);
        let mut i = 0;
        while i < self.far.len() {
            let day = ((self.far[i].time - first) * self.per_ms) as usize;
            if day < self.days.len() {
                let event = self.far.swap_remove(i);
                self.place(event);
            } else {
                i += 1;
            }
        }
    }

    /// All events, in order; the queue keeps them.
    pub fn sorted(&self) -> Vec<Event> {
        let mut all: Vec<Event> =
            self.today.iter().map(|r| r.0).chain(self.days.iter().flatten().copied()).chain(self.far.iter().copied()).collect();
        all.sort_unstable();
        all
    }
}

fn earliest(events: &[Event]) -> f64 {
    events.iter().map(|e| e.time).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(time: f64, a: u32) -> Event {
        Event { time, kind: Kind::Arrival, a, b: 0, elapsed: 0.0, stamp: 0.0 }
    }

    #[test]
    fn equal_times_are_ordered_by_kind_then_ids() {
        let mut queue = Calendar::default();
        let mut wanted = vec![];
        for kind in [Kind::Source, Kind::Crossing, Kind::Drive, Kind::Change, Kind::Arrival] {
            for (a, b) in [(2, 0), (1, 5), (1, 3)] {
                wanted.push(Event { time: 1.5, kind, a, b, elapsed: 0.0, stamp: 0.5 });
            }
        }
        wanted.iter().for_each(|e| queue.push(*e));
        wanted.sort();
        let got: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(got, wanted);
        assert_eq!(got[0].kind, Kind::Crossing);
        assert_eq!((got[0].a, got[0].b), (1, 3));
    }

    proptest! {
        /// Against a binary heap, under the hold model with gaps of very different scales, bursts of equal times, growth and
        /// shrinkage.
        #[test]
        fn same_order_as_a_heap(script in prop::collection::vec((0u8..8, 0u32..1000, -9i32..6), 1..3000)) {
            let (mut queue, mut heap, mut now) = (Calendar::default(), BinaryHeap::new(), 0.0);
            for (i, (action, value, scale)) in script.into_iter().enumerate() {
                let copies = match action { 0 => 40, 1..=3 => 2, 4 => 1, _ => 0 };
                for copy in 0..copies {
                    let gap = value as f64 * 10f64.powi(scale) * if action == 0 { 1.0 } else { 1.0 + copy as f64 };
                    let e = event(now + gap, (i * 64 + copy) as u32);
                    queue.push(e);
                    heap.push(Reverse(e));
                }
                if copies == 0 {
                    for _ in 0..value % 50 {
                        prop_assert_eq!(queue.peek().copied(), heap.peek().map(|r| r.0));
                        let (got, wanted) = (queue.pop(), heap.pop().map(|r| r.0));
                        prop_assert_eq!(got, wanted);
                        now = got.map_or(now, |e| e.time);
                    }
                }
                prop_assert_eq!(queue.len, heap.len());
            }
            let wanted: Vec<Event> = std::iter::from_fn(|| heap.pop().map(|r| r.0)).collect();
            prop_assert_eq!(queue.sorted(), wanted.clone());
            let got: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(queue.len, 0);
        }
    }

    /// A queue that was measured while sparse adapts when the density rises a thousandfold, without a change of order.
    #[test]
    fn adapts_to_density() {
        let mut queue = Calendar::default();
        for i in 0..1000 {
            queue.push(event(i as f64 * 10.0, i));
        }
        let mut last = queue.pop().unwrap();
        let mut largest = 0;
        for i in 0..200_000u32 {
            queue.push(event(last.time + 1.0 + (i.wrapping_mul(2654435761) % 1000) as f64 * 1e-3, 1000 + i));
            if i > 1000 {
                let next = queue.pop().unwrap();
                assert!(next > last);
                last = next;
            }
            if i > 10_000 {
                largest = largest.max(queue.today.len());
            }
        }
        assert!(queue.per_ms > 10.0, "days are {} ms", 1.0 / queue.per_ms);
        assert!(largest < 2 * CROWD, "{largest}");
    }

    /// Many events that wait long, few at a time that come and go at once: the days fit the latter.
    #[test]
    fn adapts_to_events_that_come_and_go() {
        let mut queue = Calendar::default();
        (0..20_000).for_each(|i| queue.push(event(i as f64, i)));
        // A chain of events 0.001 ms apart, among events 1 ms apart.
        queue.push(event(0.0005, 1 << 20));
        let mut last = event(-0.0, 0);
        for _ in 0..200_000u32 {
            let next = queue.pop().unwrap();
            assert!(next >= last);
            last = next;
            if next.a == 1 << 20 {
                queue.push(event(next.time + 0.001, 1 << 20));
            }
        }
        let width = 1.0 / queue.per_ms;
        assert!(width < 0.1, "days of {width} ms");
    }
}
