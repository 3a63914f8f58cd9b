//! The first threshold crossing of a sum of exponentials with polynomial factors,
//! `f(s) = c + sum of a_k s^p_k exp(-s/tau_k)`, for `s >= 0`. Promises not to miss a crossing that lies beyond the rounding of f.
//!
//! Zeros are isolated by Rolle's theorem: between two zeros of `f` lies one of `exp(-r s) d/ds (exp(r s) f) = f' + r f`, which for
//! a rate `r = 1/tau` that occurs in f is a sum of the same kind with one term less. Taken to the end the chain needs no starting
//! values and no sampling (as in Brette 2007, "Exact simulation of integrate-and-fire models with exponential currents", which
//! counts sign changes by Descartes' rule instead). Every interval between neighbouring zeros of the simpler sum holds at most
//! one zero, found by Newton steps that fall back on bisection. Knows nothing of neurons.

/// Distinct rates, and the highest power of s, that a threshold function may have.
pub const MOST_RATES: usize = 8;
pub const HIGHEST_POWER: usize = 3;

/// Zeros of one member of the chain: a sum with n terms has n - 1 at most.
const MOST_ZEROS: usize = MOST_RATES * (HIGHEST_POWER + 1);

/// polynomial(s) * exp(-rate * s)
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    rate: f64,
    degree: usize,
    coefficient: [f64; HIGHEST_POWER + 1],
}

impl Group {
    /// Drop leading zeros; false when nothing is left.
    fn trim(&mut self) -> bool {
        while self.degree > 0 && self.coefficient[self.degree] == 0.0 {
            self.degree -= 1;
        }
        self.coefficient[self.degree] != 0.0
    }

    /// The polynomial and its derivative.
    #[inline]
    fn polynomial(&self, s: f64) -> (f64, f64) {
        let (mut p, mut d) = (self.coefficient[self.degree], 0.0);
        for c in self.coefficient[..self.degree].iter().rev() {
            d = d * s + p;
            p = p * s + c;
        }
        (p, d)
    }
}

/// A sum of groups, slowest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    groups: [Group; MOST_RATES],
    n: usize,
}

/// Points in ascending order.
struct Zeros {
    at: [f64; MOST_ZEROS],
    n: usize,
}

impl Sum {
    /// Only the constant.
    pub fn new(constant: f64) -> Sum {
        let mut sum = Sum::default();
        sum.groups[0].coefficient[0] = constant;
        sum.n = 1;
        sum
    }

    /// Add `amplitude * s^power * exp(-rate * s)`. The caller keeps within [`MOST_RATES`] (constant included) and [`HIGHEST_POWER`].
    #[inline]
    pub fn add(&mut self, amplitude: f64, rate: f64, power: usize) {
        let place = self.groups[..self.n].iter().position(|g| g.rate >= rate).unwrap_or(self.n);
        if place == self.n || self.groups[place].rate != rate {
            self.groups.copy_within(place..self.n, place + 1);
            self.groups[place] = Group { rate, ..Group::default() };
            self.n += 1;
        }
        let group = &mut self.groups[place];
        group.coefficient[power] += amplitude;
        group.degree = group.degree.max(power);
    }

    fn compact(&mut self) {
        let mut kept = 0;
        for i in 0..self.n {
            let mut group = self.groups[i];
            if group.trim() {
                self.groups[kept] = group;
                kept += 1;
            }
        }
        self.n = kept;
    }

    /// Value and derivative of the sum times exp(slowest rate * s): the same sign, and no underflow far out.
    #[inline]
    fn scaled(&self, s: f64) -> (f64, f64) {
        let slowest = self.groups[0].rate;
        let (mut value, mut slope) = (0.0, 0.0);
        for group in &self.groups[..self.n] {
            let rate = group.rate - slowest;
            let (p, d) = group.polynomial(s);
            let decay = if rate == 0.0 { 1.0 } else { (-rate * s).exp() };
            value += p * decay;
            slope += (d - rate * p) * decay;
        }
        (value, slope)
    }

    /// f' + r f for the rate r of group `g`.
    fn derived(&self, g: usize) -> Sum {
        let mut next = *self;
        let r = self.groups[g].rate;
        for group in &mut next.groups[..self.n] {
            for j in 0..=group.degree {
                let raised = if j < group.degree { (j + 1) as f64 * group.coefficient[j + 1] } else { 0.0 };
                group.coefficient[j] = (r - group.rate) * group.coefficient[j] + raised;
            }
        }
        next.compact();
        next
    }

