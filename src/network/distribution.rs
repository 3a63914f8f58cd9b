//! Random values of synapses and parameters: drawing a [`Draw`], and what to expect of one before anything is drawn. Promises
//! finite values within the limits, from a bounded number of numbers, as a pure function of the stream. Knows no network.

use super::{Draw, Limits};
use crate::error::{Error, Result};
use crate::rng::Stream;
use std::sync::LazyLock;

/// A redrawing distribution must keep at least this share of its mass within the limits.
const LEAST_MASS: f64 = 0.01;
/// Redraws before a value is clipped instead; at the least mass this happens once in 10^43 draws.
const MAX_REDRAWS: usize = 10_000;
/// Unbounded distributions are taken to end here (in standard deviations; mass beyond: 1e-15).
const FAR: f64 = 8.0;
/// All but 6e-7 of a normal distribution lie this near.
const NEAR: f64 = 5.0;

/// What a [`Draw`] gives: expectation, and the range that it does not leave in practice (mass beyond: at most 1e-15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Expectation.
    pub mean: f64,
    /// No value is below it.
    pub min: f64,
    /// No value is above it.
    pub max: f64,
}

impl Draw {
    /// The value, when there is only one.
    pub fn constant(&self) -> Option<f64> {
        match *self {
            Draw::Constant(x) => Some(x),
            Draw::Normal { mean, std: 0.0, limits } => Some(limits.clip(mean)),
            Draw::Lognormal { mu, sigma: 0.0, limits } => Some(limits.clip(mu.exp())),
            Draw::Uniform { low, high } if low == high => Some(low),
            _ => None,
        }
    }

