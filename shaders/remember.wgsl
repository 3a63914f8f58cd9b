// Keeps the spikes of this step (windows with plastic synapses have one) of a population that plastic synapses project to, with the
// traces just after each. Promises rows as in history.wgsl, and the most that a neuron has added since the last flush in the last
// mark.

override depth: u32;
override columns: u32;
override size: u32;             // neurons
override first_id: u32;

@group(0) @binding(4) var<storage, read_write> history: array<u32>;
@group(0) @binding(5) var<storage, read> rates: array<f32>;      // of the traces, per step

@compute @workgroup_size(64)
fn remember(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = (group.x + group.y * groups.x) * 64u + lane;
    let stamp = window.step_low + window.steps;
    // A window that did not fit into the list of spikes was left out.
    if own >= size || atomicLoad(&marks[window.number].begin) == 0xffffffffu || latest[first_id + own].y != stamp {
        return;
    }
    let row = history_row(own, depth, columns);
    var count = history[row];
    if history[row + 2u] != window.flushed {
        history[row + 1u] = count;
        history[row + 2u] = window.flushed;
    }
    let since = f32(stamp - history[stamp_address(row, count - 1u, depth)]);
    for (var c = 0u; c < columns; c++) {
        var decayed = 0.0;
        if count > 0u {
            decayed = bitcast<f32>(history[column_address(row, count - 1u, c, depth)]) * exp(-since * rates[c]);
        }
        history[column_address(row, count, c, depth)] = bitcast<u32>(decayed + 1.0);
    }
    history[stamp_address(row, count, depth)] = stamp;
    count += 1u;
    atomicMax(&marks[arrayLength(&marks) - 1u].count, count - history[row + 1u]);
    // Numbers stay far below 2^32.
    if count >= 0x80000000u {
        count -= 0x40000000u;
        history[row + 1u] -= 0x40000000u;
    }
    history[row] = count;
}
