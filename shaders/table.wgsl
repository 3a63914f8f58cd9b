// The synapse table as the kernels see it that carry spikes: the stream of src/network/synapse_table.rs as it is, and a directory that
// tells where the synapses of a row stand in it, so that teams need not walk the headers one after another. Promises bindings 1 to
// 6, the same for all of them.

override ring_slots: u32;
override ring_stride: u32;      // accumulators of one slot
override lanes: u32;            // of a workgroup
override team: u32;             // lanes that share a stretch

struct Mark { begin: u32, count: u32, groups_x: u32, groups_y: u32, groups_z: u32 }

// Synapses that follow each other in the stream and share delay, base and form.
struct Stretch {
    position: u32,              // first word in `stream`
    count_and_form: u32,        // number; highest bit: wide
    delay: u32,                 // steps
    base: u32,                  // accumulator that address 0 of a narrow synapse stands for; first synapse of a dynamic stretch
}

@group(0) @binding(1) var<storage, read> spike_list: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> marks: array<Mark>;
@group(0) @binding(3) var<storage, read_write> ring: array<atomic<i32>>;
@group(0) @binding(4) var<storage, read> rows: array<vec2<u32>>;          // of every source of the table: first stretch, number
@group(0) @binding(5) var<storage, read> stretches: array<Stretch>;
@group(0) @binding(6) var<storage, read> stream: array<u32>;

// Ring slot of what arrives in step `arrives`, counted from the start of the batch.
fn slot_of(arrives: u32) -> u32 {
    return ((window.slot + arrives - window.first) % ring_slots) * ring_stride;
}
