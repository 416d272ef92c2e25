//! Pictures of numbers, drawn on the server as inline SVG: they work without a script, print, follow the theme by
//! classes, and always have their figures as a table beside them.

mod picture;
mod scale;

use std::fmt::Write as _;

use minijinja::{Error, ErrorKind, Value};
use serde::Deserialize;

use self::picture::picture;
use self::scale::{frame, label};
use super::language::Language;

/// What templates give: `chart({"title": …, "x": {…}, "y": {…}, "series": […]})`.
#[derive(Debug, Deserialize)]
struct Spec {
    title: String,
    #[serde(default)]
    x: Axis,
    #[serde(default)]
    y: Axis,
    series: Vec<Series>,
    /// A line where both axes say the same: what chance, or perfection, looks like.
    #[serde(default)]
    diagonal: bool,
    /// A horizontal line.
    #[serde(default)]
    guide: Option<f64>,
    /// Without axes and table: beside a row of a table that has the figures.
    #[serde(default)]
    small: bool,
    #[serde(default)]
    wide: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Axis {
    #[serde(default)]
    label: String,
    /// `num`, `whole` (of bars: the number in their middle), `pct`, `day` (seconds since 1970), `text` (positions in `values`).
    #[serde(default)]
    format: String,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    name: String,
    /// `line`, `dots`, `bars` (points are from, to, height).
    kind: String,
    /// x, y, and the ends of y's interval when there is one.
    points: Vec<Vec<Option<f64>>>,
}

pub(super) fn draw(spec: &Value, language: Language) -> Result<Value, Error> {
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::InvalidOperation, format!("chart: {error}"));
    let spec: Spec = serde_json::to_value(spec).and_then(serde_json::from_value).map_err(wrong)?;
    Ok(Value::from_safe_string(svg(&spec, language)))
}

fn svg(spec: &Spec, language: Language) -> String {
    if spec.small {
        return picture(spec, "small", language);
    }
    let size = if spec.wide { "wide" } else { "usual" };
    let mut whole = format!("<figure class=\"chart {size}\">{}", picture(spec, size, language));
    if spec.wide {
        // Letters that shrink with a wide picture could not be read on a phone, which shows this one.
        whole.push_str(&picture(spec, "narrow", language));
    }
    if spec.series.len() > 1 {
        whole.push_str("<ul class=\"legend\">");
        for (index, series) in spec.series.iter().enumerate() {
            let _ = write!(whole, "<li class=\"s{}\">{}</li>", index % 6, escaped(&series.name));
        }
        whole.push_str("</ul>");
    }
    let _ = write!(whole, "<figcaption>{}</figcaption>", escaped(&spec.title));
    table(&mut whole, spec, language);
    whole.push_str("</figure>");
    whole
}

/// The figures, so that nobody has to read them off.
fn table(whole: &mut String, spec: &Spec, language: Language) {
    let frame = frame(spec, spec.wide, (800.0, 220.0));
    const MOST: usize = 200;
    let head = language.text("Figures as a table");
    let _ = write!(whole, "<details class=\"figures\"><summary>{}</summary>", escaped(head));
    let _ =
        write!(whole, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\"><table>", escaped(head));
    let several = spec.series.len() > 1;
    whole.push_str("<thead><tr>");
    for title in [several.then_some(""), Some(spec.x.label.as_str()), Some(spec.y.label.as_str())].into_iter().flatten()
    {
        let title = if title.is_empty() { "–" } else { title };
        let _ = write!(whole, "<th>{}</th>", escaped(title));
    }
    whole.push_str("</tr></thead><tbody>");
    for series in &spec.series {
        for point in series.points.iter().take(MOST) {
            whole.push_str("<tr>");
            if several {
                let _ = write!(whole, "<td>{}</td>", escaped(&series.name));
            }
            let shown = |value: Option<f64>, axis: &Axis, range| {
                value.map_or_else(|| "–".to_owned(), |value| label(value, axis, range, language))
            };
            let at = |index: usize| point.get(index).copied().flatten();
            let (x, y) = match series.kind.as_str() {
                "bars" if matches!(spec.x.format.as_str(), "text" | "whole") => {
                    (shown(at(0).map(|it| it + 0.5), &spec.x, frame.x), at(2))
                }
                "bars" => {
                    let ends = [at(0), at(1)].map(|end| shown(end, &spec.x, frame.x));
                    (ends.join(" … "), at(2))
                }
                _ => (shown(at(0), &spec.x, (0.0, 1.0)), at(1)),
            };
            let mut y = shown(y, &spec.y, (0.0, 1.0));
            if series.kind != "bars"
                && let (Some(low), Some(high)) = (at(2), at(3))
            {
                let ends = [low, high].map(|end| label(end, &spec.y, (0.0, 1.0), language));
                let _ = write!(y, " ({} … {})", ends[0], ends[1]);
            }
            let _ = write!(
                whole,
                "<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
                escaped(&x),
                escaped(&y)
            );
        }
    }
    whole.push_str("</tbody></table></div></details>");
}

