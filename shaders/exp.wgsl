// exp and tanh as src/model/math.rs computes them (Cephes), and pow by exp and log.wgsl: drivers may be off by many ulp (WGSL allows log2 an error
// of 2^-21, which pow multiplies), and weights add such errors up. Promises 1 ulp, of pow (1 + |y log x|) ulp, wherever a driver adds and
// multiplies as IEEE 754 says. They take the place of the built-in functions in the model's code too.

fn exp(x: f32) -> f32 {
    let y = clamp(x, -105.0, 90.0);
    let n = round(y * 1.4426950408889634);
    // n times the first part is exact, so this rounds as a difference does; but a driver cannot take n out of two products.
    let r = fma(n, -0.693359375, y) - n * -2.12194440e-4;
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

fn tanh(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    var p = -5.7049887e-3;
    p = p * z + 2.0639089e-2;
    p = p * z - 5.3739716e-2;
    p = p * z + 1.3331442e-1;
    p = p * z - 3.333328e-1;
    let far = 1.0 - 2.0 / (exp(a + a) + 1.0);
    return select(select(far, -far, x < 0.0), p * z * x + x, a < 0.625);
}

fn pow(x: f32, y: f32) -> f32 {
    return select(exp(y * log(x)), 1.0, y == 0.0);
}
