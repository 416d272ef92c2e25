//! How much memory a training takes beside its table: what decides how many rows are learned from.

use super::inputs::MAX_KEYS;
use crate::domain::schema::FieldType;

/// Bytes that every row takes whatever its features: outcome, time, agent, weight, and the margins, derivatives and
/// row orders of the regression, its folds and the trees.
pub const BYTES_PER_ROW: u64 = 160;
/// Bytes a row of one input: its number and level, the regression's copy, the trees' copy and bin, and its share of
/// what is sorted while the encoding is learned.
const BYTES_PER_INPUT: u64 = 24;

/// About how many bytes a row of a feature takes while it is learned from. `keys`: distinct entries of a list or
/// dictionary field.
pub fn bytes_per_row(field_type: FieldType, keys: usize) -> u64 {
    let inputs = match field_type {
        FieldType::String => 1,
        // A number in ranges, and its single values.
        FieldType::Boolean | FieldType::Integer | FieldType::Float => 2,
        // Hour, weekday, age.
        FieldType::Timestamp => 3,
        FieldType::List | FieldType::Dict => 2 * keys.min(MAX_KEYS) as u64,
    };
    inputs * BYTES_PER_INPUT
}
