// What decays ends at 0, as in src/model/math.rs: below 2^-95 a number counts as 0, so that neither it nor its product with a constant
// is a denormal number, which some drivers take for 0 and some do not. Promises the same bits.

fn flushed(x: f32) -> f32 {
    return select(x, 0.0, (bitcast<u32>(x) & 0x70000000u) == 0u);
}
