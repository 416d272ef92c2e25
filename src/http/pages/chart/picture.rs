//! The picture itself: axes, bars, lines and dots as SVG.

use std::fmt::Write as _;

use super::scale::{Frame, counts, frame, label, ticks};
use super::{Series, Spec, escaped};
use crate::http::pages::language::Language;

/// Of one size: `small` beside a row of a table, `wide` over the whole width, `narrow` in its place on a phone.
pub(super) fn picture(spec: &Spec, size: &str, language: Language) -> String {
    let extent = match size {
        "small" => (120.0, 36.0),
        "wide" => (800.0, 220.0),
        _ => (400.0, 250.0),
    };
    let frame = frame(spec, size == "wide", extent);
    let mut picture = String::new();
    let _ = write!(
        picture,
        "<svg class=\"chart {size}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        extent.0,
        extent.1,
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
    picture
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
        text(picture, "y title", (0.0, 12.0), &shortened(&spec.y.label, if frame.wide { 90 } else { 45 }));
    }
    let wanted = if frame.wide { 5 } else { 4 };
    let letters = if frame.wide { 130 } else { 60 };
    let texts = most_texts(&spec.x.values, letters);
    let x_ticks = match spec.x.format.as_str() {
        "day" => {
            (0..=wanted).map(|at| frame.x.0 + (frame.x.1 - frame.x.0) * f64::from(at) / f64::from(wanted)).collect()
        }
        "text" => {
            let every = spec.x.values.len().div_ceil(texts).max(1);
            (0..spec.x.values.len()).step_by(every).map(|at| at as f64 + 0.5).collect()
        }
        _ => ticks(frame.x, wanted, spec.x.format == "whole"),
    };
    let days = spec.x.format == "day";
    let last = x_ticks.len().saturating_sub(1);
    before.clear();
    for (index, tick) in x_ticks.into_iter().enumerate() {
        // Dates are wide: those at the ends stay inside, and a small picture has fewer.
        if days && !frame.wide && index % 2 == 1 {
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
        let fits = if spec.x.format == "text" { (letters / spec.x.values.len().clamp(1, texts)).max(4) } else { 20 };
        text(picture, class, (frame.x(tick), bottom + 16.0), &shortened(&words, fits));
    }
    line(picture, "axis", (frame.left, bottom), (right, bottom));
    if !spec.x.label.is_empty() {
        // Days are those of UTC, whatever the reader's clock says.
        let zone = if days { " (UTC)" } else { "" };
        text(picture, "x title", (frame.left + frame.width / 2.0, bottom + 34.0), &format!("{}{zone}", spec.x.label));
    }
}

/// How many texts stand below a picture of so many letters: fewer where most would be cut to the same beginning.
fn most_texts(values: &[String], letters: usize) -> usize {
    const MOST: usize = 12;
    let fits = letters / values.len().clamp(1, MOST);
    let cut = values.iter().filter(|it| it.chars().count() > fits).count();
    if 2 * cut > values.len() { MOST / 3 } else { MOST }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_would_be_cut_alike_are_fewer() {
        let agents: Vec<String> = (0..40).map(|at| format!("agent-{at:04}")).collect();
        assert_eq!((most_texts(&agents, 130), most_texts(&agents, 60)), (12, 4));
        assert_eq!(most_texts(&["true".to_owned(), "false".to_owned()], 60), 12);
        assert_eq!(most_texts(&[], 60), 12);
    }
}
