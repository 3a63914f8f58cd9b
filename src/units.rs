//! Physical quantities: units, their dimensions, and quantities written as text ("20 ms", "2000 * 8 Hz", "J * g mV"). Promises
//! that a wrong dimension is refused with the expected one named. Knows no file format.
//!
//! The units of the whole program are ms, mV, pA, mm, and with them pF, nS, Hz; a unit is a product of powers of these.

use crate::error::{Error, Place};
use crate::expr::Expr;
use std::ops::Range;

/// A unit: factor to the base units (ms, mV, pA, mm) and exponents of time, voltage, current, length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// What one of this unit is in base units.
    pub factor: f64,
    /// Exponents of time, voltage, current and length.
    pub powers: [i8; 4],
}

/// (name, power of ten of the factor, exponents of time, voltage, current, length).
#[rustfmt::skip]
const ATOMS: &[(&str, i32, [i8; 4])] = &[
    ("ms", 0, [1, 0, 0, 0]), ("s", 3, [1, 0, 0, 0]), ("us", -3, [1, 0, 0, 0]),
    ("mV", 0, [0, 1, 0, 0]), ("V", 3, [0, 1, 0, 0]), ("uV", -3, [0, 1, 0, 0]),
    ("pA", 0, [0, 0, 1, 0]), ("nA", 3, [0, 0, 1, 0]), ("uA", 6, [0, 0, 1, 0]), ("mA", 9, [0, 0, 1, 0]), ("A", 12, [0, 0, 1, 0]), ("fA", -3, [0, 0, 1, 0]),
    ("mm", 0, [0, 0, 0, 1]), ("um", -3, [0, 0, 0, 1]), ("cm", 1, [0, 0, 0, 1]), ("m", 3, [0, 0, 0, 1]),
    ("Hz", -3, [-1, 0, 0, 0]), ("kHz", 0, [-1, 0, 0, 0]), ("MHz", 3, [-1, 0, 0, 0]),
    ("pF", 0, [1, -1, 1, 0]), ("nF", 3, [1, -1, 1, 0]), ("uF", 6, [1, -1, 1, 0]), ("F", 12, [1, -1, 1, 0]),
    ("nS", 0, [0, -1, 1, 0]), ("pS", -3, [0, -1, 1, 0]), ("uS", 3, [0, -1, 1, 0]), ("mS", 6, [0, -1, 1, 0]), ("S", 9, [0, -1, 1, 0]),
    ("GOhm", 0, [0, 1, -1, 0]), ("MOhm", -3, [0, 1, -1, 0]), ("kOhm", -6, [0, 1, -1, 0]), ("Ohm", -9, [0, 1, -1, 0]),
    ("fC", 0, [1, 0, 1, 0]), ("pC", 3, [1, 0, 1, 0]), ("nC", 6, [1, 0, 1, 0]),
    ("rad", 0, [0, 0, 0, 0]),
];

/// Seldom-seen names mapped to the ones above, for the remedy.
const ALIASES: &[(&str, &str)] = &[
    ("msec", "ms"),
    ("sec", "s"),
    ("seconds", "s"),
    ("second", "s"),
    ("milliseconds", "ms"),
    ("millisecond", "ms"),
    ("hertz", "Hz"),
    ("spikes/s", "Hz"),
    ("volt", "V"),
    ("mvolt", "mV"),
    ("millivolt", "mV"),
    ("amp", "A"),
    ("namp", "nA"),
    ("siemens", "S"),
    ("\u{b5}S", "uS"),
    ("\u{b5}m", "um"),
    ("\u{b5}s", "us"),
    ("\u{3bc}S", "uS"),
    ("\u{3bc}m", "um"),
    ("\u{3bc}s", "us"),
];

/// The names of all units but deg.
pub(crate) fn names() -> Vec<&'static str> {
    ATOMS.iter().map(|a| a.0).collect()
}

impl Unit {
    /// Plain numbers.
    pub const NONE: Unit = Unit { factor: 1.0, powers: [0; 4] };

