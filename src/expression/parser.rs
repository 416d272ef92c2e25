//! Tokens to an expression.
//!
//! ```text
//! sum     := product (("+" | "-") product)*
//! product := unary (("*" | "/") unary)*
//! unary   := "-" unary | number | name | name "(" sum ("," sum)* ")" | "(" sum ")"
//! ```

use std::str::FromStr;

use super::lexer::{Token, tokens};
use super::{Binary, Expression, Function, MAX_DEPTH, MAX_LENGTH_BYTES, Node};
use crate::domain::language::{Cursor, LanguageError};

impl Expression {
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        if text.len() > MAX_LENGTH_BYTES {
            let message = format!("the expression has {} bytes; at most {MAX_LENGTH_BYTES} are allowed", text.len());
            return Err(LanguageError::new(0, message));
        }
        let mut parser = Parser { tokens: tokens(text)? };
        let node = parser.sum(0)?;
        match parser.tokens.peek() {
            Token::End => Ok(Expression(node)),
            found => Err(parser
                .tokens
                .error(format!("expected + - * / or the end of the expression, found {}", found.describe()))),
        }
    }
}

impl FromStr for Expression {
    type Err = LanguageError;

    fn from_str(text: &str) -> Result<Self, LanguageError> {
        Expression::parse(text)
    }
}

struct Parser {
    tokens: Cursor<Token>,
}

impl Parser {
    fn symbol(&mut self, symbol: char) -> bool {
        self.tokens.take_if(&Token::Symbol(symbol))
    }

    fn sum(&mut self, depth: usize) -> Result<Node, LanguageError> {
        self.chain(depth, &[('+', Binary::Add), ('-', Binary::Subtract)], Self::product)
    }

    fn product(&mut self, depth: usize) -> Result<Node, LanguageError> {
        self.chain(depth, &[('*', Binary::Multiply), ('/', Binary::Divide)], Self::unary)
    }

