//! Elementary functions in f32 that a compiler can vectorise: branch-free, no tables, no library calls, the same bits on every
//! machine. Promises about 1 ulp for exp, log, tanh and half an ulp for what is computed in f64 inside. Knows nothing else.
//! Polynomials of exp, log and tanh: Cephes (Moshier); the others: Taylor series after range reduction, in f64.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LOG2_E as LOG2_E64};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has nine bits, so that n * LN2_HI is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding and subtracting 1.5 * 2^23 rounds a small f32 to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
const ROUND64: f64 = 6_755_399_441_055_744.0;

/// Numbers below 2^-95 (2.5e-29) in magnitude have none of these bits.
pub const FLUSHED: u32 = 0x7000_0000;
const LEAST: f32 = f32::from_bits(1 << FLUSHED.trailing_zeros());

/// What is stored of a value: 0 below 2^-95 in magnitude. So nothing that decays ends among the denormal numbers, where processors take a
/// hundred times as long and graphics processors see 0, nor does its product with any constant down to 2^-31.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < LEAST { 0.0 } else { x }
}

/// The same for values kept in f64.
#[inline(always)]
pub fn flush64(x: f64) -> f64 {
    if x.abs() < LEAST as f64 { 0.0 } else { x }
}

/// `a * 2^n` for n in -252..=254, one rounding.
#[inline(always)]
fn scale(a: f32, n: i32) -> f32 {
    let half = n >> 1;
    let power = |k: i32| f32::from_bits(((k + 127) as u32) << 23);
    a * power(half) * power(n - half)
}

/// exp of r for |r| <= 0.35 (Cephes expf).
#[inline(always)]
fn exp_core(r: f32) -> f32 {
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    p * (r * r) + r + 1.0
}

#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = if x > 90.0 { 90.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    scale(exp_core(r), (rounded.to_bits() as i32).wrapping_sub(0x4B40_0000).clamp(-160, 135))
}

#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    let x = if x > 130.0 { 130.0 } else { x };
    let x = if x < -155.0 { -155.0 } else { x };
    let rounded = x + ROUND;
    let r = (x - (rounded - ROUND)) * std::f32::consts::LN_2;
    scale(exp_core(r), (rounded.to_bits() as i32).wrapping_sub(0x4B40_0000).clamp(-160, 135))
}

#[inline(always)]
pub fn log(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let r = log_core(if small { x * 8_388_608.0 } else { x }, if small { -23 } else { 0 });
    let r = if x == 0.0 { f32::NEG_INFINITY } else { r };
    let r = if x == f32::INFINITY { f32::INFINITY } else { r };
    if x >= 0.0 { r } else { f32::NAN }
}

/// The same for normal numbers above 0 alone.
#[inline(always)]
pub fn log_normal(x: f32) -> f32 {
    log_core(x, 0)
}

/// log of `x * 2^n`, x normal and above 0 (Cephes logf).
#[inline(always)]
fn log_core(x: f32, n: i32) -> f32 {
    let bits = x.to_bits();
    let e = ((bits >> 23) & 0xFF) as i32 - 126 + n;
    let m = f32::from_bits(bits & 0x007F_FFFF | 0x3F00_0000);
    let low = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = (e - low as i32) as f32;
    let m = if low { m + m } else { m } - 1.0;
    let z = m * m;
    let p = 7.037_683_6e-2;
    let p = p * m - 1.151_461e-1;
    let p = p * m + 1.167_699_9e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    m + (p * m * z + e * LN2_LO - 0.5 * z) + e * LN2_HI
}

#[inline(always)]
pub fn log2(x: f32) -> f32 {
    (log64(x as f64) * LOG2_E64) as f32
}

#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_908_9e-2;
    let p = p * z - 5.373_971_6e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let far = 1.0 - 2.0 / (exp(a + a) + 1.0);
    if a < 0.625 { near } else { far.copysign(x) }
}

#[inline(always)]
pub fn sinh(x: f32) -> f32 {
    let y = x as f64;
    let z = y * y;
    let near = y * (1.0 + z / 6.0 * (1.0 + z / 20.0 * (1.0 + z / 42.0 * (1.0 + z / 72.0))));
    let e = exp64(y);
    (if y.abs() < 0.5 { near } else { 0.5 * (e - 1.0 / e) }) as f32
}

#[inline(always)]
pub fn cosh(x: f32) -> f32 {
    let e = exp64(x as f64);
    (0.5 * (e + 1.0 / e)) as f32
}

