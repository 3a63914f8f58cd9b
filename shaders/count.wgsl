// Counts the spikes of a population in a step, for a signal that they make jump later. Promises that a slot is empty when its step
// comes: the one after it is cleared, which has been read by then.

struct Counted {
    first_id: u32,
    size: u32,
    first_count: u32,
    count_mask: u32,
}

@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> counted: Counted;

@compute @workgroup_size(64)
fn count_spikes(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let begin = atomicLoad(&marks[window.number].begin);
    if begin == 0xffffffffu {
        return;
    }
    let own = group.x * 64u + lane;
    let stamp = window.step_low + window.steps;
    if own == 0u {
        atomicStore(&counts[counted.first_count + ((stamp + 1u) & counted.count_mask)], 0u);
    }
    let slot = counted.first_count + (stamp & counted.count_mask);
    for (var i = own; i < atomicLoad(&marks[window.number].count); i += groups.x * 64u) {
        let entry = spike_list[begin + i];
        if entry.y - counted.first_id < counted.size {
            atomicAdd(&counts[slot], entry.x >> 16u);
        }
    }
}
