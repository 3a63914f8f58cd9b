// exp as src/model/math.rs computes it (Cephes expf): drivers may be off by several ulp, and weights add such errors up. Promises
// 1 ulp wherever a driver adds and multiplies as IEEE 754 says. It takes the place of the built-in function in the model's code too.

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
