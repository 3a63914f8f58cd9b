//! The operations of lowered code, each defined once, with WGSL's meaning: constant folding, the interpreter's loops and the
//! compiled models all call these functions, so they cannot disagree. Scalars are f32, i32, u32 and bool (stored as 0 or 1).

use super::Ty;
use super::math;

/// A scalar that lives in a 32-bit word.
pub trait Word: Copy {
    const TY: Ty;
    fn from_word(word: u32) -> Self;
    fn word(self) -> u32;
}

macro_rules! word {
    ($($t:ty, $ty:ident, $w:ident => $from:expr, $x:ident => $to:expr;)*) => {$(
        impl Word for $t {
            const TY: Ty = Ty::$ty;
            #[inline(always)]
            fn from_word($w: u32) -> Self { $from }
            #[inline(always)]
            fn word(self) -> u32 { let $x = self; $to }
        }
    )*};
}
word! {
    f32, F32, w => f32::from_bits(w), x => x.to_bits();
    i32, I32, w => w as i32, x => x as u32;
    u32, U32, w => w, x => x;
    bool, Bool, w => w != 0, x => x as u32;
}

/// Where a loop reads an operand: one word for all lanes, or one a lane.
pub trait Source: Copy {
    /// True when there are words for `n` lanes.
    fn holds(self, n: usize) -> bool;
    /// # Safety
    /// The source holds more than `i` lanes.
    unsafe fn at(self, i: usize) -> u32;
}

#[derive(Clone, Copy)]
pub struct Uniform(pub u32);

impl Uniform {
    /// As a number 0 or 1: an exponent that needs no logarithm.
    pub fn is_plain(self) -> bool {
        let x = f32::from_bits(self.0);
        x == 0.0 || x == 1.0
    }
}

/// `x^y`; where PLAIN, y is known to be 0 or 1.
#[inline(always)]
pub fn f_pow_by<const PLAIN: bool>(x: f32, y: f32) -> f32 {
    if PLAIN { math::plain_pow(x, y) } else { math::pow(x, y) }
}

impl Source for Uniform {
    #[inline(always)]
    fn holds(self, _: usize) -> bool {
        true
    }
    #[inline(always)]
    unsafe fn at(self, _: usize) -> u32 {
        self.0
    }
}

impl Source for &[u32] {
    #[inline(always)]
    fn holds(self, n: usize) -> bool {
        self.len() >= n
    }
    #[inline(always)]
    unsafe fn at(self, i: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { *self.get_unchecked(i) }
    }
}

/// The operands of one operation.
pub trait Sources<const N: usize>: Copy {
    fn holds(self, n: usize) -> bool;
    /// # Safety
    /// Every operand holds more than `i` lanes.
    unsafe fn at(self, i: usize) -> [u32; N];
}

macro_rules! sources {
    ($count:literal: $($source:ident $index:tt),*) => {
        impl<$($source: Source),*> Sources<$count> for ($($source,)*) {
            #[inline(always)]
            fn holds(self, n: usize) -> bool {
                $(self.$index.holds(n))&&*
            }
            #[inline(always)]
            unsafe fn at(self, i: usize) -> [u32; $count] {
                // SAFETY: the caller's promise.
                unsafe { [$(self.$index.at(i)),*] }
            }
        }
    };
}
sources!(1: A 0);
sources!(2: A 0, B 1);
sources!(3: A 0, B 1, C 2);

/// One value a lane. The length is checked once: a check in the loop would keep its last turns from being vectorised.
#[inline(always)]
fn fill<const N: usize>(sources: impl Sources<N>, out: &mut [u32], f: impl Fn([u32; N]) -> u32) {
    assert!(sources.holds(out.len()));
    for (i, word) in out.iter_mut().enumerate() {
        // SAFETY: i is below out.len(), which the sources hold.
        *word = f(unsafe { sources.at(i) });
    }
}

