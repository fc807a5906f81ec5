//! What faults do to a call and to its recording, measured: `tests/faults.sh` runs it, in namespaces of its own.
//!
//! ```text
//! tests/faults.sh                       every fault; writes the table in docs/faults.md
//! tests/faults.sh killed stopped        these only; prints their rows
//! ```

mod baseline;
mod calls;
mod cases;
mod diary;
mod ends;
mod flood;
mod link;
mod networks;
mod row;
mod scene;
mod table;

use std::time::Instant;

use anyhow::{Result, ensure};
use baseline::Baseline;
use row::Row;

/// A fault: what it is called on the command line, and what plays it.
type Case = (&'static str, fn() -> Result<Vec<Row>>);

/// Faults of a kind, and what plays a call of that kind to which nothing happens.
type Kind = (&'static [Case], Option<fn(&mut Baseline) -> Result<()>>);

const KINDS: &[Kind] = &[
    (cases::CASES, Some(cases::undisturbed)),
    (networks::CASES, Some(networks::undisturbed)),
    (link::CASES, Some(link::undisturbed)),
    (ends::CASES, Some(cases::undisturbed)),
    // One of its rows is that of the other.
    (calls::CASES, None),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        let names: Vec<_> = KINDS.iter().flat_map(|(cases, _)| *cases).map(|(name, _)| *name).collect();
        ensure!(names.contains(&name.as_str()), "no fault '{name}'; there are: {}", names.join(" "));
    }
    let load = table::load_average()?;
    let began = Instant::now();
    let (mut rows, mut unmeasured) = (Vec::new(), Vec::new());
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    for (cases, undisturbed) in KINDS {
        let mut baseline = Baseline::default();
        let (mut of_kind, mut any) = (Vec::new(), false);
        let compare = |baseline: &mut Baseline| {
            if let Some(Err(error)) = undisturbed.map(|play| play(baseline)) {
                eprintln!("   without a fault: {error:?}");
            }
        };
        // Of many each second time, lest all takes much longer.
        let each = if cases.len() < 5 { 1 } else { 2 };
        for (number, (name, play)) in cases.iter().filter(|(name, _)| is_wanted(name)).enumerate() {
            eprintln!("== {name}");
            any = true;
            if number.is_multiple_of(each) {
                compare(&mut baseline);
            }
            match play() {
                Ok(played) => {
                    played.iter().for_each(|row| eprint!("{}", row.markdown()));
                    of_kind.extend(played);
                }
                // The others are worth their time all the same.
                Err(error) => {
                    eprintln!("   {error:?}");
                    unmeasured.push(*name);
                }
            }
        }
        if any {
            compare(&mut baseline);
        }
        let told =
            |row: Row| if undisturbed.is_some() { Row { baseline: baseline.clone(), ..row } } else { row };
        rows.extend(of_kind.into_iter().map(told));
    }
    eprint!("{}{}{}", Row::HEAD, rows.iter().map(Row::markdown).collect::<String>(), table::latency(&rows));
    if wanted.is_empty() {
        let loads = [load, table::load_average()?];
        table::write(&rows, &unmeasured, loads, began.elapsed())?;
    }
    ensure!(unmeasured.is_empty(), "these faults could not be measured: {}", unmeasured.join(" "));
    Ok(())
}
