//! Tokens to a syntax tree.
//!
//! ```text
//! filter := "&"? or
//! or     := and ("|" and)*
//! and    := unary ("&" unary)*
//! unary  := "!" unary | "(" or ")" | name (operator value)?
//! ```

use std::str::FromStr;

use super::ast::{Expr, Filter, Literal};
use super::lexer::{Token, shortened, tokens};
use super::{MAX_DEPTH, MAX_LENGTH_BYTES};
use crate::domain::language::{Cursor, LanguageError};

impl Filter {
    /// Parses an expression; a leading `&` is tolerated, because strategies glue conditions together.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        if text.len() > MAX_LENGTH_BYTES {
            let position = text.char_indices().take_while(|(byte, _)| *byte < MAX_LENGTH_BYTES).count();
            return Err(LanguageError::new(
                position,
                format!("the expression has {} bytes; at most {MAX_LENGTH_BYTES} are allowed", text.len()),
            ));
        }
        let mut parser = Parser { tokens: tokens(text)? };
        parser.tokens.take_if(&Token::And);
        let expr = parser.or(0)?;
        match parser.tokens.peek() {
            Token::End => Ok(Filter(expr)),
            Token::Close => {
                Err(parser.tokens.error("this \")\" closes nothing: remove it, or add the \"(\" that it belongs to"))
            }
            found => Err(parser
                .tokens
                .error(format!("expected \"&\", \"|\" or the end of the expression, found {}", found.describe()))),
        }
    }
}

impl FromStr for Filter {
    type Err = LanguageError;

    fn from_str(text: &str) -> Result<Self, LanguageError> {
        Filter::parse(text)
    }
}

