// Samples state variables into the batch's sample buffer. Promises to copy words only: recorded quantities are computed from them
// by the host, in f64.

override words: u32;            // of one sample

@group(0) @binding(0) var<uniform> sample_first: vec4<u32>;               // x: where this sample begins in `samples`
@group(0) @binding(1) var<storage, read> state_words: array<u32>;
@group(0) @binding(2) var<storage, read> addresses: array<u32>;           // of the probed words
@group(0) @binding(3) var<storage, read_write> samples: array<u32>;

@compute @workgroup_size(64)
fn probe(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = (group.x + group.y * groups.x) * 64u + lane;
    if own < words {
        samples[sample_first.x + own] = state_words[addresses[own]];
    }
}
