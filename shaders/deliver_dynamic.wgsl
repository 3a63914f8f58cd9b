// Carries the spikes of this window to synapses that have their own dynamics, one dispatch a projection: `on_pre` of the model
// runs once for each spike of the source, sets `psc`, and its nearest integer is added. Promises that a synapse is touched by
// one invocation of a dispatch only (the host makes windows of one step), and that spikes of one source in one step follow
// each other.

override ring_slots: u32;
override ring_stride: u32;      // accumulators of one slot
override lanes: u32;            // of a workgroup
override team: u32;             // lanes that share a stretch

struct Mark { begin: u32, count: u32, groups_x: u32, groups_y: u32, groups_z: u32 }

struct Stretch {
    position: u32,              // first accumulator address in `stream`
    count: u32,
    delay: u32,                 // steps
    synapse: u32,               // index of the first synapse in the arrays of the projection
}

struct Projection {
    infinity: f32,
    step: f32,                  // ms
    per_quantum: f32,           // integer units of weight 1
    first_source: u32,          // global id
    source_count: u32,
    synapse_count: u32,
}

@group(0) @binding(1) var<storage, read> spike_list: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> marks: array<Mark>;
@group(0) @binding(3) var<storage, read_write> ring: array<atomic<i32>>;
@group(0) @binding(4) var<storage, read> rows: array<vec2<u32>>;          // of every source of the projection: first stretch, number
@group(0) @binding(5) var<storage, read> stretches: array<Stretch>;
@group(0) @binding(6) var<storage, read> stream: array<u32>;
@group(0) @binding(7) var<storage, read> latest: array<vec2<u32>>;
// Weights, then one array a state variable.
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
    let previous = latest[entry.y].x;
    let since = select(f32(stamp - previous) * projection.step, projection.infinity, previous == 0xffffffffu);
    let row = rows[source];
    let teams = lanes / team;
    load_constants();
    for (var s = group.z * teams + lane / team; s < row.y; s += groups.z * teams) {
        let stretch = stretches[row.x + s];
        if emitted + stretch.delay < window.pending {
            continue;
        }
        let slot = ((window.slot + emitted + stretch.delay - window.first) % ring_slots) * ring_stride;
        for (var k = lane % team; k < stretch.count; k += team) {
            own_synapse = stretch.synapse + k;
            load_states();
            w = bitcast<f32>(synapse_words[own_synapse]);
            elapsed = since;
            for (var repeat = entry.x >> 16u; repeat > 0u; repeat--) {
                on_pre();
                atomicAdd(&ring[slot + stream[stretch.position + k]], i32(round(psc * projection.per_quantum)));
                elapsed = 0.0;
            }
            store_states();
        }
    }
}
