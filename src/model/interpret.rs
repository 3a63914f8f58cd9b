//! The block interpreter: runs any program over lanes, one operation at a time over a tile that stays in cache.
//! Promises the same bits as the scalar meaning in ops.rs, on every machine: no contraction, no approximations.

use super::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use super::ops::{Un, Uniform};
use super::program::{Op, Part, Program, Slot, Value};
use crate::simd::{self, Level};

/// Lanes worked on at a time. Measured on iaf_psc_exp: 256 lanes cost 1.6 times as much, since an operation then takes about as
/// long as choosing it.
const TILE: usize = BLOCK;

/// A program made ready to run.
pub struct Interpreter {
    integrate: Code,
    update: Code,
    states: usize,
    constants: usize,
    inputs: usize,
    level: Level,
    text: String,
}

/// A part with registers assigned.
struct Code {
    ops: Vec<Op>,
    /// Where the value of each operation is when it differs between lanes.
    place: Vec<Place>,
    stores: Vec<(Slot, Value)>,
    registers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// The same for all lanes, always.
    Literal,
    Constant(u32),
    Input(u32),
    Slot(Slot),
    Register(usize),
}

impl Interpreter {
    pub fn new(program: &Program) -> Interpreter {
        Interpreter::at_level(program, simd::level())
    }

    pub(super) fn at_level(program: &Program, level: Level) -> Interpreter {
        let operations = program.integrate.ops.len() + program.update.ops.len();
        Interpreter {
            integrate: Code::new(&program.integrate),
            update: Code::new(&program.update),
            states: program.states.len(),
            constants: program.constants.len(),
            inputs: program.inputs,
            level,
            text: format!("interpreter ({operations} operations, {})", level.name()),
        }
    }
}

impl Code {
    fn new(part: &Part) -> Code {
        let (mut ops, mut stores) = (part.ops.clone(), part.stores.clone());
        // A slot's old value that moves to another slot goes through a register, as its own slot may be overwritten first.
        for (_, value) in &mut stores {
            if let Op::Load(_) = ops[*value as usize] {
                ops.push(Op::Un(Un::UAsI, [*value]));
                *value = ops.len() as Value - 1;
            }
        }
        let n = ops.len();
        let mut last_use: Vec<usize> = (0..n).collect();
        for (i, op) in ops.iter().enumerate() {
            op.operands().iter().for_each(|v| last_use[*v as usize] = i);
        }
        // A result goes straight to its slot when neither its operation nor a later one reads the slot's old value.
        let direct = |v: usize| {
            let mut slots = stores.iter().filter(|s| s.1 as usize == v).map(|s| s.0);
            let (Some(slot), None) = (slots.next(), slots.next()) else { return None };
            let load = ops.iter().position(|op| *op == Op::Load(slot));
            load.is_none_or(|load| last_use[load] < v).then_some(slot)
        };
        let targets: Vec<Option<Slot>> = (0..n).map(direct).collect();
        stores.iter().for_each(|(_, v)| last_use[*v as usize] = n);
        let (mut free, mut registers, mut place) = (vec![], 0, vec![]);
        for (i, op) in ops.iter().enumerate() {
            place.push(match (op, targets[i]) {
                (Op::Literal(..), _) => Place::Literal,
                (Op::Constant(k), _) => Place::Constant(*k),
                (Op::Input(x), _) => Place::Input(*x),
                (Op::Load(slot), _) => Place::Slot(*slot),
                (_, Some(slot)) => Place::Slot(slot),
                _ => Place::Register(free.pop().unwrap_or_else(|| {
                    registers += 1;
                    registers - 1
                })),
            });
            // Freed only after the target was taken, so that an operation never writes what it reads.
            let mut ended: Vec<usize> = op.operands().iter().map(|v| *v as usize).filter(|v| last_use[*v] == i).collect();
            ended.sort_unstable();
            ended.dedup();
            free.extend(ended.iter().filter_map(|v| if let Place::Register(r) = place[*v] { Some(r) } else { None }));
        }
        Code { ops, place, stores, registers }
    }

