//! Templates become pages: the engine, and what templates can call beside its own functions.
//!
//! `t("text", n=…)` translates, `link(sort="-name")` is this page's address with another query, `chart({…})` draws; the
//! filter `said` shows what the API says; `num`, `written`, `size`, `pct`, `time`, `moment` and `day` put values as a person reads them. Everything is escaped unless it was
//! made here.

#[cfg(not(debug_assertions))]
use std::sync::LazyLock;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter};
use rust_embed::RustEmbed;

use super::answers;
use super::chart;
use super::figures;
use super::language::Language;

#[derive(RustEmbed)]
#[folder = "static/templates"]
pub(super) struct Templates;

/// In a release the templates are part of the program and parsed once; a development build reads its files each time.
#[cfg(not(debug_assertions))]
static ENVIRONMENTS: LazyLock<Vec<Environment<'static>>> =
    LazyLock::new(|| Language::ALL.into_iter().map(environment).collect());

/// The page in the language that `lang` of the context names.
pub(super) fn render(template: &str, context: Value) -> Result<String, Error> {
    let code = context.get_attr("lang")?;
    let language = code.as_str().and_then(Language::from_code).unwrap_or(Language::English);
    #[cfg(debug_assertions)]
    let environment = environment(language);
    #[cfg(not(debug_assertions))]
    let environment = &ENVIRONMENTS[language as usize];
    environment.get_template(template)?.render(context)
}

/// An environment a language: macros do not see a page's values, and speak it all the same.
fn environment(language: Language) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_loader(|name| Ok(Templates::get(name).map(|it| String::from_utf8_lossy(&it.data).into_owned())));
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(format);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_function("t", move |text: &str, values: Kwargs| fill(language.text(text).to_owned(), &values));
    environment.add_function("tn", move |one: &str, many: &str, n: Value, values: Kwargs| {
        let text = language.text(if n.as_i64() == Some(1) { one } else { many });
        fill(text.replace("{n}", &number(&n, language)), &values)
    });
    environment.add_function("link", link);
    environment.add_function("chart", move |spec: Value| chart::draw(&spec, language));
    environment.add_filter("num", move |value: Value| number(&value, language));
    environment.add_filter("written", move |value: Value| match float(&value) {
        Some(number) if !value.is_integer() => figures::as_written(number, language),
        _ => value.to_string(),
    });
    environment.add_filter("said", move |value: Value| match value.as_str() {
        Some(text) => answers::said(text, language),
        None => String::new(),
    });
    environment.add_filter("breakable", |value: Value| {
        // A long name is broken after an underscore sooner than within a word.
        let text = value.to_string();
        Value::from_safe_string(html_escape::encode_quoted_attribute(&text).replace('_', "_<wbr>"))
    });
    environment.add_filter("size", move |value: Value| {
        value.as_i64().map_or_else(String::new, |bytes| figures::bytes(bytes.unsigned_abs(), language))
    });
    environment.add_filter("pct", move |value: Value, digits: Option<usize>| {
        float(&value).map_or_else(|| "–".to_owned(), |share| figures::percent(share, digits.unwrap_or(1), language))
    });
    environment.add_filter("time", |value: Value| time(value, false));
    environment.add_filter("moment", |value: Value| time(value, true));
    environment.add_filter("day", |value: Value| {
        value.as_str().map(|text| text.chars().take(10).collect::<String>()).unwrap_or_default()
    });
    environment
}

/// Nothing is shown as nothing; texts are escaped for elements and for attributes in quotes.
fn format(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        _ if value.is_none() || value.is_undefined() => Ok(()),
        // As it is written in the data.
        _ if value.kind() == ValueKind::Bool => {
            out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from)
        }
        Some(text) if !value.is_safe() => {
            out.write_str(&html_escape::encode_quoted_attribute(text)).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

fn fill(mut text: String, values: &Kwargs) -> Result<String, Error> {
    for name in values.args() {
        let value: Value = values.get(name)?;
        let shown = if value.is_none() || value.is_undefined() { "–".to_owned() } else { value.to_string() };
        text = text.replace(&format!("{{{name}}}"), &shown);
    }
    Ok(text)
}

fn number(value: &Value, language: Language) -> String {
    if value.is_integer()
        && let Some(whole) = value.as_i64()
    {
        return figures::count(whole, language);
    }
    match float(value) {
        Some(number) => figures::figure(number, language),
        None if value.is_none() || value.is_undefined() => "–".to_owned(),
        None => value.to_string(),
    }
}

fn float(value: &Value) -> Option<f64> {
    if value.is_number() { f64::try_from(value.clone()).ok() } else { None }
}

/// A time in UTC, which a script puts into the reader's own zone; exact to the second for what follows fast.
fn time(value: Value, seconds: bool) -> Value {
    let Some(text) = value.as_str() else { return Value::from("–") };
    let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) else { return Value::from(text) };
    let utc = time.with_timezone(&chrono::Utc);
    Value::from_safe_string(format!(
        "<time datetime=\"{}\"{}>{}</time>",
        utc.format("%Y-%m-%dT%H:%M:%SZ"),
        if seconds { " data-seconds" } else { "" },
        utc.format(if seconds { "%Y-%m-%d %H:%M:%S UTC" } else { "%Y-%m-%d %H:%M UTC" })
    ))
}

