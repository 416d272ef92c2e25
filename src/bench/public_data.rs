//! The public data sets that figures are given for, read into columns.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::domain::column::{Column, MISSING_CODE, Table};

/// The folder that holds the data sets: `TANGO_TEST_DATA`, else `../shared/data` beside the project or a parent of it.
pub fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("TANGO_TEST_DATA").map(PathBuf::from);
    let mut beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|parent| parent.join("shared/data"));
    given.into_iter().chain(&mut beside).find(|folder| folder.join("flights.csv.gz").exists())
}

/// A gzip-compressed CSV file as columns: timestamps or whole numbers where every value is one, texts elsewhere; `NA` is
/// missing.
pub fn read(path: &Path) -> Result<Table> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let mut cells: Vec<Vec<u32>> = vec![Vec::new(); names.len()];
    type Dictionary = (HashMap<Arc<str>, u32>, Vec<Arc<str>>);
    let mut dictionaries: Vec<Dictionary> = vec![Default::default(); names.len()];
    let mut record = csv::StringRecord::new();
    let mut rows = 0;
    while reader.read_record(&mut record)? {
        rows += 1;
        for ((value, cells), (index, texts)) in record.iter().zip(&mut cells).zip(&mut dictionaries) {
            if value.is_empty() || value == "NA" {
                cells.push(MISSING_CODE);
                continue;
            }
            let code = index.get(value).copied().unwrap_or_else(|| {
                let text: Arc<str> = Arc::from(value);
                texts.push(Arc::clone(&text));
                index.insert(text, texts.len() as u32 - 1);
                texts.len() as u32 - 1
            });
            cells.push(code);
        }
    }
    let columns =
        names.into_iter().zip(cells).zip(dictionaries).map(|((name, codes), (_, texts))| (name, column(codes, texts)));
    Ok(Table { rows, columns: columns.collect() })
}

fn column(codes: Vec<u32>, texts: Vec<Arc<str>>) -> Column {
    let decode = |values: Vec<i64>| -> Vec<Option<i64>> {
        codes.iter().map(|code| (*code != MISSING_CODE).then(|| values[*code as usize])).collect()
    };
    let micros = |text: &Arc<str>| chrono::DateTime::parse_from_rfc3339(text).map(|at| at.timestamp_micros());
    if let (false, Ok(values)) = (texts.is_empty(), texts.iter().map(micros).collect::<Result<Vec<_>, _>>()) {
        return Column::Timestamp(decode(values));
    }
    match texts.iter().map(|text| text.parse::<i64>()).collect::<Result<Vec<_>, _>>() {
        Ok(values) => Column::Integer(decode(values)),
        Err(_) => Column::Text { codes, dictionary: texts },
    }
}

/// The rows at these places, in this order.
pub fn take(table: &Table, rows: &[usize]) -> Table {
    let columns = table.columns.iter().map(|(name, column)| {
        let taken = match column {
            Column::Boolean(v) => Column::Boolean(rows.iter().map(|row| v[*row]).collect()),
            Column::Integer(v) => Column::Integer(rows.iter().map(|row| v[*row]).collect()),
            Column::Float(v) => Column::Float(rows.iter().map(|row| v[*row]).collect()),
            Column::Text { codes, dictionary } => {
                Column::Text { codes: rows.iter().map(|row| codes[*row]).collect(), dictionary: dictionary.clone() }
            }
            Column::Timestamp(v) => Column::Timestamp(rows.iter().map(|row| v[*row]).collect()),
            Column::List(v) => Column::List(rows.iter().map(|row| v[*row].clone()).collect()),
            Column::Dict(v) => Column::Dict(rows.iter().map(|row| v[*row].clone()).collect()),
        };
        (name.clone(), taken)
    });
    Table { rows: rows.len(), columns: columns.collect() }
}
