//! Tests that cut across the module: random model code means the same to a tree-walk written here, to the interpreter at every
//! level of vector instructions and to the compiled models.

use super::file::{self, Model};
use super::interpret::Interpreter;
use super::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use super::library::Library;
use super::program::Program;
use super::{NeuronModel, Ty, compiled, math};
use crate::simd;
use proptest::prelude::*;
use std::fmt::Write;

/// A random expression of type f32.
#[derive(Clone, Debug)]
enum F {
    Number(f32),
    Name(usize),
    Infix(char, Box<F>, Box<F>),
    Call(&'static str, Box<F>, Box<F>),
    Select(Box<B>, Box<F>, Box<F>),
    Whole(Box<I>),
    Helper(Box<F>, Box<I>),
}

/// A random expression of type i32.
#[derive(Clone, Debug)]
enum I {
    Number(i32),
    Name(usize),
    Infix(&'static str, Box<I>, Box<I>),
    Shift(bool, Box<I>, Box<I>),
    Select(Box<B>, Box<I>, Box<I>),
    Cut(Box<F>),
}

#[derive(Clone, Debug)]
enum B {
    FLess(&'static str, Box<F>, Box<F>),
    ILess(&'static str, Box<I>, Box<I>),
    Join(bool, Box<B>, Box<B>),
    Not(Box<B>),
}

#[derive(Clone, Debug)]
enum S {
    SetF(usize, F),
    SetI(usize, I),
    /// `let` of a fresh name, then an assignment that uses it.
    Let(usize, F, F),
    If(B, Vec<S>, Vec<S>),
    Spike(B),
}

const FLOATS: [&str; 6] = ["f0", "f1", "a", "b", "k0", "k1"];
const INTS: [&str; 3] = ["i0", "i1", "k2"];

/// `helper(x, n)` in WGSL and here.
const HELPER: &str = "fn helper(x: f32, n: i32) -> f32 {
    var y = x;
    if (n > 3) { y = y * 0.5f; } else { if (n < -3) { y -= 1.0f; } else { y += f32(n); } }
    if (y == x) { return x; } else { return y; }
}";

fn helper(x: f32, n: i32) -> f32 {
    let y = match n {
        4.. => x * 0.5,
        ..=-4 => x - 1.0,
        _ => x + n as f32,
    };
    if y == x { x } else { y }
}

impl F {
    fn text(&self) -> String {
        match self {
            F::Number(x) => format!("nf_{}", (x * 4.0) as i32 + 40),
            F::Name(i) => FLOATS[*i].into(),
            F::Infix(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
            F::Call(f, a, _) if ["abs", "exp", "floor", "tanh"].contains(f) => format!("{f}({})", a.text()),
            F::Call(f, a, b) => format!("{f}({}, {})", a.text(), b.text()),
            F::Select(c, a, b) => format!("select({}, {}, {})", b.text(), a.text(), c.text()),
            F::Whole(i) => format!("f32({})", i.text()),
            F::Helper(x, n) => format!("helper({}, {})", x.text(), n.text()),
        }
    }
    fn value(&self, e: &Env) -> f32 {
        match self {
            F::Number(x) => *x,
            F::Name(i) => e.floats[*i],
            F::Infix(op, a, b) => {
                let (a, b) = (a.value(e), b.value(e));
                match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                }
            }
            F::Call(f, a, b) => {
                let (a, b) = (a.value(e), b.value(e));
                match *f {
                    "abs" => a.abs(),
                    "floor" => a.floor(),
                    "exp" => math::exp(a),
                    "tanh" => math::tanh(a),
                    "min" if b < a => b,
                    "max" if a < b => b,
                    _ => a,
                }
            }
            F::Select(c, a, b) => {
                if c.value(e) {
                    a.value(e)
                } else {
                    b.value(e)
                }
            }
            F::Whole(i) => i.value(e) as f32,
            F::Helper(x, n) => helper(x.value(e), n.value(e)),
        }
    }
}

impl I {
    fn text(&self) -> String {
        match self {
            I::Number(x) => format!("ni_{}", x + 40),
            I::Name(i) => INTS[*i].into(),
            I::Infix(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
            I::Shift(left, a, b) => format!("({} {} (u32({}) & 31u))", a.text(), if *left { "<<" } else { ">>" }, b.text()),
            I::Select(c, a, b) => format!("select({}, {}, {})", b.text(), a.text(), c.text()),
            I::Cut(f) => format!("i32({})", f.text()),
        }
    }
    fn value(&self, e: &Env) -> i32 {
        match self {
            I::Number(x) => *x,
            I::Name(i) => e.ints[*i],
            I::Infix(op, a, b) => {
                let (a, b) = (a.value(e), b.value(e));
                match *op {
                    "+" => a.wrapping_add(b),
                    "-" => a.wrapping_sub(b),
                    "*" => a.wrapping_mul(b),
                    "/" => a.checked_div(b).unwrap_or(a),
                    "%" => a.checked_rem(b).unwrap_or(0),
                    "&" => a & b,
                    "|" => a | b,
                    _ => a ^ b,
                }
            }
            I::Shift(left, a, b) => {
                let (a, by) = (a.value(e), b.value(e) as u32 & 31);
                if *left { ((a as u32) << by) as i32 } else { a >> by }
            }
            I::Select(c, a, b) => {
                if c.value(e) {
                    a.value(e)
                } else {
                    b.value(e)
                }
            }
            I::Cut(f) => {
                let x = f.value(e) as f64;
                if x > 2_147_483_520.0 { 2_147_483_520 } else { x as i32 }
            }
        }
    }
}

impl B {
    fn text(&self) -> String {
        match self {
            B::FLess(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
            B::ILess(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
            B::Join(and, a, b) => format!("({} {} {})", a.text(), if *and { "&&" } else { "||" }, b.text()),
            B::Not(a) => format!("!({})", a.text()),
        }
    }
    fn value(&self, e: &Env) -> bool {
        fn compare<T: PartialOrd>(op: &str, a: T, b: T) -> bool {
            match op {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                ">=" => a >= b,
                "==" => a == b,
                _ => a != b,
            }
        }
        match self {
            B::FLess(op, a, b) => compare(op, a.value(e), b.value(e)),
            B::ILess(op, a, b) => compare(op, a.value(e), b.value(e)),
            B::Join(true, a, b) => a.value(e) && b.value(e),
            B::Join(false, a, b) => a.value(e) || b.value(e),
            B::Not(a) => !a.value(e),
        }
    }
}

impl S {
    fn text(&self, fresh: &mut usize, out: &mut String) {
        let block = |list: &[S], fresh: &mut usize, out: &mut String| list.iter().for_each(|s| s.text(fresh, out));
        match self {
            S::SetF(i, x) => writeln!(out, "{} = {};", FLOATS[*i], x.text()).unwrap(),
            S::SetI(i, x) => writeln!(out, "{} = {};", INTS[*i], x.text()).unwrap(),
            S::Let(i, x, y) => {
                *fresh += 1;
                writeln!(out, "let t{fresh} = {};\n{} = {} + t{fresh};", x.text(), FLOATS[*i], y.text()).unwrap();
            }
            S::If(c, yes, no) => {
                writeln!(out, "if ({}) {{", c.text()).unwrap();
                block(yes, fresh, out);
                writeln!(out, "}} else {{").unwrap();
                block(no, fresh, out);
                writeln!(out, "}}").unwrap();
            }
            S::Spike(c) => writeln!(out, "spike = spike || {};", c.text()).unwrap(),
        }
    }
    fn run(&self, e: &mut Env) {
        match self {
            S::SetF(i, x) => e.floats[*i] = x.value(e),
            S::SetI(i, x) => e.ints[*i] = x.value(e),
            S::Let(i, x, y) => e.floats[*i] = y.value(e) + x.value(e),
            S::If(c, yes, no) => if c.value(e) { yes } else { no }.iter().for_each(|s| s.run(e)),
            S::Spike(c) => e.spike |= c.value(e),
        }
    }
}

#[derive(Clone, Debug)]
struct Env {
    floats: [f32; 6],
    ints: [i32; 3],
    spike: bool,
}

type Nodes = (BoxedStrategy<F>, BoxedStrategy<I>, BoxedStrategy<B>);

fn leaves() -> Nodes {
    let f = prop_oneof![(-40i32..40).prop_map(|x| F::Number(x as f32 * 0.25)), (0..FLOATS.len()).prop_map(F::Name)].boxed();
    let i = prop_oneof![(-9i32..9).prop_map(I::Number), (0..INTS.len()).prop_map(I::Name)].boxed();
    let b = (f.clone(), f.clone()).prop_map(|(x, y)| B::FLess("<", x.into(), y.into())).boxed();
    (f, i, b)
}

fn deeper((f, i, b): Nodes) -> Nodes {
    let relation = || prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let floats = prop_oneof![
        2 => f.clone(),
        3 => (prop::sample::select(vec!['+', '-', '*', '/']), f.clone(), f.clone()).prop_map(|(op, x, y)| F::Infix(op, x.into(), y.into())),
        2 => (prop::sample::select(vec!["abs", "floor", "exp", "tanh", "min", "max"]), f.clone(), f.clone())
            .prop_map(|(g, x, y)| F::Call(g, x.into(), y.into())),
        1 => (b.clone(), f.clone(), f.clone()).prop_map(|(c, x, y)| F::Select(c.into(), x.into(), y.into())),
        1 => i.clone().prop_map(|n| F::Whole(n.into())),
        1 => (f.clone(), i.clone()).prop_map(|(x, n)| F::Helper(x.into(), n.into())),
    ];
    let ints = prop_oneof![
        2 => i.clone(),
        3 => (prop::sample::select(vec!["+", "-", "*", "/", "%", "&", "|", "^"]), i.clone(), i.clone())
            .prop_map(|(op, x, y)| I::Infix(op, x.into(), y.into())),
        1 => (any::<bool>(), i.clone(), i.clone()).prop_map(|(l, x, y)| I::Shift(l, x.into(), y.into())),
        1 => (b.clone(), i.clone(), i.clone()).prop_map(|(c, x, y)| I::Select(c.into(), x.into(), y.into())),
        1 => f.clone().prop_map(|x| I::Cut(x.into())),
    ];
    let bools = prop_oneof![
        (relation(), f.clone(), f.clone()).prop_map(|(op, x, y)| B::FLess(op, x.into(), y.into())),
        (relation(), i.clone(), i.clone()).prop_map(|(op, x, y)| B::ILess(op, x.into(), y.into())),
        (any::<bool>(), b.clone(), b.clone()).prop_map(|(and, x, y)| B::Join(and, x.into(), y.into())),
        b.clone().prop_map(|x| B::Not(x.into())),
    ];
    (floats.boxed(), ints.boxed(), bools.boxed())
}

/// Only the states (the first two of each list) are assigned.
fn statements() -> BoxedStrategy<Vec<S>> {
    let (f, i, b) = deeper(deeper(deeper(leaves())));
    let one = prop_oneof![
        3 => (0..2usize, f.clone()).prop_map(|(k, x)| S::SetF(k, x)),
        2 => (0..2usize, i).prop_map(|(k, x)| S::SetI(k, x)),
        1 => (0..2usize, f.clone(), f).prop_map(|(k, x, y)| S::Let(k, x, y)),
        1 => b.clone().prop_map(S::Spike),
    ];
    let branch = one.prop_recursive(3, 16, 4, move |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..4);
        (b.clone(), list(), list()).prop_map(|(c, yes, no)| S::If(c, yes, no))
    });
    prop::collection::vec(branch, 1..6).boxed()
}

/// Numbers stand in variables: WGSL refuses constant expressions that overflow or divide by zero, code that runs does not.
fn numbers(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let used: std::collections::BTreeSet<&str> = words.filter(|w| w.starts_with("nf_") || w.starts_with("ni_")).collect();
    let declare = |name: &str| {
        let k: i32 = name[3..].parse::<i32>().unwrap() - 40;
        if name.starts_with("nf_") { format!("var {name} = {:?}f;\n", k as f32 * 0.25) } else { format!("var {name} = {k}i;\n") }
    };
    used.into_iter().map(declare).collect()
}

fn model_text(integrate: &[S], update: &[S]) -> String {
    let code = |list: &[S]| {
        let (mut text, mut fresh) = (String::new(), 0);
        list.iter().for_each(|s| s.text(&mut fresh, &mut text));
        numbers(&text) + &text
    };
    format!(
        "name = \"m\"\nkind = \"neuron\"\nsubsteps = 3\n[params]\nk0 = {{ default = 1, unit = \"1\" }}\nk1 = {{ default = 1, unit = \"1\" }}\n\
         [derived]\nk2 = {{ value = 1, type = \"i32\" }}\n[state]\nf0 = {{ init = 0 }}\nf1 = {{ init = 0 }}\n\
         i0 = {{ init = 0, type = \"i32\" }}\ni1 = {{ init = 0, type = \"i32\" }}\n\
         [inputs]\na = {{ unit = \"pA\" }}\nb = {{ unit = \"pA\" }}\n\
         [code]\nfunctions = '''\n{HELPER}\n'''\nintegrate = '''\n{}'''\nupdate = '''\n{}'''\n",
        code(integrate),
        code(update)
    )
}

/// Everything a kernel reads and writes, for comparison.
#[derive(Clone, Debug)]
struct Bench {
    n: usize,
    /// Words a lane; the mask says which are given as uniform (their first word).
    constants: Vec<Vec<u32>>,
    uniform: u64,
    states: Vec<Vec<u32>>,
    inputs: Vec<Vec<f32>>,
    output: Vec<u32>,
}

impl Bench {
    fn run(&self, kernel: &dyn Kernel, substeps: u32) -> Bench {
        let mut bench = self.clone();
        let is_uniform = |k: usize| self.uniform >> k & 1 == 1;
        let operands: Vec<Operand> = (0..self.constants.len())
            .map(|k| if is_uniform(k) { Operand::Uniform(self.constants[k][0]) } else { Operand::Lanes(&self.constants[k]) })
            .collect();
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut states: Vec<&mut [u32]> = bench.states.iter_mut().map(Vec::as_mut_slice).collect();
        let mut lanes =
            Lanes { n: self.n, constants: &operands, states: &mut states, inputs: &inputs, output: &mut bench.output };
        kernel.run(&mut lanes, substeps, &mut Scratch::default());
        bench
    }

