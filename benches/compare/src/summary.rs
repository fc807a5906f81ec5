//! What many samples say: medians, their spread, and ratios within a round, so that what else the machine did counts for both.

use std::collections::BTreeMap;

use crate::row::Row;
use crate::sample::Sample;
use crate::traffic::Mode;

/// Under which circumstances rows compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circumstances {
    /// What was protected.
    pub mode: Mode,
    /// All recorders took their packets on one address.
    pub one_address: bool,
    /// How many streams.
    pub streams: usize,
}

/// A median with the least and the most of what it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        let (low, high) = (numbers.get((numbers.len() - 1) / 2)?, numbers.get(numbers.len() / 2)?);
        Some(Self { median: (low + high) / 2.0, least, most })
    }
}

/// One row under some circumstances.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The row.
    pub row: Row,
    /// How often it was measured.
    pub samples: usize,
    /// Processor time of a packet in µs.
    pub cpu: Spread,
    /// Of that, what recording takes.
    pub branch: Option<Spread>,
    /// That as parts of what it takes rtpengine.
    pub branch_ratio: Option<Spread>,
    /// The whole as parts of what rtpengine takes, recording where this row does.
    pub ratio: Option<Spread>,
    /// Parts of the packets that were lost on the call's path.
    pub call_loss: Spread,
    /// Parts of the packets that were lost on the way to the recorder.
    pub recording_loss: Spread,
    /// Threads.
    pub threads: Spread,
    /// Resident memory of a stream in KiB.
    pub memory: Spread,
    /// Median of the delay of the call's packets in µs.
    pub p50: Spread,
    /// The delay that one in a hundred exceeds, in µs.
    pub p99: Spread,
    /// Packets that were decrypted and compared.
    pub judged: u64,
    /// Those that were not what was said.
    pub wrong: u64,
}

/// All rows under all circumstances.
pub fn summarise(samples: &[Sample]) -> BTreeMap<Circumstances, Vec<Line>> {
    let mut groups: BTreeMap<_, BTreeMap<Row, Vec<&Sample>>> = BTreeMap::new();
    for sample in samples {
        let Sample { mode, streams, one_address, .. } = *sample;
        let group = groups.entry(Circumstances { mode, one_address, streams }).or_default();
        group.entry(sample.row).or_default().push(sample);
    }
    let lines = groups.into_iter().map(|(circumstances, rows)| {
        let lines = rows.keys().filter_map(|row| line(*row, &rows)).collect();
        (circumstances, lines)
    });
    lines.collect()
}

fn line(row: Row, rows: &BTreeMap<Row, Vec<&Sample>>) -> Option<Line> {
    let samples = rows.get(&row)?;
    let spread = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(|sample| of(sample)));
    let theirs = if row.records() { Row::RtpengineSubscribe } else { Row::Rtpengine };
    let rounds = || samples.iter().map(|sample| sample.round.as_str());
    Some(Line {
        row,
        samples: samples.len(),
        cpu: spread(|sample| sample.cpu)?,
        branch: Spread::of(rounds().filter_map(|round| branch(row, round, rows))),
        branch_ratio: Spread::of(rounds().filter_map(|round| {
            Some(branch(row, round, rows)? / branch(Row::RtpengineSubscribe, round, rows)?)
        })),
        ratio: Spread::of(
            rounds().filter_map(|round| Some(cpu(row, round, rows)? / cpu(theirs, round, rows)?)),
        ),
        call_loss: spread(|sample| sample.call_loss)?,
        recording_loss: spread(|sample| sample.recording_loss)?,
        threads: spread(|sample| sample.threads as f64)?,
        memory: spread(|sample| sample.memory)?,
        p50: spread(|sample| sample.p50)?,
        p99: spread(|sample| sample.p99)?,
        judged: samples.iter().map(|sample| sample.judged).sum(),
        wrong: samples.iter().map(|sample| sample.wrong).sum(),
    })
}

fn cpu(row: Row, round: &str, rows: &BTreeMap<Row, Vec<&Sample>>) -> Option<f64> {
    rows.get(&row)?.iter().find(|sample| sample.round == round).map(|sample| sample.cpu)
}

/// What recording takes, in this round.
fn branch(row: Row, round: &str, rows: &BTreeMap<Row, Vec<&Sample>>) -> Option<f64> {
    Some(cpu(row, round, rows)? - cpu(row.without_recording()?, round, rows)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::example;

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round met a machine that was twice as slow.
        let samples: Vec<_> = [("1", 1.0), ("2", 2.0)]
            .into_iter()
            .flat_map(|(round, slowness)| {
                [
                    (Row::Rtpengine, 20.0),
                    (Row::RtpengineSubscribe, 40.0),
                    (Row::Stock, 30.0),
                    (Row::StockSiprec, 36.0),
                ]
                .map(|(row, cpu)| example(round, row, 200, cpu * slowness))
            })
            .collect();
        let summary = summarise(&samples);
        let lines = summary.values().next().unwrap();
        let ours = lines.iter().find(|line| line.row == Row::StockSiprec).unwrap();
        assert_eq!(ours.cpu, Spread { median: 54.0, least: 36.0, most: 72.0 });
        assert_eq!(ours.branch.unwrap().median, 9.0);
        assert_eq!(ours.branch_ratio.unwrap(), Spread { median: 0.3, least: 0.3, most: 0.3 });
        assert_eq!(ours.ratio.unwrap(), Spread { median: 0.9, least: 0.9, most: 0.9 });
        let stock = lines.iter().find(|line| line.row == Row::Stock).unwrap();
        assert_eq!((stock.branch, stock.ratio.unwrap().median), (None, 1.5));
    }
}
