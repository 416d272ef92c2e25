//! Pictures of numbers, drawn on the server as inline SVG: they work without a script, print, follow the theme by
//! classes, and always have their figures as a table beside them.

use std::fmt::Write as _;

use minijinja::{Error, ErrorKind, Value};
use serde::Deserialize;

use super::figures::{percent, short_figure};
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

const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// Seconds in which days alone would not tell one end from the other.
const TWO_DAYS: f64 = 172_800.0;

/// Where data lies in the picture.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.width * (value - self.x.0) / (self.x.1 - self.x.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value - self.y.0) / (self.y.1 - self.y.0))
    }
}

pub(super) fn draw(spec: &Value, language: Language) -> Result<Value, Error> {
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::InvalidOperation, format!("chart: {error}"));
    let spec: Spec = serde_json::to_value(spec).and_then(serde_json::from_value).map_err(wrong)?;
    Ok(Value::from_safe_string(svg(&spec, language)))
}

fn svg(spec: &Spec, language: Language) -> String {
    let (width, height) = match (spec.small, spec.wide) {
        (true, _) => (120.0, 36.0),
        (_, true) => (800.0, 220.0),
        _ => (400.0, 250.0),
    };
    let frame = frame(spec, width, height);
    let mut picture = String::new();
    let size = if spec.small {
        "small"
    } else if spec.wide {
        "wide"
    } else {
        "usual"
    };
    let _ = write!(
        picture,
        "<svg class=\"chart {size}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(&spec.title)
    );
    if !spec.small {
        axes(&mut picture, spec, &frame, language);
    }
    if spec.diagonal {
        let (low, high) = (frame.x.0.max(frame.y.0), frame.x.1.min(frame.y.1));
        line(&mut picture, "guide", (frame.x(low), frame.y(low)), (frame.x(high), frame.y(high)));
    }
    if let Some(guide) = spec.guide.filter(|guide| (frame.y.0..=frame.y.1).contains(guide)) {
        let y = frame.y(guide);
        line(&mut picture, "guide", (frame.left, y), (frame.left + frame.width, y));
    }
    for (index, series) in spec.series.iter().enumerate() {
        draw_series(&mut picture, spec, series, index, &frame, language);
    }
    picture.push_str("</svg>");
    if spec.small {
        return picture;
    }
    // Letters that shrink with a wide picture could not be read on a phone: there it scrolls.
    let picture = match spec.wide {
        true => {
            format!("<div class=\"scroll\" role=\"group\" aria-label=\"{}\">{picture}</div>", escaped(&spec.title))
        }
        false => picture,
    };
    let mut whole = format!("<figure class=\"chart {size}\">{picture}");
    if spec.series.len() > 1 {
        whole.push_str("<ul class=\"legend\">");
        for (index, series) in spec.series.iter().enumerate() {
            let _ = write!(whole, "<li class=\"s{}\">{}</li>", index % 6, escaped(&series.name));
        }
        whole.push_str("</ul>");
    }
    let _ = write!(whole, "<figcaption>{}</figcaption>", escaped(&spec.title));
    table(&mut whole, spec, &frame, language);
    whole.push_str("</figure>");
    whole
}

fn frame(spec: &Spec, width: f64, height: f64) -> Frame {
    let all = || spec.series.iter().flat_map(|series| series.points.iter().map(|point| (series.kind.as_str(), point)));
    let xs = all().flat_map(|(kind, point)| {
        let ends = if kind == "bars" { 2 } else { 1 };
        point.iter().take(ends).flatten().copied().collect::<Vec<f64>>()
    });
    let ys = all().flat_map(|(kind, point)| {
        let from = if kind == "bars" { 2 } else { 1 };
        point.iter().skip(from).flatten().copied().collect::<Vec<f64>>()
    });
    let bars = spec.series.iter().any(|series| series.kind == "bars");
    let mut x = range(xs, &spec.x, false, false);
    let mut y = range(ys, &spec.y, bars, true);
    if spec.diagonal {
        // What is compared with itself has one scale.
        (x, y) = ((x.0.min(y.0), x.1.max(y.1)), (x.0.min(y.0), x.1.max(y.1)));
    }
    if spec.small {
        return Frame { left: 0.0, top: 1.0, width, height: height - 2.0, x, y };
    }
    Frame { left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM, x, y }
}