fn escaped(text: &str) -> String {
    html_escape::encode_quoted_attribute(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, points: Vec<Vec<Option<f64>>>) -> Spec {
        Spec {
            title: "A <title>".to_owned(),
            x: Axis::default(),
            y: Axis::default(),
            series: vec![Series { name: String::new(), kind: kind.to_owned(), points }],
            diagonal: false,
            guide: None,
            small: false,
            wide: false,
        }
    }

    #[test]
    fn a_chart_is_escaped_has_its_figures_and_no_inline_style() {
        let points = vec![vec![Some(0.0), Some(1.0), Some(5.0)], vec![Some(1.0), Some(2.0), Some(7.0)]];
        let text = svg(&spec("bars", points), Language::English);
        assert!(text.contains("A &lt;title&gt;") && text.contains("<table>") && text.contains("0 … 1"), "{text}");
        assert!(!text.contains("style="));
        assert_eq!(text.matches("<rect").count(), 2);
    }

    #[test]
    fn nothing_and_a_single_value_can_be_drawn() {
        for points in [vec![], vec![vec![Some(3.0), Some(3.0)]], vec![vec![None, None]]] {
            let text = svg(&spec("line", points), Language::German);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }

    #[test]
    fn numbers_however_large_or_close_can_be_drawn() {
        let low = 9e18;
        for points in [
            vec![vec![Some(low), Some(low + 1024.0), Some(3.0)]],
            vec![vec![Some(-1e300), Some(1e300), Some(1.0)]],
            vec![vec![Some(1e-12), Some(2e-12), Some(1.0)]],
        ] {
            let text = svg(&spec("bars", points.clone()), Language::English);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            let text = svg(&spec("line", points), Language::English);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }

    #[test]
    fn the_line_of_perfection_is_where_both_axes_say_the_same() {
        let mut spec = spec("dots", vec![vec![Some(0.50), Some(0.1)], vec![Some(0.52), Some(0.9)]]);
        spec.diagonal = true;
        let frame = frame(&spec, false, (400.0, 250.0));
        assert_eq!(frame.x, frame.y, "one scale for both");
        let text = svg(&spec, Language::English);
        let corner = format!("x1=\"{:.1}\" y1=\"{:.1}\"", frame.left, frame.top + frame.height);
        assert!(text.contains(&format!("<line class=\"guide\" {corner}")), "{text}");
    }

    #[test]
    fn a_day_is_told_once() {
        let mut spec = spec("bars", vec![vec![Some(1_767_225_600.0), Some(1_767_225_600.0), Some(1.0)]]);
        spec.x.format = "day".to_owned();
        spec.wide = true;
        let text = svg(&spec, Language::English);
        assert_eq!(text.matches(">2026-01-01 00:00</text>").count(), 2, "once in each picture: {text}");
    }
}
