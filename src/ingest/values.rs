//! Texts → values: what a text could be (discovery) and what it is by its field's type (ingest).

use crate::domain::schema::FieldType;

/// Stands for a missing value in columns of integers and times; not a value that is accepted.
pub(super) const MISSING: i64 = i64::MIN;

/// What a text looks like, the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Float,
    Timestamp,
    List,
    Dict,
    Text,
}

impl Kind {
    pub const COUNT: usize = 7;

    pub fn field_type(self) -> FieldType {
        match self {
            Kind::Boolean => FieldType::Boolean,
            Kind::Integer => FieldType::Integer,
            Kind::Float => FieldType::Float,
            Kind::Timestamp => FieldType::Timestamp,
            Kind::List => FieldType::List,
            Kind::Dict => FieldType::Dict,
            Kind::Text => FieldType::String,
        }
    }
}

/// Without blanks around it.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// What a non-missing text looks like. Numerals with leading zeros, with a plus sign (telephone numbers) or beyond
/// 64 bits are texts.
pub(super) fn classify(text: &[u8], max_dict_keys: usize) -> Kind {
    let text = trim(text);
    match text.first() {
        Some(b'0'..=b'9' | b'-' | b'.') => classify_numeral(text),
        Some(b't' | b'T' | b'f' | b'F') if parse_boolean_word(text).is_some() => Kind::Boolean,
        Some(b'[') if parse_list(text).is_some() => Kind::List,
        Some(b'{') if parse_dict(text, max_dict_keys).is_ok() => Kind::Dict,
        _ => Kind::Text,
    }
}

fn classify_numeral(text: &[u8]) -> Kind {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if matches!(digits, [b'0', b'0'..=b'9', ..]) {
        // A year before 1000 is no reason to look further.
        return Kind::Text;
    }
    if digits.iter().all(u8::is_ascii_digit) {
        return if parse_integer(text).is_some() { Kind::Integer } else { Kind::Text };
    }
    if text.get(4) == Some(&b'-') && parse_timestamp(text).is_some() {
        return Kind::Timestamp;
    }
    if parse_float(text).is_some() { Kind::Float } else { Kind::Text }
}

/// `true` and `false` in any case.
pub(super) fn parse_boolean_word(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// Words, and 0 and 1 where a person chose the type.
pub(super) fn parse_boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => parse_boolean_word(text),
    }
}

/// A decimal integer of 64 bits (the smallest one excepted); a sign and leading zeros are fine.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    if digits.len() <= 18 {
        for digit in digits {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
    } else {
        for digit in digits {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(i64::from(digit))?;
        }
    }
    Some(if negative { -value } else { value })
}

