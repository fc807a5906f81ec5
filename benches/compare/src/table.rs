//! Samples as tables in Markdown.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::sample::Sample;
use crate::summary::{Circumstances, Line, Spread, summarise};
use crate::traffic::Mode;

const BEGIN: &str = "<!-- compare: begin -->";
const END: &str = "<!-- compare: end -->";

/// A table for each set of circumstances.
pub fn tables(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (circumstances, lines) in summarise(samples) {
        let Circumstances { mode, one_address, streams } = circumstances;
        let mode = match mode {
            Mode::Plain => "RTP → RTP",
            Mode::Secured => "RTP → SRTP",
            Mode::Srtp => "SRTP → SRTP with keys of its own",
        };
        let address = if one_address { ", all recordings to one address" } else { "" };
        let _ = writeln!(text, "\n#### {mode}, {streams} streams{address}\n");
        text.push_str(
            "| | CPU, µs a packet | recording alone | × rtpengine's | whole × rtpengine's | lost, call | lost, recording \
             | threads | KiB a stream | p50, µs | p99, µs |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for line in lines {
            write_line(&line, &mut text);
        }
    }
    text
}

/// A text with the tables between the two lines that mark their place.
///
/// # Errors
/// When the lines are not there.
pub fn insert(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("no place for the tables")?;
    let (_, after) = rest.split_once(END).context("no end of the tables")?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn write_line(line: &Line, text: &mut String) {
    let records = line.row.records();
    let cells = [
        line.row.title().to_owned(),
        ranged(line.cpu, 1),
        optional(line.branch, 1),
        optional(line.branch_ratio, 2),
        optional(line.ratio, 2),
        share(line.call_loss),
        if records { share(line.recording_loss) } else { String::new() },
        format!("{:.0}", line.threads.median),
        format!("{:.0}", line.memory.median),
        format!("{:.0}", line.p50.median),
        ranged(line.p99, 0),
    ];
    let _ = writeln!(text, "| {} |", cells.join(" | "));
    if line.wrong > 0 {
        let _ = writeln!(text, "| {} of {} packets that were compared are wrong |", line.wrong, line.judged);
    }
}

fn optional(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(String::new, |spread| ranged(spread, digits))
}

fn ranged(Spread { median, least, most }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
}

/// Nothing is 0; a single packet is not.
fn share(Spread { median, most, .. }: Spread) -> String {
    if most == 0.0 { "0".to_owned() } else { format!("{:.2} % (≤ {:.2})", median * 100.0, most * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;
    use crate::sample::example;

    #[test]
    fn tables_take_their_place_and_no_other() {
        let samples = [example("1", Row::Stock, 200, 30.0), example("1", Row::StockTee, 200, 90.0)];
        let tables = tables(&samples);
        let row = "| 90.0 (90.0-90.0) | 60.0 (60.0-60.0) |  |  | 0 | 25.00 % (≤ 25.00) | 3 |";
        assert!(tables.contains(row), "{tables}");
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let page = insert(&page, &tables).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("\nafter\n") && !page.contains("old"));
        assert_eq!(insert(&page, &tables).unwrap(), page);
        assert!(insert("nowhere", &tables).is_err());
    }
}