fn range(values: impl Iterator<Item = f64>, axis: &Axis, from_zero: bool, room: bool) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|value| value.is_finite()) {
        low = low.min(value);
        high = high.max(value);
    }
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    let margin = if room { (high - low) * 0.06 } else { 0.0 };
    let low = axis.min.unwrap_or(if from_zero { 0.0 } else { low - margin });
    let high = axis.max.unwrap_or(high + margin);
    // Numbers this close to each other cannot be told apart in a picture.
    let least = low.abs().max(high.abs()) * 1e-9;
    match axis.min {
        _ if high - low > least => (low, high),
        Some(low) => (low, low + least.max(1.0)),
        None => (low - least.max(0.5), low + least.max(0.5)),
    }
}

fn axes(picture: &mut String, spec: &Spec, frame: &Frame, language: Language) {
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    let mut before = String::new();
    for tick in ticks(frame.y, 4, counts(spec)) {
        let y = frame.y(tick);
        line(picture, "grid", (frame.left, y), (right, y));
        let words = label(tick, &spec.y, frame.y, language);
        // Numbers that are too close to be told apart are told once, as days are of which there is little.
        if words != before {
            text(picture, "y", (frame.left - 6.0, y + 4.0), &words);
        }
        before = words;
    }
    if !spec.y.label.is_empty() {
        text(picture, "y title", (0.0, 12.0), &shortened(&spec.y.label, if spec.wide { 90 } else { 45 }));
    }
    let wanted = if spec.wide { 5 } else { 4 };
    let x_ticks = match spec.x.format.as_str() {
        "day" => {
            (0..=wanted).map(|at| frame.x.0 + (frame.x.1 - frame.x.0) * f64::from(at) / f64::from(wanted)).collect()
        }
        "text" => {
            let every = spec.x.values.len().div_ceil(12).max(1);
            (0..spec.x.values.len()).step_by(every).map(|at| at as f64 + 0.5).collect()
        }
        _ => ticks(frame.x, wanted, spec.x.format == "whole"),
    };
    let days = spec.x.format == "day";
    let last = x_ticks.len().saturating_sub(1);
    before.clear();
    for (index, tick) in x_ticks.into_iter().enumerate() {
        // Dates are wide: those at the ends stay inside, and a small picture has fewer.
        if days && !spec.wide && index % 2 == 1 {
            continue;
        }
        let class = if days && index == 0 {
            "x first"
        } else if days && index == last {
            "x last"
        } else {
            "x"
        };
        let words = label(tick, &spec.x, frame.x, language);
        if words == before {
            continue;
        }
        before.clone_from(&words);
        let room = if spec.wide { 130 } else { 60 };
        let fits = if spec.x.format == "text" { (room / spec.x.values.len().clamp(1, 12)).max(4) } else { 20 };
        text(picture, class, (frame.x(tick), bottom + 16.0), &shortened(&words, fits));
    }
    line(picture, "axis", (frame.left, bottom), (right, bottom));
    if !spec.x.label.is_empty() {
        text(picture, "x title", (frame.left + frame.width / 2.0, bottom + 34.0), &spec.x.label);
    }
}