/// A finite decimal number.
pub(super) fn parse_float(text: &[u8]) -> Option<f64> {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    // Keeps "inf" and "nan" out.
    if !matches!(unsigned.first(), Some(b'0'..=b'9' | b'.')) {
        return None;
    }
    fast_float2::parse::<f64, _>(text).ok().filter(|value| value.is_finite())
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970 (told by size), for fields whose type a person set
/// to Timestamp. From 100,000,000 (1973), so that a year is not taken for an epoch.
pub(super) fn parse_epoch(text: &[u8]) -> Option<i64> {
    epoch_micros(parse_integer(text)?)
}

/// See [`parse_epoch`].
pub(super) fn epoch_micros(value: i64) -> Option<i64> {
    match value {
        100_000_000..100_000_000_000 => Some(value * 1_000_000),
        100_000_000_000..100_000_000_000_000 => Some(value * 1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(value),
        100_000_000_000_000_000.. => Some(value / 1_000),
        _ => None,
    }
}

fn two_digits(text: &[u8], at: usize) -> Option<i64> {
    let tens = text.get(at)?.wrapping_sub(b'0');
    let ones = text.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Days since 1970-01-01 of a date in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Microseconds since 1970 of RFC 3339, `YYYY-MM-DD[ T]HH:MM[:SS[.f]]` (UTC when no offset is given) or `YYYY-MM-DD`.
/// Digits beyond microseconds are dropped.
pub(super) fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let (date, clock) = text.split_first_chunk()?;
    Some(parse_date(date)? + parse_clock(clock)?)
}

/// Microseconds from 1970 to the day `YYYY-MM-DD` (UTC).
pub(super) fn parse_date(text: &[u8; 10]) -> Option<i64> {
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two_digits(text, 0)? * 100 + two_digits(text, 2)?;
    let (month, day) = (two_digits(text, 5)?, two_digits(text, 8)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400_000_000)
}

/// Microseconds from the day's start (UTC) of what follows a date; see [`parse_timestamp`].
#[inline]
pub(super) fn parse_clock(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    if !matches!(text[0], b'T' | b't' | b' ') || text.get(3) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (two_digits(text, 1)?, two_digits(text, 4)?);
    if hour > 23 || minute > 59 {
        return None;
    }
    let mut micros = (hour * 60 + minute) * 60_000_000;
    let mut rest = &text[6..];
    if let [b':', ..] = rest {
        let second = two_digits(rest, 1)?;
        if second > 59 {
            return None;
        }
        micros += second * 1_000_000;
        rest = &rest[3..];
        if let [b'.' | b',', fraction @ ..] = rest {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            let mut unit = 100_000;
            for digit in &fraction[..digits.min(6)] {
                micros += i64::from(digit - b'0') * unit;
                unit /= 10;
            }
            rest = &fraction[digits..];
        }
    }
    Some(micros - parse_offset(rest)? * 60_000_000)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Minutes east of UTC: nothing, `Z`, `±hh`, `±hhmm`, `±hh:mm`.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = two_digits(rest, 0)?;
    let minutes = match rest.len() {
        2 => 0,
        4 => two_digits(rest, 2)?,
        5 if rest[2] == b':' => two_digits(rest, 3)?,
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// A JSON array of strings.
pub(super) fn parse_list(text: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice(text).ok()
}

/// A key of a dictionary and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DictEntry {
    pub key: String,
    /// 0 or 1 for a Boolean.
    pub number: f64,
    pub is_boolean: bool,
}

/// A JSON object of numbers and Booleans; the error says why not.
pub(super) fn parse_dict(text: &[u8], max_keys: usize) -> Result<Vec<DictEntry>, String> {
    let entries: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|_| "it is not a JSON object".to_owned())?;
    dict_entries(&entries, max_keys)
}

/// See [`parse_dict`].
pub(super) fn dict_entries(
    entries: &serde_json::Map<String, serde_json::Value>,
    max_keys: usize,
) -> Result<Vec<DictEntry>, String> {
    if entries.len() > max_keys {
        return Err(format!("it has {} keys; the limit MAX_DICT_KEYS is {max_keys}", entries.len()));
    }
    let mut all = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let (number, is_boolean) = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Bool(value) => (f64::from(u8::from(*value)), true),
            serde_json::Value::Number(number) => (number.as_f64().unwrap_or(f64::NAN), false),
            _ => return Err(format!("the value of its key {key:?} is neither a number nor a Boolean")),
        };
        all.push(DictEntry { key: key.clone(), number, is_boolean });
    }
    Ok(all)
}

/// Which texts stand for a missing value.
#[derive(Debug, Clone)]
pub(super) struct MissingValues {
    texts: Vec<Vec<u8>>,
    longest: usize,
    /// First bytes of the texts.
    first: [bool; 256],
}

/// Taken for missing unless a file's format says otherwise.
pub(super) const DEFAULT_MISSING: [&str; 5] = ["", "NA", "NULL", "NaN", "\\N"];

