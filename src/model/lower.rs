//! naga's IR of a model's code -> straight-line program: calls inlined, branches turned into selections, constants folded, common
//! subexpressions shared, dead code dropped. Refuses what has no such form (loops, arrays, vectors, early return), with the place.

use super::Ty;
use super::math::FLUSHED;
use super::ops::{Bin, Tri, Un};
use super::program::{Op, Part, Program, Slot, Value};
use naga::{
    BinaryOperator, Block, Expression, Function, GlobalVariable, Handle, Literal, LocalVariable, MathFunction, Module,
    ScalarKind, Span, Statement, TypeInner, UnaryOperator,
};
use std::collections::HashMap;
use std::ops::Range;

/// What the module's global variables mean.
pub struct Roles<'a> {
    pub states: &'a [(&'a str, Ty)],
    /// Those the code does not read are dropped.
    pub constants: &'a [(&'a str, Ty)],
    pub inputs: &'a [&'a str],
    pub output: (&'a str, Ty),
}

/// The program, and which of the constants it reads (indices into `Roles::constants`).
#[derive(Debug)]
pub struct Lowered {
    pub program: Program,
    pub constants: Vec<usize>,
}

/// Why code cannot be lowered; the place is a byte range of the module's text.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub message: String,
    pub remedy: String,
    pub span: Range<usize>,
}

type Result<T> = std::result::Result<T, Refusal>;

fn refuse<T>(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Result<T> {
    Err(Refusal { message: message.into(), remedy: remedy.into(), span: span.to_range().unwrap_or(0..0) })
}

/// Operations and calls that inlining may produce; beyond, helper functions call each other exponentially often.
const LIMIT: usize = 20_000;

const SCALARS: &str = "model code knows the scalars f32, i32, u32 and bool";

/// Lower the functions `integrate` (where there is one) and `update`.
pub fn lower(module: &Module, roles: &Roles, integrate: Option<&str>, update: &str) -> Result<Lowered> {
    let used = |handle: Handle<GlobalVariable>| {
        let in_function = |f: &Function| f.expressions.iter().any(|(_, e)| *e == Expression::GlobalVariable(handle));
        module.functions.iter().any(|(_, f)| in_function(f))
    };
    let mut globals = HashMap::new();
    let mut constants = vec![];
    for (k, (name, _)) in roles.constants.iter().enumerate() {
        if let Some((handle, _)) = module.global_variables.iter().find(|(_, g)| g.name.as_deref() == Some(name))
            && used(handle)
        {
            globals.insert(handle, Role::Constant(constants.len() as u32));
            constants.push(k);
        }
    }
    for (handle, variable) in module.global_variables.iter() {
        let name = variable.name.as_deref().unwrap_or("");
        if let Some(s) = roles.states.iter().position(|(n, _)| *n == name) {
            globals.insert(handle, Role::Slot(Slot::State(s as u32)));
        } else if let Some(i) = roles.inputs.iter().position(|n| *n == name) {
            globals.insert(handle, Role::Input(i as u32));
        } else if roles.output.0 == name {
            globals.insert(handle, Role::Slot(Slot::Output));
        } else if !roles.constants.iter().any(|(n, _)| *n == name) {
            let span = module.global_variables.get_span(handle);
            return refuse(
                span,
                format!("`{name}` is a module variable of its own"),
                "keep values between steps in [state], others in `let` or `var` inside a function",
            );
        }
    }
    if let Some((handle, o)) = module.overrides.iter().next() {
        let name = o.name.as_deref().unwrap_or("");
        return refuse(
            module.overrides.get_span(handle),
            format!("`override {name}` has no meaning in a model"),
            "make it a parameter in [params]",
        );
    }
    let program = Program {
        states: roles.states.iter().map(|s| s.1).collect(),
        constants: constants.iter().map(|k| roles.constants[*k].1).collect(),
        inputs: roles.inputs.len(),
        output: Some(roles.output.1),
        ..Program::default()
    };
    let mut builder = Builder {
        module,
        globals,
        program,
        ops: vec![],
        seen: HashMap::new(),
        env: Env::default(),
        first_output: None,
        calls: 0,
    };
    if let Some(name) = integrate {
        builder.program.integrate = builder.part(name)?;
    }
    // Unless a substep can set it, the output starts as false (a spike flag) or as the first input (psc: the weight).
    if !builder.program.integrate.stores.iter().any(|(slot, _)| *slot == Slot::Output) {
        builder.first_output = Some(match roles.output.1 {
            Ty::F32 => Op::Input(0),
            ty => Op::Literal(ty, 0),
        });
    }
    builder.program.update = builder.part(update)?;
    Ok(Lowered { program: builder.program, constants })
}

#[derive(Clone, Copy)]
enum Role {
    Slot(Slot),
    Constant(u32),
    Input(u32),
}

/// Current values of everything that can be assigned.
#[derive(Clone, Default)]
struct Env {
    slots: Vec<(Slot, Value)>,
    /// Local variables, one map a function on the call stack.
    locals: Vec<HashMap<Handle<LocalVariable>, Value>>,
}

/// One call of a function.
struct Frame<'a> {
    function: &'a Function,
    arguments: Vec<Value>,
    values: HashMap<Handle<Expression>, Value>,
}