/// This page's address with some parameters changed; `none` removes one. `link(…)` drops what is named in `drop`.
fn link(state: &State<'_, '_>, positional: Rest<Value>, changes: Kwargs) -> Result<Value, Error> {
    if !positional.is_empty() {
        return Err(Error::new(ErrorKind::TooManyArguments, "link takes named values only"));
    }
    let query = state.lookup("query").unwrap_or_default();
    let mut pairs = Vec::new();
    for pair in query.try_iter()? {
        let (name, value) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
        pairs.push((name.to_string(), value.to_string()));
    }
    for name in changes.args() {
        pairs.retain(|(known, _)| known != name);
        let value: Value = changes.get(name)?;
        if !value.is_none() && !value.is_undefined() {
            pairs.push((name.to_owned(), value.to_string()));
        }
    }
    let path = state.lookup("path").map(|path| path.to_string()).unwrap_or_default();
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Ok(Value::from(if query.is_empty() { path } else { format!("{path}?{query}") }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use minijinja::context;

    use super::*;

    fn shown(source: &str, context: Value) -> String {
        environment(Language::English).render_str(source, context).unwrap()
    }

    #[test]
    fn every_template_can_be_parsed() {
        let environment = environment(Language::English);
        for name in Templates::iter() {
            assert!(environment.get_template(&name).is_ok(), "{name}: {:?}", environment.get_template(&name).err());
        }
    }

    #[test]
    fn values_are_escaped_and_put_as_people_read_them() {
        let text = shown(
            "{{ t('Hello {who}', who=name) }} {{ rows|num }} {{ share|pct }} {{ none|num }}",
            context! {
                name => "<b>", rows => 12345, share => 0.125,
            },
        );
        assert_eq!(text, "Hello &lt;b&gt; 12,345 12.5\u{a0}% –");
        assert_eq!(
            shown("<a title=\"{{ text }}\">{{ nothing }}", context! { text => "a\"'/&", nothing => () }),
            "<a title=\"a&quot;&#x27;/&amp;\">"
        );
        assert_eq!(shown("{{ name|breakable }}", context! { name => "<a>_b" }), "&lt;a&gt;_<wbr>b");
        assert!(shown("{{ at|time }}", context! { at => "2026-01-02T03:04:05Z" }).starts_with("<time datetime="));
    }

    #[test]
    fn a_link_keeps_what_is_not_changed() {
        let context = context! { path => "/x", query => vec![("q", "a b"), ("after", "7")] };
        assert_eq!(shown("{{ link(sort='-name', after=none) }}", context), "/x?q=a+b&amp;sort=-name");
    }

    /// Texts that templates, scripts and pages name are in the catalogue, and nothing else is.
    #[test]
    fn the_catalogue_is_complete() {
        let mut used = BTreeSet::new();
        for name in Templates::iter() {
            collect(&String::from_utf8_lossy(&Templates::get(&name).unwrap().data), &mut used);
        }
        for folder in ["static/assets", "src/http/pages"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if !path.ends_with("engine.rs") && path.extension().is_some_and(|it| it == "js" || it == "rs") {
                    collect(&std::fs::read_to_string(path).unwrap(), &mut used);
                }
            }
        }
        let text = include_str!("../../../static/texts.json");
        let catalogue: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        let known: BTreeSet<String> = catalogue.keys().cloned().collect();
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "add to static/texts.json: {missing:#?}");
        let unused: Vec<_> = known.difference(&used).collect();
        assert!(unused.is_empty(), "remove from static/texts.json: {unused:#?}");
        let untranslated: Vec<_> = catalogue.iter().filter(|(_, entry)| !entry["de"].is_string()).collect();
        assert!(untranslated.is_empty(), "{untranslated:#?}");
    }

    /// The first arguments of `t("…")` and `text("…")`, and both of `tn("…", "…")`.
    fn collect(source: &str, used: &mut BTreeSet<String>) {
        for (start, arguments) in [("t(\"", 1), ("tn(\"", 2), ("text(\"", 1)] {
            for (at, _) in source.match_indices(start) {
                let before = source[..at].chars().next_back().unwrap_or(' ');
                if before.is_alphanumeric() || before == '_' {
                    continue;
                }
                let mut rest = &source[at + start.len() - 1..];
                for _ in 0..arguments {
                    let Some(open) = rest.find('"') else { break };
                    let Some(length) = rest[open + 1..].find('"') else { break };
                    used.insert(rest[open + 1..open + 1 + length].to_owned());
                    rest = &rest[open + length + 2..];
                }
            }
        }
    }
}