fn draw_series(picture: &mut String, spec: &Spec, series: &Series, index: usize, frame: &Frame, language: Language) {
    let class = index % 6;
    let told = |x: f64, y: f64| {
        let name = if series.name.is_empty() { String::new() } else { format!("{}: ", series.name) };
        format!("{name}{} · {}", label(x, &spec.x, frame.x, language), label(y, &spec.y, frame.y, language))
    };
    if series.kind == "bars" {
        for point in &series.points {
            let [Some(from), Some(to), Some(height)] = point[..] else { continue };
            let (left, right) = (frame.x(from), frame.x(to));
            let gap = if right - left > 4.0 { 1.0 } else { 0.0 };
            let (top, bottom) = (frame.y(height.max(0.0)), frame.y(height.min(0.0).max(frame.y.0)));
            let _ = write!(
                picture,
                "<rect class=\"bar s{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">",
                (right - left - gap).max(0.5),
                (bottom - top).max(0.0)
            );
            let place = if spec.x.format == "whole" { (from + to) / 2.0 } else { from };
            let _ = write!(picture, "<title>{}</title></rect>", escaped(&told(place, height)));
        }
        return;
    }
    let finite =
        |point: &&Vec<Option<f64>>| matches!(point[..], [Some(x), Some(y), ..] if x.is_finite() && y.is_finite());
    for point in series.points.iter().filter(finite) {
        if let [Some(x), _, Some(low), Some(high)] = point[..] {
            line(picture, &format!("interval s{class}"), (frame.x(x), frame.y(low)), (frame.x(x), frame.y(high)));
        }
    }
    let coordinates = |point: &Vec<Option<f64>>| (point[0].unwrap_or_default(), point[1].unwrap_or_default());
    let known: Vec<(f64, f64)> = series.points.iter().filter(finite).map(coordinates).collect();
    if series.kind == "line" {
        let points: Vec<String> = known.iter().map(|(x, y)| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y))).collect();
        let _ = write!(picture, "<polyline class=\"curve s{class}\" points=\"{}\"/>", points.join(" "));
    }
    if series.kind == "dots" || known.len() <= 30 && !spec.small {
        for (x, y) in &known {
            let (cx, cy) = (frame.x(*x), frame.y(*y));
            let _ = write!(picture, "<circle class=\"dot s{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\">");
            let _ = write!(picture, "<title>{}</title></circle>", escaped(&told(*x, *y)));
        }
    }
}

/// The figures, so that nobody has to read them off.
fn table(whole: &mut String, spec: &Spec, frame: &Frame, language: Language) {
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

/// Whether heights are counts: there is no half a row.
fn counts(spec: &Spec) -> bool {
    let mut heights = spec.series.iter().filter(|it| it.kind == "bars").flat_map(|it| &it.points).peekable();
    spec.y.format.is_empty()
        && heights.peek().is_some()
        && heights.all(|point| point.get(2).copied().flatten().is_none_or(|height| height.fract() == 0.0))
}

/// About so many round numbers inside a range.
fn ticks((low, high): (f64, f64), wanted: u32, whole: bool) -> Vec<f64> {
    let rough = (high - low) / f64::from(wanted);
    let power = 10f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|nice| nice * power);
    let step = nice.filter(|step| !whole || (*step >= 1.0 && step.fract() == 0.0)).find(|step| *step >= rough);
    let step = step.unwrap_or(if whole { (10.0 * power).max(1.0) } else { 10.0 * power });
    let first = (low / step).ceil();
    (0..=20).map(|at| (first + f64::from(at)) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

fn label(value: f64, axis: &Axis, range: (f64, f64), language: Language) -> String {
    match axis.format.as_str() {
        "pct" => percent(value, usize::from(range.1 - range.0 < 0.08), language),
        "day" => chrono::DateTime::from_timestamp(value as i64, 0)
            .map(|time| {
                time.format(if range.1 - range.0 < TWO_DAYS { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" }).to_string()
            })
            .unwrap_or_default(),
        "text" => axis.values.get(value.floor().max(0.0) as usize).cloned().unwrap_or_default(),
        _ if value.abs() < (range.1 - range.0) * 1e-9 => short_figure(0.0, language),
        // A step of ticks may leave a tail such as 0.30000000000000004.
        _ => short_figure(format!("{value:.11e}").parse().unwrap_or(value), language),
    }
}

fn shortened(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn line(picture: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = write!(picture, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

fn text(picture: &mut String, class: &str, (x, y): (f64, f64), words: &str) {
    let _ = write!(picture, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
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
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 1.0), 4, false), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks((0.0, 730.0), 4, false), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(ticks((0.0, 1.06), 4, true), [0.0, 1.0], "there is no half a row");
        assert_eq!(ticks((0.5, 10.5), 4, true), [5.0, 10.0]);
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
        let frame = frame(&spec, 400.0, 250.0);
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
        assert_eq!(text.matches(">2026-01-01 00:00</text>").count(), 1, "{text}");
    }
}
