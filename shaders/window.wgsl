// What all kernels share: the window (a few consecutive steps that need no delivery between them) and 64-bit step numbers.
// Promises that a window is carried out by all kernels or by none (see record.wgsl).

struct Window {
    number: u32,        // of this window in the batch
    steps: u32,         // steps in it
    first: u32,         // its first step, counted from the start of the batch
    slot: u32,          // ring slot of its first step
    step_low: u32,      // its first step, counted from time 0
    step_high: u32,
    most_spikes: u32,   // entries it can add to the list at most
    batch_steps: u32,   // steps in the batch: row length of `currents`
    given_first: u32,   // spikes of sources that the host computed: first in `given`, number
    given_count: u32,
    pending: u32,       // first step not updated yet when this window is delivered, counted from the start of the batch
}

@group(0) @binding(0) var<uniform> window: Window;

// Step `plus` of this window, low and high word.
fn step_number(plus: u32) -> vec2<u32> {
    let low = window.step_low + plus;
    return vec2<u32>(low, window.step_high + select(0u, 1u, low < plus));
}

fn step_before(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}
