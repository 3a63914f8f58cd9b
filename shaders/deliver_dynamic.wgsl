// Carries the spikes of this window to synapses that have their own dynamics, one dispatch a projection: `on_pre` of the model
// runs once for each spike of the source and sets `psc`, which is added digit by digit. Promises that a synapse is touched by
// one invocation of a dispatch only (the host makes windows of one step), and that spikes of one source in one step follow
// each other. What comes before and with a spike (`arrive`, `run_on_pre`, `may_transmit`) is that of plastic.wgsl, or next to nothing.

struct Projection {
    infinity: f32,
    step: f32,                  // ms
    lowest: i32,                // exponent of the unit of digit 0, see src/network/digits.rs
    first_source: u32,          // global id
    source_count: u32,
    synapse_count: u32,
    limit: f32,                 // nothing larger is transmitted
    // Of plastic synapses:
    base: u32,                  // accumulator of the first neuron of the target
    target_size: u32,
    depth: u32,                 // events kept of each target, a power of two
    columns: u32,               // words kept of an event beside its stamp
    dense: u32,                 // word of the history where the states of the last `depth` steps begin
    signal_row: u32,
    signal_rate: f32,           // decay per step
    first_source_word: u32,     // in `synapse_constants`: of each source the last spike its synapses had seen before a pause
    learns: u32,                // 0: weights stay as they are
    paused: u32,                // 1: they have stood still until step `learns_from` (low word)
    learns_from: u32,
    flushed: u32,               // stamp up to which all synapses know what has happened (low word), and after a flush
    flush_to: u32,
    reading: u32,               // 1: what the flush leaves is read and then forgotten
    twice_axonal: u32,          // a spike counts when it is emitted, one of a target so much earlier than the delay later
    // Accumulators from a target's own to that of its digit 0, and from digit to digit; bits of a digit, number of digits.
    digit_offset: u32,
    digit_stride: u32,
    digit_bits: u32,
    digit_count: u32,
}

@group(0) @binding(7) var<storage, read> latest: array<vec2<u32>>;
// Weights, then one array a state variable, then one word: a synapse that transmits what it may not, plus one.
@group(0) @binding(8) var<storage, read_write> synapse_words: array<u32>;
@group(0) @binding(9) var<storage, read> synapse_constants: array<u32>;
@group(0) @binding(10) var<uniform> projection: Projection;

var<private> own_synapse: u32;

// ---- the model, as its file gives it -------------------------------------------------------------------------------------
//{model}
// ---- the model's constants and states ------------------------------------------------------------------------------------
//{access}
// --------------------------------------------------------------------------------------------------------------------------

fn constant_word(which: u32) -> u32 {
    return synapse_constants[which];
}

fn state_address(which: u32) -> u32 {
    return (which + 1u) * projection.synapse_count + own_synapse;
}

fn state_word(which: u32) -> u32 {
    return synapse_words[state_address(which)];
}

fn set_state_word(which: u32, word: u32) {
    synapse_words[state_address(which)] = word;
}

fn set_state_float(which: u32, value: f32) {
    set_state_word(which, bitcast<u32>(value));
}

// By their bits, among which those of what is no number are the largest.
fn beyond(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > bitcast<u32>(projection.limit);
}

fn may_transmit() -> bool {
    let within = !beyond(psc);
    if !within {
        synapse_words[arrayLength(&synapse_words) - 1u] = own_synapse + 1u;
    }
    return within;
}

// Adds all bits of a number to the digits that begin at `address`.
fn transmit(address: u32, value: f32) {
    let word = bitcast<u32>(value);
    let size = word & 0x7fffffffu;
    if size < 0x800000u {
        return;
    }
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let position = i32(size >> 23u) - 150 - projection.lowest;
    let bits = i32(projection.digit_bits);
    let end = min(max(position + 23, 0) / bits + 1, i32(projection.digit_count));
    for (var k = max(position, 0) / bits; k < end; k++) {
        let shift = position - k * bits;
        let moved = (mantissa << u32(clamp(shift, 0, 31))) >> u32(clamp(-shift, 0, 31));
        let digit = i32(moved & ((1u << projection.digit_bits) - 1u));
        if digit != 0 {
            atomicAdd(&ring[address + u32(k) * projection.digit_stride], select(digit, -digit, word > size));
        }
    }
}

@compute @workgroup_size(lanes)
fn deliver_dynamic(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = group.x + group.y * groups.x;
    if own >= marks[window.number].count {
        return;
    }
    let entry = spike_list[marks[window.number].begin + own];
    let source = entry.y - projection.first_source;
    if source >= projection.source_count {
        return;
    }
    let emitted = entry.x & 0xffffu;
    let stamp = window.step_low + emitted - window.first + 1u;
    let row = rows[source];
    let teams = lanes / team;
    load_constants();
    for (var s = group.z * teams + lane / team; s < row.y; s += groups.z * teams) {
        let stretch = stretches[row.x + s];
        if emitted + stretch.delay < window.pending {
            continue;
        }
        let slot = slot_of(emitted + stretch.delay);
        for (var k = lane % team; k < stretch.count_and_form; k += team) {
            let target_address = stream[stretch.position + k];
            own_synapse = stretch.base + k;
            w = bitcast<f32>(synapse_words[own_synapse]);
            load_states();
            arrive(source, stamp, latest[entry.y].x, stretch.delay - projection.twice_axonal, target_address);
            for (var repeat = entry.x >> 16u; repeat > 0u; repeat--) {
                run_on_pre();
                if may_transmit() {
                    transmit(slot + target_address + projection.digit_offset, psc);
                }
            }
            store_states();
        }
    }
}
