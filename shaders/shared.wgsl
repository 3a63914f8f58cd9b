// The step of neurons whose accumulators all workgroups share: a delivery after it adds to them. One dispatch a neuron model, one
// team a workgroup.

@group(0) @binding(4) var<storage, read_write> ring: array<i32>;

fn take_units(address: u32) -> i32 {
    let units = ring[address];
    ring[address] = 0;
    return units;
}

@compute @workgroup_size(64)
fn step_neurons(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let team = group.x + group.y * groups.x;
    if !window_fits(team == 0u && lane == 0u) || !find_neuron(team, lane) {
        return;
    }
    own_accumulator = own_population.first_accumulator + own_neuron;
    advance_neuron(0u, window.steps);
}
