//! What faults do to a call and to its recording, measured: `tests/faults.sh` runs it, in namespaces of its own.
//!
//! ```text
//! tests/faults.sh                       every fault; writes the table in docs/faults.md
//! tests/faults.sh killed stopped        these only; prints their rows
//! ```

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
use row::Row;

/// A fault: what it is called on the command line, and what plays it.
type Case = (&'static str, fn() -> Result<Vec<Row>>);

fn main() -> Result<()> {
    let all: Vec<Case> = [cases::CASES, networks::CASES, link::CASES, ends::CASES, calls::CASES].concat();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        ensure!(names.contains(&name.as_str()), "no fault '{name}'; there are: {}", names.join(" "));
    }
    let load = table::load_average()?;
    let began = Instant::now();
    let (mut rows, mut unmeasured) = (Vec::new(), Vec::new());
    for (name, play) in &all {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("== {name}");
            match play() {
                Ok(played) => {
                    played.iter().for_each(|row| eprint!("{}", row.markdown()));
                    rows.extend(played);
                }
                // The others are worth their time all the same.
                Err(error) => {
                    eprintln!("   {error:?}");
                    unmeasured.push(*name);
                }
            }
        }
    }
    if wanted.is_empty() {
        let loads = [load, table::load_average()?];
        table::write(&rows, &unmeasured, loads, began.elapsed())?;
    }
    ensure!(unmeasured.is_empty(), "these faults could not be measured: {}", unmeasured.join(" "));
    Ok(())
}
