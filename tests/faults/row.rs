//! What a fault did to a call and to its recording: one row of the table.

use std::time::{Duration, Instant};

use siprec_system_tests::judge::Verdict;
use siprec_system_tests::talk::Heard;

use crate::baseline::Baseline;
use crate::diary::Entry;

/// A row.
pub(crate) struct Row {
    pub(crate) fault: String,
    /// Packets of the call, and those of them that were lost or came otherwise than they were sent.
    pub(crate) packets: usize,
    pub(crate) lost: usize,
    /// Latency of the call's packets.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    /// What it is to be compared with.
    pub(crate) baseline: Baseline,
    /// From the fault to its first sign, to the recorder's loss, and to the next session.
    pub(crate) suspected: Option<Duration>,
    pub(crate) failed: Option<Duration>,
    pub(crate) started: Option<Duration>,
    /// What no recording has, in samples of both parties; `None` where nobody records.
    pub(crate) speech: Option<usize>,
    /// What was told as missing: by `siprec-gap`, and as packets that receiver reports call lost.
    pub(crate) told: Duration,
    pub(crate) receiver_lost: u64,
    pub(crate) messages: String,
    pub(crate) remark: String,
}

impl Row {
    pub(crate) fn new(fault: &str, heard: &Heard, entries: &[Entry], injected: Option<Instant>) -> Self {
        let after = |name: &str| {
            let injected = injected?;
            let told = entries.iter().find(|entry| entry.name() == name && entry.at >= injected)?;
            Some(told.at.duration_since(injected))
        };
        // Where the fault is there from the beginning, the first session is none that follows from it.
        let lost = entries.iter().position(|entry| entry.name() == "failed");
        let next = entries.iter().skip(lost.unwrap_or(0)).find(|entry| entry.name() == "started");
        let started =
            next.zip(injected).and_then(|(next, injected)| next.at.checked_duration_since(injected));
        let gaps = entries.iter().filter(|entry| entry.name() == "gap").map(|entry| entry.number("duration"));
        let reports = entries.iter().filter(|entry| entry.name() == "report");
        Self {
            fault: fault.to_owned(),
            packets: heard.packets(),
            lost: heard.lost + heard.odd,
            median: heard.latency(50),
            p99: heard.latency(99),
            baseline: Baseline::default(),
            suspected: after("suspected"),
            failed: after("failed"),
            started,
            speech: None,
            told: Duration::from_nanos(gaps.sum()),
            receiver_lost: reports.map(|entry| entry.number("receiver-lost")).sum(),
            messages: messages(entries),
            remark: String::new(),
        }
    }

    pub(crate) fn judged(mut self, verdict: &Verdict) -> Self {
        self.speech = Some(verdict.lost_samples());
        if verdict.displaced > 0 {
            self.remark(&format!("{} packets stand where they were not said", verdict.displaced));
        }
        self
    }

    /// Adds a sentence.
    pub(crate) fn remark(&mut self, text: &str) {
        let between = if self.remark.is_empty() { "" } else { "; " };
        self.remark += &format!("{between}{text}");
    }

    /// Whether its 99th percentile is above that of every call to which nothing happened.
    pub(crate) fn stands_out(&self) -> bool {
        self.baseline.spread().is_some_and(|(_, most, _)| self.p99 > most)
    }

    pub(crate) const HEAD: &str = "| fault | call: lost of packets | p50 · p99, ms | p99 without a fault, ms | first sign, s | given up, s | next session, s | speech lost | told as missing | messages |\n\
         |---|---|---|---|---|---|---|---|---|---|\n";

    pub(crate) fn markdown(&self) -> String {
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
        let seconds = |time: Option<Duration>| {
            time.map_or("—".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
        };
        let speech = match self.speech {
            None => "—".to_owned(),
            Some(0) => "0".to_owned(),
            Some(samples) => format!("{samples} samples ({} ms)", samples / 8),
        };
        let mut told = match self.told.as_millis() {
            0 => "0".to_owned(),
            told => format!("gaps of {told} ms"),
        };
        if self.receiver_lost > 0 {
            told += &format!(", {} packets by receiver reports", self.receiver_lost);
        }
        let baseline = match self.baseline.spread() {
            None => "—".to_owned(),
            Some((one, _, 1)) => ms(one),
            Some((least, most, runs)) => format!("{}–{} ({runs})", ms(least), ms(most)),
        };
        let fault = if self.remark.is_empty() {
            self.fault.clone()
        } else {
            format!("{} ({})", self.fault, self.remark)
        };
        format!(
            "| {fault} | {} of {} | {} · {} | {baseline} | {} | {} | {} | {speech} | {told} | {} |\n",
            self.lost,
            self.packets,
            ms(self.median),
            ms(self.p99),
            seconds(self.suspected),
            seconds(self.failed),
            seconds(self.started),
            self.messages,
        )
    }
}

/// The names of all messages but states and reports, in order; those of a second copy say so.
fn messages(entries: &[Entry]) -> String {
    let mut names: Vec<(String, usize)> = Vec::new();
    for entry in entries.iter().filter(|entry| !["state", "report"].contains(&entry.name())) {
        let second = if entry.field("copy") == Some("2") { " (2)" } else { "" };
        let name = format!("{}{second}", entry.name());
        match names.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => names.push((name, 1)),
        }
    }
    let told = |(name, times): &(String, usize)| {
        if *times == 1 { name.clone() } else { format!("{name} ×{times}") }
    };
    names.iter().map(told).collect::<Vec<_>>().join(", ")
}