    /// A unit by name: an atom such as `ms`, `1` or the empty string for plain numbers, or a product such as `mV/ms`, `1/ms`,
    /// `pA*ms`, `mm^2`. None when some part is not a unit.
    pub fn parse(text: &str) -> Option<Unit> {
        let text = text.trim();
        let mut unit = Unit::NONE;
        if text.is_empty() || text == "1" {
            return Some(unit);
        }
        let mut divide = false;
        let mut rest = text;
        loop {
            let end = rest.find(['*', '/']).unwrap_or(rest.len());
            let part = rest[..end].trim();
            let (name, power) = match part.split_once('^') {
                Some((name, power)) => (name.trim(), power.trim().parse::<i8>().ok().filter(|p| p.unsigned_abs() <= 9)?),
                None => (part, 1),
            };
            if name != "1" {
                let atom = if name == "deg" {
                    Unit { factor: std::f64::consts::PI / 180.0, powers: [0; 4] }
                } else {
                    let (_, exponent, powers) = ATOMS.iter().find(|a| a.0 == name)?;
                    Unit { factor: 10f64.powi(*exponent), powers: *powers }
                };
                let power = if divide { -power } else { power };
                unit.factor *= atom.factor.powi(power as i32);
                for (sum, p) in unit.powers.iter_mut().zip(atom.powers) {
                    *sum = sum.checked_add(p.checked_mul(power)?)?;
                }
            }
            if end == rest.len() {
                return Some(unit);
            }
            divide = rest.as_bytes()[end] == b'/';
            rest = &rest[end + 1..];
        }
    }

    /// Whether quantities of both may be added.
    pub fn same_dimension(self, other: Unit) -> bool {
        self.powers == other.powers
    }

    /// What is measured, in words; None where no one word says it.
    pub fn dimension(self) -> Option<&'static str> {
        Some(match self.powers {
            [0, 0, 0, 0] => "a plain number",
            [1, 0, 0, 0] => "a time",
            [-1, 0, 0, 0] => "a rate",
            [0, 1, 0, 0] => "a voltage",
            [0, 0, 1, 0] => "a current",
            [0, 0, 0, 1] => "a length",
            [1, -1, 1, 0] => "a capacitance",
            [0, -1, 1, 0] => "a conductance",
            [0, 1, -1, 0] => "a resistance",
            [1, 0, 1, 0] => "a charge",
            _ => return None,
        })
    }

    /// The unit that numbers of this dimension are in throughout the program; None for compound dimensions.
    pub fn base(self) -> Option<&'static str> {
        Some(match self.dimension()? {
            "a time" => "ms",
            "a rate" => "Hz",
            "a voltage" => "mV",
            "a current" => "pA",
            "a length" => "mm",
            "a capacitance" => "pF",
            "a conductance" => "nS",
            "a resistance" => "GOhm",
            "a charge" => "fC",
            _ => "1",
        })
    }

    /// Names of the units of this dimension, for remedies: `ms`, `s`, `us`.
    pub fn examples(self) -> String {
        let names: Vec<_> = ATOMS.iter().filter(|a| a.2 == self.powers && self.powers != [0; 4]).map(|a| a.0).take(4).collect();
        names.join(", ")
    }
}

/// A refusal: message, remedy, and the range within the text that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub remedy: String,
    /// Bytes of the text that it is about.
    pub span: Range<usize>,
}