/// One enum of operations with an equal number of operands: names, types, the value of one lane and the loop over lanes.
macro_rules! operations {
    ($(#[$meta:meta])* $enum:ident, $count:literal,
     $($op:ident $function:ident($($x:ident: $t:ty),*) -> $r:ty $body:block)*) => {
        $(
            #[inline(always)]
            pub fn $function($($x: $t),*) -> $r $body
        )*

        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($op),* }

        impl $enum {
            pub const ALL: &[$enum] = &[$($enum::$op),*];

            /// Name of the function that defines it.
            pub fn name(self) -> &'static str {
                match self { $($enum::$op => stringify!($function)),* }
            }

            /// Types of the operands and of the result.
            pub fn signature(self) -> ([Ty; $count], Ty) {
                match self { $($enum::$op => ([$(<$t as Word>::TY),*], <$r as Word>::TY)),* }
            }

            /// Value for one lane.
            pub fn eval(self, words: [u32; $count]) -> u32 {
                match self {
                    $($enum::$op => { let [$($x),*] = words; $function($(<$t>::from_word($x)),*).word() })*
                }
            }

            /// Values for all lanes of `out`.
            #[inline(always)]
            pub fn lanes(self, sources: impl Sources<$count>, out: &mut [u32]) {
                match self {
                    $($enum::$op => fill(sources, out, |[$($x),*]| $function($(<$t>::from_word($x)),*).word()),)*
                }
            }
        }
    };
}

operations! {
    /// Operations of one operand.
    Un, 1,
    FNeg f_neg(x: f32) -> f32 { -x }
    FAbs f_abs(x: f32) -> f32 { x.abs() }
    FSign f_sign(x: f32) -> f32 { if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 } }
    FFloor f_floor(x: f32) -> f32 { x.floor() }
    FCeil f_ceil(x: f32) -> f32 { x.ceil() }
    FRound f_round(x: f32) -> f32 { x.round_ties_even() }
    FTrunc f_trunc(x: f32) -> f32 { x.trunc() }
    FSqrt f_sqrt(x: f32) -> f32 { x.sqrt() }
    FExp f_exp(x: f32) -> f32 { math::exp(x) }
    FExp2 f_exp2(x: f32) -> f32 { math::exp2(x) }
    FLog f_log(x: f32) -> f32 { math::log(x) }
    FLog2 f_log2(x: f32) -> f32 { math::log2(x) }
    FSin f_sin(x: f32) -> f32 { math::sin(x) }
    FCos f_cos(x: f32) -> f32 { math::cos(x) }
    FTan f_tan(x: f32) -> f32 { math::tan(x) }
    FAsin f_asin(x: f32) -> f32 { math::asin(x) }
    FAcos f_acos(x: f32) -> f32 { math::acos(x) }
    FAtan f_atan(x: f32) -> f32 { math::atan(x) }
    FSinh f_sinh(x: f32) -> f32 { math::sinh(x) }
    FCosh f_cosh(x: f32) -> f32 { math::cosh(x) }
    FTanh f_tanh(x: f32) -> f32 { math::tanh(x) }
    FAsinh f_asinh(x: f32) -> f32 { math::asinh(x) }
    FAcosh f_acosh(x: f32) -> f32 { math::acosh(x) }
    FAtanh f_atanh(x: f32) -> f32 { math::atanh(x) }
    FFlush f_flush(x: f32) -> f32 { math::flush(x) }
    INeg i_neg(x: i32) -> i32 { x.wrapping_neg() }
    IAbs i_abs(x: i32) -> i32 { x.wrapping_abs() }
    ISign i_sign(x: i32) -> i32 { x.signum() }
    INot i_not(x: i32) -> i32 { !x }
    UNot u_not(x: u32) -> u32 { !x }
    BNot b_not(x: bool) -> bool { !x }
    // Conversions round towards zero and clamp to what both types can hold (WGSL, value conversion).
    FToI f_to_i(x: f32) -> i32 { (if x > 2_147_483_520.0 { 2_147_483_520.0 } else { x }) as i32 }
    FToU f_to_u(x: f32) -> u32 { (if x > 4_294_967_040.0 { 4_294_967_040.0 } else { x }) as u32 }
    IToF i_to_f(x: i32) -> f32 { x as f32 }
    UToF u_to_f(x: u32) -> f32 { x as f32 }
    BToF b_to_f(x: bool) -> f32 { if x { 1.0 } else { 0.0 } }
    BToU b_to_u(x: bool) -> u32 { x as u32 }
    FToB f_to_b(x: f32) -> bool { x != 0.0 }
    UToB u_to_b(x: u32) -> bool { x != 0 }
    // The same bits under another type.
    FAsU f_as_u(x: f32) -> u32 { x.to_bits() }
    UAsF u_as_f(x: u32) -> f32 { f32::from_bits(x) }
    IAsU i_as_u(x: i32) -> u32 { x as u32 }
    UAsI u_as_i(x: u32) -> i32 { x as i32 }
    UOnes u_ones(x: u32) -> u32 { x.count_ones() }
    UReverse u_reverse(x: u32) -> u32 { x.reverse_bits() }
    ULeading u_leading(x: u32) -> u32 { x.leading_zeros() }
    UTrailing u_trailing(x: u32) -> u32 { x.trailing_zeros() }
}

