//! Samples as a picture: a bar for each row that records, what the call alone takes below and what recording adds on top.

use std::fmt::Write as _;

use crate::row::Row;
use crate::sample::Sample;
use crate::summary::{Line, summarise};
use crate::traffic::Mode;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const HEIGHT: f64 = 320.0;
const BAR: f64 = 26.0;
const GAP: f64 = 30.0;
const LEGEND: f64 = 24.0;

/// The rows of the picture with the colour of each.
const ROWS: [(Row, &str); 7] = [
    (Row::StockTee, "#b3589a"),
    (Row::TsTee, "#c98b2b"),
    (Row::RtpengineSubscribe, "#6b7785"),
    (Row::StockSiprec, "#3d8bd4"),
    (Row::SharedSiprec, "#1b4f9c"),
    (Row::SharedSiprecOnePort, "#0f2d5c"),
    (Row::LoopCopy, "#9bb54a"),
];

/// An SVG of what was measured with SRTP on both sides.
pub fn draw(samples: &[Sample]) -> String {
    let groups: Vec<_> = summarise(samples)
        .into_iter()
        .filter(|(circumstances, _)| circumstances.mode == Mode::Srtp && !circumstances.one_address)
        .map(|(circumstances, lines)| (circumstances.streams, lines))
        .collect();
    let rows: Vec<_> = ROWS
        .into_iter()
        .filter(|(row, _)| groups.iter().any(|(_, lines)| lines.iter().any(|line| line.row == *row)))
        .collect();
    let most = groups.iter().flat_map(|(_, lines)| lines).map(|line| line.cpu.median).fold(1.0, f64::max);
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].into_iter().find(|step| most / step <= 8.0).unwrap_or(100.0);
    let top = (most / step).ceil() * step;
    let group_width = BAR * rows.len() as f64 + GAP;
    let width = LEFT + (group_width * groups.len() as f64).max(560.0) + GAP;
    let height = TOP + HEIGHT + 50.0 + LEGEND * rows.len() as f64;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">CPU µs a packet, SRTP call to SRTP recording; pale: the call alone</text>\n"
    );
    let mut value = 0.0;
    while value <= top {
        let at = y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.0}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            width - GAP,
            LEFT - 6.0,
            at + 4.0
        );
        value += step;
    }
    for (number, (streams, lines)) in groups.iter().enumerate() {
        let x = LEFT + GAP / 2.0 + group_width * number as f64;
        for (place, (row, colour)) in rows.iter().enumerate() {
            let Some(line) = lines.iter().find(|line| line.row == *row) else { continue };
            draw_bar(line, x + BAR * place as f64, colour, y, &mut svg);
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{streams} streams</text>",
            x + (group_width - GAP) / 2.0,
            TOP + HEIGHT + 20.0
        );
    }
    for (place, (row, colour)) in rows.iter().enumerate() {
        let at = TOP + HEIGHT + 50.0 + LEGEND * place as f64;
        let title = row.title().replace('`', "");
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"14\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{at:.1}\">{title}</text>",
            at - 12.0,
            LEFT + 22.0
        );
    }
    svg + "</svg>\n"
}

/// A line of the least and the most goes through the top of the bar.
fn draw_bar(line: &Line, x: f64, colour: &str, y: impl Fn(f64) -> f64, svg: &mut String) {
    let whole = line.cpu.median;
    let alone = (whole - line.branch.map_or(0.0, |branch| branch.median)).clamp(0.0, whole);
    let width = BAR - 4.0;
    let mut part = |from: f64, to: f64, opacity: f64| {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>",
            y(to),
            y(from) - y(to)
        );
    };
    part(0.0, alone, 0.4);
    part(alone, whole, 1.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{middle:.1} {:.1}V{:.1}\" stroke=\"black\"/>\
         <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\">{whole:.0}</text>",
        y(line.cpu.least),
        y(line.cpu.most),
        y(line.cpu.most) - 4.0,
        middle = x + width / 2.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::example;

    #[test]
    fn each_row_that_records_is_a_bar_of_two_parts() {
        let samples = [example("1", Row::Stock, 200, 30.0), example("1", Row::StockSiprec, 200, 40.0)];
        let svg = draw(&samples);
        assert_eq!(svg.matches("fill=\"#3d8bd4\" fill-opacity").count(), 2, "{svg}");
        assert!(svg.contains("200 streams") && svg.ends_with("</svg>\n"));
        // A quarter of the bar is what recording takes.
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("fill-opacity"))
            .filter_map(|line| line.split("height=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert!((heights[0] / heights[1] - 3.0).abs() < 0.01, "{heights:?}");
    }
}
