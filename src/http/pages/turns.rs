//! Who answers when: how a predictor's active models take turns, in words and as a picture of the day, and the form that
//! changes it.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::Path;
use axum::http::Method;
use axum::routing::post;
use chrono::Timelike as _;
use minijinja::{Value as Shown, context};
use serde_json::{Value, json};

use super::figures::percent;
use super::form::{Form, Refused};
use super::language::Language;
use super::predictor;
use super::visit::{PageResult, Visit, segment};
use crate::domain::Timestamp;
use crate::domain::rotation::{Rotation, Whose};
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/predictors/{id}/rotation", post(change))
}

/// A model that takes part.
struct Taking<'a> {
    name: &'a str,
    share: f64,
}

/// Part of the picture: from, to (seconds since 1970), and whose it is.
type Span = (i64, i64, Whose);

const DAY: i64 = 86_400;
/// Most turns in a picture.
const MOST: i64 = 60;

/// What the page shows of a predictor as the API answers it; `models` are all of its models.
pub(super) fn shown(predictor: &Value, models: &[Value], now: Timestamp, language: Language) -> Shown {
    let rotation: Rotation = serde_json::from_value(predictor["rotation"].clone()).unwrap_or_default();
    let mut active: Vec<&Value> = models.iter().filter(|it| it["active"] == true).collect();
    // As scoring has them.
    active.sort_by_key(|it| it["id"].as_str().unwrap_or_default().to_owned());
    let taking: Vec<Taking<'_>> = active
        .iter()
        .map(|it| Taking { name: it["name"].as_str().unwrap_or_default(), share: it["share"].as_f64().unwrap_or(1.0) })
        .collect();
    let by = predictor["rotation"]["by"].as_str().unwrap_or("share");
    let lengths = match &rotation {
        Rotation::Periods { seconds } => {
            seconds.iter().map(|seconds| length(i64::from(*seconds))).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    let said = (!taking.is_empty()).then(|| words(&rotation, &taking, language));
    let present = match rotation.whose(now, taking.len()) {
        Whose::ByShare => Shown::UNDEFINED,
        whose => context! {
            off => whose == Whose::Off, name => name_of(whose, &taking),
            until => rotation.end_of_turn(now).map(|end| end.to_rfc3339()),
        },
    };
    let picture = (!taking.is_empty() && (by != "share" || taking.len() > 1))
        .then(|| Shown::from_safe_string(picture(&rotation, &taking, now, language)));
    context! { by, lengths, said, present, picture, several => taking.len() > 1, any => !taking.is_empty() }
}

fn name_of<'a>(whose: Whose, taking: &[Taking<'a>]) -> &'a str {
    match whose {
        Whose::Model(place) => taking.get(place).map_or("", |it| it.name),
        Whose::Off | Whose::ByShare => "",
    }
}

fn words(rotation: &Rotation, taking: &[Taking<'_>], language: Language) -> String {
    let t = |text| language.text(text);
    let names = || taking.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    match (rotation, taking) {
        (Rotation::Share, [alone]) => t("{name} answers all scores.").replace("{name}", alone.name),
        (Rotation::Share, _) => {
            let parts = taking.iter().map(|it| format!("{} {}", it.name, percent(it.share, 0, language)));
            t("Each interaction meets one of them, the same one whenever it is asked about: {list}.")
                .replace("{list}", &parts.collect::<Vec<_>>().join(", "))
        }
        (Rotation::Hourly, [alone]) => {
            t("{name} answers; every other hour is off. Which hours are changes from day to day, so that each hour of the day is seen both ways.").replace("{name}", alone.name)
        }
        (Rotation::Hourly, _) => {
            t("An hour each, in this order: {list}. The order moves by an hour from day to day, so that each is seen at every time of day.").replace("{list}", &names())
        }
        (Rotation::Periods { seconds }, _) => {
            let parts = seconds.iter().enumerate().map(|(index, seconds)| {
                let who = match taking {
                    [_] if index > 0 => t("off"),
                    _ => taking[index % taking.len()].name,
                };
                format!("{who} {}", length(i64::from(*seconds)))
            });
            t("One after the other, again and again: {list}.").replace("{list}", &parts.collect::<Vec<_>>().join(", "))
        }
    }
}

/// `1 h 30 min`.
fn length(seconds: i64) -> String {
    let units = [(DAY, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        if rest >= size {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        }
    }
    parts.join(" ")
}

/// Seconds of a length as people write it: `90`, `90 s`, `1 h 30 min`, `1.5h`. What is none stays a text, and is refused as such.
fn parsed(text: &str) -> Value {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return json!(text);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse::<f64>() else { return json!(text) };
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let size = match rest[..end].to_lowercase().as_str() {
            "" | "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" | "std" => 3_600.0,
            "d" | "t" => DAY as f64,
            _ => return json!(text),
        };
        rest = rest[end..].trim_start();
        total += number * size;
    }
    if total.fract() == 0.0 { json!(total as i64) } else { json!(total) }
}

/// From when to when the picture goes: the day, or a whole cycle where that is longer, or some short ones.
fn window(rotation: &Rotation, now: Timestamp) -> (i64, i64) {
    let today = now.timestamp() - now.timestamp().rem_euclid(DAY);
    let Rotation::Periods { seconds } = rotation else { return (today, today + DAY) };
    let cycle = rotation.cycle_seconds().unwrap_or(DAY).max(1);
    let start = now.timestamp() - now.timestamp().rem_euclid(cycle);
    let turns = seconds.len() as i64;
    if cycle > DAY {
        (start, start + cycle)
    } else if DAY / cycle * turns <= MOST {
        (today, today + DAY)
    } else {
        (start, start + cycle * (24 / turns).max(1))
    }
}

fn spans(rotation: &Rotation, models: usize, (from, to): (i64, i64)) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut at = from;
    while at < to && spans.len() < 2 * MOST as usize {
        let Some(time) = Timestamp::from_timestamp(at, 0) else { break };
        let end = rotation.end_of_turn(time).map_or(to, |end| end.timestamp()).min(to);
        spans.push((at, end, rotation.whose(time, models)));
        at = end;
    }
    spans
}