    fn chain(
        &mut self,
        depth: usize,
        operators: &[(char, Binary)],
        operand: fn(&mut Self, usize) -> Result<Node, LanguageError>,
    ) -> Result<Node, LanguageError> {
        let mut left = operand(self, depth)?;
        let mut length = 0;
        loop {
            let position = self.tokens.position();
            let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.symbol(*symbol)) else {
                return Ok(left);
            };
            // Each link is a level of the tree, which is walked by recursion.
            length += 1;
            if length > 16 * MAX_DEPTH {
                return Err(LanguageError::new(position, "the expression has too many operators in a row"));
            }
            let right = Box::new(operand(self, depth)?);
            left = Node::Binary { operator: *operator, left: Box::new(left), right, position };
        }
    }

    fn unary(&mut self, depth: usize) -> Result<Node, LanguageError> {
        if depth >= MAX_DEPTH {
            return Err(self.tokens.error(format!("the expression is nested more than {MAX_DEPTH} deep")));
        }
        let position = self.tokens.position();
        match self.tokens.peek().clone() {
            Token::Symbol('-') => {
                self.tokens.take();
                Ok(Node::Negate(Box::new(self.unary(depth + 1)?)))
            }
            Token::Symbol('(') => {
                self.tokens.take();
                let inner = self.sum(depth + 1)?;
                self.close(position)?;
                Ok(inner)
            }
            Token::Number(number) => {
                self.tokens.take();
                Ok(Node::Number(number))
            }
            Token::Name(name) => {
                self.tokens.take();
                let open = self.tokens.position();
                if self.symbol('(') {
                    return self.call(&name, position, open, depth);
                }
                Ok(Node::Name { name, position })
            }
            found => {
                Err(self.tokens.error(format!("expected a number, a name, \"-\" or \"(\", found {}", found.describe())))
            }
        }
    }

    fn call(&mut self, name: &str, position: usize, open: usize, depth: usize) -> Result<Node, LanguageError> {
        let function = match name {
            "min" => Function::Min,
            "max" => Function::Max,
            other => {
                return Err(LanguageError::new(
                    position,
                    format!("there is no function {other}; min and max are known"),
                ));
            }
        };
        let mut arguments = vec![self.sum(depth + 1)?];
        while self.symbol(',') {
            arguments.push(self.sum(depth + 1)?);
        }
        self.close(open)?;
        Ok(Node::Call { function, arguments })
    }

    fn close(&mut self, open: usize) -> Result<(), LanguageError> {
        if self.symbol(')') {
            return Ok(());
        }
        let found = self.tokens.peek().describe();
        Err(self.tokens.error(format!("expected + - * / or the \")\" for the \"(\" at position {open}, found {found}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> f64 {
        Expression::parse(text).unwrap().eval(&|name| match name {
            "p_score" => 0.25,
            "fcr" => 2.0,
            _ => f64::NAN,
        })
    }

    #[test]
    fn arithmetic_is_what_it_is_on_paper() {
        assert_eq!(value("1 + 2 * 3 - 4 / 2"), 5.0);
        assert_eq!(value("(1 + 2) * -3"), -9.0);
        assert_eq!(value("10 - 4 - 3"), 3.0);
        assert_eq!(value("16 / 4 / 2"), 2.0);
        assert_eq!(value("--p_score * 4"), 1.0);
        assert_eq!(value("max(min(fcr, 1, 7), p_score, 0.5)"), 1.0);
        assert_eq!(value("1.5e2 * fcr"), 300.0);
        assert!(value("min(1, unknown)").is_nan());
    }

    #[test]
    fn names_are_listed_once_in_order_with_their_positions() {
        let expression = Expression::parse("b + a * b + max(c, 1)").unwrap();
        assert_eq!(expression.names(), ["b", "a", "c"]);
        assert_eq!(expression.position_of("a"), Some(4));
        assert_eq!(expression.position_of("d"), None);
    }

    #[test]
    fn errors_point_at_the_character_and_say_what_was_expected() {
        for (text, position, hint) in [
            ("", 0, "expected a number"),
            ("1 +", 3, "expected a number"),
            ("(1 + 2", 6, "at position 0"),
            ("1 2", 2, "the number 2"),
            ("avg(1, 2)", 0, "min and max are known"),
            ("p_score ^ 2", 8, "no meaning"),
            ("1.2.3", 0, "not a number"),
            ("1e999", 0, "too large"),
            ("min()", 4, "expected a number"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.contains(hint), "{text}: {error}");
        }
        assert!(Expression::parse(&"(".repeat(500)).unwrap_err().message.contains("nested"));
        assert!(Expression::parse(&format!("1{}", "+1".repeat(2_000))).unwrap_err().message.contains("too many"));
    }

    fn strip(node: &Node) -> Node {
        match node {
            Node::Number(number) => Node::Number(*number),
            Node::Name { name, .. } => Node::Name { name: name.clone(), position: 0 },
            Node::Negate(inner) => Node::Negate(Box::new(strip(inner))),
            Node::Binary { operator, left, right, .. } => Node::Binary {
                operator: *operator,
                left: Box::new(strip(left)),
                right: Box::new(strip(right)),
                position: 0,
            },
            Node::Call { function, arguments } => {
                Node::Call { function: *function, arguments: arguments.iter().map(strip).collect() }
            }
        }
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            (0.0..1e6f64).prop_map(Node::Number),
            "[a-z_][a-z0-9_]{0,6}".prop_map(|name| Node::Name { name, position: 0 }),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            let operator = prop::sample::select(vec![Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide]);
            let function = prop::sample::select(vec![Function::Min, Function::Max]);
            prop_oneof![
                inner.clone().prop_map(|node| Node::Negate(Box::new(node))),
                (operator, inner.clone(), inner.clone()).prop_map(|(operator, left, right)| Node::Binary {
                    operator,
                    left: Box::new(left),
                    right: Box::new(right),
                    position: 0
                }),
                (function, prop::collection::vec(inner, 1..4))
                    .prop_map(|(function, arguments)| Node::Call { function, arguments }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(tree in node()) {
            let text = Expression(tree.clone()).to_string();
            let parsed = Expression::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(strip(&parsed.0), tree);
        }
    }
}