enum Flow {
    Next,
    Returned(Option<Value>),
}

struct Builder<'a> {
    module: &'a Module,
    globals: HashMap<Handle<GlobalVariable>, Role>,
    program: Program,
    ops: Vec<Op>,
    seen: HashMap<Op, Value>,
    env: Env,
    first_output: Option<Op>,
    calls: usize,
}

impl<'a> Builder<'a> {
    fn part(&mut self, name: &str) -> Result<Part> {
        let module = self.module;
        let Some((_, function)) = module.functions.iter().find(|(_, f)| f.name.as_deref() == Some(name)) else {
            return refuse(Span::default(), format!("there is no function `{name}`"), "write it");
        };
        self.ops.clear();
        self.seen.clear();
        self.env = Env::default();
        let slots: Vec<Slot> = (0..self.program.states.len()).map(|s| Slot::State(s as u32)).chain([Slot::Output]).collect();
        let mut initial = vec![];
        for slot in slots {
            let op = match (slot, self.first_output) {
                (Slot::Output, Some(op)) => op,
                _ => Op::Load(slot),
            };
            let value = self.push(op);
            initial.push((slot, value));
        }
        self.env.slots = initial;
        self.call(function, vec![], Span::default())?;
        let stores = self.env.slots.clone().into_iter().filter(|(slot, v)| self.ops[*v as usize] != Op::Load(*slot)).collect();
        let part = Part { ops: std::mem::take(&mut self.ops), stores }.without_dead_code();
        Ok(part)
    }

