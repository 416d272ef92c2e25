//! Small pictures of curves, as points of an inline SVG of 100 × 100 with the origin at the lower left.

use crate::learn::ResidualBin;

/// A curve in the unit square, beside its diagonal.
pub(super) struct Curve {
    /// As the attribute `points` wants them.
    pub points: String,
    /// One dot a point.
    pub dots: Vec<(String, String)>,
}

impl Curve {
    /// `from_origin` begins the line at (0, 0).
    pub fn new(points: impl Iterator<Item = (f64, f64)>, from_origin: bool) -> Curve {
        let place = |value: f64| format!("{:.2}", 100.0 * value.clamp(0.0, 1.0));
        let origin = from_origin.then_some((0.0, 0.0));
        let dots: Vec<(String, String)> =
            origin.into_iter().chain(points).map(|(x, y)| (place(x), place(1.0 - y))).collect();
        let points = dots.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ");
        Curve { points, dots }
    }
}

/// A histogram.
pub(super) struct Bars {
    pub bars: Vec<Bar>,
    pub from: String,
    pub to: String,
}

pub(super) struct Bar {
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
}

impl Bars {
    pub fn new(bins: &[ResidualBin]) -> Bars {
        let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(0).max(1) as f64;
        let width = 100.0 / bins.len().max(1) as f64;
        let bars = bins
            .iter()
            .enumerate()
            .map(|(at, bin)| {
                let height = 100.0 * bin.rows as f64 / most;
                Bar {
                    x: format!("{:.2}", at as f64 * width),
                    y: format!("{:.2}", 100.0 - height),
                    width: format!("{:.2}", width * 0.9),
                    height: format!("{height:.2}"),
                }
            })
            .collect();
        let end = |bin: Option<&ResidualBin>, value: fn(&ResidualBin) -> f64| {
            bin.map_or(String::new(), |bin| format!("{:.3}", value(bin)))
        };
        Bars { bars, from: end(bins.first(), |bin| bin.from), to: end(bins.last(), |bin| bin.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_begin_at_the_lower_left_and_bars_fill_the_square() {
        let curve = Curve::new([(0.5, 0.75), (1.0, 1.0)].into_iter(), true);
        assert_eq!(curve.points, "0.00,100.00 50.00,25.00 100.00,0.00");
        let bin = |from: f64, rows| ResidualBin { from, to: from + 1.0, rows };
        let bars = Bars::new(&[bin(-1.0, 5), bin(0.0, 10)]);
        assert_eq!((bars.bars[0].y.as_str(), bars.bars[1].height.as_str()), ("50.00", "100.00"));
        assert_eq!((bars.from.as_str(), bars.to.as_str()), ("-1.000", "1.000"));
    }
}
