//! The table in `docs/faults.md`.

use std::time::Duration;

use anyhow::{Context, Result};
use siprec_system_tests::sources::root;

use crate::row::Row;

const BEGIN: &str = "<!-- table: made by tests/faults.sh -->\n";
const END: &str = "<!-- end of the table -->";

/// How many threads wanted a processor in the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("no load")?.parse()?)
}

/// Which rows have a latency that no call of their kind had without a fault.
pub(crate) fn latency(rows: &[Row]) -> String {
    let compared = rows.iter().filter(|row| row.baseline.spread().is_some()).count();
    let out: Vec<&str> = rows.iter().filter(|row| row.stands_out()).map(|row| row.fault.as_str()).collect();
    match out.as_slice() {
        [] => format!("\nNo p99 of {compared} is above the highest without a fault.\n"),
        names => format!(
            "\n{} of {compared} have a p99 above the highest without a fault: {}.\n",
            names.len(),
            names.join("; ")
        ),
    }
}

/// Puts these rows into the page, with the load of the machine before and after, and what could not be measured.
pub(crate) fn write(rows: &[Row], unmeasured: &[&str], loads: [f64; 2], took: Duration) -> Result<()> {
    let page = root().join("docs/faults.md");
    let text = std::fs::read_to_string(&page)?;
    let (head, rest) = text.split_once(BEGIN).context("docs/faults.md has no table")?;
    let (_, tail) = rest.split_once(END).context("the table in docs/faults.md has no end")?;
    let body: String = rows.iter().map(Row::markdown).collect();
    let processors = std::thread::available_parallelism()?;
    let [before, after] = loads;
    let about = format!(
        "One run of {} minutes on {processors} processors; load average {before:.1} before and {after:.1} after it.\n\n",
        took.as_secs().div_ceil(60)
    );
    let latency = latency(rows);
    let unmeasured = match unmeasured {
        [] => String::new(),
        names => format!("\nCould not be measured in this run: {}.\n", names.join(", ")),
    };
    std::fs::write(
        &page,
        format!("{head}{BEGIN}{about}{}{body}{latency}{unmeasured}{END}{tail}", Row::HEAD),
    )?;
    eprintln!("docs/faults.md: {} rows, {about}", rows.len());
    Ok(())
}