/// Splits a quantity into its expression and unit word: "J * g mV" -> ("J * g", Some("mV")). Also "20ms". The unit is the last
/// word; a word that is also the name of a known value is not a unit.
pub fn split(text: &str, is_name: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    let trimmed = text.trim_end();
    if let Some((at, space)) = trimmed.char_indices().rfind(|(_, c)| c.is_whitespace()) {
        let word = &trimmed[at + space.len_utf8()..];
        let before = trimmed[..at].trim_end();
        let operand = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | ')' | '_'));
        if operand && !is_name(word) && word.starts_with(|c: char| c.is_alphabetic() || c == '1' || c == '%') {
            return (before, Some(word));
        }
    }
    // A number and a unit without space.
    let digits = trimmed.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ')')).map(|i| i + 1);
    if let Some(end) = digits.filter(|&e| e < trimmed.len()) {
        let (before, word) = trimmed.split_at(end);
        let whole = before.trim().parse::<f64>().is_ok() || before.ends_with(')');
        if whole && Unit::parse(word).is_some() && word.starts_with(char::is_alphabetic) {
            return (before, Some(word));
        }
    }
    (trimmed, None)
}

/// The value of a quantity in `unit` (a unit name such as "mV" or "1"). `lookup` gives the values of names; a text without a unit
/// is taken to be in `unit`.
///
/// # Errors
/// A malformed expression, an unknown name, an unknown unit, a wrong dimension, a value that is not finite.
pub fn quantity(text: &str, unit: &str, names: &[(String, f64)]) -> Result<f64, Refusal> {
    let lookup = |name: &str| names.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let (expression, word) = split(text, |w| lookup(w).is_some());
    let value = evaluate(expression, names)?;
    let whole = |value| finite(value).map_err(|(message, remedy)| Refusal { message, remedy, span: 0..text.trim_end().len() });
    let Some(word) = word else { return whole(value) };
    let target = Unit::parse(unit).unwrap_or(Unit::NONE);
    let at = text.trim_end().len() - word.len();
    let span = at..at + word.len();
    let Some(found) = Unit::parse(word) else {
        let alias = ALIASES.iter().find(|(a, _)| a.eq_ignore_ascii_case(word)).map(|(_, u)| *u);
        let near = alias.or_else(|| crate::error::nearest(word, ATOMS.iter().map(|a| a.0)));
        let expected =
            if target.powers == [0; 4] { "leave the unit out".into() } else { format!("write it in {}", list_units(unit)) };
        let remedy = near.map_or(expected, |n| format!("did you mean `{n}`?"));
        return Err(Refusal { message: format!("unknown unit `{word}`"), remedy, span });
    };
    if !found.same_dimension(target) {
        let is = found.dimension().map_or(format!("`{word}`"), |d| format!("{d} (`{word}`)"));
        let wanted = match target.dimension() {
            Some("a plain number") => "a plain number".into(),
            Some(d) => format!("{d} ({unit})"),
            None => format!("`{unit}`"),
        };
        let remedy = match target.powers == [0; 4] {
            true => "leave the unit out".to_string(),
            false => format!("write for instance \"{} {unit}\"; units: {}", plain(value), list_units(unit)),
        };
        return Err(Refusal { message: format!("{is} stands where {wanted} is expected"), remedy, span });
    }
    whole(value * (found.factor / target.factor))
}

/// By what numbers in the unit `written`, as files name it ("s", "milliseconds"), are multiplied to be in `unit`.
///
/// # Errors
/// (message, remedy): an unknown unit, or one of another dimension.
pub fn factor(written: &str, unit: &str) -> Result<f64, (String, String)> {
    let word = written.trim();
    let known = ALIASES.iter().find(|(a, _)| a.eq_ignore_ascii_case(word)).map_or(word, |(_, u)| *u);
    match (Unit::parse(known), Unit::parse(unit)) {
        (Some(found), Some(wanted)) if found.same_dimension(wanted) => Ok(found.factor / wanted.factor),
        (Some(found), _) => {
            let is = found.dimension().map_or(format!("`{word}`"), |d| format!("{d} (`{word}`)"));
            Err((format!("{is} stands where `{unit}` is expected"), format!("give numbers in {}", list_units(unit))))
        }
        (None, _) => Err((format!("unknown unit `{word}`"), format!("give numbers in {}", list_units(unit)))),
    }
}

