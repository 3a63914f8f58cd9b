// Spikes of the populations that only emit. Promises the spikes of src/stimulus: Poisson sources are drawn here, four elements an
// invocation (one Philox block); trains and presentations were drawn by the host and are only entered into the list.

struct Source {
    size: u32,
    first_id: u32,
    first_word: u32,            // thresholds in `table_words`, `width` a row
    width: u32,
    rows: u32,                  // in `table_words`: row of each element; 0xffffffff: all use the first
    first_block: u32,           // invocation of its first Philox block
    key: vec2<u32>,
    start: vec2<u32>,           // active steps, low and high word
    stop: vec2<u32>,
}

@group(0) @binding(4) var<storage, read> given: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> sources: array<Source>;
@group(0) @binding(6) var<storage, read> table_words: array<u32>;

override block_count: u32;      // Philox blocks of all Poisson sources

fn fire_block(source: u32, block: u32) {
    for (var s = 0u; s < window.steps; s++) {
        let step = step_number(s);
        if step_before(step, sources[source].start) || !step_before(step, sources[source].stop) {
            continue;
        }
        let words = philox(vec4<u32>(block, step.x, step.y, 8u), sources[source].key);
        for (var j = 0u; j < 4u; j++) {
            let element = 4u * block + j;
            if element < sources[source].size {
                var row = 0u;
                if sources[source].rows != 0xffffffffu {
                    row = table_words[sources[source].rows + element];
                }
                let count = thresholds_reached(sources[source].first_word + row * sources[source].width, sources[source].width, words[j]);
                if count > 0u {
                    record_spike(s, sources[source].first_id + element, count);
                }
            }
        }
    }
}

@compute @workgroup_size(64)
fn emit(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let own = (group.x + group.y * groups.x) * 64u + lane;
    if !window_fits(own == 0u) {
        return;
    }
    if own < window.given_count {
        let entry = given[window.given_first + own];
        record_spike((entry.x & 0xffffu) - window.first, entry.y, entry.x >> 16u);
    }
    if own < block_count {
        // The source whose blocks hold this one.
        var low = 0u;
        var high = arrayLength(&sources);
        while high - low > 1u {
            let middle = (low + high) >> 1u;
            if sources[middle].first_block <= own {
                low = middle;
            } else {
                high = middle;
            }
        }
        fire_block(low, own - sources[low].first_block);
    }
}
