// Standard normal numbers (Box & Muller) as src/learning/posterior.rs draws them. Promises the same numbers within (0, 1) bit for
// bit, and the same normal ones wherever a driver adds, multiplies and takes roots as IEEE 754 says.

// Within (0, 1), exactly: 23 bits and a half.
fn open_unit(bits: u32) -> f32 {
    return (f32(bits >> 9u) + 0.5) * (1.0 / 8388608.0);
}

// (cos, sin) of 2 pi u, u in 0..=1: drivers' own may be wrong by 2^-11.
fn full_turn(u: f32) -> vec2<f32> {
    let quarter = floor(4.0 * u + 0.5);
    let r = (u - 0.25 * quarter) * 6.283185307179586;
    let z = r * r;
    let sine = r + r * z * (-1.6666655e-1 + z * (8.332161e-3 - z * 1.9515296e-4));
    let cosine = 1.0 - 0.5 * z + z * z * (4.1666646e-2 + z * (-1.3887316e-3 + z * 2.4433157e-5));
    switch u32(quarter) & 3u {
        case 0u: { return vec2<f32>(cosine, sine); }
        case 1u: { return vec2<f32>(-sine, cosine); }
        case 2u: { return vec2<f32>(-cosine, -sine); }
        default: { return vec2<f32>(sine, -cosine); }
    }
}

fn normal_pair(u: f32, v: f32) -> vec2<f32> {
    return sqrt(-2.0 * log(u)) * full_turn(v);
}
