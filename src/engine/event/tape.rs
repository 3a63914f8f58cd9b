//! Closed forms as code for one neuron in f64: a list of operations on registers, constants folded, equal subexpressions
//! (`exp(-s/tau_m)` in several states) computed once, products with a constant zero left out. Promises the value of
//! [`crate::expr`] for each expression, the sign of zero and zero times infinity aside. Knows names only through a lookup.

use crate::error::{Error, Result};
use crate::expr::{Algebra, Expr, Fn1, Fn2};
use std::collections::HashMap;
use std::sync::Arc;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Meaning {
    Number(f64),
    /// Index into the state of the neuron.
    State(usize),
    /// One value a neuron.
    Each(Arc<[f64]>),
    /// ms elapsed; the weight that arrives; the injected current.
    Elapsed,
    Weight,
    Current,
}

/// The inputs that are not states: elapsed time, weight, current.
const INPUTS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Code {
    Call1(Fn1),
    Call2(Fn2),
    /// `if a != 0 then b else c`
    Choose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Op {
    code: Code,
    a: u16,
    b: u16,
    c: u16,
}

/// A compiled set of expressions.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Inputs, then constants and per-neuron values as they came up, then results of operations: every one written once.
    registers: Vec<f64>,
    states: Vec<(u16, u16)>,
    each: Vec<(u16, Arc<[f64]>)>,
    ops: Vec<(u16, Op)>,
    outputs: Vec<u16>,
}

#[derive(Default)]
struct Builder<'a> {
    lookup: Option<&'a dyn Fn(&str) -> Option<Meaning>>,
    registers: Vec<f64>,
    constant: Vec<bool>,
    numbers: HashMap<u64, u16>,
    names: HashMap<String, u16>,
    states: Vec<(u16, u16)>,
    each: Vec<(u16, Arc<[f64]>)>,
    ops: Vec<(u16, Op)>,
    seen: HashMap<Op, u16>,
}

impl Builder<'_> {
    fn register(&mut self, value: f64, constant: bool) -> u16 {
        self.registers.push(value);
        self.constant.push(constant);
        // The length of expressions is bounded by their parser; compile() checks the total.
        (self.registers.len() - 1) as u16
    }

    fn emit(&mut self, code: Code, a: u16, b: u16, c: u16) -> u16 {
        let op = Op { code, a, b, c };
        if let Some(&known) = self.seen.get(&op) {
            return known;
        }
        if [a, b, c].iter().all(|r| self.constant[*r as usize]) {
            return self.number(apply(op, &self.registers));
        }
        let result = self.register(0.0, false);
        self.ops.push((result, op));
        self.seen.insert(op, result);
        result
    }
}

impl Algebra for Builder<'_> {
    type Value = u16;

    fn number(&mut self, x: f64) -> u16 {
        if let Some(&known) = self.numbers.get(&x.to_bits()) {
            return known;
        }
        let register = self.register(x, true);
        self.numbers.insert(x.to_bits(), register);
        register
    }

    fn name(&mut self, name: &str) -> Option<u16> {
        if let Some(&known) = self.names.get(name) {
            return Some(known);
        }
        let register = match self.lookup?(name)? {
            Meaning::Number(x) => self.number(x),
            Meaning::State(i) => {
                let register = self.register(0.0, false);
                self.states.push((register, i as u16));
                register
            }
            Meaning::Each(values) => {
                let register = self.register(0.0, false);
                self.each.push((register, values));
                register
            }
            Meaning::Elapsed => 0,
            Meaning::Weight => 1,
            Meaning::Current => 2,
        };
        self.names.insert(name.to_string(), register);
        Some(register)
    }

    fn call1(&mut self, f: Fn1, a: u16) -> u16 {
        self.emit(Code::Call1(f), a, a, a)
    }

    fn call2(&mut self, f: Fn2, a: u16, b: u16) -> u16 {
        let is = |r: u16, x: f64| self.constant[r as usize] && self.registers[r as usize] == x;
        match f {
            Fn2::Mul if is(a, 0.0) || is(b, 0.0) => self.number(0.0),
            Fn2::Mul | Fn2::Div if is(b, 1.0) => a,
            Fn2::Mul if is(a, 1.0) => b,
            Fn2::Add | Fn2::Sub if is(b, 0.0) => a,
            Fn2::Add if is(a, 0.0) => b,
            _ => self.emit(Code::Call2(f), a, b, b),
        }
    }

    fn known(&self, condition: &u16) -> Option<bool> {
        let c = *condition as usize;
        self.constant[c].then(|| self.registers[c] != 0.0)
    }

    fn choose(&mut self, condition: u16, yes: u16, no: u16) -> u16 {
        if yes == no { yes } else { self.emit(Code::Choose, condition, yes, no) }
    }
}

