//! Could a score be negative or not finite? Interval arithmetic over the names' ranges.

use super::{Binary, Expression, Function, Node};

/// The values that something can take, both ends included, both finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    /// A probability.
    pub const UNIT: Range = Range { low: 0.0, high: 1.0 };

    pub fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    fn contains_zero(self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// What is wrong with an expression as a score.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RangeError {
    #[error("the name {name} at position {position} is not known here")]
    UnknownName { name: String, position: usize },
    /// The position is the division sign's.
    #[error(
        "the division at position {position} can divide by zero: keep its divisor away from zero, as in max(0.001, …)"
    )]
    DivisionByZero { position: usize },
    #[error("the result can be infinite: use smaller numbers")]
    Infinite,
    #[error("the result can be as low as {low}, and a score is never negative: wrap it in max(0, …) or add a number")]
    Negative { low: f64 },
}

/// Pieces of a range that are looked at on their own, so that `p_score - p_score*p_score` is not
/// taken for something that can reach -1: within a piece both sides move together.
const PIECES: u32 = 1024;

impl Expression {
    /// Checks that the value is finite and not negative wherever the names are in their ranges; answers its range.
    ///
    /// With one name the check is as fine as a 1,024th of its range and refuses what truly happens at
    /// one of the points between; with more names it is plain interval arithmetic, which treats two uses of a name as if they
    /// were independent: it may refuse a sound expression but never accepts an unsound one.
    pub fn check_range(&self, range: &dyn Fn(&str) -> Option<Range>) -> Result<Range, RangeError> {
        let names = self.names();
        let mut ranges = Vec::with_capacity(names.len());
        for name in &names {
            let position = self.position_of(name).unwrap_or_default();
            let unknown = || RangeError::UnknownName { name: (*name).to_owned(), position };
            ranges.push((*name, range(name).ok_or_else(unknown)?));
        }
        let [(name, whole)] = ranges.as_slice() else {
            let found = interval(&self.0, &ranges)?;
            return if found.low < 0.0 { Err(RangeError::Negative { low: found.low }) } else { Ok(found) };
        };
        let step = (whole.high - whole.low) / f64::from(PIECES);
        let point = |index: u32| if index == PIECES { whole.high } else { whole.low + step * f64::from(index) };
        let mut found = Range { low: f64::INFINITY, high: f64::NEG_INFINITY };
        for piece in 0..PIECES {
            let part = Range { low: point(piece), high: point(piece + 1) };
            let bound = interval(&self.0, &[(*name, part)])?;
            // What the bound fears must happen at an end of the piece to count: bounds are not tight.
            for end in [part.low, part.high] {
                let value = self.eval(&|_| end);
                found = Range { low: found.low.min(value), high: found.high.max(value) };
            }
            if bound.low >= 0.0 {
                continue;
            }
            let middle = self.eval(&|_| f64::midpoint(part.low, part.high));
            found.low = found.low.min(middle);
        }
        if found.low < 0.0 { Err(RangeError::Negative { low: found.low }) } else { Ok(found) }
    }
}

fn interval(node: &Node, ranges: &[(&str, Range)]) -> Result<Range, RangeError> {
    let found = match node {
        Node::Number(number) => Range::new(*number, *number),
        Node::Name { name, position } => match ranges.iter().find(|(known, _)| known == name) {
            Some((_, range)) => *range,
            None => return Err(RangeError::UnknownName { name: name.clone(), position: *position }),
        },
        Node::Negate(inner) => {
            let inner = interval(inner, ranges)?;
            Range::new(-inner.high, -inner.low)
        }
        Node::Binary { operator, left, right, position } => {
            let (left, right) = (interval(left, ranges)?, interval(right, ranges)?);
            match operator {
                Binary::Add => Range::new(left.low + right.low, left.high + right.high),
                Binary::Subtract => Range::new(left.low - right.high, left.high - right.low),
                Binary::Multiply => corners(left, right, |a, b| a * b),
                Binary::Divide if right.contains_zero() => {
                    return Err(RangeError::DivisionByZero { position: *position });
                }
                Binary::Divide => corners(left, right, |a, b| a / b),
            }
        }
        Node::Call { function, arguments } => {
            let mut all = arguments.iter().map(|argument| interval(argument, ranges));
            // The parser never makes a call without arguments.
            let first = all.next().unwrap_or(Ok(Range::new(0.0, 0.0)))?;
            all.try_fold(first, |a, b| {
                let b = b?;
                Ok(match function {
                    Function::Min => Range::new(a.low.min(b.low), a.high.min(b.high)),
                    Function::Max => Range::new(a.low.max(b.low), a.high.max(b.high)),
                })
            })?
        }
    };
    if found.low.is_finite() && found.high.is_finite() { Ok(found) } else { Err(RangeError::Infinite) }
}

/// Products and quotients take their extremes at the corners.
fn corners(left: Range, right: Range, apply: fn(f64, f64) -> f64) -> Range {
    let values = [
        apply(left.low, right.low),
        apply(left.low, right.high),
        apply(left.high, right.low),
        apply(left.high, right.high),
    ];
    Range::new(values.into_iter().fold(f64::INFINITY, f64::min), values.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Range, RangeError> {
        Expression::parse(text).unwrap().check_range(&|name| match name {
            "p_score" => Some(Range::UNIT),
            "fcr" | "nps" => Some(Range::new(0.0, 1000.0)),
            _ => None,
        })
    }

    #[test]
    fn sound_scores_are_accepted_with_their_range() {
        assert_eq!(check("1000 * p_score"), Ok(Range::new(0.0, 1000.0)));
        assert_eq!(check("1000 * (1 - p_score)"), Ok(Range::new(0.0, 1000.0)));
        assert_eq!(check("max(0, p_score - 0.5)"), Ok(Range::new(0.0, 0.5)));
        assert_eq!(check("0.7*fcr + 0.3*nps"), Ok(Range::new(0.0, 1000.0)));
        assert_eq!(check("1 / (p_score + 1)"), Ok(Range::new(0.5, 1.0)));
        assert!(check("p_score - p_score * p_score").is_ok());
        assert_eq!(check("7"), Ok(Range::new(7.0, 7.0)));
    }

    #[test]
    fn what_could_go_wrong_is_named() {
        assert!(matches!(check("p_score - 0.5"), Err(RangeError::Negative { low }) if low == -0.5));
        assert!(matches!(check("fcr - nps"), Err(RangeError::Negative { low }) if low == -1000.0));
        assert_eq!(check("1 / p_score"), Err(RangeError::DivisionByZero { position: 2 }));
        assert_eq!(check("1 / (p_score - 0.3)"), Err(RangeError::DivisionByZero { position: 2 }));
        assert_eq!(check("1e308 * 1e308 * p_score"), Err(RangeError::Infinite));
        assert!(matches!(check("score + 1"), Err(RangeError::UnknownName { position: 0, .. })));
        assert!(check("-1").unwrap_err().to_string().contains("max(0, …)"));
    }
}