fn picture(rotation: &Rotation, taking: &[Taking<'_>], now: Timestamp, language: Language) -> String {
    let (window, spans): (_, Vec<(f64, f64, Whose)>) = match rotation {
        Rotation::Share => {
            let mut from = 0.0;
            let parts = taking.iter().enumerate().map(|(place, it)| {
                let span = (from, from + it.share, Whose::Model(place));
                from += it.share;
                span
            });
            ((0.0, 1.0), parts.collect())
        }
        _ => {
            let window = window(rotation, now);
            let spans = spans(rotation, taking.len(), window);
            (
                (window.0 as f64, window.1 as f64),
                spans.into_iter().map(|(from, to, whose)| (from as f64, to as f64, whose)).collect(),
            )
        }
    };
    let in_time = *rotation != Rotation::Share;
    let title = match in_time {
        true => language.text("Who answers when (UTC)"),
        false => language.text("Who answers how much"),
    };
    let seconds = (window.1 - window.0) as i64;
    let told = |value: f64| if in_time { clock(value as i64, seconds) } else { percent(value, 0, language) };
    let x = |value: f64| 800.0 * (value - window.0) / (window.1 - window.0);
    let mut svg = format!(
        "<figure class=\"chart wide\"><svg class=\"chart turns\" viewBox=\"0 0 800 {}\" role=\"img\" aria-label=\"{}\">",
        if in_time { 52 } else { 28 },
        escaped(title)
    );
    for (from, to, whose) in &spans {
        let who = match whose {
            Whose::Off => language.text("off"),
            whose => name_of(*whose, taking),
        };
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{:.1}\" y=\"2\" width=\"{:.1}\" height=\"24\"><title>{} · {} … {}</title></rect>",
            class(*whose),
            x(*from),
            (x(*to) - x(*from) - 1.0).max(0.5),
            escaped(who),
            told(*from),
            told(*to)
        );
    }
    if in_time {
        let here = x(now.timestamp() as f64);
        let _ = write!(svg, "<line class=\"now\" x1=\"{here:.1}\" y1=\"0\" x2=\"{here:.1}\" y2=\"30\"/>");
        for at in 0..=4 {
            let value = window.0 + (window.1 - window.0) * f64::from(at) / 4.0;
            let class = ["x first", "x", "x", "x", "x last"][at as usize];
            let _ = write!(svg, "<text class=\"{class}\" x=\"{:.1}\" y=\"46\">{}</text>", x(value), told(value));
        }
    }
    svg.push_str("</svg><ul class=\"legend\">");
    for (place, it) in taking.iter().enumerate() {
        let _ = write!(svg, "<li class=\"s{}\">{}</li>", place % 6, escaped(it.name));
    }
    if spans.iter().any(|(_, _, whose)| *whose == Whose::Off) {
        let _ = write!(svg, "<li class=\"off\">{}</li>", escaped(language.text("off")));
    }
    let _ = write!(svg, "</ul><figcaption>{}</figcaption>", escaped(title));
    table(&mut svg, &spans, taking, told, language);
    svg.push_str("</figure>");
    svg
}

