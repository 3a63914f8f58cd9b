// Counts a loop whose length only the device learns. Promises to tell drivers that end loops early: counted[1] == counted[0]
// exactly where loops run to their end.

@group(0) @binding(0) var<storage, read_write> counted: array<u32, 2>;

@compute @workgroup_size(1)
fn count_iterations() {
    var n = 0u;
    for (var i = 0u; i < counted[0]; i++) {
        n += 1u + (counted[1] & i);   // counted[1] is zero: the sum cannot be folded away
    }
    counted[1] = n;
}
