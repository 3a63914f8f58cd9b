// Keeps, for one plastic projection and one step (windows with plastic synapses have one), what its synapses will ask for: the events
// of the targets (their spikes, or steps after which a state is not 0) with the traces just after each and the states, the states
// of the last steps, and the jumps of the signal that the synapses read. Promises rows as in history.wgsl, and the most that a
// row has grown since the last flush in the last mark. One invocation a target, and one for the signal.

struct Memory {
    size: u32,                  // targets
    first_id: u32,              // global id of the first
    depth: u32,
    traces: u32,                // columns of a target's row: traces, then states
    states: u32,
    event_state: u32,           // which of them makes the events; 0xffffffff: spikes do
    learns: u32,                // 0: targets' events leave no trace
    flushed: u32,               // stamp of the last flush, low word
    dense: u32,                 // word where the states of the last `depth` steps begin
    signal_row: u32,            // 0xffffffff: the synapses read no signal
    signal: u32,
    signal_rate: f32,           // decay per step
    amount: f32,                // of a jump for each spike counted
    delay: u32,                 // steps from there to the jump; 0: no spikes are counted
    first_count: u32,           // where they are counted, and how many slots there are less one
    count_mask: u32,
}

@group(0) @binding(4) var<storage, read_write> history: array<u32>;
@group(0) @binding(5) var<uniform> memory: Memory;
// Rates of the traces per step, then where each state of the target begins in `state_words`, then what it is (0 f32, 1 i32, 2 u32).
@group(0) @binding(6) var<storage, read> columns: array<u32>;
@group(0) @binding(7) var<storage, read> state_words: array<u32>;
@group(0) @binding(8) var<storage, read> jumps: array<f32>;      // told by the host: of each signal, step by step
@group(0) @binding(9) var<storage, read> counts: array<u32>;

// Makes room for an event in a row; returns its number.
fn enter(row: u32) -> u32 {
    var count = history[row];
    // Numbers stay far below 2^32.
    if count >= 0x80000000u {
        count -= 0x40000000u;
        history[row + 1u] -= 0x40000000u;
    }
    if history[row + 2u] != memory.flushed {
        history[row + 1u] = count;
        history[row + 2u] = memory.flushed;
    }
    history[row] = count + 1u;
    atomicMax(&marks[arrayLength(&marks) - 1u].count, count + 1u - history[row + 1u]);
    return count;
}

fn state_now(which: u32, target_neuron: u32) -> u32 {
    let word = state_words[columns[memory.traces + which] + target_neuron];
    switch columns[memory.traces + memory.states + which] {
        case 1u: { return bitcast<u32>(f32(bitcast<i32>(word))); }
        case 2u: { return bitcast<u32>(f32(word)); }
        default: { return word; }
    }
}

fn remember_target(own: u32, stamp: u32) {
    for (var k = 0u; k < memory.states; k++) {
        let ring = memory.dense + (k * memory.size + own) * memory.depth;
        history[ring + (stamp & (memory.depth - 1u))] = state_now(k, own);
    }
    var happened = latest[memory.first_id + own].y == stamp;
    if memory.event_state != 0xffffffffu {
        happened = (state_now(memory.event_state, own) & 0x7fffffffu) != 0u;
    }
    if !happened || memory.learns == 0u {
        return;
    }
    let depth = memory.depth;
    let row = history_row(own, depth, memory.traces + memory.states);
    let event = enter(row);
    let since = f32(stamp - history[stamp_address(row, event - 1u, depth)]);
    for (var c = 0u; c < memory.traces; c++) {
        var decayed = 0.0;
        if event > 0u {
            decayed = bitcast<f32>(history[column_address(row, event - 1u, c, depth)]) * exp(-since * bitcast<f32>(columns[c]));
        }
        history[column_address(row, event, c, depth)] = bitcast<u32>(decayed + 1.0);
    }
    for (var k = 0u; k < memory.states; k++) {
        history[column_address(row, event, memory.traces + k, depth)] = state_now(k, own);
    }
    history[stamp_address(row, event, depth)] = stamp;
}

// Columns of the signal's row: its value just after a jump, the amount, and 1 where synapses learned at the time: they see it as an
// event. Of those that do not count only the last is kept. The first entry is where the signal starts from, at 0.
fn remember_jump(stamp: u32) {
    var amount = jumps[memory.signal * window.batch_steps + window.first];
    if memory.delay > 0u && window.steps > 0u {
        amount += f32(counts[memory.first_count + ((stamp - memory.delay) & memory.count_mask)]) * memory.amount;
    }
    if amount == 0.0 {
        return;
    }
    let row = memory.signal_row;
    let last = history[row] - 1u;
    let since = stamp - history[stamp_address(row, last, memory.depth)];
    let before = bitcast<f32>(history[column_address(row, last, 0u, memory.depth)]);
    let value = flushed(before * exp(-f32(since) * memory.signal_rate) + amount);
    var event = last;
    if last == 0u || memory.learns == 1u || history[column_address(row, last, 2u, memory.depth)] == 1u {
        event = enter(row);
    }
    history[stamp_address(row, event, memory.depth)] = stamp;
    history[column_address(row, event, 0u, memory.depth)] = bitcast<u32>(value);
    history[column_address(row, event, 1u, memory.depth)] = bitcast<u32>(amount);
    history[column_address(row, event, 2u, memory.depth)] = memory.learns;
}

@compute @workgroup_size(64)
fn remember(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = (group.x + group.y * groups.x) * 64u + lane;
    let stamp = window.step_low + window.steps;
    // A window that did not fit into the list of spikes was left out.
    if atomicLoad(&marks[window.number].begin) == 0xffffffffu {
        return;
    }
    if own == memory.size && memory.signal_row != 0xffffffffu {
        remember_jump(stamp);
    } else if own < memory.size && window.steps > 0u {
        remember_target(own, stamp);
    }
}