struct Parser {
    tokens: Cursor<Token>,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Expr, LanguageError> {
        let mut parts = vec![self.and(depth)?];
        while self.tokens.take_if(&Token::Or) {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self, depth: usize) -> Result<Expr, LanguageError> {
        let mut parts = vec![self.unary(depth)?];
        while self.tokens.take_if(&Token::And) {
            parts.push(self.unary(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::And(parts) })
    }

    fn unary(&mut self, depth: usize) -> Result<Expr, LanguageError> {
        if depth >= MAX_DEPTH {
            return Err(self.tokens.error(format!("parentheses and negations are nested more than {MAX_DEPTH} deep")));
        }
        let position = self.tokens.position();
        match self.tokens.peek() {
            Token::Not => {
                self.tokens.take();
                Ok(Expr::Not(Box::new(self.unary(depth + 1)?)))
            }
            Token::Open => {
                self.tokens.take();
                let inner = self.or(depth + 1)?;
                if !self.tokens.take_if(&Token::Close) {
                    let found = self.tokens.peek().describe();
                    return Err(self.tokens.error(format!(
                        "expected \"&\", \"|\" or the \")\" for the \"(\" at position {position}, found {found}"
                    )));
                }
                Ok(inner)
            }
            Token::Word(_) | Token::Quoted(_) => self.term(position),
            found => {
                let found = found.describe();
                Err(self
                    .tokens
                    .error(format!("expected a condition such as English>3, a name, \"!\" or \"(\", found {found}")))
            }
        }
    }

    fn term(&mut self, position: usize) -> Result<Expr, LanguageError> {
        let name = match self.tokens.take() {
            Token::Word(name) | Token::Quoted(name) => name,
            other => return Err(LanguageError::new(position, format!("expected a name, found {}", other.describe()))),
        };
        if name.is_empty() {
            return Err(LanguageError::new(position, "a name cannot be empty"));
        }
        let Token::Operator(operator) = *self.tokens.peek() else {
            if let Token::Word(next) | Token::Quoted(next) = self.tokens.peek() {
                return Err(self.tokens.error(format!(
                    "expected an operator (= != < <= > >=), \"&\" or \"|\" after {}; a name that holds a space is quoted, as in \"{} {}\"",
                    shortened(&name),
                    shortened(&name),
                    shortened(next),
                )));
            }
            return Ok(Expr::Name { name, position });
        };
        self.tokens.take();
        let value_position = self.tokens.position();
        let value = match self.tokens.peek() {
            Token::Integer(value) => Literal::Integer(*value),
            Token::Float(value) => Literal::Float(*value),
            Token::Quoted(text) => Literal::Text(text.clone()),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Boolean(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Boolean(false),
            Token::Word(word) => {
                let word = shortened(word);
                return Err(self
                    .tokens
                    .error(format!("text is compared in quotes: write {name} {} \"{word}\"", operator.symbol())));
            }
            found => {
                let found = found.describe();
                return Err(self.tokens.error(format!(
                    "expected a number, a \"quoted text\", true or false after {}, found {found}",
                    operator.symbol()
                )));
            }
        };
        self.tokens.take();
        Ok(Expr::Compare { name, name_position: position, operator, value, value_position })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::ast::Operator;

    fn error(text: &str) -> (usize, String) {
        let error = Filter::parse(text).unwrap_err();
        (error.position, error.message)
    }

    #[test]
    fn not_binds_over_and_over_or() {
        let parsed = Filter::parse("!a & b | c & d").unwrap();
        assert_eq!(parsed.to_string(), "!a & b | c & d");
        let Expr::Or(parts) = parsed.expr() else { panic!("an or on top") };
        assert!(matches!(&parts[0], Expr::And(and) if matches!(and[0], Expr::Not(_))));
        assert_eq!(Filter::parse("(a | b) & !(c = 1)").unwrap().to_string(), "(a | b) & !(c = 1)");
    }

    #[test]
    fn a_leading_and_is_tolerated() {
        assert_eq!(Filter::parse("& English>3").unwrap().to_string(), "English > 3");
        assert_eq!(error("&& a").0, 1);
    }

    #[test]
    fn values_are_numbers_text_and_booleans() {
        let text = r#"a=-3 & b>=2.5e-3 & "c d"!="say \"hi\" \\" & e=TRUE"#;
        assert_eq!(
            Filter::parse(text).unwrap().to_string(),
            r#"a = -3 & b >= 0.0025 & "c d" != "say \"hi\" \\" & e = true"#
        );
    }

    #[test]
    fn errors_point_at_the_character_and_say_what_was_expected() {
        for (text, position, hint) in [
            ("", 0, "expected a condition"),
            ("English>", 8, "expected a number"),
            ("Größe>3 & (a", 12, "for the \"(\" at position 10"),
            ("a)", 1, "closes nothing"),
            ("a = b", 4, "a = \"b\""),
            ("Tech Support", 5, "\"Tech Support\""),
            ("a = \"b", 4, "never closed"),
            ("a = 'b'", 4, "quoted with \""),
            ("a # b", 2, "'#' has no meaning"),
            ("a > 99999999999999999999", 4, "too large"),
            ("a > 1e999", 4, "too large"),
            ("a > -", 4, "not a number"),
            ("a = 3rd", 5, "in quotes"),
            ("a == 3", 3, "found \"=\""),
            ("\"\" = 1", 0, "cannot be empty"),
        ] {
            let (at, message) = error(text);
            assert_eq!(at, position, "{text}: {message}");
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn length_and_depth_are_limited() {
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert_eq!(error(&deep).0, MAX_DEPTH);
        assert_eq!(error(&format!("{}a", "!".repeat(100_000))).0, MAX_LENGTH_BYTES);
        assert!(error(&"é".repeat(MAX_LENGTH_BYTES)).1.contains("at most"));
    }

    pub(crate) fn without_positions(expr: &Expr) -> Expr {
        match expr {
            Expr::And(parts) => Expr::And(parts.iter().map(without_positions).collect()),
            Expr::Or(parts) => Expr::Or(parts.iter().map(without_positions).collect()),
            Expr::Not(part) => Expr::Not(Box::new(without_positions(part))),
            Expr::Compare { name, operator, value, .. } => Expr::Compare {
                name: name.clone(),
                name_position: 0,
                operator: *operator,
                value: value.clone(),
                value_position: 0,
            },
            Expr::Name { name, .. } => Expr::Name { name: name.clone(), position: 0 },
        }
    }

    fn literal() -> impl Strategy<Value = Literal> {
        prop_oneof![
            any::<i64>().prop_map(Literal::Integer),
            any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Literal::Float),
            "\\PC{0,12}".prop_map(Literal::Text),
            any::<bool>().prop_map(Literal::Boolean),
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", "\\PC{1,8}", Just("true".to_owned())]
    }

    fn operator() -> impl Strategy<Value = Operator> {
        prop::sample::select(vec![
            Operator::Equal,
            Operator::NotEqual,
            Operator::Less,
            Operator::LessOrEqual,
            Operator::Greater,
            Operator::GreaterOrEqual,
        ])
    }

    fn expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            (name(), operator(), literal()).prop_map(|(name, operator, value)| Expr::Compare {
                name,
                name_position: 0,
                operator,
                value,
                value_position: 0
            }),
            name().prop_map(|name| Expr::Name { name, position: 0 }),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
                inner.prop_map(|part| Expr::Not(Box::new(part))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(tree in expr()) {
            let text = Filter(tree.clone()).to_string();
            let parsed = Filter::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(without_positions(parsed.expr()), tree);
        }

        #[test]
        fn any_text_ends_in_a_filter_or_a_position_inside_it(text in "\\PC{0,40}") {
            if let Err(error) = Filter::parse(&text) {
                prop_assert!(error.position <= text.chars().count());
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