operations! {
    /// Operations of two operands.
    Bin, 2,
    FAdd f_add(x: f32, y: f32) -> f32 { x + y }
    FSub f_sub(x: f32, y: f32) -> f32 { x - y }
    FMul f_mul(x: f32, y: f32) -> f32 { x * y }
    FDiv f_div(x: f32, y: f32) -> f32 { x / y }
    FRem f_rem(x: f32, y: f32) -> f32 { x - y * (x / y).trunc() }
    FMin f_min(x: f32, y: f32) -> f32 { if y < x { y } else { x } }
    FMax f_max(x: f32, y: f32) -> f32 { if x < y { y } else { x } }
    FPow f_pow(x: f32, y: f32) -> f32 { math::pow(x, y) }
    FAtan2 f_atan2(x: f32, y: f32) -> f32 { math::atan2(x, y) }
    FEq f_eq(x: f32, y: f32) -> bool { x == y }
    FNe f_ne(x: f32, y: f32) -> bool { x != y }
    FLt f_lt(x: f32, y: f32) -> bool { x < y }
    FLe f_le(x: f32, y: f32) -> bool { x <= y }
    IAdd i_add(x: i32, y: i32) -> i32 { x.wrapping_add(y) }
    ISub i_sub(x: i32, y: i32) -> i32 { x.wrapping_sub(y) }
    IMul i_mul(x: i32, y: i32) -> i32 { x.wrapping_mul(y) }
    // Division by zero gives x, remainder by zero gives 0; MIN / -1 wraps (WGSL, arithmetic expressions).
    IDiv i_div(x: i32, y: i32) -> i32 { if y == 0 { x } else { x.wrapping_div(y) } }
    IRem i_rem(x: i32, y: i32) -> i32 { if y == 0 { 0 } else { x.wrapping_rem(y) } }
    IMin i_min(x: i32, y: i32) -> i32 { x.min(y) }
    IMax i_max(x: i32, y: i32) -> i32 { x.max(y) }
    ILt i_lt(x: i32, y: i32) -> bool { x < y }
    ILe i_le(x: i32, y: i32) -> bool { x <= y }
    IEq i_eq(x: i32, y: i32) -> bool { x == y }
    INe i_ne(x: i32, y: i32) -> bool { x != y }
    IAnd i_and(x: i32, y: i32) -> i32 { x & y }
    IOr i_or(x: i32, y: i32) -> i32 { x | y }
    IXor i_xor(x: i32, y: i32) -> i32 { x ^ y }
    IShl i_shl(x: i32, y: u32) -> i32 { x.wrapping_shl(y) }
    IShr i_shr(x: i32, y: u32) -> i32 { x.wrapping_shr(y) }
    UDiv u_div(x: u32, y: u32) -> u32 { if y == 0 { x } else { x / y } }
    URem u_rem(x: u32, y: u32) -> u32 { if y == 0 { 0 } else { x % y } }
    UAdd u_add(x: u32, y: u32) -> u32 { x.wrapping_add(y) }
    USub u_sub(x: u32, y: u32) -> u32 { x.wrapping_sub(y) }
    UMul u_mul(x: u32, y: u32) -> u32 { x.wrapping_mul(y) }
    UMin u_min(x: u32, y: u32) -> u32 { x.min(y) }
    UMax u_max(x: u32, y: u32) -> u32 { x.max(y) }
    ULt u_lt(x: u32, y: u32) -> bool { x < y }
    ULe u_le(x: u32, y: u32) -> bool { x <= y }
    UEq u_eq(x: u32, y: u32) -> bool { x == y }
    UNe u_ne(x: u32, y: u32) -> bool { x != y }
    UAnd u_and(x: u32, y: u32) -> u32 { x & y }
    UOr u_or(x: u32, y: u32) -> u32 { x | y }
    UXor u_xor(x: u32, y: u32) -> u32 { x ^ y }
    UShl u_shl(x: u32, y: u32) -> u32 { x.wrapping_shl(y) }
    UShr u_shr(x: u32, y: u32) -> u32 { x.wrapping_shr(y) }
    BAnd b_and(x: bool, y: bool) -> bool { x & y }
    BOr b_or(x: bool, y: bool) -> bool { x | y }
    BXor b_xor(x: bool, y: bool) -> bool { x ^ y }
}

