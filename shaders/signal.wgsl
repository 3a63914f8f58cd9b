// Presentations in, learning signals out: inputs from bytes, errors from scores, postsynaptic factors from signals. Promises the
// formulas of src/learning/local/mod.rs.

struct Signal {
    count: u32,                 // invocations that have work
    width: u32,                 // inputs, classes or neurons
    steps: u32,
    mode: u32,
}

@group(0) @binding(0) var<uniform> op: Signal;

@group(0) @binding(2) var<storage, read> pixels: array<u32>;              // four a word; images x inputs
@group(0) @binding(3) var<storage, read> items: array<vec2<u32>>;         // of all presentations uploaded: image, view
@group(0) @binding(4) var<storage, read> permutations: array<u32>;        // views x inputs
@group(0) @binding(5) var<storage, read> shades: array<f32>;              // views x 256: the current of every byte
@group(0) @binding(6) var<storage, read_write> inputs: array<f32>;        // of this batch

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own < op.count {
        let item = items[batch.first + own / op.width];
        let at = item.x * op.width + permutations[item.y * op.width + own % op.width];
        inputs[own] = shades[item.y * 256u + ((pixels[at / 4u] >> (8u * (at % 4u))) & 255u)];
    }
}

@group(0) @binding(2) var<storage, read> labels: array<u32>;              // of all presentations uploaded
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;        // presentations x classes; become errors
@group(0) @binding(4) var<storage, read_write> outcomes: array<vec2<f32>>; // loss in nats, 1 where right; all presentations

// Softmax minus the label's one in place of the scores. Mode 1: tell the outcome.
@compute @workgroup_size(64)
fn errors(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own >= op.count {
        return;
    }
    let row = own * op.width;
    let label = labels[batch.first + own];
    var best = 0u;
    for (var c = 1u; c < op.width; c++) {
        if scores[row + c] > scores[row + best] {
            best = c;
        }
    }
    let top = scores[row + best];
    let score = scores[row + label];
    var sum = 0.0;
    for (var c = 0u; c < op.width; c++) {
        let e = exp(scores[row + c] - top);
        scores[row + c] = e;
        sum += e;
    }
    for (var c = 0u; c < op.width; c++) {
        scores[row + c] = scores[row + c] / sum - select(0.0, 1.0, c == label);
    }
    if op.mode == 1u {
        outcomes[batch.first + own] = vec2<f32>(log(sum) + top - score, select(0.0, 1.0, best == label));
    }
}

@group(0) @binding(2) var<storage, read> drive: array<f32>;               // presentations x neurons
@group(0) @binding(3) var<storage, read_write> gated: array<f32>;         // signal, becomes factor

// Signal times the derivative of clamp(drive, 0, 1).
@compute @workgroup_size(64)
fn gate(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own < op.count {
        gated[own] *= select(0.0, 1.0, drive[own] > 0.0 && drive[own] < 1.0);
    }
}

@group(0) @binding(2) var<storage, read> slope: array<f32>;               // presentations x steps x neurons
@group(0) @binding(3) var<storage, read> signals: array<f32>;             // presentations x neurons
@group(0) @binding(4) var<storage, read> weights: array<f32>;             // of the steps
@group(0) @binding(5) var<storage, read_write> factors: array<f32>;       // presentations (x steps) x neurons

// Weight of the step times slope times signal; mode 0: one row a step, mode 1: their sum.
@compute @workgroup_size(64)
fn spread(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own >= op.count {
        return;
    }
    let first = own / op.width * op.steps * op.width + own % op.width;
    var sum = 0.0;
    for (var t = 0u; t < op.steps; t++) {
        let at = first + t * op.width;
        let factor = weights[t] * slope[at] * signals[own];
        if op.mode == 0u {
            factors[at] = factor;
        }
        sum += factor;
    }
    if op.mode == 1u {
        factors[own] = sum;
    }
}