    /// Values that are the same for all lanes in this call.
    fn uniform(&self, constants: &[Operand], known: &mut Vec<Option<u32>>) {
        known.clear();
        for op in &self.ops {
            let value = match op {
                Op::Literal(_, word) => Some(*word),
                Op::Constant(k) => match constants[*k as usize] {
                    Operand::Uniform(word) => Some(word),
                    Operand::Lanes(_) => None,
                },
                Op::Load(_) | Op::Input(_) => None,
                Op::Un(op, [a]) => known[*a as usize].map(|a| op.eval([a])),
                Op::Bin(op, [a, b]) => known[*a as usize].zip(known[*b as usize]).map(|(a, b)| op.eval([a, b])),
                Op::Tri(op, [a, b, c]) => match (known[*a as usize], known[*b as usize], known[*c as usize]) {
                    (Some(a), Some(b), Some(c)) => Some(op.eval([a, b, c])),
                    _ => None,
                },
            };
            known.push(value);
        }
    }
}

impl Kernel for Interpreter {
    fn run(&self, lanes: &mut Lanes, substeps: u32, scratch: &mut Scratch) {
        let n = lanes.n;
        assert!(
            lanes.constants.len() == self.constants && lanes.states.len() == self.states && lanes.inputs.len() == self.inputs
        );
        assert!(
            lanes.states.iter().all(|s| s.len() >= n) && lanes.inputs.iter().all(|x| x.len() >= n) && lanes.output.len() >= n
        );
        assert!(lanes.constants.iter().all(|c| if let Operand::Lanes(words) = c { words.len() >= n } else { true }));
        let registers = self.integrate.registers.max(self.update.registers);
        scratch.words.resize(registers * TILE + 16, 0);
        let aligned = scratch.words.as_ptr().align_offset(64).min(16);
        let Scratch { words, uniform: [first, second] } = scratch;
        self.integrate.uniform(lanes.constants, first);
        self.update.uniform(lanes.constants, second);
        for start in (0..n).step_by(TILE) {
            let mut tile = Tile { lanes, registers: words[aligned..].as_mut_ptr(), start, n: TILE.min(n - start) };
            if !self.integrate.stores.is_empty() {
                tile.lanes.output[start..start + tile.n].fill(0);
                for _ in 0..substeps {
                    tile.run(self.level, &self.integrate, first);
                }
            }
            tile.run(self.level, &self.update, second);
        }
    }

    fn describe(&self) -> &str {
        &self.text
    }
}

/// A stretch of lanes in work.
struct Tile<'a, 'b> {
    lanes: &'a mut Lanes<'b>,
    registers: *mut u32,
    start: usize,
    n: usize,
}

/// A value of the tile.
#[derive(Clone, Copy)]
enum Cell<'a> {
    One(u32),
    Each(&'a [u32]),
}

