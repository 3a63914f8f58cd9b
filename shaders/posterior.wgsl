// The posterior of src/learning/posterior.rs learns from a step and leaves its next sample in the weights: one invocation four
// weights, which share a block of random numbers. Promises the same noise, and its formulas in f32.

struct Posterior {
    count: u32,                 // blocks of four weights
    weights: u32,
    rule: u32,                  // 0: BGD; 1: MESU; 3: MESU of second order
    key_low: u32,
    key_high: u32,
    scale: f32,                 // gradient = scale step
    rate_mean: f32,
    rate_deviation: f32,
    pull: f32,                  // 1 / (window prior variance)
    prior_mean: f32,
    prior_variance: f32,
    clip: f32,                  // part of the deviation
}

@group(0) @binding(0) var<uniform> op: Posterior;
@group(0) @binding(2) var<storage, read> change: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> deviation: array<f32>;
@group(0) @binding(6) var<storage, read_write> sum_mean: array<f32>;       // gradients since the last update
@group(0) @binding(7) var<storage, read_write> sum_deviation: array<f32>;  // gradients times noise
@group(0) @binding(8) var<storage, read_write> status: array<atomic<u32>>; // 1 where a weight is no number

fn noise(block: u32, time_low: u32, time_high: u32) -> vec4<f32> {
    let purpose = 12u | (time_high << 8u);
    let bits = philox(vec4<u32>(block, time_low, 0u, purpose), vec2<u32>(op.key_low, op.key_high));
    return vec4<f32>(normal_pair(open_unit(bits.x), open_unit(bits.y)), normal_pair(open_unit(bits.z), open_unit(bits.w)));
}

fn move_posterior(own: u32, g: f32, s: f32) {
    let m = mean[own];
    let d = deviation[own];
    let v = d * d;
    var dm = 0.0;
    var dd = 0.0;
    if op.rule == 0u {
        let half = 0.5 * d * s;
        let root = sqrt(half * half + 1.0);
        dm = -op.rate_mean * v * g;
        dd = d * (select(root - half, 1.0 / (root + half), half > 0.0) - 1.0);
    } else {
        let q = select(1.0, 1.0 + d * abs(s), op.rule == 3u);
        dm = -op.rate_mean * v * (g + op.pull * (m - op.prior_mean)) / q;
        dd = -op.rate_deviation * (v * s + d * op.pull * (v - op.prior_variance)) / q;
    }
    let limit = op.clip * d;
    mean[own] = m + clamp(dm, -limit, limit);
    deviation[own] = max(d + clamp(dd, -limit, limit), 1.1754943508222875e-38);
}

@compute @workgroup_size(64)
fn posterior(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let block = own_element(group, groups, lane);
    if block >= op.count {
        return;
    }
    let now = noise(block, batch.time_low, batch.time_high);
    let next_low = batch.time_low + 1u;
    let next = noise(block, next_low, batch.time_high + select(0u, 1u, next_low == 0u));
    for (var n = 0u; n < 4u; n++) {
        let own = 4u * block + n;
        if own < op.weights {
            let gradient = op.scale * change[own];
            var g = sum_mean[own] + gradient;
            var s = sum_deviation[own] + gradient * now[n];
            if batch.updates == 1u {
                move_posterior(own, g, s);
                g = 0.0;
                s = 0.0;
            }
            sum_mean[own] = g;
            sum_deviation[own] = s;
            let value = mean[own] + deviation[own] * next[n];
            weight[own] = value;
            if (bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u {
                atomicMax(&status[0], 1u);
            }
        }
    }
}