    /// Sign far out: of the slowest group's highest power.
    fn sign_at_infinity(&self) -> f64 {
        if self.n == 0 { 0.0 } else { sign(self.groups[0].coefficient[self.groups[0].degree]) }
    }

    /// Where the sum changes sign in (0, infinity), all of it or up to the first.
    fn sign_changes(&self, first_only: bool) -> Zeros {
        let mut zeros = Zeros { at: [0.0; MOST_ZEROS], n: 0 };
        let total: usize = self.groups[..self.n].iter().map(|g| g.degree + 1).sum();
        if total < 2 {
            return zeros;
        }
        if total == 2 && self.n == 2 {
            // a exp(-p s) + b exp(-q s) = 0
            let [a, b] = [&self.groups[0], &self.groups[1]];
            let s = (-b.coefficient[0] / a.coefficient[0]).ln() / (b.rate - a.rate);
            if s > 0.0 && s < f64::INFINITY {
                zeros.push(s);
            }
            return zeros;
        }
        let separators = self.derived(0).sign_changes(false);
        let (mut last, mut before) = (0.0, sign(self.scaled(0.0).0));
        for &point in &separators.at[..separators.n] {
            let here = sign(self.scaled(point).0);
            if here != 0.0 {
                if before != 0.0 && here != before {
                    zeros.push(self.solve(last, point, before));
                    if first_only {
                        return zeros;
                    }
                }
                (last, before) = (point, here);
            }
        }
        let end = self.sign_at_infinity();
        if before != 0.0
            && end != before
            && let Some(beyond) = self.beyond(last, end)
        {
            zeros.push(self.solve(last, beyond, before));
        }
        zeros
    }

    /// A point past `from` where the sign has become `end`.
    fn beyond(&self, from: f64, end: f64) -> Option<f64> {
        let fastest = self.groups[self.n - 1].rate;
        let mut step = if fastest > 0.0 { 1.0 / fastest } else { 1.0 };
        for _ in 0..200 {
            let point = from + step;
            if sign(self.scaled(point).0) == end {
                return Some(point);
            }
            step *= 2.0;
        }
        None
    }

    /// The zero in (low, high); the sum has sign `left` at low and the opposite at high. Returns the upper end of the last
    /// bracket or a Newton point that no longer moves.
    fn solve(&self, mut low: f64, mut high: f64, left: f64) -> f64 {
        let mut s = 0.5 * (low + high);
        let mut width = high - low;
        for _ in 0..200 {
            let (value, slope) = self.scaled(s);
            if value == 0.0 {
                return s;
            }
            if sign(value) == left {
                low = s
            } else {
                high = s
            }
            let newton = s - value / slope;
            let span = high - low;
            // Newton while it stays inside and the bracket or the step keeps shrinking, bisection otherwise.
            let next = if newton > low && newton < high && (newton - s).abs() < 0.5 * width { newton } else { low + 0.5 * span };
            width = (next - s).abs();
            if width <= 2.0 * f64::EPSILON * s || span <= 2.0 * f64::EPSILON * high {
                return next;
            }
            s = next;
        }
        high
    }

    /// Upper bound of f on [0, infinity): positive terms at their largest.
    #[inline]
    fn bound(&self) -> f64 {
        let mut bound = 0.0;
        for group in &self.groups[..self.n] {
            for (power, &a) in group.coefficient[..=group.degree].iter().enumerate() {
                if a > 0.0 {
                    bound +=
                        if power == 0 { a } else { a * (power as f64 / (group.rate * std::f64::consts::E)).powi(power as i32) };
                }
            }
        }
        bound
    }

    /// The smallest s >= 0 (ms) with f(s) >= 0; infinity when there is none. `f` is the sum, with constant and amplitudes in mV.
    pub fn first_crossing(mut self) -> f64 {
        if self.bound() < 0.0 {
            return f64::INFINITY;
        }
        self.compact();
        if self.n == 0 || self.scaled(0.0).0 >= 0.0 {
            return 0.0;
        }
        let zeros = self.sign_changes(true);
        if zeros.n > 0 { zeros.at[0] } else { f64::INFINITY }
    }
}

impl Zeros {
    fn push(&mut self, s: f64) {
        self.at[self.n] = s;
        self.n += 1;
    }
}

