//! What one measurement of one row has found, as a line of a file.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum as _;

use crate::row::Row;
use crate::traffic::Mode;

/// What one measurement has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which round of which run: what ratios are taken within.
    pub round: String,
    /// What was measured.
    pub row: Row,
    /// What was protected.
    pub mode: Mode,
    /// How many streams.
    pub streams: usize,
    /// All recorders took their packets on one address.
    pub one_address: bool,
    /// Packets of the calls.
    pub packets: u64,
    /// Processor time of a packet in µs.
    pub cpu: f64,
    /// Parts of the packets that were lost on the call's path.
    pub call_loss: f64,
    /// Parts of the packets that were lost on the way to the recorder.
    pub recording_loss: f64,
    /// Threads.
    pub threads: u64,
    /// Resident memory of a stream in KiB.
    pub memory: f64,
    /// Median of the delay of the call's packets in µs.
    pub p50: f64,
    /// The delay that one in a hundred exceeds.
    pub p99: f64,
    /// Packets that were decrypted and compared.
    pub judged: u64,
    /// Those that were not what was said.
    pub wrong: u64,
    /// The machine's load, as the system reckons it over a minute.
    pub load: f64,
}

impl Sample {
    /// The names of what a line says.
    pub const HEAD: &str = "round\trow\tmode\tstreams\tone_address\tpackets\tcpu_us\tcall_loss\trecording_loss\tthreads\t\
        memory_kib\tp50_us\tp99_us\tjudged\twrong\tload";

    /// As a line.
    pub fn line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{:.3}\t{:.6}\t{:.6}\t{}\t{:.1}\t{:.1}\t{:.1}\t{}\t{}\t{:.2}",
            self.round,
            self.row.name(),
            self.mode.name(),
            self.streams,
            self.one_address,
            self.packets,
            self.cpu,
            self.call_loss,
            self.recording_loss,
            self.threads,
            self.memory,
            self.p50,
            self.p99,
            self.judged,
            self.wrong,
            self.load
        )
    }
}

impl FromStr for Sample {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split('\t').collect();
        ensure!(words.len() == 16, "not 16 words: {line}");
        let mut words = words.into_iter();
        let mut next = || words.next().context("too short");
        let row = |name: &str| Row::from_str(name, true).map_err(|fault| anyhow!(fault));
        let mode = |name: &str| Mode::from_str(name, true).map_err(|fault| anyhow!(fault));
        Ok(Self {
            round: next()?.to_owned(),
            row: row(next()?)?,
            mode: mode(next()?)?,
            streams: next()?.parse()?,
            one_address: next()?.parse()?,
            packets: next()?.parse()?,
            cpu: next()?.parse()?,
            call_loss: next()?.parse()?,
            recording_loss: next()?.parse()?,
            threads: next()?.parse()?,
            memory: next()?.parse()?,
            p50: next()?.parse()?,
            p99: next()?.parse()?,
            judged: next()?.parse()?,
            wrong: next()?.parse()?,
            load: next()?.parse()?,
        })
    }
}

#[cfg(test)]
pub(crate) fn example(round: &str, row: Row, streams: usize, cpu: f64) -> Sample {
    Sample {
        round: round.to_owned(),
        row,
        mode: Mode::Srtp,
        streams,
        one_address: false,
        packets: 1000,
        cpu,
        call_loss: 0.0,
        recording_loss: 0.25,
        threads: 3,
        memory: 7.5,
        p50: 30.0,
        p99: 99.0,
        judged: 10,
        wrong: 0,
        load: 1.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        let sample = example("1-2", Row::StockTee, 200, 80.125);
        assert_eq!(sample.line().parse::<Sample>().unwrap(), sample);
        assert_eq!(Sample::HEAD.split('\t').count(), sample.line().split('\t').count());
    }
}
