//! Where values lie in a picture, and what is written at its axes.

use super::{Axis, Spec};
use crate::http::pages::figures::{percent, short_figure};
use crate::http::pages::language::Language;

const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// Seconds in which days alone would not tell one end from the other.
const TWO_DAYS: f64 = 172_800.0;

/// Where data lies in the picture.
pub(super) struct Frame {
    pub wide: bool,
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Frame {
    pub fn x(&self, value: f64) -> f64 {
        self.left + self.width * (value - self.x.0) / (self.x.1 - self.x.0)
    }

    pub fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value - self.y.0) / (self.y.1 - self.y.0))
    }
}

/// The frame of a picture of that size.
pub(super) fn frame(spec: &Spec, wide: bool, (width, height): (f64, f64)) -> Frame {
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
        return Frame { wide, left: 0.0, top: 1.0, width, height: height - 2.0, x, y };
    }
    Frame { wide, left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM, x, y }
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

/// Whether heights are counts: there is no half a row.
pub(super) fn counts(spec: &Spec) -> bool {
    let mut heights = spec.series.iter().filter(|it| it.kind == "bars").flat_map(|it| &it.points).peekable();
    spec.y.format.is_empty()
        && heights.peek().is_some()
        && heights.all(|point| point.get(2).copied().flatten().is_none_or(|height| height.fract() == 0.0))
}

/// About so many round numbers inside a range.
pub(super) fn ticks((low, high): (f64, f64), wanted: u32, whole: bool) -> Vec<f64> {
    let rough = (high - low) / f64::from(wanted);
    let power = 10f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|nice| nice * power);
    let step = nice.filter(|step| !whole || (*step >= 1.0 && step.fract() == 0.0)).find(|step| *step >= rough);
    let step = step.unwrap_or(if whole { (10.0 * power).max(1.0) } else { 10.0 * power });
    let first = (low / step).ceil();
    (0..=20).map(|at| (first + f64::from(at)) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

pub(super) fn label(value: f64, axis: &Axis, range: (f64, f64), language: Language) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 1.0), 4, false), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks((0.0, 730.0), 4, false), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(ticks((0.0, 1.06), 4, true), [0.0, 1.0], "there is no half a row");
        assert_eq!(ticks((0.5, 10.5), 4, true), [5.0, 10.0]);
    }
}