fn list_units(unit: &str) -> String {
    let examples = Unit::parse(unit).map(Unit::examples).unwrap_or_default();
    if examples.is_empty() { unit.to_string() } else { examples }
}

fn plain(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value}") }
}

/// A value that 32-bit arithmetic can hold; else what is wrong, and the remedy.
pub fn finite(value: f64) -> Result<f64, (String, String)> {
    match value {
        _ if !value.is_finite() => Err((format!("the value is {value}"), "give a finite number".into())),
        _ if value.abs() > f32::MAX as f64 => {
            Err((format!("{value:e} is too large for 32-bit arithmetic"), format!("give at most {:.1e}", f32::MAX)))
        }
        _ if value != 0.0 && value.abs() < f32::MIN_POSITIVE as f64 => {
            let remedy = format!("give 0, or at least {:.1e}", f32::MIN_POSITIVE);
            Err((format!("{value:e} is too small for 32-bit arithmetic, which would take it as 0"), remedy))
        }
        _ => Ok(value),
    }
}

/// A time given on the command line, in ms: "10 s", "500".
///
/// # Errors
/// Not a time above zero; `option` names where it was given.
pub fn milliseconds(option: &str, text: &str) -> Result<f64, Error> {
    let place = |span: Range<usize>| Place { file: format!("{option} {text}"), text: text.into(), span };
    let value = quantity(text, "ms", &[]).map_err(|r| Error::at(place(r.span), r.message, r.remedy))?;
    if value > 0.0 {
        Ok(value)
    } else {
        Err(Error::at(place(0..text.len()), "the time must be above 0", "write for instance \"10 s\""))
    }
}

