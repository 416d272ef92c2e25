//! Text to tokens.

use super::ast::{Operator, continues_name, starts_name};
use crate::domain::language::{Cursor, LanguageError};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    And,
    Or,
    Not,
    Open,
    Close,
    Operator(Operator),
    /// An unquoted word.
    Word(String),
    /// Text in quotes: a name or a value, as its place says.
    Quoted(String),
    Integer(i64),
    Float(f64),
    End,
}

impl Token {
    /// How an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::And => "\"&\"".to_owned(),
            Token::Or => "\"|\"".to_owned(),
            Token::Not => "\"!\"".to_owned(),
            Token::Open => "\"(\"".to_owned(),
            Token::Close => "\")\"".to_owned(),
            Token::Operator(operator) => format!("\"{}\"", operator.symbol()),
            Token::Word(word) => format!("the word {}", shortened(word)),
            Token::Quoted(text) => format!("the text \"{}\"", shortened(text)),
            Token::Integer(value) => format!("the number {value}"),
            Token::Float(value) => format!("the number {value}"),
            Token::End => "the end of the expression".to_owned(),
        }
    }
}

/// For messages only: the first 60 characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Every token of the text; [`Token::End`] follows the last.
pub(super) fn tokens(text: &str) -> Result<Cursor<Token>, LanguageError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = token(&chars, at)?;
        tokens.push((at, token));
        at += length;
    }
    Ok(Cursor::new(tokens, (chars.len(), Token::End)))
}

fn token(chars: &[char], at: usize) -> Result<(Token, usize), LanguageError> {
    let c = chars[at];
    let equals_follows = chars.get(at + 1) == Some(&'=');
    Ok(match c {
        '&' => (Token::And, 1),
        '|' => (Token::Or, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        '!' if equals_follows => (Token::Operator(Operator::NotEqual), 2),
        '!' => (Token::Not, 1),
        '<' if equals_follows => (Token::Operator(Operator::LessOrEqual), 2),
        '<' => (Token::Operator(Operator::Less), 1),
        '>' if equals_follows => (Token::Operator(Operator::GreaterOrEqual), 2),
        '>' => (Token::Operator(Operator::Greater), 1),
        '=' => (Token::Operator(Operator::Equal), 1),
        '"' => quoted(chars, at)?,
        '\'' => return Err(LanguageError::new(at, "text and names are quoted with \", not with '")),
        c if c.is_ascii_digit() || c == '-' || c == '+' || c == '.' => number(chars, at)?,
        c if starts_name(c) => {
            let word: String = chars[at..].iter().take_while(|c| continues_name(**c)).collect();
            let length = word.chars().count();
            (Token::Word(word), length)
        }
        other => {
            return Err(LanguageError::new(
                at,
                format!("{other:?} has no meaning here; put a name that holds it in quotes, as in \"a{other}b\""),
            ));
        }
    })
}

/// `\"` and `\\` are escapes; a backslash before anything else stands for itself.
fn quoted(chars: &[char], start: usize) -> Result<(Token, usize), LanguageError> {
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (None, _) => {
                return Err(LanguageError::new(start, "this quote is never closed: add \" at the end of the text"));
            }
            (Some('"'), _) => return Ok((Token::Quoted(text), at + 1 - start)),
            (Some('\\'), Some(escaped @ ('"' | '\\'))) => {
                text.push(*escaped);
                at += 2;
            }
            (Some(other), _) => {
                text.push(*other);
                at += 1;
            }
        }
    }
}

/// An optional sign, digits, an optional fraction and exponent.
fn number(chars: &[char], start: usize) -> Result<(Token, usize), LanguageError> {
    let mut at = start;
    if matches!(chars[at], '-' | '+') {
        at += 1;
    }
    let digits_from = |mut at: usize| {
        while chars.get(at).is_some_and(char::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole_end = digits_from(at);
    let mut digits = whole_end - at;
    let mut is_float = false;
    at = whole_end;
    if chars.get(at) == Some(&'.') {
        is_float = true;
        let end = digits_from(at + 1);
        digits += end - (at + 1);
        at = end;
    }
    if digits > 0 && matches!(chars.get(at), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(at + 1), Some('-' | '+')));
        let end = digits_from(at + 1 + sign);
        if end > at + 1 + sign {
            is_float = true;
            at = end;
        }
    }
    if digits == 0 {
        return Err(LanguageError::new(start, format!("{:?} is not a number; digits are expected", chars[start])));
    }
    if let Some(c) = chars.get(at).filter(|c| continues_name(**c)) {
        return Err(LanguageError::new(
            at,
            format!("a number ends before {c:?}; a name or a text that starts with a digit is put in quotes"),
        ));
    }
    let text: String = chars[start..at].iter().collect();
    let out_of_range = || LanguageError::new(start, format!("the number {} is too large", shortened(&text)));
    let token = if is_float {
        let value: f64 = text.parse().map_err(|_| out_of_range())?;
        if !value.is_finite() {
            return Err(out_of_range());
        }
        Token::Float(value)
    } else {
        Token::Integer(text.parse().map_err(|_| out_of_range())?)
    };
    Ok((token, at - start))
}
