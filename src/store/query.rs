//! Queries: conditions over values in documents, an order, a page.

use super::Collection;

/// Where a value is in a document: object keys from the outside in. A key may hold any character.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(pub Vec<String>);

impl Path {
    pub fn new<S: Into<String>>(keys: impl IntoIterator<Item = S>) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }

    /// A key of the document itself.
    pub fn key(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    /// True for a missing value, too.
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition on one document. A missing value (absent or null) is false except for `NotEqual`,
/// which is true for whatever `Equal` is false for.
/// Comparisons are false between values of different kinds (number, text, Boolean; false is less than
/// true); an integer and a float compare as numbers, integers outside `i64` as the nearest float.
/// Arrays, objects and null equal nothing. Texts compare by their UTF-8 bytes.
/// The meaning in code: [`Condition::matches`].
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    True,
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        path: Path,
        comparison: Comparison,
        value: serde_json::Value,
    },
    /// The value is an array that has the element.
    Contains {
        path: Path,
        element: serde_json::Value,
    },
    /// The value is there and not null.
    Exists {
        path: Path,
    },
    /// Text that holds the part, without regard to ASCII case.
    HasText {
        path: Path,
        part: String,
    },
}

impl Condition {
    pub fn equal(path: Path, value: impl Into<serde_json::Value>) -> Self {
        Condition::Compare { path, comparison: Comparison::Equal, value: value.into() }
    }

    pub fn and(self, other: Condition) -> Self {
        match (self, other) {
            (Condition::True, other) => other,
            (this, Condition::True) => this,
            (Condition::All(mut all), other) => {
                all.push(other);
                Condition::All(all)
            }
            (this, other) => Condition::All(vec![this, other]),
        }
    }
}

/// By what a page is ordered; ties break by id (across scopes: by scope, then id) in the same direction.
/// Documents without the value come first ascending, last descending; numbers (Booleans count as 0 and 1)
/// come before texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    /// `None`: by id, across scopes by scope and id.
    pub path: Option<Path>,
    pub descending: bool,
}

#[derive(Debug, Clone)]
pub struct Query {
    pub collection: Collection,
    /// `None` looks through every scope (jobs to claim, for instance).
    pub scope: Option<String>,
    pub condition: Condition,
    pub sort: Sort,
    /// A cursor from [`super::Page::next`].
    pub after: Option<String>,
    pub limit: usize,
}

impl Query {
    /// All documents of a scope by id, 100 a page.
    pub fn new(collection: Collection, scope: impl Into<String>) -> Self {
        Self {
            collection,
            scope: Some(scope.into()),
            condition: Condition::True,
            sort: Sort { path: None, descending: false },
            after: None,
            limit: 100,
        }
    }

    pub fn everywhere(collection: Collection) -> Self {
        Self { scope: None, ..Self::new(collection, "") }
    }

    pub fn filter(mut self, condition: Condition) -> Self {
        self.condition = self.condition.and(condition);
        self
    }

    pub fn sort_by(mut self, path: Path, descending: bool) -> Self {
        self.sort = Sort { path: Some(path), descending };
        self
    }

    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    pub fn after(mut self, cursor: Option<String>) -> Self {
        self.after = cursor;
        self
    }
}