/// An expression over names, as a plain number that may be infinite.
///
/// # Errors
/// A malformed expression or an unknown name.
pub fn evaluate(expression: &str, names: &[(String, f64)]) -> Result<f64, Refusal> {
    // `scale.n` and `scale.k` are names with a point; the replacement has the same length, so spans stay right.
    let text = expression.replace("scale.n", "scale_n").replace("scale.k", "scale_k");
    let parsed = Expr::parse(&text).map_err(|(message, span)| Refusal {
        message,
        remedy: "write a number or an expression, then a unit as the last word: \"2 * 10 ms\"".into(),
        span,
    })?;
    for (name, span) in parsed.names_with_spans() {
        if !names.iter().any(|(n, _)| n == name) {
            let unit = Unit::parse(name).is_some();
            // Every name is near to a name of one letter.
            let candidates = names.iter().map(|(n, _)| n.as_str()).filter(|n| name.len() > 1 && n.len() > 1);
            let near = crate::error::nearest(name, candidates);
            let remedy = match near {
                _ if unit => "a unit can only be the last word: \"2000 * 8 Hz\"".to_string(),
                Some(n) => format!("did you mean `{n}`?"),
                None => "define it under [variables]".to_string(),
            };
            return Err(Refusal { message: format!("unknown name `{name}`"), remedy, span });
        }
    }
    let bound = parsed.bind(|name| names.iter().position(|(n, _)| n == name));
    let values: Vec<f64> = names.iter().map(|(_, v)| *v).collect();
    bound.map(|b| b.eval(&values)).map_err(|name| Refusal {
        message: format!("unknown name `{name}`"),
        remedy: "define it under [variables]".into(),
        span: 0..expression.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str, unit: &str) -> f64 {
        let names = [("J".to_string(), 0.1), ("g".to_string(), -5.0), ("scale_k".to_string(), 0.25)];
        quantity(text, unit, &names).unwrap()
    }
    fn refusal(text: &str, unit: &str) -> String {
        let r = quantity(text, unit, &[("rate_ext".to_string(), 8.0)]).unwrap_err();
        format!("{}..{} {} ({})", r.span.start, r.span.end, r.message, r.remedy)
    }

    #[test]
    fn quantities_convert_to_the_unit_asked_for() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} is not {b}");
        close(value("20 ms", "ms"), 20.0);
        close(value("20ms", "ms"), 20.0);
        close(value("1.5 s", "ms"), 1500.0);
        close(value("2000 * 8 Hz", "Hz"), 16000.0);
        close(value("2 kHz", "Hz"), 2000.0);
        close(value("0.5 nS", "nS"), 0.5);
        close(value("1 uS", "nS"), 1000.0);
        close(value("J * g mV", "mV"), -0.5);
        close(value("J * g", "mV"), -0.5);
        close(value("-65", "mV"), -65.0);
        close(value("0.2 nF", "pF"), 200.0);
        close(value("8 / sqrt(scale.k) pA", "pA"), 16.0);
        close(value("1 1/s", "Hz"), 1.0);
        close(value("0.02 1/ms", "1/ms"), 0.02);
        close(value("3 V/s", "mV/ms"), 3.0);
        close(value("180 deg", "rad"), std::f64::consts::PI);
        close(value("4", "1"), 4.0);
        close(value("1e3 um", "mm"), 1.0);
    }

    #[test]
    fn refusals_say_what_is_expected() {
        let cases = [
            (
                "20 mV",
                "ms",
                "3..5 a voltage (`mV`) stands where a time (ms) is expected (write for instance \"20 ms\"; units: ms, s, us)",
            ),
            ("20 msec", "ms", "3..7 unknown unit `msec` (did you mean `ms`?)"),
            ("20 ms", "1", "3..5 a time (`ms`) stands where a plain number is expected (leave the unit out)"),
            (
                "8 Hz * 2000",
                "Hz",
                "2..4 `Hz` stands where an operator or the end should (write a number or an expression, then a unit as the last word: \"2 * 10 ms\")",
            ),
            ("rate_exd Hz", "Hz", "0..8 unknown name `rate_exd` (did you mean `rate_ext`?)"),
            ("1/0 ms", "ms", "0..6 the value is inf (give a finite number)"),
            ("1e40 mV", "mV", "0..7 1e40 is too large for 32-bit arithmetic (give at most 3.4e38)"),
            (
                "1e-40 mV",
                "mV",
                "0..8 1e-40 is too small for 32-bit arithmetic, which would take it as 0 (give 0, or at least 1.2e-38)",
            ),
            ("2 * ms", "ms", "4..6 unknown name `ms` (a unit can only be the last word: \"2000 * 8 Hz\")"),
        ];
        for (text, unit, expected) in cases {
            assert_eq!(refusal(text, unit), expected, "{text}");
        }
    }

    #[test]
    fn every_atom_is_its_own_unit_and_dimension() {
        for (name, ..) in ATOMS {
            assert!(Unit::parse(name).is_some(), "{name}");
            assert_eq!(value(&format!("3 {name}"), name), 3.0);
        }
    }

    proptest! {
        /// Any number written with any unit of a dimension gives the number times the ratio of factors.
        #[test]
        fn conversion_is_linear(x in -1e6f64..1e6, a in 0..ATOMS.len(), b in 0..ATOMS.len()) {
            let (from, to) = (ATOMS[a], ATOMS[b]);
            let got = quantity(&format!("{x} {}", from.0), to.0, &[]);
            if from.2 == to.2 {
                let expected = x * 10f64.powi(from.1 - to.1);
                prop_assert!((got.unwrap() - expected).abs() <= 1e-12 * expected.abs());
            } else {
                prop_assert!(got.is_err());
            }
        }

        /// No text panics.
        #[test]
        fn any_text_is_a_value_or_a_refusal(text in "\\PC{0,24}") {
            let _ = quantity(&text, "ms", &[]);
        }

        /// Text made of the characters that mean something, likewise.
        #[test]
        fn expression_like_text_is_a_value_or_a_refusal(text in "[0-9a-z.()+*/ ^-]{0,24}") {
            if let Err(r) = quantity(&text, "mV", &[("a".into(), 1.0)]) {
                prop_assert!(r.span.start <= r.span.end && r.span.end <= text.len() + 1);
            }
        }
    }
}
