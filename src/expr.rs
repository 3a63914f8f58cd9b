//! Host expressions: arithmetic in f64 over named values, for defaults, derived constants, recordables and closed forms.
//! Promises exact places for mistakes and evaluation without allocation. Knows neither models nor files.
//!
//! ```text
//! a ? b : c    || && !    == != < <= > >=    + - * /    unary -    ^ (right associative, binds tighter than unary -)
//! ```
//! Truth is any non-zero number; comparisons give 1 or 0. Constants: pi, inf, true, false.

use std::ops::Range;

/// A parsed expression. Names are resolved to slots when it is bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// As it was written.
    pub text: String,
    root: Node,
    names: Vec<(String, Range<usize>)>,
}

/// What is wrong, and the byte range of the text it concerns.
pub type Mistake = (String, Range<usize>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    /// Index into `Expr::names`.
    Name(usize),
    Call1(Fn1, Box<Node>),
    Call2(Fn2, Box<(Node, Node)>),
    If(Box<(Node, Node, Node)>),
}

/// Functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fn1 {
    Neg,
    Not,
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Sqrt,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
}

/// Functions of two arguments, operators among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fn2 {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    Atan2,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
}

/// Functions of one argument by name.
const FUNCTIONS1: &[(&str, Fn1)] = &[
    ("abs", Fn1::Abs),
    ("acos", Fn1::Acos),
    ("asin", Fn1::Asin),
    ("atan", Fn1::Atan),
    ("ceil", Fn1::Ceil),
    ("cos", Fn1::Cos),
    ("cosh", Fn1::Cosh),
    ("exp", Fn1::Exp),
    ("expm1", Fn1::Expm1),
    ("floor", Fn1::Floor),
    ("ln", Fn1::Log),
    ("log", Fn1::Log),
    ("log10", Fn1::Log10),
    ("log1p", Fn1::Log1p),
    ("log2", Fn1::Log2),
    ("round", Fn1::Round),
    ("sign", Fn1::Sign),
    ("sin", Fn1::Sin),
    ("sinh", Fn1::Sinh),
    ("sqrt", Fn1::Sqrt),
    ("tan", Fn1::Tan),
    ("tanh", Fn1::Tanh),
];
/// Functions of two arguments by name; `min` and `max` take more.
const FUNCTIONS2: &[(&str, Fn2)] = &[("atan2", Fn2::Atan2), ("max", Fn2::Max), ("min", Fn2::Min), ("pow", Fn2::Pow)];

const CONSTANTS: &[(&str, f64)] = &[("pi", std::f64::consts::PI), ("inf", f64::INFINITY), ("true", 1.0), ("false", 0.0)];

/// The names of all functions.
pub(crate) fn functions() -> Vec<&'static str> {
    FUNCTIONS1.iter().map(|f| f.0).chain(FUNCTIONS2.iter().map(|f| f.0)).collect()
}

/// True for words that an expression understands by itself, so that no parameter may carry them.
pub fn is_reserved(name: &str) -> bool {
    name == "if"
        || CONSTANTS.iter().any(|c| c.0 == name)
        || FUNCTIONS1.iter().any(|f| f.0 == name)
        || FUNCTIONS2.iter().any(|f| f.0 == name)
}

impl Fn1 {
    #[inline]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Fn1::Neg => -x,
            Fn1::Not => (x == 0.0) as u8 as f64,
            Fn1::Exp => x.exp(),
            Fn1::Expm1 => x.exp_m1(),
            Fn1::Log => x.ln(),
            Fn1::Log1p => x.ln_1p(),
            Fn1::Log2 => x.log2(),
            Fn1::Log10 => x.log10(),
            Fn1::Sqrt => x.sqrt(),
            Fn1::Abs => x.abs(),
            Fn1::Sign => (x > 0.0) as u8 as f64 - (x < 0.0) as u8 as f64,
            Fn1::Floor => x.floor(),
            Fn1::Ceil => x.ceil(),
            Fn1::Round => x.round(),
            Fn1::Sin => x.sin(),
            Fn1::Cos => x.cos(),
            Fn1::Tan => x.tan(),
            Fn1::Asin => x.asin(),
            Fn1::Acos => x.acos(),
            Fn1::Atan => x.atan(),
            Fn1::Sinh => x.sinh(),
            Fn1::Cosh => x.cosh(),
            Fn1::Tanh => x.tanh(),
        }
    }
}