#[inline]
fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (amplitude, tau, power)
    fn sum(constant: f64, terms: &[(f64, f64, usize)]) -> Sum {
        let mut sum = Sum::new(constant);
        terms.iter().for_each(|&(a, tau, p)| sum.add(a, 1.0 / tau, p));
        sum
    }

    fn plain(constant: f64, terms: &[(f64, f64, usize)], s: f64) -> f64 {
        constant + terms.iter().map(|&(a, tau, p)| a * s.powi(p as i32) * (-s / tau).exp()).sum::<f64>()
    }

    /// First upward crossing by dense sampling and bisection.
    fn sampled(constant: f64, terms: &[(f64, f64, usize)], end: f64, n: usize) -> f64 {
        let f = |s: f64| plain(constant, terms, s);
        for i in 0..n {
            let (mut a, mut b) = (end * i as f64 / n as f64, end * (i + 1) as f64 / n as f64);
            if f(b) >= 0.0 {
                for _ in 0..100 {
                    let m = 0.5 * (a + b);
                    if f(m) >= 0.0 { b = m } else { a = m }
                }
                return b;
            }
        }
        f64::INFINITY
    }

    #[test]
    fn closed_forms() {
        // Relaxation to 20 mV above threshold's 15: s = tau ln(20/5).
        let s = sum(5.0, &[(-20.0, 10.0, 0)]).first_crossing();
        assert!((s - 10.0 * 4f64.ln()).abs() < 1e-14 * s);
        assert_eq!(sum(0.0, &[(-20.0, 10.0, 0)]).first_crossing(), f64::INFINITY);
        assert_eq!(sum(-1.0, &[]).first_crossing(), f64::INFINITY);
        assert_eq!(sum(1.0, &[(-0.5, 10.0, 0)]).first_crossing(), 0.0);
        assert_eq!(sum(0.0, &[]).first_crossing(), 0.0);
        // exp(-s) - 3 exp(-2 s) crosses zero upwards at ln 3.
        let s = sum(0.0, &[(1.0, 1.0, 0), (-3.0, 0.5, 0)]).first_crossing();
        assert!((s - 3f64.ln()).abs() < 1e-15);
        // s exp(-s) = 0.2 at minus the principal branch of Lambert's W(-0.2).
        let s = sum(-0.2, &[(1.0, 1.0, 1)]).first_crossing();
        assert!((s - 0.259171101819074).abs() < 1e-14);
        // A polynomial: (s-1)(s-2)(s-3) = s^3 - 6 s^2 + 11 s - 6, times exp(-s).
        let s = sum(0.0, &[(-6.0, 1.0, 0), (11.0, 1.0, 1), (-6.0, 1.0, 2), (1.0, 1.0, 3)]).first_crossing();
        assert!((s - 1.0).abs() < 1e-13);
        // A crossing 1e5 time constants away.
        let s = sum(0.0, &[(1e-30, 1e6, 0), (-1.0, 10.0, 0)]).first_crossing();
        assert!((s - 30.0 * 10f64.ln() / (0.1 - 1e-6)).abs() < 1e-12 * s);
    }

    /// The maximum of a post-synaptic potential lies a hair below or above threshold.
    #[test]
    fn grazing() {
        for (tau_m, tau_s) in [(10.0, 2.0), (10.0, 0.3), (20.0, 19.0), (10.0, 50.0)] {
            let peak = (tau_m / tau_s as f64).ln() * tau_m * tau_s / (tau_m - tau_s);
            let top = ((-peak / tau_m).exp() - (-peak / tau_s).exp()) * (tau_m - tau_s as f64).signum();
            let a = (tau_m - tau_s).signum();
            for gap in [1e-3, 1e-6, 1e-9, 1e-12] {
                let terms = [(a, tau_m, 0), (-a, tau_s, 0)];
                assert_eq!(sum(-top * (1.0 + gap), &terms).first_crossing(), f64::INFINITY, "{tau_m} {tau_s} {gap}");
                let s = sum(-top * (1.0 - gap), &terms).first_crossing();
                // Near the maximum f = -|f''|/2 (s - peak)^2 + top, and |f''(peak)| = top/(tau_m tau_s).
                let wanted = peak - (2.0 * gap * tau_m * tau_s).sqrt();
                assert!(s < peak && (s - wanted).abs() < 3.0 * gap.sqrt() * (peak - wanted) + 1e-8, "{s} {wanted} {gap}");
            }
        }
        // The same with equal time constants: s exp(-s/tau) peaks at tau with tau/e.
        let top = 10.0 / std::f64::consts::E;
        for gap in [1e-3, 1e-6, 1e-9, 1e-12] {
            assert_eq!(sum(-top * (1.0 + gap), &[(1.0, 10.0, 1)]).first_crossing(), f64::INFINITY);
            let s = sum(-top * (1.0 - gap), &[(1.0, 10.0, 1)]).first_crossing();
            assert!(s < 10.0 && plain(-top * (1.0 - gap), &[(1.0, 10.0, 1)], s).abs() < 1e-14);
        }
    }

    /// A dip of the second maximum: the first of three crossings is returned, however close the first two are.
    #[test]
    fn first_of_several() {
        // f = -(1 - e)(1 - 2e)(1 - 4e) with e = exp(-s): roots at 0, ln 2, ln 4; below zero before, up at ln 2, down at ln 4.
        let terms = [(7.0, 1.0, 0), (-14.0, 0.5, 0), (8.0, 1.0 / 3.0, 0)];
        let shifted = |d: f64| {
            let c = (-d as f64).exp();
            [(7.0 * c, 1.0, 0), (-14.0 * c * c, 0.5, 0), (8.0 * c * c * c, 1.0 / 3.0, 0)]
        };
        assert_eq!(plain(-1.0, &terms, 0.0), 0.0);
        for d in [1e-6, 0.1, 0.6] {
            let s = sum(-1.0, &shifted(d)).first_crossing();
            let wanted = if plain(-1.0, &shifted(d), 0.0) >= 0.0 { 0.0 } else { 2f64.ln() - d };
            assert!((s - wanted).abs() < 1e-13, "{d} {s} {wanted}");
        }
    }

    fn tau() -> impl Strategy<Value = f64> {
        prop_oneof![3 => 0.5f64..40.0, 1 => Just(10.0), 1 => Just(2.0)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

        /// Whatever the sum, the answer is a zero, nothing before it is positive, and sampling finds no earlier crossing.
        #[test]
        fn agrees_with_sampling(
            constant in -20.0f64..5.0,
            terms in prop::collection::vec((-60.0f64..60.0, tau(), 0usize..3), 1..5),
            scale in -3i32..1,
        ) {
            let scale = 10f64.powi(scale);
            let terms: Vec<_> = terms.into_iter().map(|(a, tau, p)| (a * scale / 4f64.powi(p as i32), tau, p)).collect();
            let at_zero = plain(constant, &terms, 0.0);
            prop_assume!(at_zero.abs() > 1e-9);
            let s = sum(constant, &terms).first_crossing();
            if at_zero > 0.0 {
                prop_assert_eq!(s, 0.0);
                return Ok(());
            }
            let size = constant.abs() + terms.iter().map(|t| t.0.abs() * (t.2 as f64 * t.1).max(1.0).powi(t.2 as i32)).sum::<f64>();
            let other = sampled(constant, &terms, 400.0, 40_000);
            if s > 400.0 {
                prop_assert_eq!(other, f64::INFINITY);
            } else {
                prop_assert!(plain(constant, &terms, s).abs() < 1e-13 * size, "f({}) = {}", s, plain(constant, &terms, s));
                prop_assert!(s <= other * (1.0 + 1e-9), "{} after the sampled {}", s, other);
                // No sample before it is above threshold.
                for i in 0..2000 {
                    let before = s * i as f64 / 2000.0;
                    prop_assert!(plain(constant, &terms, before) < 1e-13 * size);
                }
            }
        }

        /// Well-separated crossings agree to 1e-12 with sampling and bisection.
        #[test]
        fn accurate(v in -20.0f64..14.0, i_ex in 0.0f64..3000.0, i_in in -1500.0f64..0.0, tau_ex in 0.2f64..8.0, tau_in in 0.2f64..30.0) {
            let (tau_m, c_m) = (10.0, 250.0);
            prop_assume!((tau_ex - tau_m).abs() > 0.1 && (tau_in - tau_m).abs() > 0.1);
            let k = |tau: f64| tau * tau_m / (c_m * (tau - tau_m));
            let (e, i) = (k(tau_ex) * i_ex, k(tau_in) * i_in);
            let terms = [(v - e - i, tau_m, 0), (e, tau_ex, 0), (i, tau_in, 0)];
            let s = sum(-15.0, &terms).first_crossing();
            let other = sampled(-15.0, &terms, 200.0, 20_000);
            if other < f64::INFINITY {
                let slope = (plain(-15.0, &terms, other + 1e-5) - plain(-15.0, &terms, other - 1e-5)) / 2e-5;
                let size = 15.0 + terms.iter().map(|t| t.0.abs()).sum::<f64>();
                if slope > 1e-3 {
                    prop_assert!((s - other).abs() <= 1e-15 * size / slope * 4.0 + 1e-12, "{} {}", s, other);
                }
            }
        }
    }
}