#[inline(always)]
fn apply(op: Op, registers: &[f64]) -> f64 {
    // SAFETY: compile() only hands out indices below registers.len(), which never changes afterwards.
    let at = |r: u16| unsafe { *registers.get_unchecked(r as usize) };
    match op.code {
        Code::Call2(Fn2::Mul) => at(op.a) * at(op.b),
        Code::Call2(Fn2::Add) => at(op.a) + at(op.b),
        Code::Call2(Fn2::Sub) => at(op.a) - at(op.b),
        Code::Call2(Fn2::Div) => at(op.a) / at(op.b),
        Code::Call1(Fn1::Exp) => at(op.a).exp(),
        Code::Call1(Fn1::Neg) => -at(op.a),
        Code::Call1(f) => f.apply(at(op.a)),
        Code::Call2(f) => f.apply(at(op.a), at(op.b)),
        Code::Choose => {
            if at(op.a) != 0.0 {
                at(op.b)
            } else {
                at(op.c)
            }
        }
    }
}

impl Tape {
    /// Compile expressions whose names `lookup` explains. `what` names the model in the message for an unknown one.
    pub fn compile<'e>(
        exprs: impl IntoIterator<Item = &'e Expr>,
        lookup: &dyn Fn(&str) -> Option<Meaning>,
        what: &str,
    ) -> Result<Tape> {
        let mut builder = Builder { lookup: Some(lookup), ..Builder::default() };
        for _ in 0..INPUTS {
            builder.register(0.0, false);
        }
        let mut outputs = Vec::new();
        for expr in exprs {
            outputs.push(expr.fold(&mut builder).map_err(|name| {
                Error::input(
                    format!("{what}: `{name}` has no meaning in the closed form `{}`", expr.text),
                    "use states, parameters, derived constants without dt, the current, s and w in [event]",
                )
            })?);
        }
        if builder.registers.len() > u16::MAX as usize {
            return Err(Error::input(format!("{what}: the closed forms are too long"), "shorten the expressions in [event]"));
        }
        let mut tape =
            Tape { registers: builder.registers, states: builder.states, each: builder.each, ops: builder.ops, outputs };
        tape.prune();
        Ok(tape)
    }

    /// Remove operations and loads that no output needs (branches that were folded away leave some).
    fn prune(&mut self) {
        let mut needed = vec![false; self.registers.len()];
        self.outputs.iter().for_each(|r| needed[*r as usize] = true);
        for (result, op) in self.ops.iter().rev() {
            if needed[*result as usize] {
                [op.a, op.b, op.c].iter().for_each(|r| needed[*r as usize] = true);
            }
        }
        self.ops.retain(|(result, _)| needed[*result as usize]);
        self.states.retain(|(register, _)| needed[*register as usize]);
        self.each.retain(|(register, _)| needed[*register as usize]);
    }

    /// Evaluate for neuron `i` of the population, with its states; results through [`Tape::output`].
    #[inline]
    pub fn run(&mut self, i: usize, state: &[f64], elapsed: f64, weight: f64, current: f64) {
        self.registers[..INPUTS].copy_from_slice(&[elapsed, weight, current]);
        for (register, index) in &self.states {
            self.registers[*register as usize] = state[*index as usize];
        }
        for (register, values) in &self.each {
            self.registers[*register as usize] = values[i];
        }
        for (result, op) in &self.ops {
            let value = apply(*op, &self.registers);
            // SAFETY: as in apply().
            unsafe { *self.registers.get_unchecked_mut(*result as usize) = value };
        }
    }

    /// Value of expression `k` after the last run.
    #[inline]
    pub fn output(&self, k: usize) -> f64 {
        self.registers[self.outputs[k] as usize]
    }

    /// The value of expression `k` when it needs no run.
    pub fn constant(&self, k: usize) -> Option<f64> {
        let register = self.outputs[k];
        let varies = register < INPUTS as u16
            || self.ops.iter().any(|(r, _)| *r == register)
            || self.states.iter().any(|(r, _)| *r == register)
            || self.each.iter().any(|(r, _)| *r == register);
        (!varies).then(|| self.registers[register as usize])
    }

    #[cfg(test)]
    fn operations(&self) -> usize {
        self.ops.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<Meaning> {
        Some(match name {
            "v" => Meaning::State(0),
            "i" => Meaning::State(1),
            "s" => Meaning::Elapsed,
            "w" => Meaning::Weight,
            "I" => Meaning::Current,
            "tau" => Meaning::Number(10.0),
            "c" => Meaning::Each(vec![1.0, 250.0].into()),
            _ => return None,
        })
    }

    fn tape(texts: &[&str]) -> Result<Tape> {
        let exprs: Vec<Expr> = texts.iter().map(|t| Expr::parse(t).unwrap()).collect();
        Tape::compile(&exprs, &lookup, "test")
    }

    #[test]
    fn shares_and_folds() {
        let mut t = tape(&["v*exp(-s/tau) + I/c", "i*exp(-s/tau)", "exp(-1/tau)*2", "tau == 10 ? v : log(v)"]).unwrap();
        // -s, /tau, exp, v*, I/c, +, i*: seven, the rest folded.
        assert_eq!(t.operations(), 7);
        t.run(1, &[3.0, 4.0], 5.0, 0.0, 7.0);
        assert_eq!(t.output(0), 3.0 * (-5.0f64 / 10.0).exp() + 7.0 / 250.0);
        assert_eq!(t.output(1), 4.0 * (-0.5f64).exp());
        assert_eq!(t.output(2), (-0.1f64).exp() * 2.0);
        assert_eq!(t.output(3), 3.0);
        // Only i*3 remains.
        let mut t = tape(&["0*expm1(s) + i*3 - (tau - 10)*v", "1*v/1"]).unwrap();
        assert_eq!(t.operations(), 1);
        t.run(0, &[3.0, 4.0], 5.0, 0.0, 7.0);
        assert_eq!((t.output(0), t.output(1)), (12.0, 3.0));
        let mut t = tape(&["v*exp(-s/tau) + I/c", "i*exp(-s/tau)", "exp(-1/tau)*2", "tau == 10 ? v : log(v)"]).unwrap();
        t.run(1, &[3.0, 4.0], 5.0, 0.0, 7.0);
        assert_eq!((t.constant(2), t.constant(0), t.constant(3)), (Some((-0.1f64).exp() * 2.0), None, None));
    }

    #[test]
    fn unknown_names_are_refused() {
        let message = tape(&["v + dt"]).unwrap_err().to_string();
        assert!(message.contains("`dt`") && message.contains("v + dt"), "{message}");
    }

    proptest! {
        /// The same bits as the expression evaluator, branches included.
        #[test]
        fn agrees_with_the_evaluator(v in -5.0f64..5.0, i in -5.0f64..5.0, s in 0.0f64..5.0, w in -5.0f64..5.0) {
            let texts = [
                "v > i ? exp(v - i)*w : sqrt(abs(v)) + min(w, i, s)",
                "if(v*w < 0 && s > 1, atan(v/w), tanh(v)^2 - -s) + max(v, 2)",
                "(v == v) + !(i > 0) + round(s) + w/c",
                "tau > 5 ? (tau > 20 ? 1 : v + pi) : i",
            ];
            let mut t = tape(&texts).unwrap();
            t.run(0, &[v, i], s, w, 0.5);
            for (k, text) in texts.iter().enumerate() {
                let names = ["v", "i", "s", "w", "I", "tau", "c"];
                let bound = Expr::parse(text).unwrap().bind(|n| names.iter().position(|k| *k == n)).unwrap();
                let wanted = bound.eval(&[v, i, s, w, 0.5, 10.0, 1.0]);
                prop_assert_eq!(t.output(k).to_bits(), wanted.to_bits(), "{}", text);
            }
        }
    }
}
