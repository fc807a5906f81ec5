//! Random streams and commands, judged by a model that is written for clarity: unbounded integers, sets and lists.

#![cfg(test)]

#[path = "branch_model/bench.rs"]
mod bench;
#[path = "branch_model/conceded.rs"]
mod conceded;
#[path = "branch_model/doubts.rs"]
mod doubts;
#[path = "branch_model/steps.rs"]
mod steps;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bench::Bench;
use doubts::Verdict;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use siprec_media::{Branch, BranchSettings, RtpView, Sent};
use siprec_model::{BranchEvent, BranchLimits, DropCause, DropCounts, Medium, PayloadRule, TimeSpan};
use steps::{Pattern, Step, step};

const FIRST: u16 = 0x7FF0;
const CLOCK_RATE: u32 = 8000;
const HOLD_BYTES: usize = 6_000;
const HOLD_TIME: Duration = Duration::from_secs(4);
/// What the ring keeps beside each packet.
const BOOKKEEPING: usize = 35;
/// What is sent again of what a recorder has, in ms.
const OVERLAP: u64 = 2000;
/// How long after a source's first report it is known whether it has begun in a cut, in ms.
const CUTS_FOUND: u64 = 24_000;
/// How long an unknown payload type is expected to be agreed on, in ms.
const PATIENCE: u64 = 500;
/// A recorder that reports does so within this time, in ms.
const REPORTS_WITHIN: u64 = 15_000;
const RULES: [&[PayloadRule]; 2] =
    [&[PayloadRule { from: 0, to: 0 }, PayloadRule { from: 101, to: 96 }], &[PayloadRule { from: 0, to: 8 }]];

/// What the rules say, one packet at a time.
struct Model {
    state: State,
    held: VecDeque<Waiting>,
    /// What has left, and what is out of use before it.
    kept: VecDeque<Waiting>,
    /// Sent packets that went from there unacknowledged, at most.
    forgotten: u64,
    /// Those of them that did leave, as far as nothing has acknowledged them since: the source, the index, and when.
    missing: Vec<(u32, i64, u64)>,
    /// How many of those count as lost already, since it is not known exactly when they left.
    surplus: u64,
    last_opening: Option<u64>,
    /// When the first packet left for this recorder.
    begun: Option<u64>,
    paused: u64,
    paused_since: u64,
    /// Packets were dropped behind the last one that left or waits.
    torn: bool,
    rules: &'static [PayloadRule],
    /// Payload types that came and are not agreed, those of them that nobody waits for any more, and until when the others are
    /// waited for.
    unknown: HashSet<u8>,
    given_up: HashSet<u8>,
    until: Option<u64>,
    opening: u64,
    sources: HashMap<u32, Source>,
    retired: HashSet<u32>,
    /// The source of the last packet.
    present: Option<u32>,
    seen: u64,
    sent: u64,
    resent: u64,
    drops: DropCounts,
    /// How many of those dropped as stale were found to be none.
    misjudged: u64,
}

/// What becomes of a packet.
#[derive(PartialEq, Debug)]
enum Outcome {
    Left((Vec<u8>, i64)),
    Dropped,
    Doubtful,
}

enum Refusal {
    Drop(DropCause),
    Doubt,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Holding,
    Open,
    Paused,
    Frozen,
    Closed,
}

struct Waiting {
    bytes: Vec<u8>,
    at: u64,
    paused: u64,
    is_void: bool,
    /// It came behind a hole of our making.
    is_torn: bool,
    /// When and as what it left.
    left: Option<Departure>,
    again: bool,
}

struct Departure {
    at: u64,
    paused: u64,
    index: i64,
    afresh: bool,
    failed: bool,
}

impl Waiting {
    fn size(&self) -> usize {
        self.bytes.len() + BOOKKEEPING
    }

    fn ssrc(&self) -> u32 {
        RtpView::parse(&self.bytes).unwrap().ssrc()
    }

    fn payload_type(&self) -> u8 {
        RtpView::parse(&self.bytes).unwrap().payload_type()
    }

    fn left_at(&self) -> u64 {
        self.left.as_ref().map_or(self.at, |left| left.at)
    }

    /// Whether a hole of our making is before it: as it left, or as it came.
    fn is_afresh(&self) -> bool {
        self.left.as_ref().map_or(self.is_torn, |left| left.afresh)
    }

    fn ages_from(&self) -> u64 {
        self.left.as_ref().map_or(self.at - self.paused, |left| left.at - left.paused)
    }
}

