//! Arrow arrays, as the Parquet reader gives them → columns of the domain.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use super::values::MISSING;
use super::{IngestError, Result};
use crate::domain::column::{Column, MISSING_CODE};
use crate::domain::schema::FieldType;

/// The field type that values of an Arrow type become; `None` for types that are refused.
pub(super) fn field_type_of(data_type: &DataType) -> Option<FieldType> {
    Some(match data_type {
        DataType::Boolean => FieldType::Boolean,
        data_type if data_type.is_integer() => FieldType::Integer,
        data_type if data_type.is_floating() || data_type.is_decimal() => FieldType::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => FieldType::String,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => FieldType::Timestamp,
        DataType::List(item) | DataType::LargeList(item) if is_text(item.data_type()) => FieldType::List,
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 && is_text(fields[0].data_type()) => {
                let value = fields[1].data_type();
                (value.is_numeric() || *value == DataType::Boolean).then_some(FieldType::Dict)?
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    Ok(arrow_cast::cast(array, to)?)
}

/// Converts an array; its type must be one that [`field_type_of`] accepts, or a dictionary of texts.
pub(super) fn column_of(array: &ArrayRef) -> Result<Column> {
    if let DataType::Dictionary(key, _) = array.data_type()
        && **key == DataType::Int32
    {
        return dictionary_column(array);
    }
    match field_type_of(array.data_type()) {
        Some(FieldType::Boolean) => Ok(Column::Boolean(array.as_boolean().iter().collect())),
        Some(FieldType::Integer) => {
            let cast = cast(array, &DataType::Int64)?;
            if cast.null_count() > array.null_count() {
                return Err(IngestError::input(
                    "integer_too_large",
                    "A column holds unsigned integers beyond 64 bits.",
                ));
            }
            Ok(Column::Integer(cast.as_primitive::<Int64Type>().iter().map(|v| v.filter(|v| *v != MISSING)).collect()))
        }
        Some(FieldType::Float) => {
            let cast = cast(array, &DataType::Float64)?;
            let finite = |value: Option<f64>| value.filter(|v| v.is_finite()).unwrap_or(f64::NAN);
            Ok(Column::Float(cast.as_primitive::<Float64Type>().iter().map(finite).collect()))
        }
        Some(FieldType::Timestamp) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            Ok(Column::Timestamp(micros.as_primitive::<TimestampMicrosecondType>().iter().collect()))
        }
        Some(FieldType::String) => text_column(array),
        Some(FieldType::List) => {
            let text = DataType::List(Arc::new(arrow_schema::Field::new("item", DataType::Utf8, true)));
            let cast = cast(array, &text)?;
            let mut texts = Texts::default();
            let rows = cast.as_list::<i32>().iter().map(|row| {
                row.map(|elements| elements.as_string::<i32>().iter().flatten().map(|text| texts.get(text)).collect())
            });
            Ok(Column::List(rows.collect()))
        }
        Some(FieldType::Dict) => dict_column(array),
        None => Err(IngestError::Corrupt(format!("a column has the type {}", array.data_type()))),
    }
}

/// Shares equal texts.
#[derive(Default)]
struct Texts(HashMap<String, Arc<str>>);

impl Texts {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        self.0.insert(text.to_owned(), shared.clone());
        shared
    }
}

#[expect(clippy::cast_sign_loss, reason = "keys of a valid dictionary array are not negative")]
fn dictionary_column(array: &ArrayRef) -> Result<Column> {
    let dictionary = array.as_dictionary::<Int32Type>();
    let values = cast(dictionary.values(), &DataType::Utf8)?;
    let texts = values.as_string::<i32>().iter().map(|text| text.unwrap_or("").into()).collect();
    let codes = dictionary.keys().iter().map(|key| key.map_or(MISSING_CODE, |key| key as u32)).collect();
    Ok(Column::Text { codes, dictionary: texts })
}

#[expect(clippy::cast_possible_truncation, reason = "a batch has far fewer rows than 2^32")]
fn text_column(array: &ArrayRef) -> Result<Column> {
    let cast = cast(array, &DataType::Utf8)?;
    let texts = cast.as_string::<i32>();
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut dictionary: Vec<Arc<str>> = Vec::new();
    let mut codes = Vec::with_capacity(texts.len());
    for text in texts {
        codes.push(match text {
            None => MISSING_CODE,
            Some(text) => *known.entry(text).or_insert_with(|| {
                dictionary.push(text.into());
                dictionary.len() as u32 - 1
            }),
        });
    }
    Ok(Column::Text { codes, dictionary })
}

fn dict_column(array: &ArrayRef) -> Result<Column> {
    let map = array.as_map();
    let keys = cast(map.keys(), &DataType::Utf8)?;
    let keys = keys.as_string::<i32>();
    let numbers = cast(map.values(), &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    let mut texts = Texts::default();
    let offsets = map.value_offsets();
    let rows = (0..map.len()).map(|row| {
        map.is_valid(row).then(|| {
            #[expect(clippy::cast_sign_loss, reason = "offsets of a valid map array are not negative")]
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            range.filter(|i| numbers.is_valid(*i)).map(|i| (texts.get(keys.value(i)), numbers.value(i))).collect()
        })
    });
    Ok(Column::Dict(rows.collect()))
}
