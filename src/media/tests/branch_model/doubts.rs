//! What the model says of packets that are late, or begin their source anew.

use siprec_media::RtpView;
use siprec_model::DropCause;

use super::{CLOCK_RATE, Model, PATIENCE, Waiting};

/// So many packets are looked at to see whether the first of them is late.
const SIGHT: usize = 64;

/// What a doubtful packet is, in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Verdict {
    Late,
    Restarted,
}

impl Model {
    /// What the first one that waits is, which is doubtful.
    pub(super) fn judge_front(&self, now: u64) -> Option<Verdict> {
        let front = self.held.front().unwrap();
        match self.look_ahead() {
            Ok(verdict) => Some(verdict),
            Err(verdict) => (now >= front.at + PATIENCE).then_some(verdict),
        }
    }

    pub(super) fn look_ahead(&self) -> Result<Verdict, Verdict> {
        let front = self.held.front().unwrap();
        let of = |waiting: &Waiting| {
            let view = RtpView::parse(&waiting.bytes).unwrap();
            (view.sequence(), view.timestamp(), waiting.at)
        };
        let mut row = vec![of(front)];
        for waiting in self.held.iter().take(SIGHT).skip(1).filter(|held| !held.is_void) {
            let known = verdict(&row);
            if known.is_ok() {
                return known;
            }
            if waiting.ssrc() == front.ssrc() {
                let newest = self.sources[&front.ssrc()].run.as_ref().unwrap().newest;
                let step = of(waiting).0.wrapping_sub(newest.rem_euclid(65_536) as u16) as i16;
                if (1..=3000).contains(&step) {
                    return Ok(Verdict::Late);
                }
                row.push(of(waiting));
            }
        }
        let known = verdict(&row);
        if self.held.len() > SIGHT { Ok(known.unwrap_or_else(|unless| unless)) } else { known }
    }

    pub(super) fn discard_late(&mut self) {
        let late = self.discard();
        self.drop(if late.again { DropCause::RecorderLost } else { DropCause::Stale });
    }

    /// Whether a doubtful packet that cannot wait shows that its source has started again.
    pub(super) fn is_restart(&mut self, waiting: &Waiting) -> bool {
        let view = RtpView::parse(&waiting.bytes).unwrap();
        let source = self.sources.get_mut(&view.ssrc()).unwrap();
        let this = (view.sequence(), view.timestamp(), waiting.at);
        source.doubtful.push(this);
        match verdict(&source.doubtful) {
            Ok(Verdict::Restarted) => {
                self.misjudged += source.doubtful.len() as u64 - 1;
                source.doubtful.clear();
                return true;
            }
            Ok(Verdict::Late) => source.doubtful = vec![this],
            Err(_) => {}
        }
        false
    }
}

/// What a row of packets of one source, of which none is new, is from the first on: sequence number, timestamp and arrival of
/// each. Where nothing is certain yet, what it is if nothing else comes.
fn verdict(row: &[(u16, u32, u64)]) -> Result<Verdict, Verdict> {
    let (mut newest, timestamp, since) = row[0];
    let (mut in_sequence, mut goes_on) = (1, false);
    for (n, &(sequence, next, at)) in row.iter().enumerate().skip(1) {
        let step = sequence.wrapping_sub(newest) as i16;
        if !(-16..=16).contains(&step) {
            return Ok(Verdict::Late);
        }
        let spoken = i64::from(next.wrapping_sub(timestamp) as i32) * 1000 / i64::from(CLOCK_RATE);
        let goes_on_now = step > 0 && spoken > 0;
        if step > 0 {
            newest = sequence;
            in_sequence += 1;
        }
        goes_on |= goes_on_now;
        let elapsed = at - since;
        let is_paced = goes_on_now && 2 * elapsed as i64 >= spoken || elapsed >= PATIENCE;
        if in_sequence >= 3 && is_paced || n + 1 >= 25 {
            return Ok(Verdict::Restarted);
        }
    }
    Err(if goes_on { Verdict::Restarted } else { Verdict::Late })
}
