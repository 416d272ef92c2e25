//! What the API says, as pages say it: in the person's language, and without the words of programs where a page has better
//! ones. The API itself always speaks English.
//!
//! One catalogue, `static/answers.json`: from each English text, with `{…}` for what changes, to its translations, and to
//! `en` where a page's own words differ. What is not in it is shown as the API says it. What stands at `{why}`, `{reason}` or
//! `{what}` is looked up in turn, and so is each word of a `{list}`: a reason within a sentence is translated, too. Several sentences are looked up one by one when
//! they are not known together.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::language::Language;

type Translations = HashMap<String, String>;

/// A text with places, cut at them.
struct Pattern {
    /// What stands before, between and after the places.
    parts: Vec<String>,
    names: Vec<String>,
    translations: Translations,
}

struct Catalogue {
    whole: HashMap<String, Translations>,
    /// Those that say most of a text first.
    patterns: Vec<Pattern>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    // Our own file, part of the program; a test reads it.
    let texts: BTreeMap<String, Translations> =
        serde_json::from_str(include_str!("../../../static/answers.json")).unwrap_or_default();
    let mut catalogue = Catalogue { whole: HashMap::new(), patterns: Vec::new() };
    for (english, translations) in texts {
        let (parts, names) = cut(&english);
        if names.is_empty() {
            catalogue.whole.insert(english, translations);
        } else {
            catalogue.patterns.push(Pattern { parts, names, translations });
        }
    }
    catalogue.patterns.sort_by_key(|it| std::cmp::Reverse(it.parts.iter().map(String::len).sum::<usize>()));
    catalogue
});

/// Names of places at which numbers stand.
const NUMBERS: [&str; 4] = ["n", "m", "limit", "most"];

/// A text at its `{…}`: the parts around them, and their names.
fn cut(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut parts, mut names) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        parts.push(before.to_owned());
        names.push(name.to_owned());
        rest = after;
    }
    parts.push(rest.to_owned());
    (parts, names)
}

impl Pattern {
    /// What stands at the places of a text that is like this; each as short as it can be, and a number where one belongs.
    fn places<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, others) = self.parts.split_first()?;
        let mut rest = text.strip_prefix(first.as_str())?;
        let mut places = Vec::with_capacity(others.len());
        for (index, part) in others.iter().enumerate() {
            let at = match (index + 1 == others.len(), part.is_empty()) {
                (true, true) => rest.len(),
                (true, false) => rest.strip_suffix(part.as_str())?.len(),
                (false, _) => rest.find(part.as_str())?,
            };
            let place = &rest[..at];
            let number = NUMBERS.contains(&self.names.get(index)?.as_str());
            if number && !place.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'.' | b',' | b'-')) {
                return None;
            }
            places.push(place);
            rest = &rest[at + part.len()..];
        }
        Some(places)
    }
}

/// What may stand at the places of a pattern: its last one would otherwise take in the sentences that follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Places {
    WithinASentence,
    OfAnyText,
}

/// Reasons within reasons.
const DEEPEST: usize = 5;

pub(super) fn said(english: &str, language: Language) -> String {
    at_depth(english, language, 0)
}

fn at_depth(english: &str, language: Language, depth: usize) -> String {
    let known =
        |text: &str, places: Places| if depth < DEEPEST { translated(text, language, depth, places) } else { None };
    let alone = |text: &str, places: Places| {
        let one = |text: &str| known(text, places).or_else(|| Some(sentence(&known(&phrase(text)?, places)?)));
        one(text).or_else(|| one(without_code(text)?))
    };
    let one_by_one = || {
        let all = sentences(english)?.into_iter().map(|text| alone(text, Places::WithinASentence));
        Some(all.collect::<Option<Vec<_>>>()?.join(" "))
    };
    alone(english, Places::WithinASentence)
        .or_else(one_by_one)
        .or_else(|| alone(english, Places::OfAnyText))
        .unwrap_or_else(|| english.to_owned())
}