    /// Refuses what cannot be drawn: numbers that are not finite, negative widths, empty or practically impossible limits.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String, remedy: &str| Err(Error::input(message, remedy));
        let named: &[(&str, f64)] = match self {
            Draw::Constant(x) => &[("value", *x)],
            Draw::Normal { mean, std, .. } => &[("mean", *mean), ("std", *std)],
            Draw::Lognormal { mu, sigma, .. } => &[("mu", *mu), ("sigma", *sigma)],
            Draw::Uniform { low, high } => &[("low", *low), ("high", *high)],
            Draw::Exponential { mean, .. } => &[("mean", *mean)],
        };
        if let Some((name, x)) = named.iter().find(|(_, x)| !x.is_finite()) {
            return refuse(format!("`{name}` of a distribution is {x}"), "give a finite number");
        }
        match *self {
            Draw::Normal { std: width, .. } | Draw::Lognormal { sigma: width, .. } if width < 0.0 => {
                return refuse(format!("the width of a distribution is negative ({width})"), "give a width of zero or more");
            }
            Draw::Lognormal { mu, sigma, .. } if mu + FAR * sigma > 80.0 => {
                return refuse(
                    format!("a lognormal distribution with mu = {mu} and sigma = {sigma} has no usable upper end"),
                    "mu and sigma are those of the logarithm; give smaller ones",
                );
            }
            Draw::Uniform { low, high } if low > high => {
                return refuse(format!("a uniform distribution has low = {low} above high = {high}"), "exchange the two");
            }
            Draw::Exponential { mean, .. } if mean <= 0.0 => {
                return refuse(format!("an exponential distribution has the mean {mean}"), "give a mean above zero");
            }
            _ => {}
        }
        let Some(limits) = self.limits() else { return Ok(()) };
        if limits.low.is_nan() || limits.high.is_nan() || limits.low > limits.high {
            return refuse(
                format!("the limits [{}, {}] hold no value", limits.low, limits.high),
                "give a lower limit that is at most the upper one",
            );
        }
        if limits.low == f64::INFINITY || limits.high == f64::NEG_INFINITY {
            return refuse("the limits hold no finite value".into(), "give finite limits, or leave them out");
        }
        if limits.redraw && self.mass() < LEAST_MASS {
            return refuse(
                format!(
                    "only {:.2} % of a distribution's draws fall within its limits [{}, {}]",
                    100.0 * self.mass(),
                    limits.low,
                    limits.high
                ),
                "widen the limits, move the distribution, or clip instead of redrawing",
            );
        }
        Ok(())
    }

    /// One value. The draw must have passed [`Draw::check`].
    #[inline]
    pub fn sample(&self, stream: &mut Stream) -> f64 {
        match self {
            Draw::Constant(x) => *x,
            Draw::Normal { mean, std, limits } => limits.apply(|| mean + std * normal(stream)),
            Draw::Lognormal { mu, sigma, limits } => limits.apply(|| (mu + sigma * normal(stream)).exp()),
            Draw::Uniform { low, high } => low + (high - low) * stream.uniform(),
            Draw::Exponential { mean, limits } => limits.apply(|| -mean * stream.uniform().ln()),
        }
    }

    /// Expected mean and practical range; exact for truncated and clipped normal, lognormal and exponential distributions.
    pub fn moments(&self) -> Moments {
        if let Some(x) = self.constant() {
            return Moments { mean: x, min: x, max: x };
        }
        let (min, max) = self.range(FAR, 36.0);
        Moments { mean: self.mean().clamp(min, max), min, max }
    }

    /// The magnitude that all but about one in a million values stay below.
    pub fn reach(&self) -> f64 {
        let (low, high) = self.range(NEAR, 14.0);
        low.abs().max(high.abs())
    }

    /// The magnitude that this share (0 to 1) of all values other than 0 stay below.
    pub fn magnitude(&self, share: f64) -> f64 {
        let (min, max) = self.range(FAR, 36.0);
        let (mut low, mut high) = (0.0, min.abs().max(max.abs()));
        let zero = self.within(0.0);
        if 1.0 - zero < 1e-12 {
            return high;
        }
        let wanted = zero + share * (1.0 - zero);
        // Halved until nothing is left between two numbers, on a scale of ratios below the first halvings.
        for _ in 0..200 {
            let middle = if low == 0.0 { high * 1e-3 } else { (low * high).sqrt() };
            *(if self.within(middle) < wanted { &mut low } else { &mut high }) = middle;
            if high < f64::MIN_POSITIVE || high <= low * (1.0 + 1e-9) {
                break;
            }
        }
        high
    }

    /// The share of values of at most this magnitude.
    fn within(&self, magnitude: f64) -> f64 {
        if let Some(x) = self.constant() {
            return (x.abs() <= magnitude) as u32 as f64;
        }
        if let Draw::Uniform { low, high } = *self {
            return (high.min(magnitude) - low.max(-magnitude)).max(0.0) / (high - low);
        }
        let Limits { low, high, redraw } = self.limits().unwrap_or(Limits::NONE);
        if low > magnitude || high < -magnitude {
            return 0.0;
        }
        if redraw {
            return self.partial(low.max(-magnitude), high.min(magnitude)).0 / self.mass();
        }
        // What is clipped lies at a limit.
        let from = if low >= -magnitude { f64::NEG_INFINITY } else { -magnitude };
        let to = if high <= magnitude { f64::INFINITY } else { magnitude };
        self.partial(from, to).0
    }

    /// Ends at `sigmas` standard deviations or `means` exponential means, within the limits.
    fn range(&self, sigmas: f64, means: f64) -> (f64, f64) {
        let (low, high) = match *self {
            Draw::Constant(x) => (x, x),
            Draw::Normal { mean, std, .. } => (mean - sigmas * std, mean + sigmas * std),
            Draw::Lognormal { mu, sigma, .. } => ((mu - sigmas * sigma).exp(), (mu + sigmas * sigma).exp()),
            Draw::Uniform { low, high } => (low, high),
            Draw::Exponential { mean, .. } => (0.0, mean * means),
        };
        let limits = self.limits().unwrap_or(Limits::NONE);
        (limits.clip(low), limits.clip(high))
    }

    fn limits(&self) -> Option<Limits> {
        match *self {
            Draw::Normal { limits, .. } | Draw::Lognormal { limits, .. } | Draw::Exponential { limits, .. } => Some(limits),
            _ => None,
        }
    }

    /// Share of the distribution within the limits.
    fn mass(&self) -> f64 {
        let Some(limits) = self.limits() else { return 1.0 };
        if let Some(x) = self.constant_before_limits() {
            return (limits.low <= x && x <= limits.high) as u32 as f64;
        }
        self.partial(limits.low, limits.high).0
    }

    fn constant_before_limits(&self) -> Option<f64> {
        match *self {
            Draw::Normal { mean, std: 0.0, .. } => Some(mean),
            Draw::Lognormal { mu, sigma: 0.0, .. } => Some(mu.exp()),
            _ => None,
        }
    }

    /// Probability of low < x < high, and the integral of x over that event, without limits.
    fn partial(&self, low: f64, high: f64) -> (f64, f64) {
        match *self {
            Draw::Normal { mean, std, .. } => {
                let (a, b) = ((low - mean) / std, (high - mean) / std);
                let mass = between(a, b);
                (mass, mean * mass + std * (density(a) - density(b)))
            }
            Draw::Lognormal { mu, sigma, .. } => {
                let z = |x: f64| if x <= 0.0 { f64::NEG_INFINITY } else { (x.ln() - mu) / sigma };
                let (a, b) = (z(low), z(high));
                (between(a, b), (mu + sigma * sigma / 2.0).exp() * between(a - sigma, b - sigma))
            }
            Draw::Exponential { mean, .. } => {
                let tail = |x: f64| (-(x.max(0.0)) / mean).exp();
                let moment = |x: f64| if x == f64::INFINITY { 0.0 } else { (x.max(0.0) + mean) * tail(x) };
                (tail(low) - tail(high), moment(low) - moment(high))
            }
            Draw::Constant(x) => (1.0, x),
            Draw::Uniform { low, high } => (1.0, 0.5 * (low + high)),
        }
    }

    fn mean(&self) -> f64 {
        let Limits { low, high, redraw } = self.limits().unwrap_or(Limits::NONE);
        let (mass, moment) = self.partial(low, high);
        if redraw {
            return moment / mass.max(f64::MIN_POSITIVE);
        }
        let below = if low.is_finite() { low * self.partial(f64::NEG_INFINITY, low).0 } else { 0.0 };
        let above = if high.is_finite() { high * self.partial(high, f64::INFINITY).0 } else { 0.0 };
        moment + below + above
    }
}

