// The step of neurons that belong to their workgroup, input and all: it gathers what the spikes of the window before bring to its
// own neurons, then advances them, so that a window is one dispatch a neuron model and no two workgroups add to the same word.
// Where one workgroup owns all neurons, a window has many stretches of `span` steps, between which it waits for itself alone.
// Promises the sums of the table (src/network/synapse_table.rs), in integers; a window of no steps gathers only, and closes a batch.

override lanes: u32;            // of a workgroup
override gang: u32;             // lanes that share the synapses of a spike
override seats: u32;            // neurons of a workgroup, a multiple of 64
override block_count: u32;      // workgroups that own neurons of this model
override first_block: u32;      // the first of them among those of all models
override all_blocks: u32;
override span: u32;             // steps that need no delivery between them
override seat_bits: u32;        // an address is (port | delay | seat), from the highest bit on
override delay_bits: u32;
override wide: bool;            // a synapse is (address, weight), otherwise weight << 16 | address

// First word and number of synapses in every block, source by source.
@group(0) @binding(3) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> ring: array<atomic<i32>>;
@group(0) @binding(8) var<storage, read> synapses: array<u32>;

// Does the window fit; first and end of the spikes that came before it.
var<workgroup> opening: vec3<u32>;
var<workgroup> reached: u32;

fn record_spike(step: u32, id: u32, multiplicity: u32) {
    enter_spike(step, id, multiplicity);
}

fn take_units(address: u32) -> i32 {
    let units = atomicLoad(&ring[address]);
    if units != 0 {
        atomicStore(&ring[address], 0);
    }
    return units;
}

fn add_units(block: u32, address: u32, units: i32, emitted: u32) {
    let delay = (address >> seat_bits) & ((1u << delay_bits) - 1u);
    let arrives = emitted + delay;
    if arrives >= window.first {
        let slot = (window.slot + arrives - window.first) % ring_slots;
        let seat = block * seats + (address & ((1u << seat_bits) - 1u));
        atomicAdd(&ring[slot * ring_stride + (address >> (seat_bits + delay_bits)) * port_stride + seat], units);
    }
}

// Spikes of the list, from one on and before another, to the block's neurons.
fn gather(block: u32, first: u32, end: u32, lane: u32) {
    for (var k = first + lane / gang; k < end; k += lanes / gang) {
        let entry = spike_list[k];
        let multiplicity = bitcast<i32>(entry.x >> 16u);
        let row = rows[entry.y * all_blocks + first_block + block];
        for (var s = lane % gang; s < row.y; s += gang) {
            if wide {
                let at = row.x + 2u * s;
                add_units(block, synapses[at], bitcast<i32>(synapses[at + 1u]) * multiplicity, entry.x & 0xffffu);
            } else {
                let synapse = synapses[row.x + s];
                add_units(block, synapse & 0xffffu, (bitcast<i32>(synapse) >> 16u) * multiplicity, entry.x & 0xffffu);
            }
        }
    }
}

@compute @workgroup_size(lanes)
fn step_neurons(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let block = group.x + group.y * groups.x;
    if lane == 0u {
        opening = vec3<u32>(0u, 0u, 0u);
        if block < block_count {
            opening = vec3<u32>(u32(window_fits(block == 0u)), spikes_before());
        }
    }
    // Barriers stand where only the window decides, as some compilers ask: what does not fit is gone through without work.
    let opened = workgroupUniformLoad(&opening);
    let fits = opened.x != 0u;
    var known = opened.z;
    gather(block, opened.y, known, lane);
    for (var at = 0u; at < window.steps; at += span) {
        if at > 0u {
            if lane == 0u && fits {
                reached = spikes_end();
            }
            let end = workgroupUniformLoad(&reached);
            if fits {
                gather(block, known, end, lane);
                known = end;
            }
        }
        storageBarrier();
        workgroupBarrier();
        if fits {
            for (var seat = lane; seat < seats; seat += lanes) {
                if find_neuron(block * (seats >> 6u) + (seat >> 6u), seat & 63u) {
                    own_accumulator = block * seats + seat;
                    advance_neuron(at, min(at + span, window.steps));
                }
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
    if fits && block == 0u && lane == 0u {
        marks[window.number].groups_z = known - opened.z;
    }
}
