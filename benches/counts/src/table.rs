//! What one time of each work takes, as a text that is kept beside the code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::Work;
use crate::callgrind::Count;

/// How far the instructions may be from those of the file, either way: what got faster is to be written down, or the next
/// regress hides in it.
const TOLERANCE_PERCENT: u64 = 2;

/// The same, and for allocations, too, where another compiler made the kept counts.
const FOREIGN_TOLERANCE_PERCENT: u64 = 15;

#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    /// The compiler's name and version.
    compiler: String,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    instructions: u64,
    /// Of a thousand times, since many take less than one each.
    allocations: u64,
}

impl Table {
    /// What one time of each work took, where `counts` are of whole runs, in the same order.
    ///
    /// # Errors
    /// If the compiler does not tell its version.
    pub(crate) fn of(works: &[Work], counts: &[Count]) -> Result<Self> {
        let row = |work: &Work, count: &Count| Row {
            name: work.name.to_owned(),
            instructions: count.instructions / u64::from(work.times),
            allocations: count.allocations * 1000 / u64::from(work.times),
        };
        Ok(Self {
            compiler: compiler()?,
            rows: works.iter().zip(counts).map(|(work, count)| row(work, count)).collect(),
        })
    }

    /// The kept one.
    ///
    /// # Errors
    /// If the file is missing, or a line of it is no row.
    pub(crate) fn read() -> Result<Self> {
        let path = file();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let compiler = text.lines().next().unwrap_or_default().to_owned();
        let rows =
            text.lines().skip(2).map(|line| Row::read(line).with_context(|| format!("{line:?} is no row")));
        Ok(Self { compiler, rows: rows.collect::<Result<_>>()? })
    }

    /// Keeps this one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        let path = file();
        std::fs::write(&path, self.to_string()).with_context(|| path.display().to_string())
    }

    /// In what this one is not as it was.
    pub(crate) fn compare(&self, kept: &Self) -> Vec<String> {
        let names = |table: &Self| table.rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
        if names(self) != names(kept) {
            return vec!["other rows: `update` writes it anew".into()];
        }
        let (instructions, allocations) = if self.compiler == kept.compiler {
            (TOLERANCE_PERCENT, 0)
        } else {
            (FOREIGN_TOLERANCE_PERCENT, FOREIGN_TOLERANCE_PERCENT)
        };
        let far = |new: u64, old: u64, percent: u64| new.abs_diff(old) * 100 > old * percent;
        let differ = |(new, old): (&Row, &Row)| {
            let differs = far(new.instructions, old.instructions, instructions)
                || far(new.allocations, old.allocations, allocations);
            differs.then(|| format!("{}: {} → {}", new.name, old.costs(), new.costs()))
        };
        self.rows.iter().zip(&kept.rows).filter_map(differ).collect()
    }
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let (instructions, rest) = line.trim_start().split_once(' ')?;
        let (allocations, name) = rest.trim_start().split_once(' ')?;
        let (instructions, allocations) = (instructions.parse().ok()?, allocations.parse().ok()?);
        Some(Self { name: name.trim_start().to_owned(), instructions, allocations })
    }

    fn costs(&self) -> String {
        format!("{} instructions, {} allocations in a thousand", self.instructions, self.allocations)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.compiler)?;
        writeln!(f, "instructions  allocations in a thousand times")?;
        self.rows.iter().try_for_each(|Row { name, instructions, allocations }| {
            writeln!(f, "{instructions:>12} {allocations:>8}  {name}")
        })
    }
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc does not start")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]
    use super::*;

    fn table(compiler: &str, instructions: u64, allocations: u64) -> Table {
        let rows = vec![Row { name: "a packet that leaves".into(), instructions, allocations }];
        Table { compiler: compiler.into(), rows }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let table = table("rustc 1", 1234, 0);
        let text = table.to_string();
        let rows: Vec<_> = text.lines().skip(2).map(|line| Row::read(line).unwrap()).collect();
        assert_eq!(rows, table.rows);
    }

    #[test]
    fn what_takes_more_or_less_or_allocates_otherwise_is_told() {
        let kept = table("rustc 1", 1000, 5);
        for (instructions, allocations) in [(1021, 5), (979, 5), (1000, 4), (1000, 6)] {
            assert_eq!(table("rustc 1", instructions, allocations).compare(&kept).len(), 1);
        }
        for instructions in [980, 1000, 1020] {
            assert_eq!(table("rustc 1", instructions, 5).compare(&kept), Vec::<String>::new());
        }
        assert_eq!(Table { compiler: "rustc 1".into(), rows: Vec::new() }.compare(&kept).len(), 1);
    }

    #[test]
    fn another_compiler_may_count_otherwise_by_a_little() {
        let kept = table("rustc 1", 1000, 5);
        assert_eq!(table("rustc 2", 1150, 5).compare(&kept), Vec::<String>::new());
        assert_eq!(table("rustc 2", 1151, 5).compare(&kept).len(), 1);
    }
}
