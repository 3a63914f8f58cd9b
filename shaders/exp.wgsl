// exp and log as src/model/math.rs computes them (Cephes), and pow by both: drivers may be off by many ulp (WGSL allows log2 an error
// of 2^-21, which pow multiplies), and weights add such errors up. Promises 1 ulp, of pow (1 + |y log x|) ulp, wherever a driver adds and
// multiplies as IEEE 754 says. They take the place of the built-in functions in the model's code too.

fn exp(x: f32) -> f32 {
    let y = clamp(x, -105.0, 90.0);
    let n = round(y * 1.4426950408889634);
    let r = y - n * 0.693359375 - n * -2.12194440e-4;
    var p = 1.9875691e-4;
    p = p * r + 1.3981999e-3;
    p = p * r + 8.333452e-3;
    p = p * r + 4.1665796e-2;
    p = p * r + 0.16666665;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    let half = i32(n) >> 1u;
    return p * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(i32(n) - half + 127) << 23u);
}

fn log(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let mantissa = bitcast<f32>((bits & 0x007fffffu) | 0x3f000000u);
    let low = mantissa < 0.70710678;
    let e = f32(i32((bits >> 23u) & 0xffu) - 126 - i32(low));
    let m = select(mantissa, mantissa + mantissa, low) - 1.0;
    let z = m * m;
    var p = 7.0376836e-2;
    p = p * m - 1.151461e-1;
    p = p * m + 1.1676999e-1;
    p = p * m - 1.2420141e-1;
    p = p * m + 1.4249323e-1;
    p = p * m - 1.6668058e-1;
    p = p * m + 2.0000715e-1;
    p = p * m - 2.4999994e-1;
    p = p * m + 3.333333e-1;
    let r = m + (p * m * z + e * -2.12194440e-4 - 0.5 * z) + e * 0.693359375;
    // Zero, and what drivers take for zero; no number below it; infinity.
    let low_end = select(sqrt(x), -3.0e38, x > -1.1754944e-38);
    return select(select(r, x, x > 3.4028234e38), low_end, x < 1.1754944e-38);
}

fn pow(x: f32, y: f32) -> f32 {
    return select(exp(y * log(x)), 1.0, y == 0.0);
}
