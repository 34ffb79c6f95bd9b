//! Areas over time as a picture (SVG).

use std::fmt::Write;

use crate::ui::SAFETY;

/// Size of the picture, and of the margins around the plot.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
/// Below the plot are its numbers, the axis' title, and the safety line.
const BOTTOM: f64 = 70.0;
const LEGEND: f64 = 18.0;

/// Okabe and Ito's colours that stand out from white, and dashes, to tell curves apart without them.
const STROKES: [(&str, &str); 5] = [
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "9 3 2 3"),
    ("#000000", "1 4"),
];

/// One curve: its name, and what it is at each place of the axis, none where it was not told.
pub(super) struct Curve<'a> {
    pub name: &'a str,
    pub values: Vec<Option<f64>>,
    /// Places of the axis to mark, and what to call them.
    pub marks: Vec<(usize, &'static str)>,
}

/// Curves over a common axis, each broken where it has no value. The titles of the axes are ours,
/// names of curves are escaped.
pub(super) fn svg(axis: &[f64], curves: &[Curve<'_>], x: &str, y: &str) -> String {
    let all = || {
        curves
            .iter()
            .flat_map(|curve| curve.values.iter().flatten())
    };
    let most = steps(all().copied().fold(0.0, f64::max));
    let ends = axis.first().copied().zip(axis.last().copied());
    let (start, end) = ends.filter(|(a, b)| a < b).unwrap_or((0.0, 1.0));
    let top = TOP + LEGEND * curves.len() as f64;
    let height = top + HEIGHT;
    let across = |v: f64| LEFT + (v - start) / (end - start) * (WIDTH - LEFT - RIGHT);
    let up = |v: f64| top + HEIGHT - BOTTOM - v / most.1 * (HEIGHT - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{y} over {x}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut put = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(svg, "{line}");
    };
    for tick in ticks(0.0, most.1, most.0) {
        put(format_args!(
            "<path stroke=\"#ddd\" d=\"M{LEFT} {0:.1}H{1}\"/><text x=\"{2}\" y=\"{3:.1}\" \
             text-anchor=\"end\">{tick}</text>",
            up(tick),
            WIDTH - RIGHT,
            LEFT - 6.0,
            up(tick) + 4.0
        ));
    }
    let below = up(0.0) + 16.0;
    for tick in ticks(start, end, steps(end - start).0) {
        put(format_args!(
            "<text x=\"{:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{tick}</text>",
            across(tick)
        ));
    }
    put(format_args!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>\n\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y}</text>\n\
         <text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#555\">{SAFETY}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        below + 18.0,
        f64::midpoint(top, up(0.0)),
        below + 38.0
    ));
    for (at, curve) in curves.iter().enumerate() {
        let (colour, dashes) = STROKES.get(at % STROKES.len()).copied().unwrap_or_default();
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"");
        let line = 14.0 + LEGEND * at as f64;
        put(format_args!(
            "<path {style} stroke-width=\"2\" d=\"M{LEFT} {line}h28\"/><text x=\"{}\" y=\"{}\">{}</text>",
            LEFT + 34.0,
            line + 4.0,
            escaped(curve.name)
        ));
        let points: Vec<Option<(f64, f64)>> = axis
            .iter()
            .zip(&curve.values)
            .map(|(x, y)| Some((across(*x), up((*y)?))))
            .collect();
        let mut path = String::new();
        let mut pen = 'M';
        for point in &points {
            if let Some((x, y)) = point {
                // A point of its own is a dot as wide as the line.
                let _ = write!(path, "{pen}{x:.1} {y:.1}h0");
            }
            pen = if point.is_some() { 'L' } else { 'M' };
        }
        put(format_args!(
            "<path {style} stroke-width=\"2\" stroke-linecap=\"round\" d=\"{path}\"/>"
        ));
        for (place, mark) in &curve.marks {
            if let Some((x, y)) = points.get(*place).copied().flatten() {
                put(format_args!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\
                     <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{mark}</text>",
                    y - 8.0
                ));
            }
        }
    }
    svg + "</svg>\n"
}

/// The distance of numbers along an axis of that length, and the least multiple of it that holds
/// all.
fn steps(length: f64) -> (f64, f64) {
    let length = if length > 0.0 { length } else { 1.0 };
    let ten = 10_f64.powf((length / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * ten);
    let step = step
        .into_iter()
        .find(|step| length / step <= 6.0)
        .unwrap_or(length);
    (step, (length / step).ceil() * step)
}

/// The multiples of a step between two ends, without the digits that binary fractions leave.
fn ticks(start: f64, end: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (start / step).ceil() as i64;
    let last = (end / step + 1e-9).floor() as i64;
    (first..=last).map(move |n| (n as f64 * step * 1e6).round() / 1e6)
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_break_where_nothing_was_told_and_names_are_escaped() {
        let curve = Curve {
            name: "a<b&c",
            values: vec![Some(0.0), Some(30.0), None, Some(15.0)],
            marks: vec![(1, "ED"), (2, "none there")],
        };
        let svg = svg(&[0.0, 0.1, 0.2, 0.3], &[curve], "seconds", "area in mm2");
        assert!(svg.contains("a&lt;b&amp;c") && !svg.contains("a<b"));
        // From the lower left corner to the top, and at the half of it a dot alone.
        assert!(
            svg.contains("d=\"M70.0 328.0h0L293.3 38.0h0M740.0 183.0h0\""),
            "{svg}"
        );
        assert!(svg.contains(">ED<") && !svg.contains("none there"));
        assert!(svg.contains(SAFETY));
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(steps(30.0), (5.0, 30.0));
        assert_eq!(steps(0.97), (0.2, 1.0));
        assert_eq!(steps(1234.0), (500.0, 1500.0));
        assert_eq!(steps(0.0), (0.2, 1.0));
        assert_eq!(ticks(0.05, 0.7, 0.2).collect::<Vec<_>>(), [0.2, 0.4, 0.6]);
    }
}
