// Carries the spikes of this window to their synapses: one workgroup a spike, its lanes in teams, each team over stretches of
// synapses that share a delay. Promises the sums of the table (src/network/table.rs), in integers, so that their order is of no
// matter. The stream of the table is used as it is; `stretches` tells where the synapses of a row stand in it, so that teams
// need not walk the headers one after another.

override ring_slots: u32;
override ring_stride: u32;      // accumulators of one slot
override lanes: u32;            // of a workgroup
override team: u32;             // lanes that share a stretch

struct Mark { begin: u32, count: u32, groups_x: u32, groups_y: u32, groups_z: u32 }

// Synapses that follow each other in the stream and share delay, base and form.
struct Stretch {
    position: u32,              // first word in `stream`
    count_and_form: u32,        // number; highest bit: wide
    delay: u32,                 // steps
    base: u32,                  // accumulator that address 0 of a narrow synapse stands for
}

@group(0) @binding(1) var<storage, read> spike_list: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> marks: array<Mark>;
@group(0) @binding(3) var<storage, read_write> ring: array<atomic<i32>>;
@group(0) @binding(4) var<storage, read> rows: array<vec2<u32>>;          // of every source: first stretch, number
@group(0) @binding(5) var<storage, read> stretches: array<Stretch>;
@group(0) @binding(6) var<storage, read> stream: array<u32>;

@compute @workgroup_size(lanes)
fn deliver(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = group.x + group.y * groups.x;
    if own >= marks[window.number].count {
        return;
    }
    let spike = spike_list[marks[window.number].begin + own];
    let emitted = spike.x & 0xffffu;
    let multiplicity = bitcast<i32>(spike.x >> 16u);
    let row = rows[spike.y];
    let teams = lanes / team;
    for (var s = group.z * teams + lane / team; s < row.y; s += groups.z * teams) {
        let stretch = stretches[row.x + s];
        let arrives = emitted + stretch.delay;
        if arrives < window.pending {
            continue;
        }
        let slot = ((window.slot + arrives - window.first) % ring_slots) * ring_stride;
        let count = stretch.count_and_form & 0x7fffffffu;
        if stretch.count_and_form == count {
            for (var k = lane % team; k < count; k += team) {
                let synapse = stream[stretch.position + k];
                atomicAdd(&ring[slot + stretch.base + (synapse & 0xffffu)], (bitcast<i32>(synapse) >> 16u) * multiplicity);
            }
        } else {
            for (var k = lane % team; k < count; k += team) {
                let at = stretch.position + 2u * k;
                atomicAdd(&ring[slot + stream[at]], bitcast<i32>(stream[at + 1u]) * multiplicity);
            }
        }
    }
}
