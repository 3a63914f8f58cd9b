// Records spikes on the device: one list for the whole batch, one mark a window. Promises that no spike is ever lost: a window
// that might not fit into the list is left out by every kernel, and so are all after it; the host finds that in the marks and
// goes on from there. The order within a step is arbitrary (the host sorts).
//
// An entry is (step in the batch | multiplicity << 16, global id). Marks: where the window's spikes begin, how many they are, and
// the workgroups of the delivery that follows.

struct Mark {
    begin: atomic<u32>,
    count: atomic<u32>,
    groups_x: atomic<u32>,
    groups_y: atomic<u32>,
    groups_z: u32,
}

@group(0) @binding(1) var<storage, read_write> spike_list: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> marks: array<Mark>;
// (previous, latest) spike step of every neuron and source, low words; one element when no synapse asks for it.
@group(0) @binding(3) var<storage, read_write> latest: array<vec2<u32>>;

// Where this window's spikes begin. All kernels of the window find the same value, whoever of them wrote it first.
fn window_begin() -> u32 {
    var begin = 0u;
    if window.number > 0u {
        begin = atomicLoad(&marks[window.number - 1u].begin) + atomicLoad(&marks[window.number - 1u].count);
    }
    return begin;
}

// To be asked first by every invocation of a kernel that records; false: leave this window out. A window that does not fit begins
// beyond any list, so that no window after it fits.
fn window_fits(leader: bool) -> bool {
    let begin = window_begin();
    let capacity = arrayLength(&spike_list);
    let fits = begin <= capacity && window.most_spikes <= capacity - begin;
    if leader {
        atomicStore(&marks[window.number].begin, select(0xffffffffu, begin, fits));
    }
    return fits;
}

fn record_spike(step: u32, id: u32, multiplicity: u32) {
    let at = atomicAdd(&marks[window.number].count, 1u);
    spike_list[window_begin() + at] = vec2<u32>(window.first + step | multiplicity << 16u, id);
    atomicMax(&marks[window.number].groups_x, min(at + 1u, 65535u));
    atomicMax(&marks[window.number].groups_y, at / 65535u + 1u);
    if id < arrayLength(&latest) {
        latest[id] = vec2<u32>(latest[id].y, step_number(step).x + 1u);
    }
}
