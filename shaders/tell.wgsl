// A spike for a delivery that follows in a dispatch of its own: its workgroups are counted in the mark, and the latest spikes of
// every source are kept where synapses ask for them.

// (previous, latest) spike step of every neuron and source, low words; one element when no synapse asks for it.
@group(0) @binding(3) var<storage, read_write> latest: array<vec2<u32>>;

fn record_spike(step: u32, id: u32, multiplicity: u32) {
    let at = enter_spike(step, id, multiplicity);
    atomicMax(&marks[window.number].groups_x, min(at + 1u, 65535u));
    atomicMax(&marks[window.number].groups_y, at / 65535u + 1u);
    if id < arrayLength(&latest) {
        latest[id] = vec2<u32>(latest[id].y, step_number(step).x + 1u);
    }
}