impl Limits {
    #[inline]
    fn clip(&self, x: f64) -> f64 {
        x.max(self.low).min(self.high)
    }

    #[inline]
    fn apply(&self, mut draw: impl FnMut() -> f64) -> f64 {
        let mut x = draw();
        if self.redraw {
            for _ in 0..MAX_REDRAWS {
                if self.low <= x && x <= self.high {
                    return x;
                }
                x = draw();
            }
        }
        self.clip(x)
    }
}

/// Layers of the ziggurat for the standard normal density (Marsaglia & Tsang 2000, 256 layers).
struct Ziggurat {
    /// Right end of layer i; x[0] is the width of the base layer with its tail folded in.
    x: [f64; 257],
    /// exp(-x^2/2) of each.
    f: [f64; 257],
}

/// Where the tail starts, and the area of each layer.
const TAIL: f64 = 3.654_152_885_361_009;
const AREA: f64 = 0.004_928_673_233_974_655;

static ZIGGURAT: LazyLock<Ziggurat> = LazyLock::new(|| {
    let f = |x: f64| (-0.5 * x * x).exp();
    let mut x = [0.0; 257];
    x[0] = AREA / f(TAIL);
    x[1] = TAIL;
    for i in 2..256 {
        x[i] = (-2.0 * (AREA / x[i - 1] + f(x[i - 1])).ln()).sqrt();
    }
    Ziggurat { x, f: x.map(f) }
});

/// Standard normal from one 32-bit word in 99 % of the calls (24 bits of resolution; the tail is exact).
#[inline]
pub fn normal(stream: &mut Stream) -> f64 {
    let z = &*ZIGGURAT;
    loop {
        let word = stream.u32();
        let layer = (word & 255) as usize;
        let u = ((word as i32 >> 8) as f64 + 0.5) * (1.0 / (1 << 23) as f64);
        let x = u * z.x[layer];
        if x.abs() < z.x[layer + 1] {
            return x;
        }
        if let Some(x) = edge_of_layer(z, layer, x, stream) {
            return x;
        }
    }
}

