//! The expression language: how a score is made of `p_score`, and a composite of its predictors.
//!
//! ```text
//! max(0, 1000 * p_score - 50)
//! 0.7*fcr + 0.3*nps
//! ```
//!
//! `+ - * /`, parentheses, unary minus, `min(a, b, …)`, `max(a, b, …)`, numbers, names.
//! [`Expression::check_range`] refuses an expression whose score could be negative or not finite.

mod lexer;
mod parser;
mod range;

use std::fmt;

pub use range::{Range, RangeError};

/// Longest expression, in bytes.
pub const MAX_LENGTH_BYTES: usize = 4 << 10;
/// Deepest nesting of parentheses, signs and calls.
pub const MAX_DEPTH: usize = 64;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// Finite.
    Number(f64),
    Name {
        name: String,
        position: usize,
    },
    Negate(Box<Node>),
    Binary {
        operator: Binary,
        left: Box<Node>,
        right: Box<Node>,
        position: usize,
    },
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Min,
    Max,
}

impl Expression {
    /// The names used, each once, in the order of their first use.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.each_name(&mut |name, _| {
            if !names.contains(&name) {
                names.push(name);
            }
        });
        names
    }

    /// Where a name is first used, as a 0-based character position: for errors about it.
    pub fn position_of(&self, wanted: &str) -> Option<usize> {
        let mut found = None;
        self.0.each_name(&mut |name, position| {
            if name == wanted && found.is_none() {
                found = Some(position);
            }
        });
        found
    }

    /// The value, given the names' values. Follows IEEE 754: the caller decides what a NaN or an infinity means.
    /// `min` and `max` are NaN when an argument is.
    pub fn eval(&self, value: &dyn Fn(&str) -> f64) -> f64 {
        self.0.eval(value)
    }
}

impl Node {
    fn each_name<'a>(&'a self, visit: &mut dyn FnMut(&'a str, usize)) {
        match self {
            Node::Number(_) => {}
            Node::Name { name, position } => visit(name, *position),
            Node::Negate(inner) => inner.each_name(visit),
            Node::Binary { left, right, .. } => {
                left.each_name(visit);
                right.each_name(visit);
            }
            Node::Call { arguments, .. } => arguments.iter().for_each(|argument| argument.each_name(visit)),
        }
    }

    fn eval(&self, value: &dyn Fn(&str) -> f64) -> f64 {
        match self {
            Node::Number(number) => *number,
            Node::Name { name, .. } => value(name),
            Node::Negate(inner) => -inner.eval(value),
            Node::Binary { operator, left, right, .. } => operator.apply(left.eval(value), right.eval(value)),
            Node::Call { function, arguments } => arguments
                .iter()
                .map(|argument| argument.eval(value))
                .reduce(|a, b| function.apply(a, b))
                .unwrap_or(f64::NAN),
        }
    }
}

impl Binary {
    fn symbol(self) -> char {
        match self {
            Binary::Add => '+',
            Binary::Subtract => '-',
            Binary::Multiply => '*',
            Binary::Divide => '/',
        }
    }

    fn precedence(self) -> u8 {
        match self {
            Binary::Add | Binary::Subtract => 1,
            Binary::Multiply | Binary::Divide => 2,
        }
    }

    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Binary::Add => left + right,
            Binary::Subtract => left - right,
            Binary::Multiply => left * right,
            Binary::Divide => left / right,
        }
    }
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Min => "min",
            Function::Max => "max",
        }
    }

    fn apply(self, left: f64, right: f64) -> f64 {
        if left.is_nan() || right.is_nan() {
            return f64::NAN;
        }
        match self {
            Function::Min => left.min(right),
            Function::Max => left.max(right),
        }
    }
}

/// Prints text that parses to the same expression.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operand = |f: &mut fmt::Formatter<'_>, node: &Node, parentheses: bool| {
            if parentheses { write!(f, "({node})") } else { write!(f, "{node}") }
        };
        match self {
            Node::Number(number) => write!(f, "{number:?}"),
            Node::Name { name, .. } => f.write_str(name),
            Node::Negate(inner) => {
                f.write_str("-")?;
                operand(f, inner, matches!(**inner, Node::Binary { .. }))
            }
            Node::Binary { operator, left, right, .. } => {
                let precedence = |node: &Node| match node {
                    Node::Binary { operator, .. } => operator.precedence(),
                    _ => u8::MAX,
                };
                operand(f, left, precedence(left) < operator.precedence())?;
                write!(f, " {} ", operator.symbol())?;
                // Left-associative: an equal operator on the right keeps its parentheses.
                operand(f, right, precedence(right) <= operator.precedence())
            }
            Node::Call { function, arguments } => {
                write!(f, "{}(", function.name())?;
                for (index, argument) in arguments.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    write!(f, "{argument}")?;
                }
                f.write_str(")")
            }
        }
    }
}
