// Carries the spikes of this window to their synapses: one workgroup a spike, its lanes in teams, each team over stretches of
// synapses that share a delay. Promises the sums of the table (src/network/synapse_table.rs), in integers, so that their order is of no
// matter.

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
        let slot = slot_of(arrives);
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