impl Tile<'_, '_> {
    fn run(&mut self, level: Level, code: &Code, known: &[Option<u32>]) {
        match level {
            // SAFETY: the level was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { self.run_avx512(code, known) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { self.run_avx2(code, known) },
            Level::Portable => self.run_here(code, known),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
    fn run_avx512(&mut self, code: &Code, known: &[Option<u32>]) {
        self.run_here(code, known);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&mut self, code: &Code, known: &[Option<u32>]) {
        self.run_here(code, known);
    }

    #[inline(always)]
    fn run_here(&mut self, code: &Code, known: &[Option<u32>]) {
        for (i, op) in code.ops.iter().enumerate() {
            if known[i].is_some() {
                continue;
            }
            let cell = |v: Value| self.cell(code, known, v);
            match op {
                Op::Un(op, [a]) => {
                    if let Cell::Each(a) = cell(*a) {
                        op.lanes((a,), self.target(code, i));
                    }
                }
                Op::Bin(op, [a, b]) => match (cell(*a), cell(*b)) {
                    (Cell::Each(a), Cell::Each(b)) => op.lanes((a, b), self.target(code, i)),
                    (Cell::Each(a), Cell::One(b)) => op.lanes((a, Uniform(b)), self.target(code, i)),
                    (Cell::One(a), Cell::Each(b)) => op.lanes((Uniform(a), b), self.target(code, i)),
                    (Cell::One(_), Cell::One(_)) => {}
                },
                Op::Tri(op, [a, b, c]) => {
                    let out = self.target(code, i);
                    match (cell(*a), cell(*b), cell(*c)) {
                        (Cell::Each(a), Cell::Each(b), Cell::Each(c)) => op.lanes((a, b, c), out),
                        (Cell::Each(a), Cell::Each(b), Cell::One(c)) => op.lanes((a, b, Uniform(c)), out),
                        (Cell::Each(a), Cell::One(b), Cell::Each(c)) => op.lanes((a, Uniform(b), c), out),
                        (Cell::Each(a), Cell::One(b), Cell::One(c)) => op.lanes((a, Uniform(b), Uniform(c)), out),
                        (Cell::One(a), Cell::Each(b), Cell::Each(c)) => op.lanes((Uniform(a), b, c), out),
                        (Cell::One(a), Cell::Each(b), Cell::One(c)) => op.lanes((Uniform(a), b, Uniform(c)), out),
                        (Cell::One(a), Cell::One(b), Cell::Each(c)) => op.lanes((Uniform(a), Uniform(b), c), out),
                        (Cell::One(_), Cell::One(_), Cell::One(_)) => {}
                    }
                }
                Op::Literal(..) | Op::Constant(_) | Op::Load(_) | Op::Input(_) => {}
            }
        }
        for (slot, value) in &code.stores {
            let target = self.slot(*slot);
            match self.cell(code, known, *value) {
                Cell::One(word) => target.fill(word),
                Cell::Each(_) if code.place[*value as usize] == Place::Slot(*slot) => {}
                Cell::Each(words) => target.copy_from_slice(words),
            }
        }
    }

    /// The words of a slot. The lifetime is free: callers hold it only while they apply one operation.
    #[inline(always)]
    fn slot<'x>(&self, slot: Slot) -> &'x mut [u32] {
        let all: *const [u32] = match slot {
            Slot::State(s) => &*self.lanes.states[s as usize],
            Slot::Output => &*self.lanes.output,
        };
        // SAFETY: `run` checked that every array holds start + n words and owns them mutably through `lanes`; Code::new lets no
        // operation read the slot that it writes, so that no shared slice of these words is alive.
        unsafe { std::slice::from_raw_parts_mut((all as *mut u32).add(self.start), self.n) }
    }

    #[inline(always)]
    fn register<'x>(&self, r: usize) -> &'x mut [u32] {
        // SAFETY: `run` made room for this code's registers; the allocation lets no operation write what it reads.
        unsafe { std::slice::from_raw_parts_mut(self.registers.add(r * TILE), self.n) }
    }

    #[inline(always)]
    fn target<'x>(&self, code: &Code, v: usize) -> &'x mut [u32] {
        match code.place[v] {
            Place::Slot(slot) => self.slot(slot),
            Place::Register(r) => self.register(r),
            _ => &mut [],
        }
    }

    #[inline(always)]
    fn cell<'x>(&self, code: &Code, known: &[Option<u32>], v: Value) -> Cell<'x> {
        if let Some(word) = known[v as usize] {
            return Cell::One(word);
        }
        match code.place[v as usize] {
            Place::Slot(slot) => Cell::Each(self.slot(slot)),
            Place::Register(r) => Cell::Each(self.register(r)),
            Place::Input(x) => {
                let words: &[u32] = bytemuck::cast_slice(self.lanes.inputs[x as usize]);
                // SAFETY: within the input, as `run` checked; inputs outlive the call.
                Cell::Each(unsafe { std::slice::from_raw_parts(words.as_ptr().add(self.start), self.n) })
            }
            Place::Constant(k) => match self.lanes.constants[k as usize] {
                Operand::Uniform(word) => Cell::One(word),
                // SAFETY: within the constant's lanes, as `run` checked; constants outlive the call.
                Operand::Lanes(words) => {
                    Cell::Each(unsafe { std::slice::from_raw_parts(words.as_ptr().add(self.start), self.n) })
                }
            },
            Place::Literal => Cell::One(0),
        }
    }
}
