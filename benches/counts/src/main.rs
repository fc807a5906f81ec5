//! Instructions and heap allocations of packet path and session core. Both are the same on every machine that has the
//! compiler's version, whatever else runs there, so that a bound on them can be tight.
//!
//!     cargo run --release -p siprec-counts            counts, and compares with what counts.txt says
//!     cargo run --release -p siprec-counts update     counts, and rewrites counts.txt
//!
//! Instructions are those that valgrind's callgrind sees. It does not know the instructions for SHA-1 and AES that the
//! ciphers take where the processor has them, so no path here has cryptography.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

mod allocator;
mod callgrind;
mod packets;
mod sessions;
mod table;

use anyhow::{Context as _, Result, bail, ensure};

use crate::table::Table;

/// Something that is done many times, and looked at.
struct Work {
    /// What is done once, in words.
    name: &'static str,
    /// How often one run does it.
    times: u32,
    /// Does it so often. The first run is for warming up.
    run: Box<dyn FnMut()>,
}

impl Work {
    /// `once` does it, for the how manieth time of a run. It and the loop become one, so that only it is counted.
    fn new(name: &'static str, times: u32, mut once: impl FnMut(u32) + 'static) -> Self {
        Self { name, times, run: Box::new(move || (1..=times).for_each(&mut once)) }
    }
}

fn works() -> Vec<Work> {
    packets::works().into_iter().chain(sessions::works()).collect()
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => check(),
        ["update"] => count()?.write(),
        [callgrind::CHILD, number] => run(number.parse()?),
        other => bail!("{other:?}: there is no argument but `update`"),
    }
}

fn check() -> Result<()> {
    let counted = count()?;
    print!("{counted}");
    let faults = counted.compare(&Table::read()?);
    ensure!(
        faults.is_empty(),
        "not what counts.txt says; if that is meant, `update` it:\n{}",
        faults.join("\n")
    );
    println!("as counts.txt says");
    Ok(())
}

fn count() -> Result<Table> {
    let works = works();
    let counts: Vec<_> = (0..works.len()).map(callgrind::count).collect::<Result<_>>()?;
    Table::of(&works, &counts)
}

/// The process that callgrind looks at: prints what the second run allocated.
fn run(number: usize) -> Result<()> {
    let mut work = works().into_iter().nth(number).context("no work has this number")?;
    (work.run)();
    println!("{}", allocator::during(|| callgrind::measured(&mut work)));
    Ok(())
}
