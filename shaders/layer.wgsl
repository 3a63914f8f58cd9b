// Leaky integrate-and-fire layers of local learning: one invocation a neuron and presentation, through all steps. Promises the
// operations of src/learning/local/spikes.rs in their order (a driver may fuse a product and a sum).

struct Layer {
    count: u32,                 // presentations x neurons
    neurons: u32,
    steps: u32,
    keep: u32,                  // 1: currents differ from step to step; 2: keep spikes; 4: slopes; 8: traces
    leak: f32,
    threshold: f32,
    total: f32,                 // sum of the kernel leak^(steps - 1 - t)
    unused: u32,
}

@group(0) @binding(0) var<uniform> op: Layer;
@group(0) @binding(2) var<storage, read> currents: array<f32>;            // presentations (x steps) x neurons
@group(0) @binding(3) var<storage, read_write> spikes: array<f32>;        // presentations x steps x neurons, 0 or 1
@group(0) @binding(4) var<storage, read_write> rates: array<f32>;         // presentations x neurons
@group(0) @binding(5) var<storage, read_write> drives: array<f32>;
@group(0) @binding(6) var<storage, read_write> slopes: array<f32>;        // presentations x steps x neurons
@group(0) @binding(7) var<storage, read_write> traces: array<f32>;
@group(0) @binding(8) var<storage, read_write> counts: array<atomic<u32>>; // spikes of every batch

@compute @workgroup_size(64)
fn run(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = own_element(group, groups, lane);
    if own >= op.count {
        return;
    }
    let first = own / op.neurons * op.steps * op.neurons + own % op.neurons;
    var current = 0.0;
    if (op.keep & 1u) == 0u {
        current = currents[own];
    }
    var v = 0.0;
    var counted = 0.0;
    var trace = 0.0;
    var fired = 0u;
    for (var t = 0u; t < op.steps; t++) {
        let at = first + t * op.neurons;
        if (op.keep & 1u) != 0u {
            current = currents[at];
        }
        v = op.leak * v + current;
        if (op.keep & 4u) != 0u {
            slopes[at] = max(1.0 - abs(v - op.threshold) / op.threshold, 0.0);
        }
        let spike = select(0.0, 1.0, v >= op.threshold);
        fired += u32(v >= op.threshold);
        v -= op.threshold * spike;
        counted = op.leak * counted + spike;
        if (op.keep & 2u) != 0u {
            spikes[at] = spike;
        }
        if (op.keep & 8u) != 0u {
            trace = flushed(op.leak * trace) + spike * (1.0 - op.leak);
            traces[at] = trace;
        }
    }
    rates[own] = flushed(counted / op.total);
    drives[own] = flushed((v / op.threshold + counted) / op.total);
    if fired > 0u {
        atomicAdd(&counts[batch.slot], fired);
    }
}
