// Records spikes on the device: one list for the whole batch, one mark a window. Promises that no spike is ever lost: a window
// that might not fit into the list is left out by every kernel, and so are all after it; the host finds that in the marks and
// goes on from there. The order within a step is arbitrary (the host sorts).
//
// An entry is (step in the batch | multiplicity << 16, global id). Marks: where the window's spikes begin, how many they are, and
// the workgroups of a delivery that follows.

struct Mark {
    begin: atomic<u32>,
    count: atomic<u32>,
    groups_x: atomic<u32>,
    groups_y: atomic<u32>,
    groups_z: u32,              // parts of a row; where neurons are owned, spikes that the window itself has gathered
}

@group(0) @binding(1) var<storage, read_write> spike_list: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> marks: array<Mark>;

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

fn enter_spike(step: u32, id: u32, multiplicity: u32) -> u32 {
    let at = atomicAdd(&marks[window.number].count, 1u);
    spike_list[window_begin() + at] = vec2<u32>(window.first + step | multiplicity << 16u, id);
    return at;
}

// First and end in the list of the spikes of the window before that are still to be gathered; none in a batch's first window, nor
// when the one before was left out.
fn spikes_before() -> vec2<u32> {
    var found = vec2<u32>(0u, 0u);
    if window.number > 0u {
        let begin = atomicLoad(&marks[window.number - 1u].begin);
        if begin != 0xffffffffu {
            let count = atomicLoad(&marks[window.number - 1u].count);
            found = vec2<u32>(begin + marks[window.number - 1u].groups_z, begin + count);
        }
    }
    return found;
}

// Where the spikes that this window has entered so far end.
fn spikes_end() -> u32 {
    return window_begin() + atomicLoad(&marks[window.number].count);
}
