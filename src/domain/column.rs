//! Columns in memory: what a scan of segments hands to training, row pages and reports.

use std::sync::Arc;

/// Marks a missing text value in [`Column::Text`].
pub const MISSING_CODE: u32 = u32::MAX;

/// Keys with their values, in the order of the source.
pub type DictValue = Vec<(Arc<str>, f64)>;

/// One column of values. Every variant has one entry a row.
#[derive(Debug, Clone)]
pub enum Column {
    Boolean(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    /// `NaN` is a missing value.
    Float(Vec<f64>),
    /// Indexes into the dictionary; [`MISSING_CODE`] is a missing value.
    Text {
        codes: Vec<u32>,
        dictionary: Vec<Arc<str>>,
    },
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(Vec<Option<i64>>),
    List(Vec<Option<Vec<Arc<str>>>>),
    /// Booleans are 0 and 1.
    Dict(Vec<Option<DictValue>>),
}

impl Column {
    pub fn len(&self) -> usize {
        match self {
            Column::Boolean(v) => v.len(),
            Column::Integer(v) | Column::Timestamp(v) => v.len(),
            Column::Float(v) => v.len(),
            Column::Text { codes, .. } => codes.len(),
            Column::List(v) => v.len(),
            Column::Dict(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the rows whose flag is set, and of a dictionary the texts that are still used. One flag a row.
    pub fn retain(&mut self, keep: &[bool]) {
        match self {
            Column::Boolean(values) => retain(values, keep),
            Column::Integer(values) | Column::Timestamp(values) => retain(values, keep),
            Column::Float(values) => retain(values, keep),
            Column::List(values) => retain(values, keep),
            Column::Dict(values) => retain(values, keep),
            Column::Text { codes, dictionary } => {
                retain(codes, keep);
                let mut renumbered = vec![MISSING_CODE; dictionary.len()];
                let mut used = Vec::new();
                for code in codes.iter_mut().filter(|code| **code != MISSING_CODE) {
                    let new = &mut renumbered[*code as usize];
                    if *new == MISSING_CODE {
                        // As many as there were: they fitted before.
                        *new = used.len() as u32;
                        used.push(dictionary[*code as usize].clone());
                    }
                    *code = *new;
                }
                *dictionary = used;
            }
        }
    }
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    values.retain(|_| flags.next().copied().unwrap_or(false));
    values.shrink_to_fit();
}

/// Named columns of equal length.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub rows: usize,
    pub columns: Vec<(String, Column)>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, column)| column)
    }
}