/// What a job failed by, without the code behind it.
fn without_code(text: &str) -> Option<&str> {
    let (text, code) = text.strip_suffix(')')?.rsplit_once(" (")?;
    (!code.is_empty() && code.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')).then_some(text)
}

/// A text of several sentences, cut after each: where a capital follows a full stop.
fn sentences(text: &str) -> Option<Vec<&str>> {
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let ends = ends.filter(|at| text[at + 1..].starts_with(|it: char| it.is_uppercase()));
    let (mut parts, mut from) = (Vec::new(), 0);
    for end in ends {
        parts.push(&text[from..end]);
        from = end + 1;
    }
    parts.push(&text[from..]);
    (parts.len() > 1).then_some(parts)
}

/// A number as the API writes it, with the language's decimal point.
fn number(text: &str, language: Language) -> String {
    let whole = text.parse::<f64>().is_err() || !text.contains('.');
    if whole { text.to_owned() } else { text.replace('.', &language.decimal_point().to_string()) }
}

/// What was made a sentence of: without its capital and its full stop.
fn phrase(sentence: &str) -> Option<String> {
    let mut letters = sentence.strip_suffix('.')?.chars();
    Some(letters.next()?.to_lowercase().chain(letters).collect())
}

fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

fn translated(english: &str, language: Language, depth: usize, allowed: Places) -> Option<String> {
    let code = language.code();
    if let Some(translations) = CATALOGUE.whole.get(english) {
        return Some(translations.get(code).cloned().unwrap_or_else(|| english.to_owned()));
    }
    let may = |places: &Vec<&str>| allowed == Places::OfAnyText || places.iter().all(|it| sentences(it).is_none());
    let like = |pattern: &'static Pattern| Some((pattern, pattern.places(english).filter(may)?));
    let (pattern, places) = CATALOGUE.patterns.iter().find_map(like)?;
    let Some(text) = pattern.translations.get(code) else { return Some(english.to_owned()) };
    let (parts, names) = cut(text);
    let mut said = String::new();
    for (index, part) in parts.iter().enumerate() {
        said.push_str(part);
        let Some(name) = names.get(index) else { break };
        let place = pattern.names.iter().position(|it| it == name).and_then(|at| places.get(at));
        let place = place.unwrap_or(&"");
        match name.as_str() {
            "why" | "reason" | "what" => said.push_str(&at_depth(place, language, depth + 1)),
            "list" => {
                let all = place.split(", ").map(|it| at_depth(it, language, depth + 1));
                said.push_str(&all.collect::<Vec<_>>().join(", "));
            }
            name if NUMBERS.contains(&name) => said.push_str(&number(place, language)),
            _ => said.push_str(place),
        }
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_the_api_says_is_said_in_the_persons_language() {
        let english = "There is no dataset ds_1 in this account.";
        assert_eq!(said(english, Language::German), "In diesem Konto gibt es „ds_1“ nicht.");
        assert_eq!(said(english, Language::English), english);
        let active =
            "The predictor fcr has no active model. Train one and activate it: POST /api/v1/models/{id}/activate.";
        assert!(!said(active, Language::English).contains("POST"), "{}", said(active, Language::English));
        let reason = "In tenure: \"9,5\" is not a whole number (the field is an Integer).";
        assert_eq!(said(reason, Language::German), "In tenure: \"9,5\" ist keine ganze Zahl.");
        let refused = "line 2: 3 of 9 rows are malformed, more than the limit MAX_REJECTED_SHARE of 10 %; nothing was added. The first: \
                       the row has 1 values, the header has 2. Check the separator and the quotes. GET /api/v1/datasets/ds_1/rejected lists \
                       each refused row with its line and reason.";
        let german = "Zeile 2: 3 von 9 Zeilen sind fehlerhaft, mehr als die Grenze von 10 % (MAX_REJECTED_SHARE); nichts wurde hinzugefügt. Die \
                      erste: Die Zeile hat 1 Werte, die Kopfzeile 2. Prüfen Sie das Trennzeichen und die Anführungszeichen.";
        assert_eq!(said(refused, Language::German), german);
        assert!(!said(refused, Language::English).contains("GET"));
        let locked = "Too many wrong passwords in a row; try again in 5 minutes.";
        assert!(said(locked, Language::German).starts_with("Zu viele falsche Passwörter"), "a phrase made a sentence");
        assert_eq!(said(locked, Language::English), locked);
        let failed =
            "the metric \"resolved\" has the same value in every row, so there is nothing to predict (constant_metric)";
        assert!(!said(failed, Language::German).contains('('), "{}", said(failed, Language::German));
        let filter = "The filter is not understood at character 9: expected a number, a \"quoted text\", true or false after English, found the end of the expression.";
        let german = "Der Filter wird am Zeichen 9 nicht verstanden: erwartet wird nach English eine Zahl, ";
        assert!(said(filter, Language::German).starts_with(german), "{}", said(filter, Language::German));
        let two = "The model has not been trained yet: POST /api/v1/models/{id}/train and wait for its job. Check the separator and the quotes.";
        let german = said(two, Language::German);
        assert!(german.ends_with("Prüfen Sie das Trennzeichen und die Anführungszeichen."), "{german}");
        assert_eq!(said("2.5 percentage points", Language::German), "2,5 Prozentpunkte");
        // Its last place does not take in what follows and ends alike.
        let meaning = "Once the context is accounted for, agents differ in rating by 11.3 percentage points (standard deviation; 95 % interval 10.7 \
                       percentage points to 11.9 percentage points). Beyond that, an agent's effect changes most with service (standard deviation \
                       6.5 percentage points between its values).";
        let german = said(meaning, Language::German);
        assert!(german.contains("bis 11,9 Prozentpunkte).") && !german.contains("Beyond"), "{german}");
        for unknown in [
            "",
            "{",
            "Nobody ever said this.",
            "There is no {",
            "Check the separator and the quotes. Nobody said that.",
        ] {
            assert_eq!(said(unknown, Language::German), unknown);
        }
    }

    fn read(folder: &Path, sources: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, sources);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("answers.rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    /// What jobs say that they are doing, wherever it is written.
    #[test]
    fn every_phase_of_a_job_has_its_words() {
        let mut sources = String::new();
        for folder in ["jobs", "learn", "ingest", "profiles"] {
            read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut sources);
        }
        let starts = [
            "phase: \"",
            "let phase = \"",
            "report(run, \"",
            "progress(\"",
            "round(0, \"",
            "round(1, \"",
            "round(2, \"",
            "REGRESSION: &str = \"",
            "SHRINKAGE: &str = \"",
            "FOLDS: &str = \"",
            "TRYING: &str = \"",
            "TREES: &str = \"",
            "unit: \"",
        ];
        let mut found = 0;
        for start in starts {
            for (at, _) in sources.match_indices(start) {
                let phase = sources[at + start.len()..].split('"').next().unwrap();
                // Of a test; and what needs no words.
                if ["", "working", "attempts", "bytes"].contains(&phase) {
                    continue;
                }
                found += 1;
                assert_ne!(said(phase, Language::German), phase, "add to static/answers.json");
            }
        }
        assert!(found > 25, "{found}");
    }

    /// Each text is one that the program still says: its longest part is in the sources. Every one has its translation.
    #[test]
    fn the_catalogue_says_what_the_program_says() {
        let mut sources = String::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
        // A long text is broken after a backslash.
        let mut joined = String::new();
        for line in sources.lines() {
            match line.strip_suffix('\\') {
                Some(line) => joined.push_str(if joined.ends_with('\n') { line } else { line.trim_start() }),
                None => {
                    joined.push_str(if joined.ends_with('\n') { line } else { line.trim_start() });
                    joined.push('\n');
                }
            }
        }
        let joined = joined.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}");
        let text = include_str!("../../../static/answers.json");
        let catalogue: BTreeMap<String, Translations> = serde_json::from_str(text).unwrap();
        for (english, translations) in &catalogue {
            let (parts, names) = cut(english);
            let longest = parts.iter().max_by_key(|part| part.len()).unwrap();
            // What a value is not is put together.
            let mut parts = longest.split(" is not ").flat_map(|part| part.split(": compare it with "));
            let there = parts.all(|part| joined.contains(part.trim()));
            assert!(there, "nothing says {longest:?} any more ({english})");
            let german = translations.get("de").unwrap_or_else(|| panic!("no German for {english}"));
            for name in translations.values().flat_map(|text| cut(text).1) {
                assert!(names.contains(&name), "{name} in {german}");
            }
        }
    }
}
