// From a gradient to new weights, one invocation a weight. Promises the formulas of src/learning/: local
// (optimisers), metaplastic and importance.

struct Step {
    count: u32,                 // weights
    mode: u32,
    x: f32,
    y: f32,
}

@group(0) @binding(0) var<uniform> op: Step;
@group(0) @binding(2) var<storage, read_write> change: array<f32>;
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;

// A gradient becomes a step. Mode 0: x is the momentum; mode 1: Adam.
@compute @workgroup_size(64)
fn optimise(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own >= op.count {
        return;
    }
    let g = change[own];
    if op.mode == 0u {
        let m = flushed(op.x * first[own] + g);
        first[own] = m;
        change[own] = -batch.rate * m;
    } else {
        let m = flushed(first[own] + 0.1 * (g - first[own]));
        let v = flushed(second[own] + 0.001 * (g * g - second[own]));
        first[own] = m;
        second[own] = v;
        change[own] = -batch.rate * (m / batch.first_part) / (sqrt(v / batch.second_part) + 1e-8);
    }
}

@group(0) @binding(3) var<storage, read> old: array<f32>;                 // the weights before

// x is m: steps towards zero are multiplied by 1 - tanh²(m w).
@compute @workgroup_size(64)
fn metaplastic(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own < op.count && old[own] * change[own] < 0.0 {
        let held = tanh(op.x * old[own]);
        change[own] *= 1.0 - held * held;
    }
}

@group(0) @binding(4) var<storage, read> importance: array<f32>;
@group(0) @binding(5) var<storage, read> anchor: array<f32>;

// x is the strength, y the rate. Mode 0: penalty, mode 1: limit.
@compute @workgroup_size(64)
fn hold(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own >= op.count {
        return;
    }
    if op.mode == 0u {
        let r = op.y * op.x * importance[own];
        change[own] = (change[own] - r * (old[own] - anchor[own])) / (1.0 + r);
    } else {
        change[own] = change[own] / (1.0 + op.x * importance[own]);
    }
}

@group(0) @binding(3) var<storage, read_write> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> status: array<atomic<u32>>; // 1 where a weight is no number

fn note_unsound(value: f32) {
    if (bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u {
        atomicMax(&status[0], 1u);
    }
}

@compute @workgroup_size(64)
fn apply(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own < op.count {
        let value = weight[own] + change[own];
        weight[own] = value;
        note_unsound(value);
    }
}
