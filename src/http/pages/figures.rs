//! Numbers as a person reads them, in that person's language.

use super::language::Language;

/// 1234567 → 1,234,567.
pub fn grouped(number: u64) -> String {
    in_groups(&number.to_string(), ',')
}

/// As [`grouped`], with the language's separator.
pub(super) fn count(number: i64, language: Language) -> String {
    let text = in_groups(&number.unsigned_abs().to_string(), language.group_separator());
    if number < 0 { format!("−{text}") } else { text }
}

fn in_groups(digits: &str, separator: char) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// Decimal units: 12345678 → 12.3 MB.
pub(super) fn bytes(number: u64, language: Language) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1_000.0;
    let mut unit = 0;
    while size >= 1_000.0 && unit < UNITS.len() - 1 {
        size /= 1_000.0;
        unit += 1;
    }
    format!("{} {}", decimals(size, 1, language), UNITS[unit])
}

/// Four digits that count; whole numbers beyond in groups, and what is too large or too small to be read by powers of ten.
pub(super) fn figure(value: f64, language: Language) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 || (value.fract() == 0.0 && value.abs() < 1e15) {
        return count(value as i64, language);
    }
    match value.abs().log10().floor() as i32 + 1 {
        16.. | ..=-4 => by_powers(value, language),
        4.. => count(value.round() as i64, language),
        before @ 0.. => decimals(value, (4 - before) as usize, language),
        -1 => decimals(value, 4, language),
        before => decimals(value, (3 - before) as usize, language),
    }
}

/// 6.02 × 10²³.
fn by_powers(value: f64, language: Language) -> String {
    let text = format!("{value:.2e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let raised = |it: char| match it {
        '-' => '⁻',
        digit => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit.to_digit(10).unwrap_or(0) as usize],
    };
    let power: String = power.chars().map(raised).collect();
    format!("{}\u{a0}×\u{a0}10{power}", localized(digits.to_owned(), language))
}

/// A number of the data, neither rounded nor in groups: it may be a year, or the number of a thing.
pub(super) fn as_written(value: f64, language: Language) -> String {
    if value != 0.0 && (value.abs() >= 1e15 || value.abs() < 1e-6) {
        let text = format!("{value:e}");
        return localized(text, language);
    }
    localized(value.to_string(), language)
}

/// As [`figure`], without zeros at the end: for axes.
pub(super) fn short_figure(value: f64, language: Language) -> String {
    let text = figure(value, language);
    if let Some((digits, power)) = text.split_once('\u{a0}') {
        let digits = digits.trim_end_matches('0').trim_end_matches(language.decimal_point());
        return format!("{digits}\u{a0}{power}");
    }
    if !text.contains(language.decimal_point()) || value.abs() >= 1_000.0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches(language.decimal_point()).to_owned()
}

/// A number with so many digits after the point.
pub(super) fn decimals(value: f64, digits: usize, language: Language) -> String {
    localized(format!("{value:.digits$}"), language)
}

/// 0.1234 → 12.3 %. What is there is not shown as nothing, nor less than all as all.
pub(super) fn percent(share: f64, digits: usize, language: Language) -> String {
    let step = 0.1f64.powi(digits as i32);
    let percent = share * 100.0;
    if percent > 0.0 && percent < step / 2.0 {
        return format!("<\u{a0}{}\u{a0}%", decimals(step, digits, language));
    }
    if percent < 100.0 && percent >= 100.0 - step / 2.0 {
        return format!(">\u{a0}{}\u{a0}%", decimals(100.0 - step, digits, language));
    }
    format!("{}\u{a0}%", decimals(percent, digits, language))
}

fn localized(text: String, language: Language) -> String {
    let text = match text.strip_prefix('-') {
        Some(rest) => format!("−{rest}"),
        None => text,
    };
    match language.decimal_point() {
        '.' => text,
        point => text.replace('.', &point.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!((grouped(7).as_str(), grouped(200_000).as_str()), ("7", "200,000"));
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count(-1_234_567, Language::German), "−1.234.567");
        assert_eq!(bytes(12, Language::English), "12 B");
        assert_eq!(bytes(12_345_678, Language::German), "12,3 MB");
        assert_eq!(percent(0.1234, 1, Language::English), "12.3\u{a0}%");
        assert_eq!(percent(0.0, 1, Language::English), "0.0\u{a0}%");
        assert_eq!(percent(0.0001, 1, Language::German), "<\u{a0}0,1\u{a0}%");
        assert_eq!(percent(0.9999, 0, Language::English), ">\u{a0}99\u{a0}%");
        assert_eq!(percent(1.0, 0, Language::English), "100\u{a0}%");
    }

    #[test]
    fn figures_have_four_digits() {
        for (value, text) in [
            (0.73519, "0.7352"),
            (481.23, "481.2"),
            (12_345.6, "12,346"),
            (0.0, "0"),
            (-0.05, "−0.0500"),
            (73_421.0, "73,421"),
            (1_234.5, "1,235"),
            (0.00123456, "0.00123"),
            (0.00001234, "1.23\u{a0}×\u{a0}10⁻⁵"),
            (-1.5e22, "−1.50\u{a0}×\u{a0}10²²"),
        ] {
            assert_eq!(figure(value, Language::English), text);
        }
        assert_eq!(short_figure(0.5, Language::German), "0,5");
        assert_eq!(short_figure(5e-9, Language::German), "5\u{a0}×\u{a0}10⁻⁹");
        assert_eq!(short_figure(1e22, Language::English), "1\u{a0}×\u{a0}10²²");
        assert_eq!(as_written(2024.0, Language::English), "2024");
        assert_eq!(as_written(0.010000000000000002, Language::German), "0,010000000000000002");
        assert_eq!(
            (short_figure(1_500.0, Language::English).as_str(), short_figure(0.0, Language::German).as_str()),
            ("1,500", "0")
        );
    }
}
