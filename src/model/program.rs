//! The straight-line program a model's code is lowered to: static single assignment, no branches. Promises that equal code has an
//! equal hash, on every machine. Knows no WGSL.

use super::Ty;
use super::ops::{Bin, Tri, Un};
use std::fmt;

/// Lowered code of a model: `integrate` runs once a substep, then `update`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    pub integrate: Part,
    pub update: Part,
    /// Types of the states, and of the constants, in the order of the kernel's arguments.
    pub states: Vec<Ty>,
    pub constants: Vec<Ty>,
    /// Number of f32 inputs.
    pub inputs: usize,
    /// Type of the output word: bool (spike) or f32 (psc).
    pub output: Option<Ty>,
}

/// Operations in order; the value of operation i is named i. Then the results are stored, all at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    pub ops: Vec<Op>,
    pub stores: Vec<(Slot, Value)>,
}

/// Index of the operation that computed it.
pub type Value = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    State(u32),
    /// Spike flag or psc.
    Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Literal(Ty, u32),
    /// What a state held before this part; likewise the output.
    Load(Slot),
    Constant(u32),
    Input(u32),
    Un(Un, [Value; 1]),
    Bin(Bin, [Value; 2]),
    Tri(Tri, [Value; 3]),
}

impl Op {
    pub fn operands(&self) -> &[Value] {
        match self {
            Op::Un(_, a) => a,
            Op::Bin(_, a) => a,
            Op::Tri(_, a) => a,
            _ => &[],
        }
    }

    pub fn operands_mut(&mut self) -> &mut [Value] {
        match self {
            Op::Un(_, a) => a,
            Op::Bin(_, a) => a,
            Op::Tri(_, a) => a,
            _ => &mut [],
        }
    }
}

impl Part {
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    /// Without operations whose value nobody needs.
    pub fn without_dead_code(&self) -> Part {
        let mut live = vec![false; self.ops.len()];
        for (_, value) in &self.stores {
            live[*value as usize] = true;
        }
        for i in (0..self.ops.len()).rev() {
            if live[i] {
                for v in self.ops[i].operands() {
                    live[*v as usize] = true;
                }
            }
        }
        let mut renamed = vec![0; self.ops.len()];
        let mut ops = vec![];
        for (i, op) in self.ops.iter().enumerate().filter(|(i, _)| live[*i]) {
            let mut op = *op;
            op.operands_mut().iter_mut().for_each(|v| *v = renamed[*v as usize]);
            renamed[i] = ops.len() as u32;
            ops.push(op);
        }
        Part { ops, stores: self.stores.iter().map(|(s, v)| (*s, renamed[*v as usize])).collect() }
    }
}

impl Program {
    pub fn slot_type(&self, slot: Slot) -> Ty {
        match slot {
            Slot::State(s) => self.states[s as usize],
            Slot::Output => self.output.unwrap_or(Ty::Bool),
        }
    }

    pub fn op_type(&self, op: &Op) -> Ty {
        match op {
            Op::Literal(ty, _) => *ty,
            Op::Load(slot) => self.slot_type(*slot),
            Op::Constant(k) => self.constants[*k as usize],
            Op::Input(_) => Ty::F32,
            Op::Un(op, _) => op.signature().1,
            Op::Bin(op, _) => op.signature().1,
            Op::Tri(op, _) => op.signature().1,
        }
    }

    /// Whether the code reads an input.
    pub fn reads(&self, input: usize) -> bool {
        [&self.integrate, &self.update].iter().any(|part| part.ops.contains(&Op::Input(input as u32)))
    }

    /// Whether the code may change a state.
    pub fn writes(&self, state: usize) -> bool {
        let is_kept = |part: &Part, (slot, value): &(Slot, Value)| part.ops[*value as usize] == Op::Load(*slot);
        let stores = |part: &Part| part.stores.iter().any(|s| s.0 == Slot::State(state as u32) && !is_kept(part, s));
        stores(&self.integrate) || stores(&self.update)
    }

    /// FNV-1a of the listing.
    pub fn hash(&self) -> u64 {
        self.to_string().bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01B3))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Slot::State(s) => write!(f, "s{s}"),
            Slot::Output => write!(f, "out"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let call = |f: &mut fmt::Formatter, name: &str| {
            let operands: Vec<String> = self.operands().iter().map(|v| format!("v{v}")).collect();
            write!(f, "{name}({})", operands.join(", "))
        };
        match self {
            Op::Literal(ty, word) => write!(f, "{} 0x{word:08x}", ty.wgsl()),
            Op::Load(slot) => write!(f, "{slot}"),
            Op::Constant(k) => write!(f, "c{k}"),
            Op::Input(i) => write!(f, "x{i}"),
            Op::Un(op, _) => call(f, op.name()),
            Op::Bin(op, _) => call(f, op.name()),
            Op::Tri(op, _) => call(f, op.name()),
        }
    }
}

impl fmt::Display for Program {
    /// A listing, one operation a line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let types = |list: &[Ty]| list.iter().map(|t| t.wgsl()).collect::<Vec<_>>().join(" ");
        let output = self.output.map_or("none", Ty::wgsl);
        writeln!(
            f,
            "states {}; constants {}; inputs {}; output {output}",
            types(&self.states),
            types(&self.constants),
            self.inputs
        )?;
        for (name, part) in [("integrate", &self.integrate), ("update", &self.update)] {
            writeln!(f, "{name}")?;
            for (i, op) in part.ops.iter().enumerate() {
                writeln!(f, "  v{i} = {op}")?;
            }
            for (slot, value) in &part.stores {
                writeln!(f, "  {slot} = v{value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_code_goes_and_names_close_up() {
        let part = Part {
            ops: vec![Op::Input(0), Op::Input(1), Op::Un(Un::FNeg, [0]), Op::Un(Un::FNeg, [1]), Op::Bin(Bin::FAdd, [3, 1])],
            stores: vec![(Slot::State(0), 4)],
        };
        let clean = part.without_dead_code();
        assert_eq!(clean.ops, [Op::Input(1), Op::Un(Un::FNeg, [0]), Op::Bin(Bin::FAdd, [1, 0])]);
        assert_eq!(clean.stores, [(Slot::State(0), 2)]);
    }

    #[test]
    fn a_state_stored_as_it_was_is_not_written() {
        let mut program = Program { states: vec![Ty::F32; 2], ..Program::default() };
        program.update =
            Part { ops: vec![Op::Load(Slot::State(0)), Op::Input(0)], stores: vec![(Slot::State(0), 0), (Slot::State(1), 1)] };
        assert_eq!([0, 1, 2].map(|s| program.writes(s)), [false, true, false]);
    }

    #[test]
    fn the_hash_is_of_the_listing() {
        let mut program = Program { states: vec![Ty::F32], inputs: 1, output: Some(Ty::Bool), ..Program::default() };
        program.update = Part { ops: vec![Op::Input(0)], stores: vec![(Slot::State(0), 0)] };
        assert_eq!(
            program.to_string(),
            "states f32; constants ; inputs 1; output bool\nintegrate\nupdate\n  v0 = x0\n  s0 = v0\n"
        );
        let before = program.hash();
        program.update.ops[0] = Op::Literal(Ty::F32, 1);
        assert_ne!(program.hash(), before);
    }
}