/// (sin, cos) in f64; the reduction holds to f32 accuracy for |x| up to about 1e7.
#[inline(always)]
fn sin_cos(x: f32) -> (f64, f64) {
    /// pi/2 to 33 bits, and the rest.
    const P1: f64 = 1.570_796_326_734_125_6;
    const P2: f64 = 6.077_100_506_506_192e-11;
    let x = x as f64;
    let rounded = x * (1.0 / FRAC_PI_2) + ROUND64;
    let k = rounded - ROUND64;
    let r = x - k * P1 - k * P2;
    let z = r * r;
    let s = r * (1.0 - z / 6.0 * (1.0 - z / 20.0 * (1.0 - z / 42.0 * (1.0 - z / 72.0 * (1.0 - z / 110.0)))));
    let c = 1.0 - z / 2.0 * (1.0 - z / 12.0 * (1.0 - z / 30.0 * (1.0 - z / 56.0 * (1.0 - z / 90.0 * (1.0 - z / 132.0)))));
    let quadrant = rounded.to_bits();
    let (s, c) = if quadrant & 1 == 0 { (s, c) } else { (c, -s) };
    if quadrant & 2 == 0 { (s, c) } else { (-s, -c) }
}

#[inline(always)]
pub fn sin(x: f32) -> f32 {
    sin_cos(x).0 as f32
}

#[inline(always)]
pub fn cos(x: f32) -> f32 {
    sin_cos(x).1 as f32
}

#[inline(always)]
pub fn tan(x: f32) -> f32 {
    let (s, c) = sin_cos(x);
    (s / c) as f32
}

/// `x^y = exp(y log x)`; NaN for negative x, as WGSL leaves it; 1 for y = 0.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    if y == 0.0 || y == 1.0 { plain_pow(x, y) } else { power(x, y) }
}

/// The same for exponents 0 and 1 alone, which rules use to switch a dependence off or to make it linear.
#[inline(always)]
pub fn plain_pow(x: f32, y: f32) -> f32 {
    let first = if x >= 0.0 { x + 0.0 } else { f32::NAN };
    if y == 0.0 { 1.0 } else { first }
}

#[inline(always)]
fn power(x: f32, y: f32) -> f32 {
    exp64(y as f64 * log64(x as f64)) as f32
}

#[inline(always)]
pub fn asin(x: f32) -> f32 {
    let x = x as f64;
    atan64(x / ((1.0 - x) * (1.0 + x)).sqrt()) as f32
}

#[inline(always)]
pub fn acos(x: f32) -> f32 {
    let x = x as f64;
    (2.0 * atan64(((1.0 - x) / (1.0 + x)).sqrt())) as f32
}

#[inline(always)]
pub fn atan(x: f32) -> f32 {
    atan64(x as f64) as f32
}

#[inline(always)]
pub fn atan2(y: f32, x: f32) -> f32 {
    let (y, x) = (y as f64, x as f64);
    // Both infinite: the diagonal. Both zero: the sign of x decides.
    let (ratio_y, ratio_x) = if y.is_infinite() && x.is_infinite() { (1f64.copysign(y), 1f64.copysign(x)) } else { (y, x) };
    let a = if ratio_y == 0.0 && ratio_x == 0.0 { ratio_y * 1f64.copysign(x) } else { atan64(ratio_y / ratio_x) };
    let turned = a + std::f64::consts::PI.copysign(y);
    (if x.is_sign_negative() { turned } else { a }) as f32
}

#[inline(always)]
pub fn asinh(x: f32) -> f32 {
    let y = x as f64;
    let a = y.abs();
    let far = log64(a + (a * a + 1.0).sqrt()).copysign(y);
    (if a < 1e-3 { y - y * y * y / 6.0 } else { far }) as f32
}

#[inline(always)]
pub fn acosh(x: f32) -> f32 {
    let y = x as f64;
    log64(y + (y * y - 1.0).sqrt()) as f32
}

#[inline(always)]
pub fn atanh(x: f32) -> f32 {
    let y = x as f64;
    let far = 0.5 * log64((1.0 + y) / (1.0 - y));
    (if y.abs() < 1e-3 { y + y * y * y / 3.0 } else { far }) as f32
}

