//! The languages of the pages, and the one catalogue of their texts: `static/texts.json`, from each English text to its
//! translations. What is not translated is shown in English; a test makes sure that nothing is.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use serde_json::{Number, Value};

use super::cookies;

/// Name of the cookie that keeps a person's choice.
pub(super) const COOKIE: &str = "tango_language";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
}

type Catalogue = HashMap<String, HashMap<String, String>>;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    // Our own file, part of the program; a test reads it.
    serde_json::from_str(include_str!("../../../static/texts.json")).unwrap_or_default()
});

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::German];

    /// What the person chose; else what the browser prefers; else English.
    pub fn of(headers: &HeaderMap) -> Self {
        if let Some(chosen) = cookies::read(headers, COOKIE).and_then(Self::from_code) {
            return chosen;
        }
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut wanted: Vec<(f32, &str)> = accepted
            .split(',')
            .filter_map(|entry| {
                let mut parts = entry.split(';');
                let name = parts.next()?.trim();
                let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
                (weight > 0.0).then_some((weight, name))
            })
            .collect();
        wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut codes = wanted.iter().filter_map(|(_, name)| name.split('-').next());
        codes.find_map(Self::from_code).unwrap_or(Language::English)
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| code.eq_ignore_ascii_case(language.code()))
    }

    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    /// In the language itself.
    pub fn name(self) -> &'static str {
        match self {
            Language::English => "English",
            Language::German => "Deutsch",
        }
    }

    pub fn group_separator(self) -> char {
        match self {
            Language::English => ',',
            Language::German => '.',
        }
    }

    pub fn decimal_point(self) -> char {
        match self {
            Language::English => '.',
            Language::German => ',',
        }
    }

    /// A number as people of this language type it; a point is understood everywhere.
    pub fn number(self, text: &str) -> Option<Value> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        let comma = match text.split_once(',') {
            Some((whole, part))
                if self == Language::German && digits(whole.trim_start_matches('-')) && digits(part) =>
            {
                Some(format!("{whole}.{part}"))
            }
            _ => None,
        };
        serde_json::from_str::<Number>(comma.as_deref().unwrap_or(text)).ok().map(Value::Number)
    }

    /// The text in this language.
    pub fn text(self, english: &str) -> &str {
        if self == Language::English {
            return english;
        }
        CATALOGUE.get(english).and_then(|entry| entry.get(self.code())).map_or(english, String::as_str)
    }
}

/// All texts of the catalogue in one language, for scripts.
pub(super) fn texts(language: Language) -> HashMap<&'static str, &'static str> {
    let translated = |(english, entry): (&'static String, &'static HashMap<String, String>)| {
        entry.get(language.code()).map(|text| (english.as_str(), text.as_str()))
    };
    CATALOGUE.iter().filter_map(translated).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_choice_wins_over_what_the_browser_prefers() {
        let mut headers = HeaderMap::new();
        assert_eq!(Language::of(&headers), Language::English);
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("fr, en;q=0.4, de-AT;q=0.8"));
        assert_eq!(Language::of(&headers), Language::German);
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; tango_language=en"));
        assert_eq!(Language::of(&headers), Language::English);
    }
}
