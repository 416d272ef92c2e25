//! The syntax tree of a filter.

use std::fmt;

/// A parsed expression; names are not resolved yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(pub(super) Expr);

/// One node. Positions are 0-based characters in the text that was parsed.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// At least two parts.
    And(Vec<Expr>),
    /// At least two parts.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        name: String,
        name_position: usize,
        operator: Operator,
        value: Literal,
        value_position: usize,
    },
    /// Member of a group, or a Boolean field that is true.
    Name {
        name: String,
        position: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Equal,
    /// True for a missing value, too.
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Integer(i64),
    /// Finite.
    Float(f64),
    Text(String),
    /// `true` or `false` without quotes.
    Boolean(bool),
}

impl Filter {
    pub fn expr(&self) -> &Expr {
        &self.0
    }
}

impl Operator {
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }

    /// One of the four that need an order.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Operator::Equal | Operator::NotEqual)
    }
}

/// Prints text that parses to the same filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::And(parts) => join(f, parts, " & ", |part| matches!(part, Expr::And(_) | Expr::Or(_))),
            Expr::Or(parts) => join(f, parts, " | ", |part| matches!(part, Expr::Or(_))),
            Expr::Not(part) => {
                f.write_str("!")?;
                // `!(a = 1)` also parses without its parentheses, but reads worse.
                operand(f, part, !matches!(**part, Expr::Name { .. } | Expr::Not(_)))
            }
            Expr::Compare { name, operator, value, .. } => {
                write_name(f, name)?;
                write!(f, " {} {value}", operator.symbol())
            }
            Expr::Name { name, .. } => write_name(f, name),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[Expr], between: &str, parentheses: fn(&Expr) -> bool) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        operand(f, part, parentheses(part))?;
    }
    Ok(())
}

fn operand(f: &mut fmt::Formatter<'_>, part: &Expr, parentheses: bool) -> fmt::Result {
    if parentheses { write!(f, "({part})") } else { write!(f, "{part}") }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Integer(value) => write!(f, "{value}"),
            // `{:?}` always has a point or an exponent, so that a float stays one.
            Literal::Float(value) => write!(f, "{value:?}"),
            Literal::Text(text) => write_quoted(f, text),
            Literal::Boolean(value) => write!(f, "{value}"),
        }
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_plain_name(name) { f.write_str(name) } else { write_quoted(f, name) }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        if c == '"' || c == '\\' {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

/// Needs no quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(starts_name) && chars.all(continues_name)
}

pub(super) fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}
