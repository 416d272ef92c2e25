//! Text to tokens.

use crate::domain::language::{Cursor, LanguageError};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Name(String),
    /// One of `+ - * / ( ) ,`.
    Symbol(char),
    End,
}

impl Token {
    /// How an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Number(number) => format!("the number {number}"),
            Token::Name(name) => format!("the name {name}"),
            Token::Symbol(symbol) => format!("\"{symbol}\""),
            Token::End => "the end of the expression".to_owned(),
        }
    }
}

/// Every token of the text; [`Token::End`] follows the last.
pub(super) fn tokens(text: &str) -> Result<Cursor<Token>, LanguageError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        let token = match c {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '+' | '-' | '*' | '/' | '(' | ')' | ',' => {
                at += 1;
                Token::Symbol(c)
            }
            c if c.is_ascii_digit() || c == '.' => {
                at = number_end(&chars, at);
                let text: String = chars[start..at].iter().collect();
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => Token::Number(number),
                    Ok(_) => return Err(LanguageError::new(start, format!("the number {text} is too large"))),
                    Err(_) => return Err(LanguageError::new(start, format!("{text:?} is not a number"))),
                }
            }
            c if c.is_alphabetic() || c == '_' => {
                while chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    at += 1;
                }
                Token::Name(chars[start..at].iter().collect())
            }
            other => {
                return Err(LanguageError::new(
                    at,
                    format!(
                        "{other:?} has no meaning here; an expression holds numbers, names, + - * /, parentheses, min and max"
                    ),
                ));
            }
        };
        tokens.push((start, token));
    }
    Ok(Cursor::new(tokens, (chars.len(), Token::End)))
}

fn number_end(chars: &[char], mut at: usize) -> usize {
    let digits_or_point = |c: &char| c.is_ascii_digit() || *c == '.';
    while chars.get(at).is_some_and(digits_or_point) {
        at += 1;
    }
    if matches!(chars.get(at), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(at + 1), Some('+' | '-')));
        if chars.get(at + 1 + sign).is_some_and(char::is_ascii_digit) {
            at += 1 + sign;
            while chars.get(at).is_some_and(char::is_ascii_digit) {
                at += 1;
            }
        }
    }
    at
}
