//! Dynamic synapses in the tables: segment by segment, and how much of a model one call of its code holds. Knows tables; no rule.

use crate::network::synapse_table::{Form, NO_ROW, Streams, split};
use std::ops::Range;

/// Most state variables a synapse or neuron model may have.
pub const MAX_STATES: usize = 24;
/// Most constants the code of a model may read.
pub const MAX_CONSTANTS: usize = 64;

/// Every segment of the dynamic synapses `entry` from the sources `ids`, in order: the source, the delay, the index of its first
/// synapse and the targets.
pub fn for_segments(streams: Streams, entry: u32, ids: Range<u32>, mut each: impl FnMut(u32, u64, usize, &[u32])) {
    for id in ids {
        let row = streams.row[id as usize];
        if row == NO_ROW {
            continue;
        }
        let words = &streams.shards[(row >> 32) as usize];
        let (mut at, mut delay) = (row as u32 as usize, 0);
        loop {
            let (count, group, step) = split(words[at]);
            delay += step as u64;
            if count == 0 && step == 0 {
                break;
            }
            let (from, count) = (at + 2, count as usize);
            at += 1;
            if count > 0 {
                let form = streams.groups[group as usize].form;
                if form == Form::Dynamic(entry) {
                    each(id, delay, words[at] as usize, &words[from..from + count]);
                }
                at += form.words(count);
            }
        }
    }
}