operations! {
    /// Operations of three operands. Selections differ only in the type they carry.
    Tri, 3,
    FSelect f_select(x: bool, y: f32, z: f32) -> f32 { if x { y } else { z } }
    ISelect i_select(x: bool, y: i32, z: i32) -> i32 { if x { y } else { z } }
    USelect u_select(x: bool, y: u32, z: u32) -> u32 { if x { y } else { z } }
    BSelect b_select(x: bool, y: bool, z: bool) -> bool { if x { y } else { z } }
    FFma f_fma(x: f32, y: f32, z: f32) -> f32 { x.mul_add(y, z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_wgsl() {
        assert_eq!((i_div(7, 0), i_rem(7, 0), i_div(i32::MIN, -1), i_rem(i32::MIN, -1)), (7, 0, i32::MIN, 0));
        assert_eq!((u_div(7, 0), u_rem(7, 0), i_div(-7, 2), i_rem(-7, 2)), (7, 0, -3, -1));
        assert_eq!((u_shl(1, 33), u_shr(8, 35), i_shr(-8, 1), i_shr(-1, 63)), (2, 1, -4, -1));
        assert_eq!((i_add(i32::MAX, 1), i_mul(1 << 20, 1 << 20), i_abs(i32::MIN)), (i32::MIN, 0, i32::MIN));
        assert_eq!((f_to_i(3e9), f_to_i(-3e9), f_to_i(-1.9), f_to_i(f32::NAN)), (2_147_483_520, i32::MIN, -1, 0));
        assert_eq!((f_to_u(-1.0), f_to_u(5e9), f_to_u(2.99)), (0, 4_294_967_040, 2));
    }

    #[test]
    fn floats_follow_wgsl() {
        assert_eq!((f_rem(5.5, 2.0), f_rem(-5.5, 2.0), f_rem(5.5, -2.0)), (1.5, -1.5, 1.5));
        assert_eq!((f_round(2.5), f_round(-3.5), f_sign(-0.0), f_sign(-4.0)), (2.0, -4.0, 0.0, -1.0));
        assert_eq!((f_min(1.0, 2.0), f_max(1.0, 2.0), f_fma(2.0, 3.0, 4.0)), (1.0, 2.0, 10.0));
    }

    /// The loop over lanes and the single value agree for every operation, with uniform and varying operands.
    #[test]
    fn lanes_agree_with_eval() {
        let words: Vec<u32> = (0..97u32)
            .map(|i| if i % 3 == 0 { (i as f32 * 0.37 - 9.0).to_bits() } else { i.wrapping_mul(2_654_435_761) })
            .collect();
        let other: Vec<u32> = words.iter().rev().map(|w| w.rotate_left(7)).collect();
        let same = |ty: Ty, a: u32, b: u32| a == b || ty == Ty::F32 && f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan();
        let mut out = vec![0; words.len()];
        for op in Un::ALL {
            op.lanes((&words[..],), &mut out);
            for (w, o) in words.iter().zip(&out) {
                assert!(same(op.signature().1, op.eval([*w]), *o), "{}", op.name());
            }
        }
        for op in Bin::ALL {
            op.lanes((&words[..], Uniform(other[5])), &mut out);
            for (w, o) in words.iter().zip(&out) {
                assert!(same(op.signature().1, op.eval([*w, other[5]]), *o), "{}", op.name());
            }
            op.lanes((&words[..], &other[..]), &mut out);
            for i in 0..out.len() {
                assert!(same(op.signature().1, op.eval([words[i], other[i]]), out[i]), "{}", op.name());
            }
        }
        for op in Tri::ALL {
            op.lanes((&words[..], &other[..], Uniform(words[4])), &mut out);
            for i in 0..out.len() {
                assert!(same(op.signature().1, op.eval([words[i], other[i], words[4]]), out[i]), "{}", op.name());
            }
        }
    }
}
