//! This program once more, under valgrind.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Work;

/// The argument of the process that is looked at.
pub(crate) const CHILD: &str = "measured";

/// The C library copies by what every x86-64 has, so that the count does not depend on the processor.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX512VL,-AVX512F,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// What one run of a work took.
pub(crate) struct Count {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

/// Callgrind counts in here only.
#[inline(never)]
pub(crate) fn measured(work: &mut Work) {
    (work.run)();
}

/// Runs the work of this number under callgrind.
///
/// # Errors
/// If valgrind is missing or fails, or if what it wrote cannot be understood.
pub(crate) fn count(number: usize) -> Result<Count> {
    let folder = tempfile::tempdir()?;
    let written = folder.path().join("counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*callgrind*measured*"])
        .arg(format!("--callgrind-out-file={}", written.display()))
        .arg(std::env::current_exe()?)
        .args([CHILD, &number.to_string()])
        .env("GLIBC_TUNABLES", PLAIN)
        .output()
        .context("valgrind is not installed: pipelines/bootstrap.sh test")?;
    ensure!(output.status.success(), "valgrind: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let allocations = printed.trim().parse().with_context(|| format!("{printed:?} is no count"))?;
    let text = fs::read_to_string(&written)?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: ")).context("no summary")?;
    let instructions = summary.trim().parse().with_context(|| format!("{summary:?} is no count"))?;
    ensure!(instructions > 0, "callgrind did not find what it should count");
    Ok(Count { instructions, allocations })
}