fn table(
    svg: &mut String,
    spans: &[(f64, f64, Whose)],
    taking: &[Taking<'_>],
    told: impl Fn(f64) -> String,
    language: Language,
) {
    let head = escaped(language.text("Figures as a table"));
    let _ = write!(
        svg,
        "<details class=\"figures\" id=\"turns-table\"><summary>{head}</summary><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{head}\"><table><thead><tr><th>{}</th><th>{}</th><th>{}</th></tr></thead><tbody>",
        escaped(language.text("From")),
        escaped(language.text("To")),
        escaped(language.text("Who answers"))
    );
    for (from, to, whose) in spans {
        let who = match whose {
            Whose::Off => language.text("off"),
            whose => name_of(*whose, taking),
        };
        let _ = write!(svg, "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", told(*from), told(*to), escaped(who));
    }
    svg.push_str("</tbody></table></div></details>");
}

fn class(whose: Whose) -> String {
    match whose {
        Whose::Model(place) => format!("bar s{}", place % 6),
        Whose::Off | Whose::ByShare => "bar off".to_owned(),
    }
}

/// As exact as a picture of so many seconds needs.
fn clock(seconds_since_1970: i64, window: i64) -> String {
    let Some(time) = Timestamp::from_timestamp(seconds_since_1970, 0) else { return String::new() };
    let format = if window > DAY {
        "%m-%d %H:%M"
    } else if time.second() != 0 || window < 3_600 {
        "%H:%M:%S"
    } else {
        "%H:%M"
    };
    time.format(format).to_string()
}

fn escaped(text: &str) -> String {
    html_escape::encode_quoted_attribute(text).into_owned()
}

/// What a predictor's answer and its definition have in common.
const DEFINITION: [&str; 9] =
    ["name", "dataset_id", "from", "to", "metric", "agent_source", "customer_source", "features", "score_expression"];

async fn change(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let path = format!("/predictors/{}", segment(&id));
    let predictor = visit.get(&path).await?;
    let mut body = json!({});
    for name in DEFINITION {
        if !predictor[name].is_null() {
            body[name] = predictor[name].clone();
        }
    }
    body["rotation"] = match form.get("by").unwrap_or("share") {
        "periods" => {
            let lengths: Vec<Value> = form.string("lengths").split([',', ';']).map(parsed).collect();
            if let Some(wrong) = lengths.iter().find(|it| !it.is_i64()) {
                let text = visit
                    .text("{text} is no length of a period: write whole seconds, or such as 30 min, 1 h, 2 d, separated by commas.");
                let wrong = wrong.as_str().map_or_else(|| wrong.to_string(), |text| format!("“{}”", text.trim()));
                let error = ApiError::unprocessable("bad_rotation", text.replace("{text}", &wrong));
                return refused(&visit, &id, &error, &form).await;
            }
            json!({"by": "periods", "seconds": lengths})
        }
        by => json!({"by": by}),
    };
    match visit.send(Method::PUT, &path, &body).await {
        Ok(_) => visit.done(&format!("/predictors/{id}"), visit.text("The models take turns like this from now on.")),
        Err(error) => refused(&visit, &id, &error, &form).await,
    }
}

async fn refused(visit: &Visit, id: &str, error: &ApiError, form: &Form) -> PageResult {
    predictor::show(visit, id, Some(&Refused { which: "turns", error, form })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_764_148_200;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for (text, seconds) in
            [("90", 90), (" 30 min", 1_800), ("1 h 30 min", 5_400), ("1.5h", 5_400), ("2 d", 172_800)]
        {
            assert_eq!(parsed(text), json!(seconds), "{text}");
        }
        for text in ["", "soon", "5 weeks", "-3", "1,5"] {
            assert!(parsed(text).is_string(), "{text}");
        }
        assert_eq!(length(5_400), "1 h 30 min");
        assert_eq!(parsed(&length(93_784)), json!(93_784));
    }

    #[test]
    fn a_picture_has_a_bounded_number_of_turns() {
        for seconds in
            [vec![1, 1], vec![3_600, 3_600], vec![60, 30, 10], vec![604_800; 10], vec![1; 10], vec![86_400, 1]]
        {
            let rotation = Rotation::Periods { seconds };
            let (from, to) = window(&rotation, at(NOW));
            assert!(from <= NOW && NOW < to, "{rotation:?}");
            let spans = spans(&rotation, 2, (from, to));
            assert!((2..=61).contains(&spans.len()), "{rotation:?}: {}", spans.len());
            assert_eq!((spans[0].0, spans[spans.len() - 1].1), (from, to), "{rotation:?}");
        }
        assert_eq!(spans(&Rotation::Hourly, 1, window(&Rotation::Hourly, at(NOW))).len(), 24);
    }

    #[test]
    fn a_model_alone_is_off_in_between() {
        let predictor = json!({"rotation": {"by": "periods", "seconds": [1_800, 1_800]}});
        let models =
            [json!({"id": "mdl_a", "name": "<best>", "active": true}), json!({"id": "mdl_b", "active": false})];
        let shown = shown(&predictor, &models, at(NOW), Language::English);
        let member = |name: &str| shown.get_attr(name).unwrap().to_string();
        assert_eq!(member("said"), "One after the other, again and again: <best> 30 min, off 30 min.");
        assert_eq!(member("lengths"), "30 min, 30 min");
        assert!(member("picture").contains("&lt;best&gt;") && member("picture").contains("class=\"off\""));
        let present = shown.get_attr("present").unwrap();
        assert_eq!(present.get_attr("name").unwrap().to_string(), "<best>");
    }
}