impl MissingValues {
    pub fn new(chosen: Option<&[String]>) -> Self {
        let texts: Vec<Vec<u8>> = match chosen {
            Some(texts) => texts.iter().map(|text| text.trim().as_bytes().to_vec()).collect(),
            None => DEFAULT_MISSING.iter().map(|text| text.as_bytes().to_vec()).collect(),
        };
        let mut first = [false; 256];
        texts.iter().filter_map(|text| text.first()).for_each(|byte| first[usize::from(*byte)] = true);
        first[usize::from(b' ')] = true;
        first[usize::from(b'\t')] = true;
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        Self { texts, longest, first }
    }

    /// The empty text is always missing; blanks around a marker don't matter.
    #[inline]
    pub fn is_missing(&self, text: &[u8]) -> bool {
        match text.first() {
            None => true,
            Some(byte) if !self.first[usize::from(*byte)] => false,
            _ => self.is_marker(text),
        }
    }

    fn is_marker(&self, text: &[u8]) -> bool {
        let text = trim(text);
        text.is_empty() || (text.len() <= self.longest && self.texts.iter().any(|marker| marker == text))
    }

    /// The marker that the text is, for the record of which occur.
    pub fn marker<'a>(&'a self, text: &[u8]) -> Option<&'a [u8]> {
        let text = trim(text);
        self.texts.iter().find(|marker| marker.as_slice() == text).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_classified_by_what_they_look_like() {
        for (text, kind) in [
            ("0", Kind::Integer),
            ("-12", Kind::Integer),
            (" 7 ", Kind::Integer),
            ("007", Kind::Text),
            ("+49123", Kind::Text),
            ("12345678901234567890", Kind::Text),
            ("1.5", Kind::Float),
            (".5", Kind::Float),
            ("1e5", Kind::Float),
            ("1e999", Kind::Text),
            ("inf", Kind::Text),
            ("-inf", Kind::Text),
            ("00.5", Kind::Text),
            ("TRUE", Kind::Boolean),
            ("truer", Kind::Text),
            ("2024-02-29", Kind::Timestamp),
            ("2023-02-29", Kind::Text),
            ("2024-02-29T10:00:00+02:00", Kind::Timestamp),
            ("[\"a\"]", Kind::List),
            ("[1]", Kind::Text),
            ("{\"a\":1,\"b\":true}", Kind::Dict),
            ("{\"a\":\"x\"}", Kind::Text),
            ("-", Kind::Text),
            ("1,5", Kind::Text),
        ] {
            assert_eq!(classify(text.as_bytes(), 200), kind, "{text}");
        }
    }

    #[test]
    fn times_agree_with_chrono() {
        for text in [
            "2024-02-29T10:11:12.345678Z",
            "1969-12-31T23:59:59-05:30",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.9+14:00",
        ] {
            let expected = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
            assert_eq!(parse_timestamp(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(parse_timestamp(b"2024-01-01 10:00"), parse_timestamp(b"2024-01-01T10:00:00Z"));
        for bad in
            ["2024-1-01", "2024-01-01T", "2024-01-01T10", "2024-01-01T24:00:00", "2024-01-01T10:00:00.", "2024-13-01"]
        {
            assert_eq!(parse_timestamp(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_epoch(b"1700000000"), parse_timestamp(b"2023-11-14T22:13:20Z"));
        assert_eq!(parse_epoch(b"1700000000000"), parse_timestamp(b"2023-11-14T22:13:20Z"));
        assert_eq!(parse_epoch(b"2013"), None);
    }

    #[test]
    fn missing_values_can_be_chosen() {
        let default = MissingValues::new(None);
        for text in ["", " ", "NA", " NULL", "NaN", "\\N"] {
            assert!(default.is_missing(text.as_bytes()), "{text}");
        }
        assert!(!default.is_missing(b"na") && !default.is_missing(b"0"));
        let chosen = MissingValues::new(Some(&["-".to_owned()]));
        assert!(chosen.is_missing(b"-") && chosen.is_missing(b"") && !chosen.is_missing(b"NA"));
    }
}
