//! What the two small languages, filters and expressions, share: errors that point at a character, and the walk over tokens.

/// Why a text cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {message}")]
pub struct LanguageError {
    /// Characters (not bytes) before the place, from 0.
    pub position: usize,
    /// What was found, what was expected, what to do.
    pub message: String,
}

impl LanguageError {
    pub fn new(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

/// Tokens with their positions, taken one after another. The last one marks the end of the text and is never passed.
pub struct Cursor<T> {
    tokens: Vec<(usize, T)>,
    end: (usize, T),
    at: usize,
}

impl<T: Clone + PartialEq> Cursor<T> {
    /// `end` is the token that marks the end, with the text's length in characters.
    pub fn new(tokens: Vec<(usize, T)>, end: (usize, T)) -> Self {
        Self { tokens, end, at: 0 }
    }

    fn current(&self) -> &(usize, T) {
        self.tokens.get(self.at).unwrap_or(&self.end)
    }

    pub fn peek(&self) -> &T {
        &self.current().1
    }

    pub fn position(&self) -> usize {
        self.current().0
    }

    pub fn take(&mut self) -> T {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Takes the current token if it is this one.
    pub fn take_if(&mut self, wanted: &T) -> bool {
        let found = self.peek() == wanted;
        self.at += usize::from(found);
        found
    }

    /// An error at the current token.
    pub fn error(&self, message: impl Into<String>) -> LanguageError {
        LanguageError::new(self.position(), message)
    }
}
