//! A program as the Rust source of a file in generated/.

use crate::model::Ty;
use crate::model::ops::Bin;
use crate::model::program::{Op, Part, Program, Slot, Value};
use std::fmt::Write;

/// Source text of a model's compiled form; `file` is where the model comes from.
pub fn source(model: &str, file: &str, program: &Program) -> String {
    let mut text =
        format!("//! {model}: the program of {file} as Rust. Written by the test of compiled/mod.rs; do not edit.\n\n");
    text.push_str("use crate::model::ops::*;\n\n");
    for (name, part) in [("integrate", &program.integrate), ("update", &program.update)] {
        function(&mut text, name, program, part);
    }
    let list = |types: &[Ty], prefix: &str| {
        types.iter().enumerate().map(|(i, t)| format!("{prefix}{i}: {}", t.wgsl())).collect::<Vec<_>>()
    };
    let states: Vec<String> = list(&program.states, "s").iter().enumerate().map(|(i, s)| format!("{s} = {i}")).collect();
    let inputs: Vec<String> = (0..program.inputs).map(|i| format!("x{i}")).collect();
    write!(
        text,
        "crate::model::compiled::kernel! {{\n    {model:?}, 0x{:016x}, integrate: {},\n    constants: ({}),\n    exponents: ({}),\n    states: ({}),\n    inputs: ({}),\n    output: out: {} = {}\n}}\n",
        program.hash(),
        !program.integrate.stores.is_empty(),
        list(&program.constants, "c").join(", "),
        exponents(program).join(", "),
        states.join(", "),
        inputs.join(", "),
        program.slot_type(Slot::Output).wgsl(),
        program.states.len(),
    )
    .expect("writing to a string");
    text
}

/// Constants that something is raised to.
fn exponents(program: &Program) -> Vec<String> {
    let of = |part: &Part| {
        let raised = part.ops.iter().filter_map(|op| if let Op::Bin(Bin::FPow, [_, y]) = op { Some(*y as usize) } else { None });
        let constants = raised.filter_map(|y| if let Op::Constant(k) = part.ops[y] { Some(k) } else { None });
        constants.collect::<Vec<_>>()
    };
    let mut all = [of(&program.integrate), of(&program.update)].concat();
    all.sort_unstable();
    all.dedup();
    all.iter().map(|k| format!("c{k}")).collect()
}

fn function(text: &mut String, name: &str, program: &Program, part: &Part) {
    let typed = |prefix: &str, types: &[Ty]| {
        types.iter().enumerate().map(|(i, t)| format!("{prefix}{i}: {}", t.wgsl())).collect::<Vec<_>>()
    };
    let output = program.slot_type(Slot::Output).wgsl();
    let mut arguments = typed("c", &program.constants);
    arguments.extend(typed("s", &program.states));
    arguments.extend((0..program.inputs).map(|i| format!("x{i}: f32")));
    arguments.push(format!("out: {output}"));
    let mut results: Vec<&str> = program.states.iter().map(|t| t.wgsl()).collect();
    results.push(output);
    let name_of = |v: Value| match part.ops[v as usize] {
        Op::Load(Slot::State(s)) => format!("s{s}"),
        Op::Load(Slot::Output) => "out".to_string(),
        Op::Constant(k) => format!("c{k}"),
        Op::Input(x) => format!("x{x}"),
        Op::Literal(ty, word) => literal(ty, word),
        _ => format!("v{v}"),
    };
    let mut body = String::new();
    for (i, op) in part.ops.iter().enumerate() {
        let function = match op {
            Op::Un(op, _) => op.name(),
            Op::Bin(Bin::FPow, [_, y]) if matches!(part.ops[*y as usize], Op::Constant(_)) => "f_pow_by::<PLAIN>",
            Op::Bin(op, _) => op.name(),
            Op::Tri(op, _) => op.name(),
            _ => continue,
        };
        let operands: Vec<String> = op.operands().iter().map(|v| name_of(*v)).collect();
        writeln!(body, "    let v{i} = {function}({});", operands.join(", ")).expect("writing to a string");
    }
    let stored = |slot: Slot, old: String| part.stores.iter().find(|s| s.0 == slot).map_or(old, |s| name_of(s.1));
    let mut last: Vec<String> = (0..program.states.len()).map(|s| stored(Slot::State(s as u32), format!("s{s}"))).collect();
    last.push(stored(Slot::Output, "out".into()));
    let comma = if last.len() == 1 { "," } else { "" };
    write!(
        text,
        "#[inline(always)]\nfn {name}<const PLAIN: bool>({}) -> ({}{comma}) {{\n{body}    ({}{comma})\n}}\n\n",
        arguments.join(", "),
        results.join(", "),
        last.join(", ")
    )
    .expect("writing to a string");
}

fn literal(ty: Ty, word: u32) -> String {
    match ty {
        Ty::F32 if f32::from_bits(word).is_finite() => format!("{:?}_f32", f32::from_bits(word)),
        Ty::F32 => format!("f32::from_bits(0x{word:08x})"),
        Ty::I32 => format!("{}_i32", word as i32),
        Ty::U32 => format!("{word}_u32"),
        Ty::Bool => (word != 0).to_string(),
    }
}