impl Fn2 {
    #[inline]
    pub fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |t: bool| t as u8 as f64;
        match self {
            Fn2::Add => a + b,
            Fn2::Sub => a - b,
            Fn2::Mul => a * b,
            Fn2::Div => a / b,
            Fn2::Pow => a.powf(b),
            Fn2::Min => a.min(b),
            Fn2::Max => a.max(b),
            Fn2::Atan2 => a.atan2(b),
            Fn2::Lt => truth(a < b),
            Fn2::Le => truth(a <= b),
            Fn2::Gt => truth(a > b),
            Fn2::Ge => truth(a >= b),
            Fn2::Eq => truth(a == b),
            Fn2::Ne => truth(a != b),
            Fn2::And => truth(a != 0.0 && b != 0.0),
            Fn2::Or => truth(a != 0.0 || b != 0.0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Number(f64),
    Name(&'a str),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &["&&", "||", "==", "!=", "<=", ">=", "+", "-", "*", "/", "^", "(", ")", ",", "?", ":", "<", ">", "!"];

/// Nesting that a text may have; keeps the recursion and the evaluation stack bounded.
const DEPTH: usize = 48;
const STACK: usize = 32;
const TOKENS: usize = 2000;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    token: Token<'a>,
    span: Range<usize>,
    depth: usize,
    tokens: usize,
    names: Vec<(String, Range<usize>)>,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), Mistake> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = &self.text[start..];
        let (token, length) = match rest.chars().next() {
            None => (Token::End, 0),
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let length = number_length(rest);
                let value = rest[..length]
                    .parse()
                    .map_err(|_| (format!("`{}` is not a number", &rest[..length]), start..start + length))?;
                (Token::Number(value), length)
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Name(&rest[..length]), length)
            }
            Some(c) => match SIGNS.iter().find(|s| rest.starts_with(**s)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => return Err((format!("`{c}` has no meaning in an expression"), start..start + c.len_utf8())),
            },
        };
        self.token = token;
        self.span = start..start + length;
        self.at = start + length;
        self.tokens += 1;
        if self.tokens > TOKENS { Err(("the expression is too long".into(), self.span.clone())) } else { Ok(()) }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        match self.token {
            Token::End => (format!("the expression ends where {wanted} should follow"), self.span.clone()),
            _ => (format!("`{}` stands where {wanted} should", &self.text[self.span.clone()]), self.span.clone()),
        }
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Mistake> {
        if self.token == Token::Sign(sign) { self.advance() } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    /// Binary operators that bind at least as tightly as `floor`.
    fn expression(&mut self, floor: u8) -> Result<Node, Mistake> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(("the expression is nested too deeply".into(), self.span.clone()));
        }
        let mut left = self.prefix()?;
        while let Token::Sign(sign) = self.token {
            let Some((level, right_level, function)) = infix(sign) else { break };
            if level < floor {
                break;
            }
            self.advance()?;
            left = match function {
                Some(function) => Node::Call2(function, Box::new((left, self.expression(right_level)?))),
                None => {
                    let yes = self.expression(1)?;
                    self.expect(":")?;
                    Node::If(Box::new((left, yes, self.expression(right_level)?)))
                }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Result<Node, Mistake> {
        let (token, span) = (self.token, self.span.clone());
        match token {
            Token::Number(value) => {
                self.advance()?;
                Ok(Node::Number(value))
            }
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expression(1)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign(sign @ ("-" | "+" | "!")) => {
                self.advance()?;
                let operand = self.expression(UNARY)?;
                Ok(match sign {
                    "-" => Node::Call1(Fn1::Neg, Box::new(operand)),
                    "!" => Node::Call1(Fn1::Not, Box::new(operand)),
                    _ => operand,
                })
            }
            Token::Name(name) => {
                self.advance()?;
                if self.token == Token::Sign("(") {
                    return self.call(name, span);
                }
                if let Some((_, value)) = CONSTANTS.iter().find(|c| c.0 == name) {
                    return Ok(Node::Number(*value));
                }
                if is_reserved(name) {
                    return Err((format!("`{name}` is a function and needs arguments in parentheses"), span));
                }
                let index = self.names.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    self.names.push((name.to_string(), span));
                    self.names.len() - 1
                });
                Ok(Node::Name(index))
            }
            _ => Err(self.unexpected("a number, a name or `(`")),
        }
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Result<Node, Mistake> {
        self.advance()?;
        let mut arguments = vec![];
        if self.token != Token::Sign(")") {
            arguments.push(self.expression(1)?);
            while self.token == Token::Sign(",") {
                self.advance()?;
                arguments.push(self.expression(1)?);
            }
        }
        self.expect(")")?;
        let count = arguments.len();
        let wrong = |wanted: &str| Err((format!("`{name}` takes {wanted}, not {count}"), span.clone()));
        let mut arguments = arguments.into_iter();
        let mut next = || Box::new(arguments.next().expect("counted"));
        if name == "if" {
            if count != 3 {
                return wrong("three arguments (condition, value if true, value if false)");
            }
            return Ok(Node::If(Box::new((*next(), *next(), *next()))));
        }
        if let Some((_, function)) = FUNCTIONS1.iter().find(|f| f.0 == name) {
            return if count == 1 { Ok(Node::Call1(*function, next())) } else { wrong("one argument") };
        }
        if let Some((_, function)) = FUNCTIONS2.iter().find(|f| f.0 == name) {
            let many = matches!(function, Fn2::Min | Fn2::Max);
            if count < 2 || count > 2 && !many {
                return wrong(if many { "two arguments or more" } else { "two arguments" });
            }
            let mut left = *next();
            for _ in 1..count {
                left = Node::Call2(*function, Box::new((left, *next())));
            }
            return Ok(left);
        }
        let known = FUNCTIONS1.iter().map(|f| f.0).chain(FUNCTIONS2.iter().map(|f| f.0)).chain(["if"]);
        let hint = crate::error::nearest(name, known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        Err((format!("there is no function `{name}`{hint}"), span))
    }
}

const UNARY: u8 = 7;

/// (binding level, level of the right operand, function); no function for `?`.
fn infix(sign: &str) -> Option<(u8, u8, Option<Fn2>)> {
    Some(match sign {
        "?" => (1, 1, None),
        "||" => (2, 3, Some(Fn2::Or)),
        "&&" => (3, 4, Some(Fn2::And)),
        "<" => (4, 5, Some(Fn2::Lt)),
        "<=" => (4, 5, Some(Fn2::Le)),
        ">" => (4, 5, Some(Fn2::Gt)),
        ">=" => (4, 5, Some(Fn2::Ge)),
        "==" => (4, 5, Some(Fn2::Eq)),
        "!=" => (4, 5, Some(Fn2::Ne)),
        "+" => (5, 6, Some(Fn2::Add)),
        "-" => (5, 6, Some(Fn2::Sub)),
        "*" => (6, 7, Some(Fn2::Mul)),
        "/" => (6, 7, Some(Fn2::Div)),
        "^" => (8, 7, Some(Fn2::Pow)),
        _ => return None,
    })
}

/// Length of the number at the start of the text: digits, point, exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut i: usize| {
        while bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-')) as usize;
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

impl Expr {
    /// Parse a text; on a mistake: what is wrong, and the byte range in `text`.
    pub fn parse(text: &str) -> Result<Expr, Mistake> {
        let mut parser = Parser { text, at: 0, token: Token::End, span: 0..0, depth: 0, tokens: 0, names: vec![] };
        parser.advance()?;
        let root = parser.expression(1)?;
        if parser.token != Token::End {
            return Err(parser.unexpected("an operator or the end"));
        }
        let expr = Expr { text: text.to_string(), root, names: parser.names };
        if stack_need(&expr.root) > STACK {
            return Err(("the expression is nested too deeply".into(), 0..text.len()));
        }
        Ok(expr)
    }

    /// A plain number.
    pub fn number(value: f64) -> Expr {
        Expr { text: value.to_string(), root: Node::Number(value), names: vec![] }
    }

    /// A plain name.
    pub fn name(name: &str) -> Expr {
        Expr { text: name.to_string(), root: Node::Name(0), names: vec![(name.to_string(), 0..name.len())] }
    }

    /// The value, when no name is needed for it.
    pub fn constant(&self) -> Option<f64> {
        if self.names.is_empty() { self.bind(|_| None).ok().map(|b| b.eval(&[])) } else { None }
    }

    /// Names used, each once, in order of appearance.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// Names used with the byte range of their first appearance.
    pub fn names_with_spans(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.names.iter().map(|(name, span)| (name.as_str(), span.clone()))
    }

    /// Resolve every name to a slot of the array given to [`Bound::eval`]; the first unknown name otherwise.
    pub fn bind(&self, resolver: impl Fn(&str) -> Option<usize>) -> Result<Bound, String> {
        let slots =
            self.names().map(|n| resolver(n).map(|s| s as u32).ok_or_else(|| n.to_string())).collect::<Result<Vec<_>, _>>()?;
        let mut ops = vec![];
        emit(&self.root, &slots, &mut ops);
        Ok(Bound { ops: ops.into() })
    }
}

/// Another meaning for expressions than their value, for instance code: [`Expr::fold`] visits operands before operations.
pub(crate) trait Algebra {
    type Value;
    fn number(&mut self, x: f64) -> Self::Value;
    /// None for an unknown name.
    fn name(&mut self, name: &str) -> Option<Self::Value>;
    fn call1(&mut self, f: Fn1, a: Self::Value) -> Self::Value;
    fn call2(&mut self, f: Fn2, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Whether a condition is already known; then only the branch it takes is visited.
    fn known(&self, condition: &Self::Value) -> Option<bool>;
    fn choose(&mut self, condition: Self::Value, yes: Self::Value, no: Self::Value) -> Self::Value;
}

impl Expr {
    /// The expression in another algebra; the first unknown name otherwise.
    pub(crate) fn fold<A: Algebra>(&self, algebra: &mut A) -> Result<A::Value, String> {
        self.fold_node(&self.root, algebra)
    }

    fn fold_node<A: Algebra>(&self, node: &Node, algebra: &mut A) -> Result<A::Value, String> {
        Ok(match node {
            Node::Number(x) => algebra.number(*x),
            Node::Name(i) => algebra.name(&self.names[*i].0).ok_or_else(|| self.names[*i].0.clone())?,
            Node::Call1(f, a) => {
                let a = self.fold_node(a, algebra)?;
                algebra.call1(*f, a)
            }
            Node::Call2(f, operands) => {
                let (a, b) = (self.fold_node(&operands.0, algebra)?, self.fold_node(&operands.1, algebra)?);
                algebra.call2(*f, a, b)
            }
            Node::If(parts) => {
                let condition = self.fold_node(&parts.0, algebra)?;
                match algebra.known(&condition) {
                    Some(true) => self.fold_node(&parts.1, algebra)?,
                    Some(false) => self.fold_node(&parts.2, algebra)?,
                    None => {
                        let (yes, no) = (self.fold_node(&parts.1, algebra)?, self.fold_node(&parts.2, algebra)?);
                        algebra.choose(condition, yes, no)
                    }
                }
            }
        })
    }
}

/// An expression bound to slots: a short program for a stack machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    ops: Box<[Op]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Number(f64),
    Slot(u32),
    Call1(Fn1),
    Call2(Fn2),
    /// Apply to the top of the stack and a slot or number: saves a push.
    Slot2(Fn2, u32),
    Number2(Fn2, f64),
    /// Pop; skip that many operations when zero.
    SkipUnless(u32),
    Skip(u32),
}

fn emit(node: &Node, slots: &[u32], ops: &mut Vec<Op>) {
    match node {
        Node::Number(x) => ops.push(Op::Number(*x)),
        Node::Name(i) => ops.push(Op::Slot(slots[*i])),
        Node::Call1(f, a) => {
            emit(a, slots, ops);
            match ops.last_mut() {
                Some(Op::Number(x)) if foldable(a) => *x = f.apply(*x),
                _ => ops.push(Op::Call1(*f)),
            }
        }
        Node::Call2(f, operands) => {
            let (a, b) = &**operands;
            let start = ops.len();
            emit(a, slots, ops);
            let middle = ops.len();
            emit(b, slots, ops);
            match (&ops[start..middle], &ops[middle..]) {
                ([Op::Number(x)], [Op::Number(y)]) => {
                    let value = f.apply(*x, *y);
                    ops.truncate(start);
                    ops.push(Op::Number(value));
                }
                (_, [Op::Number(y)]) => *ops.last_mut().expect("just emitted") = Op::Number2(*f, *y),
                (_, [Op::Slot(s)]) => *ops.last_mut().expect("just emitted") = Op::Slot2(*f, *s),
                _ => ops.push(Op::Call2(*f)),
            }
        }
        Node::If(parts) => {
            let (condition, yes, no) = &**parts;
            emit(condition, slots, ops);
            let test = ops.len();
            ops.push(Op::SkipUnless(0));
            emit(yes, slots, ops);
            let jump = ops.len();
            ops.push(Op::Skip(0));
            emit(no, slots, ops);
            ops[test] = Op::SkipUnless((jump - test) as u32);
            ops[jump] = Op::Skip((ops.len() - jump - 1) as u32);
        }
    }
}

/// Without names or branches, so that its code is a single number once folded.
fn foldable(node: &Node) -> bool {
    match node {
        Node::Number(_) => true,
        Node::Name(_) | Node::If(_) => false,
        Node::Call1(_, a) => foldable(a),
        Node::Call2(_, ab) => foldable(&ab.0) && foldable(&ab.1),
    }
}

fn stack_need(node: &Node) -> usize {
    match node {
        Node::Number(_) | Node::Name(_) => 1,
        Node::Call1(_, a) => stack_need(a),
        Node::Call2(_, ab) => stack_need(&ab.0).max(1 + stack_need(&ab.1)),
        Node::If(parts) => stack_need(&parts.0).max(stack_need(&parts.1)).max(stack_need(&parts.2)),
    }
}

impl Bound {
    /// The value, with `slots` as the resolver numbered them. Panics when `slots` is shorter than a slot it was bound to.
    #[inline]
    pub fn eval(&self, slots: &[f64]) -> f64 {
        match *self.ops {
            [Op::Number(x)] => x,
            [Op::Slot(s)] => slots[s as usize],
            _ => self.run(slots),
        }
    }

    fn run(&self, slots: &[f64]) -> f64 {
        let mut stack = [0.0; STACK];
        // The top of the stack lives in `top`; `depth` counts the values below it.
        let (mut top, mut depth, mut at) = (0.0, 0, 0);
        while at < self.ops.len() {
            match self.ops[at] {
                Op::Number(x) => {
                    stack[depth & (STACK - 1)] = top;
                    depth += 1;
                    top = x;
                }
                Op::Slot(s) => {
                    stack[depth & (STACK - 1)] = top;
                    depth += 1;
                    top = slots[s as usize];
                }
                Op::Call1(f) => top = f.apply(top),
                Op::Call2(f) => {
                    depth -= 1;
                    top = f.apply(stack[depth & (STACK - 1)], top);
                }
                Op::Slot2(f, s) => top = f.apply(top, slots[s as usize]),
                Op::Number2(f, x) => top = f.apply(top, x),
                Op::SkipUnless(n) => {
                    if top == 0.0 {
                        at += n as usize;
                    }
                    depth -= 1;
                    top = stack[depth & (STACK - 1)];
                }
                Op::Skip(n) => at += n as usize,
            }
            at += 1;
        }
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> f64 {
        Expr::parse(text).unwrap_or_else(|m| panic!("{text}: {m:?}")).constant().expect("no names")
    }

    #[test]
    fn precedence_and_functions() {
        for (text, expected) in [
            ("1 + 2*3", 7.0),
            ("(1 + 2)*3", 9.0),
            ("-2^2", -4.0),
            ("2^3^2", 512.0),
            ("2^-1", 0.5),
            ("10 - 4 - 3", 3.0),
            ("16/4/2", 2.0),
            ("1 < 2 && 2 < 1 || 1 == 1", 1.0),
            ("!0 + 1", 2.0),
            ("0 ? 1 : 0 ? 2 : 3", 3.0),
            ("1 ? 0 ? 4 : 5 : 6", 5.0),
            ("if(2 > 1, exp(0), 1/0)", 1.0),
            ("min(3, 1, 2) + max(1, 2)", 3.0),
            ("pow(2, 10) - 1e3", 24.0),
            ("1.5e-3*2E+3", 3.0),
            ("-round(2.5) + abs(-floor(1.5))", -2.0),
            ("expm1(0) + log1p(0) + ln(1) + log10(100) + log2(8)", 5.0),
            ("inf > 1e308 ? 1 : 0", 1.0),
            (" .5 + 1. ", 1.5),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        assert_eq!(value("sin(pi/6)"), (std::f64::consts::PI / 6.0).sin());
    }

    #[test]
    fn names_are_bound_in_order() {
        let expr = Expr::parse("exp(-dt/tau_m)*V_m + tau_m").unwrap();
        assert_eq!(expr.names().collect::<Vec<_>>(), ["dt", "tau_m", "V_m"]);
        assert_eq!(expr.names_with_spans().nth(1), Some(("tau_m", 8..13)));
        let bound = expr.bind(|n| ["tau_m", "dt", "V_m"].iter().position(|k| *k == n)).unwrap();
        assert_eq!(bound.eval(&[10.0, 0.1, 2.0]), (-0.1f64 / 10.0).exp() * 2.0 + 10.0);
        assert_eq!(expr.bind(|n| (n == "dt").then_some(0)).unwrap_err(), "tau_m");
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, part, message) in [
            ("1 + ", "", "the expression ends where a number, a name or `(` should follow"),
            ("1 + )", ")", "`)` stands where a number, a name or `(` should"),
            ("expp(1)", "expp", "there is no function `expp`; did you mean `exp`?"),
            ("exp(1, 2)", "exp", "`exp` takes one argument, not 2"),
            ("a b", "b", "`b` stands where an operator or the end should"),
            ("(a", "", "the expression ends where `)` should follow"),
            ("a # b", "#", "`#` has no meaning in an expression"),
            ("exp + 1", "exp", "`exp` is a function and needs arguments in parentheses"),
            ("1 ? 2", "", "the expression ends where `:` should follow"),
            ("", "", "the expression ends where a number, a name or `(` should follow"),
        ] {
            let (said, span) = Expr::parse(text).unwrap_err();
            assert_eq!((said.as_str(), &text[span]), (message, part), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_a_crash() {
        let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(Expr::parse(&deep).unwrap_err().0.contains("nested too deeply"));
        assert!(Expr::parse(&"-".repeat(10_000)).is_err());
        assert_eq!(value(&format!("{}1{}", "(1+".repeat(20), ")".repeat(20))), 21.0);
        assert!(Expr::parse(&format!("{}1{}", "1+(".repeat(40), ")".repeat(40))).is_err());
        let long = vec!["a"; 900].join(" + ");
        assert_eq!(Expr::parse(&long).unwrap().bind(|_| Some(0)).unwrap().eval(&[1.0]), 900.0);
        assert_eq!(Expr::parse(&vec!["a"; 90_000].join(" + ")).unwrap_err().0, "the expression is too long");
    }

    /// A random expression as text, and the same computed directly.
    fn tree() -> impl Strategy<Value = (String, f64)> {
        let leaf = prop_oneof![
            (0.1f64..9.0).prop_map(|x| (format!("{x:?}"), x)),
            Just(("a".to_string(), 3.25)),
            Just(("b".to_string(), -0.75)),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone(), 0..8u8).prop_map(|(x, y, op)| {
                    let (sign, value) = match op {
                        0 => ("+", x.1 + y.1),
                        1 => ("-", x.1 - y.1),
                        2 => ("*", x.1 * y.1),
                        3 => ("/", x.1 / y.1),
                        4 => ("<", (x.1 < y.1) as u8 as f64),
                        5 => (">=", (x.1 >= y.1) as u8 as f64),
                        6 => ("&&", (x.1 != 0.0 && y.1 != 0.0) as u8 as f64),
                        _ => ("||", (x.1 != 0.0 || y.1 != 0.0) as u8 as f64),
                    };
                    (format!("({} {sign} {})", x.0, y.0), value)
                }),
                inner.clone().prop_map(|x| (format!("-{}", x.0), -x.1)),
                inner.clone().prop_map(|x| (format!("cos({})", x.0), x.1.cos())),
                (inner.clone(), inner.clone(), inner)
                    .prop_map(|(c, x, y)| (format!("({} ? {} : {})", c.0, x.0, y.0), if c.1 != 0.0 { x.1 } else { y.1 })),
            ]
        })
    }

    proptest! {
        #[test]
        fn evaluation_agrees_with_direct_arithmetic((text, expected) in tree()) {
            let bound = Expr::parse(&text).unwrap().bind(|n| ["a", "b"].iter().position(|k| *k == n)).unwrap();
            let got = bound.eval(&[3.25, -0.75]);
            prop_assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{text}: {got} {expected}");
        }

        #[test]
        fn no_text_panics(text in "[a-z0-9.+*/^()?:<>=!&|, -]{0,40}") {
            let _ = Expr::parse(&text);
        }
    }
}