#[cold]
fn edge_of_layer(z: &Ziggurat, layer: usize, x: f64, stream: &mut Stream) -> Option<f64> {
    if layer > 0 {
        let height = z.f[layer] + stream.uniform() * (z.f[layer + 1] - z.f[layer]);
        return (height < (-0.5 * x * x).exp()).then_some(x);
    }
    loop {
        let beyond = -stream.uniform().ln() / TAIL;
        if -2.0 * stream.uniform().ln() > beyond * beyond {
            return Some((TAIL + beyond).copysign(x));
        }
    }
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

/// Standard normal mass between a and b, taken in the tail where it is small.
fn between(a: f64, b: f64) -> f64 {
    if a > 0.0 { upper(a) - upper(b) } else { upper(-b) - upper(-a) }
}

/// Upper tail of the standard normal distribution (complementary error function by Chebyshev fit, relative error 1.2e-7;
/// Press et al., Numerical Recipes, erfcc).
fn upper(z: f64) -> f64 {
    const C: [f64; 10] = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    if z == f64::INFINITY || z == f64::NEG_INFINITY {
        return (z < 0.0) as u32 as f64;
    }
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let tail = 0.5 * t * (-x * x + C.iter().rev().fold(0.0, |sum, c| sum * t + c)).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Magnitudes against those of many draws, and the closed form of the median of a lognormal distribution.
    #[test]
    fn magnitudes_are_those_of_the_draws() {
        let limits = |low: f64, high: f64, redraw: bool| Limits { low, high, redraw };
        let draws = [
            Draw::Normal { mean: 1.0, std: 2.0, limits: Limits::NONE },
            Draw::Normal { mean: -3.0, std: 2.0, limits: limits(f64::NEG_INFINITY, 0.0, false) },
            Draw::Normal { mean: -1.0, std: 1.0, limits: limits(0.0, f64::INFINITY, false) },
            Draw::Normal { mean: 0.5, std: 2.0, limits: limits(-1.0, 0.75, true) },
            Draw::Lognormal { mu: 0.3, sigma: 2.0, limits: Limits::NONE },
            Draw::Lognormal { mu: 0.0, sigma: 1.0, limits: limits(0.5, 2.0, false) },
            Draw::Uniform { low: -1.0, high: 3.0 },
            Draw::Uniform { low: 2.0, high: 3.0 },
            Draw::Exponential { mean: 4.0, limits: Limits::NONE },
        ];
        for (k, draw) in draws.iter().enumerate() {
            let mut stream = stream(k as u32);
            let mut values: Vec<f64> = (0..40_000).map(|_| draw.sample(&mut stream).abs()).filter(|x| *x != 0.0).collect();
            values.sort_by(f64::total_cmp);
            for share in [0.1, 0.5, 0.9] {
                let (ours, theirs) = (draw.magnitude(share), values[(share * values.len() as f64) as usize]);
                assert!((ours / theirs - 1.0).abs() < 0.08, "{draw:?}: {share} below {ours}, of the draws {theirs}");
            }
        }
        // Hardly anything is left of what is clipped at 0.
        for mean in [-5.5, -6.5, -7.9, -20.0] {
            let rare = Draw::Normal { mean, std: 1.0, limits: limits(0.0, f64::INFINITY, false) }.magnitude(0.5);
            assert!((rare > 0.01) == (mean > -8.0) && rare < 2.6, "{mean}: {rare}");
        }
        assert!((draws[4].magnitude(0.5) / 0.3f64.exp() - 1.0).abs() < 1e-6);
        assert!((draws[4].magnitude(1e-6) / (0.3 - 2.0 * 4.753424f64).exp() - 1.0).abs() < 1e-2);
    }
    use crate::rng::{Purpose, key};

    fn stream(element: u32) -> Stream {
        Stream::new(key(1234, 5), Purpose::Weight, element, 0)
    }

    fn limits(low: f64, high: f64, redraw: bool) -> Limits {
        Limits { low, high, redraw }
    }

    #[test]
    fn layers_of_the_ziggurat_have_equal_areas() {
        let z = &*ZIGGURAT;
        for i in 1..256 {
            assert!((z.x[i] * (z.f[i + 1] - z.f[i]) - AREA).abs() < 1e-9, "layer {i}");
        }
        assert_eq!((z.x[256], z.f[256]), (0.0, 1.0));
    }

    /// Kolmogorov-Smirnov distance to the normal distribution, and its far tail.
    #[test]
    fn normal_draws_follow_the_normal_distribution() {
        let n = 400_000;
        let mut s = stream(0);
        let mut x: Vec<f64> = (0..n).map(|_| normal(&mut s)).collect();
        x.sort_by(f64::total_cmp);
        let cdf = |z: f64| 1.0 - upper(z);
        let distance = (0..n).map(|i| (cdf(x[i]) - (i as f64 + 0.5) / n as f64).abs()).fold(0.0, f64::max);
        assert!(distance < 1.63 / (n as f64).sqrt(), "KS distance {distance}");
        let beyond = x.iter().filter(|z| z.abs() > TAIL).count() as f64;
        let expected = 2.0 * upper(TAIL) * n as f64;
        assert!((beyond - expected).abs() < 5.0 * expected.sqrt(), "{beyond} beyond the tail, expected {expected}");
        let fourth = x.iter().map(|z| z.powi(4)).sum::<f64>() / n as f64;
        assert!((fourth - 3.0).abs() < 0.08, "fourth moment {fourth}");
    }

    #[test]
    fn upper_tail_of_the_normal_distribution() {
        // Abramowitz & Stegun, table 26.1.
        for (z, p) in [(0.0, 0.5), (1.0, 0.1586552539), (2.0, 0.0227501319), (5.0, 2.866515719e-7), (-1.0, 0.8413447461)] {
            assert!((upper(z) / p - 1.0).abs() < 3e-7, "{z}");
        }
    }

    fn cases() -> Vec<Draw> {
        let l = limits;
        vec![
            Draw::Constant(-3.0),
            Draw::Normal { mean: 1.5, std: 0.75, limits: l(0.1, f64::INFINITY, true) },
            Draw::Normal { mean: 1.5, std: 0.75, limits: l(0.1, 2.0, false) },
            Draw::Normal { mean: 0.0, std: 1.0, limits: l(2.0, 3.0, true) },
            Draw::Normal { mean: -2.0, std: 0.5, limits: Limits::NONE },
            Draw::Normal { mean: -2.0, std: 0.0, limits: l(-1.0, 5.0, false) },
            Draw::Lognormal { mu: 0.3, sigma: 0.5, limits: Limits::NONE },
            Draw::Lognormal { mu: 0.3, sigma: 0.5, limits: l(1.0, 2.0, true) },
            Draw::Lognormal { mu: 0.3, sigma: 0.5, limits: l(1.0, 2.0, false) },
            Draw::Uniform { low: -1.0, high: 4.0 },
            Draw::Exponential { mean: 2.0, limits: Limits::NONE },
            Draw::Exponential { mean: 2.0, limits: l(1.0, 3.0, true) },
            Draw::Exponential { mean: 2.0, limits: l(1.0, 3.0, false) },
        ]
    }

    #[test]
    fn sample_means_match_the_moments_and_values_stay_within_them() {
        for (i, draw) in cases().into_iter().enumerate() {
            draw.check().unwrap();
            let (n, mut s, m) = (100_000, stream(i as u32), draw.moments());
            let x: Vec<f64> = (0..n).map(|_| draw.sample(&mut s)).collect();
            assert!(x.iter().all(|x| (m.min..=m.max).contains(x)), "{draw:?} leaves {m:?}");
            let mean = x.iter().sum::<f64>() / n as f64;
            let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - m.mean).abs() <= 4.5 * (var / n as f64).sqrt() + 1e-6, "{draw:?}: {mean} against {m:?}");
            let reached = x.iter().filter(|x| x.abs() > draw.reach()).count();
            assert!(reached <= 2, "{draw:?}: {reached} beyond {}", draw.reach());
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_a_remedy() {
        let bad = [
            Draw::Constant(f64::NAN),
            Draw::Constant(f64::INFINITY),
            Draw::Normal { mean: 0.0, std: -1.0, limits: Limits::NONE },
            Draw::Normal { mean: 0.0, std: 1.0, limits: limits(6.0, 7.0, true) },
            Draw::Normal { mean: 0.0, std: 1.0, limits: limits(2.0, 1.0, false) },
            Draw::Normal { mean: 0.0, std: 1.0, limits: limits(f64::NAN, 1.0, false) },
            Draw::Normal { mean: 0.0, std: 0.0, limits: limits(1.0, 2.0, true) },
            Draw::Normal { mean: 0.0, std: 1.0, limits: limits(f64::INFINITY, f64::INFINITY, false) },
            Draw::Lognormal { mu: 100.0, sigma: 1.0, limits: Limits::NONE },
            Draw::Lognormal { mu: 0.0, sigma: 1.0, limits: limits(-2.0, -1.0, true) },
            Draw::Uniform { low: 2.0, high: 1.0 },
            Draw::Exponential { mean: 0.0, limits: Limits::NONE },
            Draw::Exponential { mean: 1.0, limits: limits(10.0, 20.0, true) },
        ];
        for draw in bad {
            let error = draw.check().expect_err(&format!("{draw:?}"));
            assert!(error.remedy().is_some_and(|r| !r.is_empty()));
        }
        assert!(Draw::Normal { mean: 0.0, std: 1.0, limits: limits(6.0, 7.0, false) }.check().is_ok(), "clipping is possible");
    }
}
