//! Plots of shares from 0 to 1, as inline SVG.

use std::fmt::Write;

/// Where the square lies in the view box, and how long its sides are.
const LEFT: f64 = 40.0;
const TOP: f64 = 18.0;
const SIDE: f64 = 200.0;

/// A square with axes, a diagonal and what is drawn into it. Texts are taken as they are: whoever
/// draws escapes them.
pub(super) struct Plot {
    svg: String,
}

/// How lines and points are told apart, in black and white as well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// A full line, filled points.
    Full,
    /// A dashed line, hollow points.
    Dashed,
}

impl Plot {
    /// An empty plot: its name, for those who can't see it, and the titles of its axes.
    pub(super) fn new(name: &str, x: &str, y: &str) -> Self {
        let mut svg = format!("<svg viewBox=\"0 0 250 250\" role=\"img\" aria-label=\"{name}\">\n");
        let (bottom, middle) = (TOP + SIDE, SIDE / 2.0);
        for share in [0.0, 0.5, 1.0] {
            let (across, up) = place((share, share));
            let _ = writeln!(
                svg,
                "<text x=\"{across}\" y=\"{}\" text-anchor=\"middle\">{share}</text>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{share}</text>",
                bottom + 13.0,
                LEFT - 5.0,
                up + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\
             <text transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">{y}</text>\n\
             <polyline class=\"axis\" points=\"{}\"/><polyline class=\"axis\" points=\"{}\"/>",
            LEFT + middle,
            bottom + 28.0,
            TOP + middle,
            points([(0.0, 1.0), (0.0, 0.0), (1.0, 0.0)]),
            points([(0.0, 0.0), (1.0, 1.0)])
        );
        Self { svg }
    }

    /// A line through points.
    pub(super) fn line(&mut self, line: impl IntoIterator<Item = (f64, f64)>, style: Style) {
        let dashes = match style {
            Style::Full => "",
            Style::Dashed => " stroke-dasharray=\"5 3\"",
        };
        let points = points(line);
        let _ = writeln!(self.svg, "<polyline{dashes} points=\"{points}\"/>");
    }

    /// A point of a radius, and what it says when it is pointed at.
    pub(super) fn point(&mut self, at: (f64, f64), radius: f64, style: Style, title: &str) {
        let fill = match style {
            Style::Full => "currentColor",
            Style::Dashed => "none",
        };
        let (x, y) = place(at);
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\"><title>{title}</title>\
             </circle>"
        );
    }

    /// A small number above the square.
    pub(super) fn number(&mut self, x: f64, number: usize) {
        let (x, y) = place((x, 1.0));
        let _ = writeln!(
            self.svg,
            "<text class=\"small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{number}</text>",
            y - 8.0
        );
    }

    pub(super) fn finish(self) -> String {
        self.svg + "</svg>\n"
    }
}

fn place((x, y): (f64, f64)) -> (f64, f64) {
    (LEFT + x * SIDE, TOP + (1.0 - y) * SIDE)
}

/// The attribute of a polyline.
fn points(line: impl IntoIterator<Item = (f64, f64)>) -> String {
    let point = |(x, y): (f64, f64)| format!("{x:.1},{y:.1}");
    let points: Vec<String> = line.into_iter().map(place).map(point).collect();
    points.join(" ")
}
