// The natural logarithm as src/model/math.rs computes it (Cephes), in place of the driver's, which WGSL allows an error of 2^-21.
// Promises the same bits for normal numbers above 0, wherever a driver adds and multiplies as IEEE 754 says.

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