struct Source {
    highest: i64,
    used: HashSet<i64>,
    run: Option<Run>,
    repeats: u32,
    /// Packets in a row that were dropped because nobody could wait for what they are.
    doubtful: Vec<(u16, u32, u64)>,
    last: u64,
    admitted: usize,
    /// The first index of the session, and what was acknowledged: the index, and when.
    first: Option<i64>,
    acknowledged: Option<(i64, u64)>,
    /// What was acknowledged first.
    reported: Option<(i64, u64)>,
}

struct Run {
    key: (u64, u64),
    /// Index minus extended call sequence.
    offset: i64,
    first: i64,
    newest: i64,
    timestamp: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            state: State::Holding,
            held: VecDeque::new(),
            kept: VecDeque::new(),
            forgotten: 0,
            missing: Vec::new(),
            surplus: 0,
            last_opening: None,
            begun: None,
            paused: 0,
            paused_since: 0,
            torn: false,
            rules: &[],
            unknown: HashSet::new(),
            given_up: HashSet::new(),
            until: None,
            opening: 0,
            sources: HashMap::new(),
            retired: HashSet::new(),
            present: None,
            seen: 0,
            sent: 0,
            resent: 0,
            drops: DropCounts::default(),
            misjudged: 0,
        }
    }

    /// Gives what leaves at once.
    fn packet(&mut self, bytes: &[u8], at: u64) -> Option<(Vec<u8>, i64)> {
        let waiting = Waiting {
            bytes: bytes.to_vec(),
            at,
            paused: self.paused,
            is_void: false,
            is_torn: false,
            left: None,
            again: false,
        };
        match self.state {
            State::Paused => return None,
            State::Frozen => {
                self.drop(DropCause::Closed);
                self.torn = true;
            }
            State::Closed => {
                self.drop(DropCause::Closed);
                self.torn = true;
                self.forget_older(at);
            }
            State::Open if self.held.is_empty() && self.expects(&waiting) && waiting.size() <= HOLD_BYTES => {
                self.hold(waiting);
            }
            State::Open if self.held.is_empty() => {
                self.seen += 1;
                self.opening += u64::from(std::mem::take(&mut self.torn));
                let mut outcome = self.rewritten(&waiting);
                if outcome == Outcome::Doubtful && waiting.size() <= HOLD_BYTES {
                    self.hold(waiting);
                    return None;
                }
                if outcome == Outcome::Doubtful {
                    if !self.is_restart(&waiting) {
                        self.drop(DropCause::Stale);
                        return None;
                    }
                    self.opening += 1;
                    outcome = self.rewritten(&waiting);
                }
                let Outcome::Left(sent) = outcome else { return None };
                self.forget_older(at);
                let fits = self.fits(&waiting);
                let left = self.departed(waiting, sent.1, at);
                if fits {
                    self.kept.push_back(left)
                } else {
                    self.miss(&left)
                }
                return Some(sent);
            }
            State::Open | State::Holding => self.hold(waiting),
        }
        self.seen += 1;
        None
    }

    fn is_agreed(&self, waiting: &Waiting) -> bool {
        self.rules.iter().any(|rule| rule.from == waiting.payload_type())
    }

    /// Whether its payload type may yet be agreed on.
    fn expects(&self, waiting: &Waiting) -> bool {
        !self.is_agreed(waiting) && !self.given_up.contains(&waiting.payload_type())
    }

    /// Whether the first one that waits has to go on doing so.
    pub(crate) fn is_stuck(&mut self, now: u64) -> bool {
        if self.state != State::Open || self.waiting() == 0 {
            return false;
        }
        if self.unknown != self.given_up && now >= *self.until.get_or_insert(now + PATIENCE) {
            (self.given_up, self.until) = (self.unknown.clone(), None);
        }
        self.held.front().is_some_and(|front| !front.again && self.expects(front))
    }

    fn hold(&mut self, waiting: Waiting) {
        if self.state == State::Open && !self.is_agreed(&waiting) {
            self.unknown.insert(waiting.payload_type());
        }
        if waiting.size() > HOLD_BYTES {
            self.torn = true;
            return self.drop(DropCause::RingFull);
        }
        self.forget_older(waiting.at);
        let oldest = self.oldest(waiting.at);
        let mut evicted = false;
        loop {
            let too_old = self.state == State::Holding
                && self.held.front().is_some_and(|held| held.ages_from() < oldest);
            if !too_old && self.fits(&waiting) {
                break;
            }
            self.discard();
            self.drop(DropCause::RingFull);
            evicted = true;
        }
        self.opening += u64::from(evicted);
        self.held.push_back(Waiting { is_torn: std::mem::take(&mut self.torn), ..waiting });
    }

    fn oldest(&self, now: u64) -> u64 {
        (now - self.paused).saturating_sub(HOLD_TIME.as_millis() as u64)
    }

    /// Whether it fits, after what was sent has made room.
    fn fits(&mut self, waiting: &Waiting) -> bool {
        let used = |model: &Self| model.kept.iter().chain(&model.held).map(Waiting::size).sum::<usize>();
        while used(self) + waiting.size() > HOLD_BYTES {
            if self.kept.is_empty() {
                return false;
            }
            self.forget();
        }
        true
    }

    fn forget_older(&mut self, now: u64) {
        let oldest = self.oldest(now);
        while self.kept.front().is_some_and(|kept| kept.ages_from() < oldest) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let kept = self.kept.pop_front().unwrap();
        if !kept.is_void {
            self.miss(&kept);
        }
    }

    /// It has left, and nobody has it any more but the recorder.
    fn miss(&mut self, gone: &Waiting) {
        self.forgotten += 1;
        if let Some(left) = gone.left.as_ref().filter(|left| !left.failed) {
            self.missing.push((gone.ssrc(), left.index, left.at));
        }
    }

    /// How many of those are lost at least with a recorder that was alive for sure at `since`.
    fn least_lost(&self, since: u64) -> u64 {
        let is_lost = |(ssrc, index, at): &&(u32, i64, u64)| match self.sources.get(ssrc) {
            Some(Source { acknowledged: Some((acknowledged, _)), .. }) => index > acknowledged,
            Some(_) => *at >= since,
            None => false,
        };
        self.missing.iter().filter(is_lost).count() as u64
    }

    /// The first one that waits is out of use.
    fn discard(&mut self) -> Waiting {
        let mut waiting = self.held.pop_front().unwrap();
        let copy = Waiting { bytes: waiting.bytes.clone(), left: None, ..waiting };
        waiting.is_void = true;
        let is_oldest = self.kept.is_empty();
        self.kept.push_back(waiting);
        self.pass_void();
        if is_oldest {
            self.kept.clear();
        }
        copy
    }

    fn pass_void(&mut self) {
        while self.held.front().is_some_and(|held| held.is_void) {
            self.kept.extend(self.held.pop_front());
        }
    }

    fn waiting(&self) -> usize {
        self.held.iter().filter(|held| !held.is_void).count()
    }

    fn departed(&mut self, waiting: Waiting, index: i64, at: u64) -> Waiting {
        self.begun.get_or_insert(at);
        let afresh = self.last_opening.replace(self.opening) != Some(self.opening);
        let left = Some(Departure { at, paused: self.paused, index, afresh, failed: false });
        Waiting { left, ..waiting }
    }

    /// The next held packet that the rules let out.
    fn next(&mut self, now: u64) -> Option<(Vec<u8>, i64)> {
        loop {
            assert!(!self.is_stuck(now), "it waits for others to be agreed");
            let waiting = self.held.front()?;
            self.opening += u64::from(waiting.is_afresh());
            let waiting = self.held.pop_front().unwrap();
            let outcome = self.rewritten(&waiting);
            match outcome {
                Outcome::Left(sent) => {
                    self.resent += u64::from(waiting.again);
                    let left = self.departed(waiting, sent.1, now);
                    self.kept.push_back(left);
                    self.pass_void();
                    return Some(sent);
                }
                Outcome::Dropped => {
                    self.held.push_front(waiting);
                    self.discard();
                }
                Outcome::Doubtful => {
                    self.held.push_front(waiting);
                    match self.judge_front(now).expect("what comes behind it is waited for") {
                        Verdict::Restarted => self.opening += 1,
                        Verdict::Late => self.discard_late(),
                    }
                }
            }
        }
    }

    fn fail(&mut self, packets: usize) {
        let kept = self.kept.iter_mut().rev().filter(|kept| !kept.is_void);
        let left = kept.filter_map(|kept| kept.left.as_mut()).filter(|left| !left.failed);
        let failed = left.take(packets).map(|left| left.failed = true).count();
        // What is counted as not sent is not counted once more with the recorder.
        self.missing.truncate(self.missing.len().saturating_sub(packets - failed));
    }

    fn report(&mut self, source: u32, back: i64, at: u64) -> Option<u32> {
        let source = self.sources.get_mut(&source)?;
        let index = source.highest - back;
        let reported = u32::try_from(index).unwrap_or(u32::MAX);
        let earliest = source.acknowledged.map(|(index, _)| index).or(source.first);
        if (0..0x8000).contains(&back) && earliest.is_some_and(|earliest| index >= earliest) {
            source.acknowledged = Some((index, at));
            source.reported.get_or_insert((index, at));
            self.settle(None, Some(0));
        }
        Some(reported)
    }

    /// The first report of a source does not speak of what left `doubtful_since` then or shortly before.
    fn settle(&mut self, since: Option<u64>, doubtful_since: Option<u64>) {
        while let Some(kept) = self.kept.front() {
            let source = self.sources.get(&kept.ssrc());
            let acknowledged = source.and_then(|source| source.acknowledged);
            let settled = match (acknowledged, &kept.left) {
                (Some((index, at)), left) => {
                    let left = left.as_ref().map_or(0, |left| left.index);
                    let reported = source.and_then(|source| source.reported);
                    let may_be = doubtful_since.is_some_and(|since| kept.left_at() + OVERLAP >= since);
                    let doubtful = reported.filter(|(_, first)| may_be && at < first + CUTS_FOUND);
                    left <= index
                        && kept.left_at() + OVERLAP <= at
                        && doubtful.is_none_or(|(first, _)| left > first)
                }
                (None, _) => since.is_some_and(|since| kept.left_at() + OVERLAP < since),
            };
            if !settled {
                break;
            }
            self.kept.pop_front();
        }
    }

    fn has_reports(&self) -> bool {
        self.sources.values().any(|source| source.acknowledged.is_some())
    }

    fn confirm(&mut self, since: u64) {
        let had_time = self.begun.is_some_and(|begun| begun + REPORTS_WITHIN <= since);
        if had_time && !self.has_reports() {
            self.settle(Some(since), None);
        }
    }

    fn recall(&mut self, since: u64, missed: Option<u64>, now: u64) {
        let reported = self.has_reports();
        self.settle((!reported).then_some(since), missed);
        for mut kept in std::mem::take(&mut self.kept).into_iter().rev() {
            if let (Some(left), false) = (&mut kept.left, kept.is_void) {
                // Failures leave it rough: it is at most what was sent.
                self.resent = self.resent.saturating_sub(u64::from(kept.again));
                if std::mem::take(&mut left.failed) {
                    self.drops.take_back(DropCause::SendFailed, 1);
                } else {
                    self.sent -= 1;
                }
            }
            kept.again = true;
            self.held.push_front(kept);
        }
        while self.held.front().is_some_and(|held| held.is_void) {
            self.kept.extend(self.held.pop_front());
        }
        (self.last_opening, self.begun) = (None, None);
        for source in self.sources.values_mut() {
            (source.first, source.acknowledged, source.reported) = (None, None, None);
        }
        if self.state == State::Open {
            self.enter(State::Holding, now);
        }
    }

    fn rewritten(&mut self, waiting: &Waiting) -> Outcome {
        match self.judge(waiting) {
            Ok((payload_type, index, marker)) => {
                self.sent += 1;
                let mut bytes = waiting.bytes.clone();
                bytes[1] = (bytes[1] & 0x80) | (u8::from(marker) << 7) | payload_type;
                bytes[2..4].copy_from_slice(&((index % 65_536) as u16).to_be_bytes());
                Outcome::Left((bytes, index))
            }
            Err(Refusal::Doubt) => Outcome::Doubtful,
            Err(Refusal::Drop(cause)) => {
                // What a recorder had that was lost is missing at the next one.
                let is_left = waiting.again && matches!(cause, DropCause::PayloadUnknown | DropCause::Stale);
                self.drop(if is_left { DropCause::RecorderLost } else { cause });
                Outcome::Dropped
            }
        }
    }

    fn judge(&mut self, waiting: &Waiting) -> Result<(u8, i64, bool), Refusal> {
        let view = RtpView::parse(&waiting.bytes).unwrap();
        let rule = self.rules.iter().find(|rule| rule.from == view.payload_type());
        if rule.is_none() {
            self.unknown.insert(view.payload_type());
        }
        let payload_type = rule.ok_or(Refusal::Drop(DropCause::PayloadUnknown))?.to;
        self.admit(view.ssrc(), waiting.at).map_err(Refusal::Drop)?;
        self.present = Some(view.ssrc());
        let source = self.sources.get_mut(&view.ssrc()).unwrap();
        let key = (self.opening, waiting.paused);
        let sequence = i64::from(view.sequence());
        let nearest = source.run.as_ref().filter(|run| run.key == key).map(|run| {
            (-1..=1)
                .map(|cycle| (run.newest.div_euclid(65_536) + cycle) * 65_536 + sequence)
                .min_by_key(|extended| ((extended - run.newest).abs(), *extended))
                .unwrap()
        });
        let mut begins = true;
        if let (Some(run), Some(extended)) = (&mut source.run, nearest)
            && (extended - run.newest).abs() <= 3000
        {
            let index = extended + run.offset;
            if extended > run.newest {
                begins = false;
                run.newest = extended;
                if (view.timestamp().wrapping_sub(run.timestamp) as i32) > 0 {
                    run.timestamp = view.timestamp();
                }
            } else if index >= run.first && source.highest - index < 128 && !source.used.contains(&index) {
                begins = false;
            } else {
                let lateness = run.timestamp.wrapping_sub(view.timestamp());
                if lateness <= CLOCK_RATE * 60 && source.repeats < 25 {
                    if extended < run.newest || !source.doubtful.is_empty() {
                        return Err(Refusal::Doubt);
                    }
                    source.repeats += 1;
                    return Err(Refusal::Drop(DropCause::Stale));
                }
            }
            if !begins {
                source.highest = source.highest.max(index);
                source.first.get_or_insert(index);
                assert!(source.used.insert(index));
                source.repeats = 0;
                source.doubtful.clear();
                source.last = waiting.at;
                return Ok((payload_type, index, false));
            }
        }
        let restarts = !source.used.is_empty();
        source.highest += 1;
        source.first.get_or_insert(source.highest);
        assert!(source.used.insert(source.highest));
        source.repeats = 0;
        source.doubtful.clear();
        source.last = waiting.at;
        source.run = Some(Run {
            key,
            offset: source.highest - sequence,
            first: source.highest,
            newest: sequence,
            timestamp: view.timestamp(),
        });
        Ok((payload_type, source.highest, restarts))
    }

    fn admit(&mut self, ssrc: u32, at: u64) -> Result<(), DropCause> {
        if self.sources.contains_key(&ssrc) {
            return Ok(());
        }
        if self.retired.contains(&ssrc) || self.sources.len() + self.retired.len() >= 64 {
            return Err(DropCause::TooManySources);
        }
        if self.sources.len() == 8 {
            let oldest = self.sources.iter().min_by_key(|(_, source)| (source.last, source.admitted));
            let (&idle, source) = oldest.unwrap();
            if at - source.last < 5000 {
                return Err(DropCause::TooManySources);
            }
            self.sources.remove(&idle);
            self.retired.insert(idle);
        }
        let admitted = self.sources.len() + self.retired.len();
        let source = Source {
            highest: i64::from(FIRST) - 1,
            used: HashSet::new(),
            run: None,
            repeats: 0,
            doubtful: Vec::new(),
            last: at,
            admitted,
            first: None,
            acknowledged: None,
            reported: None,
        };
        self.sources.insert(ssrc, source);
        Ok(())
    }

    fn enter(&mut self, state: State, now: u64) {
        if self.state == state {
            return;
        }
        let stands_still = |state| matches!(state, State::Paused | State::Frozen);
        if stands_still(self.state) {
            self.paused += now - self.paused_since;
        }
        if stands_still(state) {
            self.paused_since = now;
        }
        self.state = state;
    }

    fn open(&mut self, rules: &'static [PayloadRule], now: u64) {
        if self.state != State::Open {
            self.enter(State::Open, now);
            let oldest = self.oldest(now);
            while self.held.front().is_some_and(|held| held.ages_from() < oldest) {
                self.discard();
                self.drop(DropCause::RingFull);
            }
        } else if self.rules == rules {
            return;
        }
        self.rules = rules;
        (self.given_up, self.until) = (HashSet::new(), None);
        let new = self.held.iter().filter(|held| !held.is_void && !held.again && !self.is_agreed(held));
        self.unknown = new.map(Waiting::payload_type).collect();
        self.opening += 1;
    }

    fn drop(&mut self, cause: DropCause) {
        self.drops.add(cause, 1);
    }
}

/// One seed, so that a run says the same today and tomorrow; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` search on.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { 600 };
    let rng_seed = if config.rng_seed == RngSeed::Random { RngSeed::Fixed(20) } else { config.rng_seed };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_leaves_is_what_the_rules_say(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.run(step);
        }
        bench.finish();
    }
}