    fn assert_same(&self, other: &Bench, program: &Program, what: &str) {
        let same = |ty: Ty, a: u32, b: u32| a == b || ty == Ty::F32 && f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan();
        for (s, ty) in program.states.iter().enumerate() {
            for i in 0..self.n {
                let (a, b) = (self.states[s][i], other.states[s][i]);
                assert!(same(*ty, a, b), "{what}: state {s} of lane {i}: {a:08x} {b:08x}\n{program}");
            }
        }
        let ty = program.output.unwrap();
        assert!((0..self.n).all(|i| same(ty, self.output[i], other.output[i])), "{what}: output\n{program}");
    }
}

/// Words that make both ordinary and extreme values of every type.
fn words(seed: u32, n: usize, ty: Ty) -> Vec<u32> {
    let draw = |i: usize| crate::rng::philox4x32([i as u32, seed, 0, 0], [1, 2])[0];
    (0..n)
        .map(|i| match (ty, draw(i) % 11) {
            (Ty::F32, 0) => draw(i + 7919),
            (Ty::F32, _) => ((draw(i + 7919) % 4001) as f32 * 0.05 - 100.0).to_bits(),
            (Ty::Bool, w) => w & 1,
            (_, 0) => draw(i + 7919),
            (_, w) => w.wrapping_sub(4),
        })
        .collect()
}

fn bench_for(program: &Program, n: usize, seed: u32, uniform: u64) -> Bench {
    let mut stream = seed;
    let mut next = |ty: Ty| {
        stream = stream.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        words(stream, n, ty)
    };
    Bench {
        n,
        constants: program.constants.iter().map(|t| next(*t)).collect(),
        uniform,
        states: program.states.iter().map(|t| next(*t)).collect(),
        inputs: (0..program.inputs).map(|_| next(Ty::F32).into_iter().map(f32::from_bits).collect()).collect(),
        output: vec![77; n],
    }
}

fn neuron(text: &str) -> crate::error::Result<NeuronModel> {
    match file::read("m.toml", text)? {
        Model::Neuron(model) => Ok(model),
        _ => panic!("not a neuron"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Code as text through TOML, naga, lowering and the interpreter, against the tree walked with real branches.
    #[test]
    fn random_code_means_the_same(integrate in statements(), update in statements(), seed: u32, uniform: u64) {
        let text = model_text(&integrate, &update);
        let model = neuron(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let bench = bench_for(&model.program, 37, seed, uniform);
        let mut expected = bench.clone();
        for i in 0..bench.n {
            let word = |name: &str| {
                let k = model.constants.iter().position(|c| c.name == name);
                k.map_or(0, |k| bench.constants[k][if uniform >> k & 1 == 1 { 0 } else { i }])
            };
            let f = |w: u32| f32::from_bits(w);
            let mut env = Env {
                floats: [f(bench.states[0][i]), f(bench.states[1][i]), bench.inputs[0][i], bench.inputs[1][i], f(word("k0")), f(word("k1"))],
                ints: [bench.states[2][i] as i32, bench.states[3][i] as i32, word("k2") as i32],
                spike: false,
            };
            for _ in 0..3 {
                integrate.iter().for_each(|s| s.run(&mut env));
            }
            update.iter().for_each(|s| s.run(&mut env));
            for s in 0..2 {
                // What is written is flushed.
                let left = if model.program.writes(s) { math::flush(env.floats[s]) } else { env.floats[s] };
                expected.states[s][i] = left.to_bits();
                expected.states[s + 2][i] = env.ints[s] as u32;
            }
            expected.output[i] = env.spike as u32;
        }
        for level in simd::levels() {
            let got = bench.run(&Interpreter::at_level(&model.program, level), 3);
            got.assert_same(&expected, &model.program, level.name());
        }
    }
}

/// Compiled models give the interpreter's bits at every level, with constants uniform, mixed and per neuron, at every length.
#[test]
fn compiled_models_agree_with_the_interpreter() {
    let library = Library::built_in().unwrap();
    let neurons = library.neurons().map(|m| (m.name.clone(), m.program.clone()));
    let synapses = library.synapses().filter_map(|m| Some((m.name.clone(), m.program.clone()?)));
    for (name, program) in neurons.chain(synapses) {
        for (round, n) in [1, 15, 64, 257, BLOCK].into_iter().enumerate() {
            for uniform in [u64::MAX, 0, 0xAAAA_AAAA_AAAA_AAAA] {
                let bench = bench_for(&program, n, 1000 + round as u32, uniform);
                let expected = bench.run(&Interpreter::at_level(&program, simd::Level::Portable), 2);
                for level in simd::levels() {
                    bench.run(&Interpreter::at_level(&program, level), 2).assert_same(
                        &expected,
                        &program,
                        &format!("{name}, interpreted"),
                    );
                    if let Some(kernel) = compiled::at_level(&program, level) {
                        bench.run(&*kernel, 2).assert_same(&expected, &program, &format!("{name}, {}", kernel.describe()));
                    }
                }
            }
        }
    }
}

/// States that trade places, or take an input, are stored as if at once.
#[test]
fn stores_happen_at_once() {
    let code = "update = '''\nlet t = f0;\nf0 = f1;\nf1 = t;\nlet n = i0;\ni0 = i1;\ni1 = n;\nspike = a > b;\n'''";
    let text = model_text(&[], &[]).split("[code]").next().unwrap().replace("substeps = 3\n", "") + "[code]\n" + code;
    let model = neuron(&text).unwrap_or_else(|e| panic!("{e}"));
    let bench = bench_for(&model.program, 100, 5, 0);
    let got = bench.run(&Interpreter::new(&model.program), 1);
    let flushed = |s: usize| bench.states[s].iter().map(|w| math::flush(f32::from_bits(*w)).to_bits()).collect::<Vec<_>>();
    assert_eq!(got.states, [flushed(1), flushed(0), bench.states[3].clone(), bench.states[2].clone()]);
}

/// The functions that shaders/ has in place of drivers' own, carried out here as their text says: the bits of math.rs, whatever a driver
/// would make of them.
#[test]
fn functions_of_the_shaders_are_those_of_math() {
    let shaders = [
        include_str!("../../shaders/exp.wgsl"),
        include_str!("../../shaders/log.wgsl"),
        include_str!("../../shaders/flush.wgsl"),
    ];
    let head = model_text(&[], &[]).split("[code]").next().unwrap().replace("substeps = 3\n", "");
    type Function = (&'static str, fn(f32) -> f32, fn(f32) -> bool);
    let cases: [Function; 4] = [
        ("exp", math::exp, |x| x.abs() < 1e3),
        ("log", math::log, |x| x >= f32::MIN_POSITIVE),
        ("tanh", math::tanh, |x| !x.is_nan()),
        ("flushed", math::flush, |x| !x.is_nan()),
    ];
    let bits = (0..u32::MAX).step_by(65_521).map(f32::from_bits);
    let given: Vec<f32> = bits.chain((-900..900).map(|k| k as f32 * 0.1)).collect();
    for (name, host, asked) in cases {
        let code = format!("[code]\nfunctions = '''\n{}\n'''\nupdate = \"i0 = bitcast<i32>({name}(a));\"\n", shaders.join("\n"));
        let model = neuron(&format!("{head}{code}")).unwrap_or_else(|e| panic!("{e}"));
        let all: Vec<f32> = given.iter().copied().filter(|x| asked(*x)).collect();
        for a in all.chunks(BLOCK) {
            let none = vec![0; a.len()];
            let constants = model.constants.iter().map(|_| none.clone()).collect();
            let inputs = vec![a.to_vec(), vec![0.0; a.len()]];
            let bench = Bench { n: a.len(), constants, uniform: 0, states: vec![none.clone(); 4], inputs, output: none };
            let got = bench.run(&Interpreter::at_level(&model.program, simd::Level::Portable), 1);
            for (x, found) in a.iter().zip(&got.states[2]) {
                assert_eq!(*found, host(*x).to_bits(), "{name}({x:e})");
            }
        }
    }
}