    fn call(&mut self, function: &'a Function, arguments: Vec<Value>, span: Span) -> Result<Option<Value>> {
        self.calls += 1;
        if self.ops.len().max(self.calls) > LIMIT {
            return refuse(
                span,
                "the code grows beyond all measure once its functions are inlined",
                "let helper functions call each other less often",
            );
        }
        for (i, argument) in function.arguments.iter().enumerate() {
            let name = argument.name.clone().unwrap_or_else(|| i.to_string());
            self.scalar(argument.ty, self.module.types.get_span(argument.ty), &format!("argument `{name}`"))?;
        }
        let mut frame = Frame { function, arguments, values: HashMap::new() };
        let mut locals = HashMap::new();
        for (handle, local) in function.local_variables.iter() {
            let span = function.local_variables.get_span(handle);
            let ty = self.scalar(local.ty, span, &format!("`{}`", local.name.as_deref().unwrap_or("variable")))?;
            let value = match local.init {
                Some(init) => self.value(&mut frame, init)?,
                None => self.push(Op::Literal(ty, 0)),
            };
            locals.insert(handle, value);
        }
        self.env.locals.push(locals);
        let flow = self.block(&mut frame, &function.body)?;
        self.env.locals.pop();
        Ok(match flow {
            Flow::Returned(value) => value,
            Flow::Next => None,
        })
    }

    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block) -> Result<Flow> {
        for (statement, span) in block.span_iter() {
            match statement {
                Statement::Emit(range) => {
                    for handle in range.clone() {
                        self.value(frame, handle)?;
                    }
                }
                Statement::Block(inner) => {
                    if let Flow::Returned(value) = self.block(frame, inner)? {
                        return Ok(Flow::Returned(value));
                    }
                }
                Statement::If { condition, accept, reject } => {
                    let condition = self.value(frame, *condition)?;
                    if let Some(value) = self.branch(frame, condition, accept, reject, *span)? {
                        return Ok(value);
                    }
                }
                Statement::Return { value } => {
                    let value = value.map(|v| self.value(frame, v)).transpose()?;
                    return Ok(Flow::Returned(value));
                }
                Statement::Store { pointer, value } => {
                    let value = self.value(frame, *value)?;
                    self.store(frame, *pointer, value, *span)?;
                }
                Statement::Call { function, arguments, result } => {
                    let arguments = arguments.iter().map(|a| self.value(frame, *a)).collect::<Result<Vec<_>>>()?;
                    let module = self.module;
                    let value = self.call(&module.functions[*function], arguments, *span)?;
                    if let (Some(result), Some(value)) = (result, value) {
                        frame.values.insert(*result, value);
                    }
                }
                Statement::Loop { .. } | Statement::Break | Statement::Continue => {
                    return refuse(
                        *span,
                        "loops are not available in model code",
                        "write the steps out, or use `substeps` with `integrate`",
                    );
                }
                Statement::Switch { .. } => {
                    return refuse(*span, "`switch` is not available in model code", "use if and else");
                }
                _ => {
                    return refuse(
                        *span,
                        "this statement is not available in model code",
                        "use let, var, assignments, if and else",
                    );
                }
            }
        }
        Ok(Flow::Next)
    }

    /// Both sides are computed; what they leave different is selected. Some(flow) when both return.
    fn branch(
        &mut self,
        frame: &mut Frame<'a>,
        condition: Value,
        accept: &'a Block,
        reject: &'a Block,
        span: Span,
    ) -> Result<Option<Flow>> {
        if let Op::Literal(_, word) = self.ops[condition as usize] {
            return Ok(match self.block(frame, if word != 0 { accept } else { reject })? {
                Flow::Next => None,
                returned => Some(returned),
            });
        }
        let before = self.env.clone();
        let yes = self.block(frame, accept)?;
        let after_yes = std::mem::replace(&mut self.env, before);
        let no = self.block(frame, reject)?;
        for i in 0..self.env.slots.len() {
            self.env.slots[i].1 = self.select(condition, after_yes.slots[i].1, self.env.slots[i].1);
        }
        for (depth, locals) in after_yes.locals.iter().enumerate() {
            let mut handles: Vec<_> = locals.iter().map(|(h, v)| (*h, *v)).collect();
            handles.sort_by_key(|(h, _)| h.index());
            for (handle, value) in handles {
                let merged = self.select(condition, value, self.env.locals[depth][&handle]);
                self.env.locals[depth].insert(handle, merged);
            }
        }
        match (yes, no) {
            (Flow::Next, Flow::Next) => Ok(None),
            (Flow::Returned(Some(a)), Flow::Returned(Some(b))) => Ok(Some(Flow::Returned(Some(self.select(condition, a, b))))),
            (Flow::Returned(None), Flow::Returned(None)) => Ok(Some(Flow::Returned(None))),
            _ => refuse(
                span,
                "a return inside `if` is not available in model code",
                "set a variable inside the branches and return it at the end",
            ),
        }
    }

    fn store(&mut self, frame: &Frame, pointer: Handle<Expression>, value: Value, span: Span) -> Result<()> {
        match frame.function.expressions[pointer] {
            Expression::LocalVariable(handle) => {
                if let Some(locals) = self.env.locals.last_mut() {
                    locals.insert(handle, value);
                }
                Ok(())
            }
            Expression::GlobalVariable(handle) => match self.globals.get(&handle) {
                Some(Role::Slot(slot)) => {
                    let slot = *slot;
                    for entry in self.env.slots.iter_mut().filter(|e| e.0 == slot) {
                        entry.1 = value;
                    }
                    Ok(())
                }
                role => {
                    let name = self.module.global_variables[handle].name.as_deref().unwrap_or("");
                    let what = if matches!(role, Some(Role::Input(_))) { "an input" } else { "a constant" };
                    let at = frame.function.expressions.get_span(pointer);
                    let span = if at.is_defined() { at } else { span };
                    refuse(
                        span,
                        format!("`{name}` is {what} and cannot be assigned"),
                        "only states can; copy it into a `var` to compute with it",
                    )
                }
            },
            _ => refuse(span, "only states and local variables can be assigned", SCALARS),
        }
    }

    fn scalar(&self, ty: Handle<naga::Type>, span: Span, what: &str) -> Result<Ty> {
        let ty = match self.module.types[ty].inner {
            TypeInner::Scalar(scalar) => scalar_type(scalar.kind, scalar.width),
            _ => None,
        };
        match ty {
            Some(ty) => Ok(ty),
            None => refuse(span, format!("{what} is not a scalar of 32 bits"), SCALARS),
        }
    }

    fn value(&mut self, frame: &mut Frame<'a>, handle: Handle<Expression>) -> Result<Value> {
        if let Some(value) = frame.values.get(&handle) {
            return Ok(*value);
        }
        let function = frame.function;
        let span = function.expressions.get_span(handle);
        let value = match &function.expressions[handle] {
            Expression::Literal(literal) => self.literal(*literal, span)?,
            Expression::Constant(constant) => self.constant(self.module.constants[*constant].init, span)?,
            Expression::ZeroValue(ty) => {
                let ty = self.scalar(*ty, span, "this value")?;
                self.push(Op::Literal(ty, 0))
            }
            Expression::FunctionArgument(i) => frame.arguments[*i as usize],
            // Places, not values: read by Load, written by Store.
            Expression::GlobalVariable(_) | Expression::LocalVariable(_) => return Ok(0),
            Expression::Load { pointer } => return self.load(frame, handle, *pointer, span),
            Expression::Unary { op, expr } => {
                let x = self.value(frame, *expr)?;
                match (op, self.ty(x)) {
                    (UnaryOperator::Negate, Ty::F32) => self.un(Un::FNeg, x),
                    (UnaryOperator::Negate, _) => self.un(Un::INeg, x),
                    (UnaryOperator::LogicalNot, _) => self.un(Un::BNot, x),
                    (UnaryOperator::BitwiseNot, Ty::I32) => self.un(Un::INot, x),
                    (UnaryOperator::BitwiseNot, _) => self.un(Un::UNot, x),
                }
            }
            Expression::Binary { op, left, right } => {
                let (x, y) = (self.value(frame, *left)?, self.value(frame, *right)?);
                self.binary(*op, x, y)
            }
            Expression::Select { condition, accept, reject } => {
                let (c, a, r) = (self.value(frame, *condition)?, self.value(frame, *accept)?, self.value(frame, *reject)?);
                self.select(c, a, r)
            }
            Expression::Math { fun, arg, arg1, arg2, .. } => {
                let mut x = vec![self.value(frame, *arg)?];
                for more in [arg1, arg2].into_iter().flatten() {
                    x.push(self.value(frame, *more)?);
                }
                match self.math(*fun, &x) {
                    Some(value) => value,
                    None => return refuse(span, format!("`{}` is not available in model code", wgsl_name(*fun)), SCALARS),
                }
            }
            Expression::As { expr, kind, convert } => {
                let x = self.value(frame, *expr)?;
                match scalar_type(*kind, convert.unwrap_or(4)) {
                    Some(ty) => self.convert(x, ty, convert.is_some()),
                    None => return refuse(span, "this type is not available in model code", SCALARS),
                }
            }
            Expression::Relational { argument, .. } => self.value(frame, *argument)?,
            Expression::CallResult(_) => {
                return refuse(span, "this function returns nothing on some path", "end it with one return");
            }
            Expression::Compose { .. } | Expression::Splat { .. } | Expression::Swizzle { .. } => {
                return refuse(span, "vectors, arrays and structures are not available in model code", SCALARS);
            }
            _ => return refuse(span, "this expression is not available in model code", SCALARS),
        };
        frame.values.insert(handle, value);
        Ok(value)
    }

    fn load(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        pointer: Handle<Expression>,
        span: Span,
    ) -> Result<Value> {
        let value = match frame.function.expressions[pointer] {
            Expression::LocalVariable(local) => self.env.locals.last().and_then(|l| l.get(&local)).copied(),
            Expression::GlobalVariable(global) => match self.globals.get(&global).copied() {
                Some(Role::Slot(slot)) => self.env.slots.iter().find(|e| e.0 == slot).map(|e| e.1),
                Some(Role::Constant(k)) => Some(self.push(Op::Constant(k))),
                Some(Role::Input(i)) => Some(self.push(Op::Input(i))),
                None => None,
            },
            _ => None,
        };
        match value {
            Some(value) => {
                frame.values.insert(handle, value);
                Ok(value)
            }
            None => refuse(span, "arrays, structures and pointers are not available in model code", SCALARS),
        }
    }

    fn literal(&mut self, literal: Literal, span: Span) -> Result<Value> {
        let (ty, word) = match literal {
            Literal::F32(x) => (Ty::F32, x.to_bits()),
            Literal::I32(x) => (Ty::I32, x as u32),
            Literal::U32(x) => (Ty::U32, x),
            Literal::Bool(x) => (Ty::Bool, x as u32),
            Literal::AbstractInt(x) if i32::try_from(x).is_ok() => (Ty::I32, x as i32 as u32),
            Literal::AbstractFloat(x) => (Ty::F32, (x as f32).to_bits()),
            _ => return refuse(span, "this number has a type that model code does not know", SCALARS),
        };
        Ok(self.push(Op::Literal(ty, word)))
    }

    /// A module-scope constant.
    fn constant(&mut self, handle: Handle<Expression>, span: Span) -> Result<Value> {
        match &self.module.global_expressions[handle] {
            Expression::Literal(literal) => self.literal(*literal, span),
            Expression::Constant(constant) => self.constant(self.module.constants[*constant].init, span),
            Expression::ZeroValue(ty) => {
                let ty = self.scalar(*ty, span, "this constant")?;
                Ok(self.push(Op::Literal(ty, 0)))
            }
            _ => refuse(span, "this constant is not a scalar", SCALARS),
        }
    }

    fn ty(&self, value: Value) -> Ty {
        self.program.op_type(&self.ops[value as usize])
    }

    fn literal_of(&self, value: Value) -> Option<u32> {
        match self.ops[value as usize] {
            Op::Literal(_, word) => Some(word),
            _ => None,
        }
    }

    /// Add an operation, unless its value is known or the same was computed before.
    fn push(&mut self, op: Op) -> Value {
        let known: Option<Vec<u32>> = op.operands().iter().map(|v| self.literal_of(*v)).collect();
        let op = match (&op, known.as_deref()) {
            (Op::Un(un, _), Some(&[a])) => Op::Literal(un.signature().1, un.eval([a])),
            (Op::Bin(bin, _), Some(&[a, b])) => Op::Literal(bin.signature().1, bin.eval([a, b])),
            (Op::Tri(tri, _), Some(&[a, b, c])) => Op::Literal(tri.signature().1, tri.eval([a, b, c])),
            _ => op,
        };
        if let Some(value) = self.seen.get(&op) {
            return *value;
        }
        let value = self.ops.len() as Value;
        self.ops.push(op);
        self.seen.insert(op, value);
        value
    }

    fn un(&mut self, op: Un, x: Value) -> Value {
        if let (Un::BNot, Op::Un(Un::BNot, [inner])) = (op, self.ops[x as usize]) {
            return inner;
        }
        self.push(Op::Un(op, [x]))
    }

    fn bin(&mut self, op: Bin, x: Value, y: Value) -> Value {
        match (op, self.literal_of(x), self.literal_of(y)) {
            (Bin::BAnd, Some(1), _) | (Bin::BOr, Some(0), _) => y,
            (Bin::BAnd, _, Some(1)) | (Bin::BOr, _, Some(0)) => x,
            (Bin::BAnd, Some(0), _) | (Bin::BOr, Some(1), _) => x,
            (Bin::BAnd, _, Some(0)) | (Bin::BOr, _, Some(1)) => y,
            (Bin::BAnd | Bin::BOr, ..) if x == y => x,
            _ => self.push(Op::Bin(op, [x, y])),
        }
    }

    fn float(&mut self, x: f32) -> Value {
        self.push(Op::Literal(Ty::F32, x.to_bits()))
    }

    fn uint(&mut self, x: u32) -> Value {
        self.push(Op::Literal(Ty::U32, x))
    }

    fn select(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        if yes == no {
            return yes;
        }
        if let Some(word) = self.literal_of(condition) {
            return if word != 0 { yes } else { no };
        }
        if let Op::Un(Un::BNot, [inner]) = self.ops[condition as usize] {
            return self.select(inner, no, yes);
        }
        if let Some(flushed) = self.flushed(condition, yes, no) {
            return flushed;
        }
        let op = match self.ty(yes) {
            Ty::F32 => Tri::FSelect,
            Ty::I32 => Tri::ISelect,
            Ty::U32 => Tri::USelect,
            Ty::Bool => {
                return match (self.literal_of(yes), self.literal_of(no)) {
                    (Some(1), _) => self.bin(Bin::BOr, condition, no),
                    (_, Some(0)) => self.bin(Bin::BAnd, condition, yes),
                    (Some(_), _) => {
                        let not = self.un(Un::BNot, condition);
                        self.bin(Bin::BAnd, not, no)
                    }
                    (_, Some(_)) => {
                        let not = self.un(Un::BNot, condition);
                        self.bin(Bin::BOr, not, yes)
                    }
                    _ => self.push(Op::Tri(Tri::BSelect, [condition, yes, no])),
                };
            }
        };
        self.push(Op::Tri(op, [condition, yes, no]))
    }

    /// `select(x, 0.0, (bitcast<u32>(x) & FLUSHED) == 0u)`, which model files are given at the end of their code, is one operation.
    fn flushed(&mut self, condition: Value, yes: Value, no: Value) -> Option<Value> {
        let Op::Bin(Bin::UEq, [masked, zero]) = self.ops[condition as usize] else { return None };
        let Op::Bin(Bin::UAnd, [bits, mask]) = self.ops[masked as usize] else { return None };
        let known = [zero, mask, yes].map(|value| self.literal_of(value)) == [Some(0), Some(FLUSHED), Some(0)];
        (known && self.ops[bits as usize] == Op::Un(Un::FAsU, [no])).then(|| self.un(Un::FFlush, no))
    }

    fn binary(&mut self, op: BinaryOperator, x: Value, y: Value) -> Value {
        use BinaryOperator as B;
        use Ty::*;
        let (op, x, y) = match op {
            B::Greater => (B::Less, y, x),
            B::GreaterEqual => (B::LessEqual, y, x),
            _ => (op, x, y),
        };
        let bin = match (op, self.ty(x)) {
            (B::Add, F32) => Bin::FAdd,
            (B::Add, I32) => Bin::IAdd,
            (B::Add, _) => Bin::UAdd,
            (B::Subtract, F32) => Bin::FSub,
            (B::Subtract, I32) => Bin::ISub,
            (B::Subtract, _) => Bin::USub,
            (B::Multiply, F32) => Bin::FMul,
            (B::Multiply, I32) => Bin::IMul,
            (B::Multiply, _) => Bin::UMul,
            (B::Divide, F32) => Bin::FDiv,
            (B::Divide, I32) => Bin::IDiv,
            (B::Divide, _) => Bin::UDiv,
            (B::Modulo, F32) => Bin::FRem,
            (B::Modulo, I32) => Bin::IRem,
            (B::Modulo, _) => Bin::URem,
            (B::Equal, F32) => Bin::FEq,
            (B::Equal, I32) => Bin::IEq,
            (B::Equal, U32) => Bin::UEq,
            (B::Equal, Bool) => {
                let differ = self.bin(Bin::BXor, x, y);
                return self.un(Un::BNot, differ);
            }
            (B::NotEqual, F32) => Bin::FNe,
            (B::NotEqual, I32) => Bin::INe,
            (B::NotEqual, U32) => Bin::UNe,
            (B::NotEqual, Bool) => Bin::BXor,
            (B::Less | B::Greater, F32) => Bin::FLt,
            (B::Less | B::Greater, I32) => Bin::ILt,
            (B::Less | B::Greater, _) => Bin::ULt,
            (B::LessEqual | B::GreaterEqual, F32) => Bin::FLe,
            (B::LessEqual | B::GreaterEqual, I32) => Bin::ILe,
            (B::LessEqual | B::GreaterEqual, _) => Bin::ULe,
            (B::And | B::LogicalAnd, Bool) => Bin::BAnd,
            (B::InclusiveOr | B::LogicalOr, Bool) => Bin::BOr,
            (B::ExclusiveOr, Bool) => Bin::BXor,
            (B::And | B::LogicalAnd, I32) => Bin::IAnd,
            (B::InclusiveOr | B::LogicalOr, I32) => Bin::IOr,
            (B::ExclusiveOr, I32) => Bin::IXor,
            (B::And | B::LogicalAnd, _) => Bin::UAnd,
            (B::InclusiveOr | B::LogicalOr, _) => Bin::UOr,
            (B::ExclusiveOr, _) => Bin::UXor,
            (B::ShiftLeft, I32) => Bin::IShl,
            (B::ShiftLeft, _) => Bin::UShl,
            (B::ShiftRight, I32) => Bin::IShr,
            (B::ShiftRight, _) => Bin::UShr,
        };
        self.bin(bin, x, y)
    }

    fn convert(&mut self, x: Value, to: Ty, by_value: bool) -> Value {
        use Ty::*;
        let path: &[Un] = match (self.ty(x), to, by_value) {
            (a, b, _) if a == b => &[],
            (I32, U32, _) => &[Un::IAsU],
            (U32, I32, _) => &[Un::UAsI],
            (F32, I32, true) => &[Un::FToI],
            (F32, U32, true) => &[Un::FToU],
            (I32, F32, true) => &[Un::IToF],
            (U32, F32, true) => &[Un::UToF],
            (F32, U32, false) => &[Un::FAsU],
            (F32, I32, false) => &[Un::FAsU, Un::UAsI],
            (U32, F32, false) => &[Un::UAsF],
            (I32, F32, false) => &[Un::IAsU, Un::UAsF],
            (Bool, F32, _) => &[Un::BToF],
            (Bool, I32, _) => &[Un::BToU, Un::UAsI],
            (Bool, _, _) => &[Un::BToU],
            (F32, _, _) => &[Un::FToB],
            (I32, _, _) => &[Un::IAsU, Un::UToB],
            (U32, _, _) => &[Un::UToB],
        };
        path.iter().fold(x, |x, op| self.un(*op, x))
    }

    /// A function of integers that works on the bits alone.
    fn bits(&mut self, x: Value, f: impl FnOnce(&mut Self, Value) -> Value) -> Value {
        let ty = self.ty(x);
        let unsigned = self.convert(x, Ty::U32, false);
        let result = f(self, unsigned);
        self.convert(result, ty, false)
    }

    fn math(&mut self, fun: MathFunction, x: &[Value]) -> Option<Value> {
        use MathFunction as M;
        let ty = self.ty(x[0]);
        let by_type = |f: Bin, i: Bin, u: Bin| match ty {
            Ty::F32 => f,
            Ty::I32 => i,
            _ => u,
        };
        let (min, max) = (by_type(Bin::FMin, Bin::IMin, Bin::UMin), by_type(Bin::FMax, Bin::IMax, Bin::UMax));
        let un = match fun {
            M::Cos => Un::FCos,
            M::Cosh => Un::FCosh,
            M::Sin => Un::FSin,
            M::Sinh => Un::FSinh,
            M::Tan => Un::FTan,
            M::Tanh => Un::FTanh,
            M::Acos => Un::FAcos,
            M::Asin => Un::FAsin,
            M::Atan => Un::FAtan,
            M::Asinh => Un::FAsinh,
            M::Acosh => Un::FAcosh,
            M::Atanh => Un::FAtanh,
            M::Ceil => Un::FCeil,
            M::Floor => Un::FFloor,
            M::Round => Un::FRound,
            M::Trunc => Un::FTrunc,
            M::Exp => Un::FExp,
            M::Exp2 => Un::FExp2,
            M::Log => Un::FLog,
            M::Log2 => Un::FLog2,
            M::Sqrt => Un::FSqrt,
            M::Abs if ty == Ty::F32 => Un::FAbs,
            M::Abs if ty == Ty::I32 => Un::IAbs,
            M::Sign if ty == Ty::F32 => Un::FSign,
            M::Sign if ty == Ty::I32 => Un::ISign,
            _ => return self.composite(fun, x, min, max),
        };
        Some(self.un(un, x[0]))
    }

    fn composite(&mut self, fun: MathFunction, x: &[Value], min: Bin, max: Bin) -> Option<Value> {
        use MathFunction as M;
        let ty = self.ty(x[0]);
        Some(match (fun, x) {
            (M::Abs, [x]) => *x,
            (M::Min, [x, y]) => self.bin(min, *x, *y),
            (M::Max, [x, y]) => self.bin(max, *x, *y),
            (M::Clamp, [x, low, high]) => {
                let above = self.bin(max, *x, *low);
                self.bin(min, above, *high)
            }
            (M::Saturate, [x]) => {
                let (zero, one) = (self.float(0.0), self.float(1.0));
                let above = self.bin(Bin::FMax, *x, zero);
                self.bin(Bin::FMin, above, one)
            }
            (M::Atan2, [y, x]) => self.bin(Bin::FAtan2, *y, *x),
            (M::Pow, [x, y]) => self.bin(Bin::FPow, *x, *y),
            (M::Fma, [x, y, z]) => self.push(Op::Tri(Tri::FFma, [*x, *y, *z])),
            (M::Radians, [x]) => {
                let factor = self.float(std::f32::consts::PI / 180.0);
                self.bin(Bin::FMul, *x, factor)
            }
            (M::Degrees, [x]) => {
                let factor = self.float(180.0 / std::f32::consts::PI);
                self.bin(Bin::FMul, *x, factor)
            }
            (M::Fract, [x]) => {
                let floor = self.un(Un::FFloor, *x);
                self.bin(Bin::FSub, *x, floor)
            }
            (M::InverseSqrt, [x]) => {
                let (one, root) = (self.float(1.0), self.un(Un::FSqrt, *x));
                self.bin(Bin::FDiv, one, root)
            }
            (M::Step, [edge, x]) => {
                let (zero, one) = (self.float(0.0), self.float(1.0));
                let reached = self.bin(Bin::FLe, *edge, *x);
                self.select(reached, one, zero)
            }
            (M::Mix, [x, y, a]) => {
                let one = self.float(1.0);
                let rest = self.bin(Bin::FSub, one, *a);
                let (left, right) = (self.bin(Bin::FMul, *x, rest), self.bin(Bin::FMul, *y, *a));
                self.bin(Bin::FAdd, left, right)
            }
            (M::SmoothStep, [low, high, x]) => {
                let (over, width) = (self.bin(Bin::FSub, *x, *low), self.bin(Bin::FSub, *high, *low));
                let ratio = self.bin(Bin::FDiv, over, width);
                let t = self.composite(M::Saturate, &[ratio], min, max)?;
                let (two, three, square) = (self.float(2.0), self.float(3.0), self.bin(Bin::FMul, t, t));
                let twice = self.bin(Bin::FMul, two, t);
                let slope = self.bin(Bin::FSub, three, twice);
                self.bin(Bin::FMul, square, slope)
            }
            (M::CountOneBits, [x]) => self.bits(*x, |b, x| b.un(Un::UOnes, x)),
            (M::ReverseBits, [x]) => self.bits(*x, |b, x| b.un(Un::UReverse, x)),
            (M::CountLeadingZeros, [x]) => self.bits(*x, |b, x| b.un(Un::ULeading, x)),
            (M::CountTrailingZeros, [x]) => self.bits(*x, |b, x| b.un(Un::UTrailing, x)),
            (M::FirstTrailingBit, [x]) => self.bits(*x, |b, x| {
                let (zero, none, count) = (b.uint(0), b.uint(u32::MAX), b.un(Un::UTrailing, x));
                let empty = b.bin(Bin::UEq, x, zero);
                b.select(empty, none, count)
            }),
            (M::FirstLeadingBit, [x]) => {
                let mut x = *x;
                if ty == Ty::I32 {
                    let (zero, inverse) = (self.push(Op::Literal(Ty::I32, 0)), self.un(Un::INot, x));
                    let negative = self.bin(Bin::ILt, x, zero);
                    x = self.select(negative, inverse, x);
                }
                self.bits(x, |b, x| {
                    let (zero, none, top, count) = (b.uint(0), b.uint(u32::MAX), b.uint(31), b.un(Un::ULeading, x));
                    let (empty, index) = (b.bin(Bin::UEq, x, zero), b.bin(Bin::USub, top, count));
                    b.select(empty, none, index)
                })
            }
            _ => return None,
        })
    }
}

fn scalar_type(kind: ScalarKind, width: u8) -> Option<Ty> {
    match (kind, width) {
        (ScalarKind::Float, 4) => Some(Ty::F32),
        (ScalarKind::Sint, 4) => Some(Ty::I32),
        (ScalarKind::Uint, 4) => Some(Ty::U32),
        (ScalarKind::Bool, _) => Some(Ty::Bool),
        _ => None,
    }
}

/// WGSL's name of a function: naga's, with a small first letter.
fn wgsl_name(fun: MathFunction) -> String {
    let name = format!("{fun:?}");
    name[..1].to_lowercase() + &name[1..]
}