/// exp to 1e-12 relative, for results that fit an f32.
#[inline(always)]
fn exp64(x: f64) -> f64 {
    const HI: f64 = 0.693_147_180_369_123_8;
    const LO: f64 = 1.908_214_929_270_587_7e-10;
    let x = if x > 200.0 { 200.0 } else { x };
    let x = if x < -200.0 { -200.0 } else { x };
    let rounded = x * LOG2_E64 + ROUND64;
    let n = rounded - ROUND64;
    let r = x - n * HI - n * LO;
    let p = 1.0 / 3_628_800.0;
    let p = p * r + 1.0 / 362_880.0;
    let p = p * r + 1.0 / 40_320.0;
    let p = p * r + 1.0 / 5_040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // The integer stands in the low bits of `rounded`; its sign extends through the addition of the exponent bias.
    p * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// log to 1e-12, for x >= 0 that is normal in f64 (every f32), zero or infinite; NaN below zero.
#[inline(always)]
fn log64(x: f64) -> f64 {
    let bits = x.to_bits();
    // Mantissa in [sqrt(1/2), sqrt 2): shift the exponent boundary to sqrt(1/2).
    let shifted = bits.wrapping_sub(0x3FE6_A09E_667F_3BCD);
    let e = (shifted as i64 >> 52) as i32 as f64;
    let m = f64::from_bits(bits.wrapping_sub(shifted & 0xFFF0_0000_0000_0000));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 2.0 / 15.0;
    let p = p * z + 2.0 / 13.0;
    let p = p * z + 2.0 / 11.0;
    let p = p * z + 2.0 / 9.0;
    let p = p * z + 2.0 / 7.0;
    let p = p * z + 2.0 / 5.0;
    let p = p * z + 2.0 / 3.0;
    let r = s * z * p + 2.0 * s + e * std::f64::consts::LN_2;
    let r = if x == 0.0 { f64::NEG_INFINITY } else { r };
    let r = if x == f64::INFINITY { f64::INFINITY } else { r };
    if x >= 0.0 { r } else { f64::NAN }
}

/// atan to 1e-10.
#[inline(always)]
fn atan64(x: f64) -> f64 {
    let a = x.abs();
    let steep = a > 1.0;
    let b = if steep { 1.0 / a } else { a };
    let upper = b > 0.414_213_562_373_095_1;
    let t = if upper { (b - 1.0) / (b + 1.0) } else { b };
    let z = t * t;
    let mut p = 1.0 / 27.0;
    p = 1.0 / 25.0 - p * z;
    p = 1.0 / 23.0 - p * z;
    p = 1.0 / 21.0 - p * z;
    p = 1.0 / 19.0 - p * z;
    p = 1.0 / 17.0 - p * z;
    p = 1.0 / 15.0 - p * z;
    p = 1.0 / 13.0 - p * z;
    p = 1.0 / 11.0 - p * z;
    p = 1.0 / 9.0 - p * z;
    p = 1.0 / 7.0 - p * z;
    p = 1.0 / 5.0 - p * z;
    p = 1.0 / 3.0 - p * z;
    let r = t - t * z * p;
    let r = if upper { FRAC_PI_4 + r } else { r };
    let r = if steep { FRAC_PI_2 - r } else { r };
    r.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the spacing of f32 around the exact value.
    fn ulps(got: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if got.is_nan() || exact.is_nan() {
            return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if nearest.is_infinite() || got.is_infinite() {
            return if got == nearest { 0.0 } else { f64::INFINITY };
        }
        let spacing =
            (f32::from_bits(nearest.abs().to_bits() + 1) as f64 - nearest.abs() as f64).max(f64::from(f32::from_bits(1)));
        (got as f64 - exact).abs() / spacing
    }

    /// Every 4,099th f32 in the range by bit pattern, both signs, and dense samples.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        let mut look = |x: f32| {
            if x >= low && x <= high {
                let e = ulps(f(x), exact(x as f64));
                if e > worst.0 {
                    worst = (e, x);
                }
            }
        };
        for bits in (0..0x7F80_0000u32).step_by(4099) {
            look(f32::from_bits(bits));
            look(-f32::from_bits(bits));
        }
        for i in 0..400_000 {
            look(low.max(-200.0) + (high.min(200.0) - low.max(-200.0)) * i as f32 / 400_000.0);
        }
        worst
    }

    #[test]
    fn accuracy_in_ulp() {
        let max = f32::MAX;
        type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f32, f32, f64);
        let cases: [Case; 17] = [
            ("exp", exp, f64::exp, -max, max, 1.1),
            ("exp2", exp2, f64::exp2, -max, max, 1.1),
            ("log", log, f64::ln, 0.0, max, 1.1),
            ("log2", log2, f64::log2, 0.0, max, 0.51),
            ("tanh", tanh, f64::tanh, -max, max, 1.6),
            ("sinh", sinh, f64::sinh, -max, max, 0.51),
            ("cosh", cosh, f64::cosh, -max, max, 0.51),
            ("sin", sin, f64::sin, -1e5, 1e5, 0.51),
            ("cos", cos, f64::cos, -1e5, 1e5, 0.51),
            ("tan", tan, f64::tan, -1e5, 1e5, 0.51),
            ("asin", asin, f64::asin, -1.0, 1.0, 0.51),
            ("acos", acos, f64::acos, -1.0, 1.0, 0.51),
            ("atan", atan, f64::atan, -max, max, 0.51),
            ("asinh", asinh, f64::asinh, -max, max, 0.51),
            ("acosh", acosh, f64::acosh, 1.0, max, 0.51),
            ("atanh", atanh, f64::atanh, -1.0, 1.0, 0.51),
            ("sin near 0", sin, f64::sin, -4.0, 4.0, 0.51),
        ];
        for (name, f, exact, low, high, limit) in cases {
            let (error, x) = worst(f, exact, low, high);
            assert!(error <= limit, "{name}({x:e}): {error} ulp, {} for {}", f(x), exact(x as f64));
        }
    }

    #[test]
    fn small_values_are_flushed() {
        let least = 2f32.powi(-95);
        let below = f32::from_bits(least.to_bits() - 1);
        for x in [0.0, f32::from_bits(1), f32::MIN_POSITIVE, below] {
            assert_eq!([flush(x), flush(-x)].map(f32::to_bits), [0; 2]);
            assert_eq!([flush64(x as f64), flush64(-x as f64)].map(f64::to_bits), [0; 2]);
        }
        for x in [least, 1e-20, 1.0, f32::MAX, f32::INFINITY] {
            assert_eq!((flush(x), flush(-x), flush64(x as f64), flush64(-x as f64)), (x, -x, x as f64, -x as f64));
        }
        assert!(flush(f32::NAN).is_nan() && flush(-f32::NAN).is_nan() && flush64(f64::NAN).is_nan());
    }

    #[test]
    fn powers_and_quadrants() {
        for x in (0..2_200_000_000u32).step_by(104_729).map(f32::from_bits).filter(|x| !x.is_nan()).chain([f32::INFINITY, -0.0]) {
            assert_eq!(pow(x, 1.0).to_bits(), power(x, 1.0).to_bits(), "{x}");
        }
        for i in 0..2000 {
            for j in 0..40 {
                let (x, y) = (0.003 + i as f32 * 0.05, -6.0 + j as f32 * 0.31);
                let exact = (x as f64).powf(y as f64);
                assert!(ulps(pow(x, y), exact) <= 0.51, "pow({x}, {y})");
                let (a, b) = (y * 1.3, (i as f32 - 1000.0) * 0.01);
                assert!(ulps(atan2(a, b), (a as f64).atan2(b as f64)) <= 0.51, "atan2({a}, {b})");
            }
        }
        for (x, y) in
            [(0.0, 0.0), (-0.0, -1.0), (0.0, -0.0), (1.0, -0.0), (f32::INFINITY, f32::NEG_INFINITY), (1.0, f32::INFINITY)]
        {
            assert_eq!(atan2(x, y), (x as f64).atan2(y as f64) as f32, "atan2({x}, {y})");
        }
    }

    #[test]
    fn ends_of_the_line() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (f, name) in
            [(exp as fn(f32) -> f32, "exp"), (log, "log"), (tanh, "tanh"), (sin, "sin"), (exp2, "exp2"), (log2, "log2")]
        {
            assert!(f(nan).is_nan(), "{name}");
        }
        assert_eq!((exp(inf), exp(-inf), exp(0.0), exp2(-inf), exp2(10.0)), (inf, 0.0, 1.0, 0.0, 1024.0));
        assert_eq!((log(0.0), log(inf), log(1.0), log2(8.0)), (-inf, inf, 0.0, 3.0));
        assert_eq!((tanh(inf), tanh(-inf), tanh(0.0)), (1.0, -1.0, 0.0));
        assert!(log(-1.0).is_nan() && asin(1.5).is_nan() && acos(-2.0).is_nan() && pow(-1.0, 0.5).is_nan());
        assert_eq!((pow(0.0, 2.0), pow(2.0, 0.0), pow(0.0, -1.0), pow(2.0, 200.0)), (0.0, 1.0, inf, inf));
        assert_eq!((atan(inf), acos(-1.0)), (std::f32::consts::FRAC_PI_2, std::f32::consts::PI));
    }
}
