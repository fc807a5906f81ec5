//! Sessions of one recording with one recorder have its host in common, which tells each of them now and then only that it refuses
//! their media: once a second at most, of however many streams (ICMP is rate limited).

use std::time::Instant;

use siprec_model::BranchId;

use super::Recording;
use super::leg::Leg;
use crate::place::RecorderPlace;
use crate::session::RecordingSession;

impl Recording {
    /// The host of a session's recorder has refused a packet of a stream. That counts for the other sessions with that recorder which it
    /// has refused, too.
    pub(super) fn hear_refusal(&mut self, id: usize, stream: BranchId, now: Instant) {
        if let Some(session) = self.legs.get_mut(id).and_then(Leg::session_mut) {
            session.hear_refusal(stream, now);
        }
        for session in self.companions(id) {
            if let Some((refused, _)) = session.refused_streams().first() {
                session.hear_refusal(*refused, now);
            }
        }
    }

    /// A session was lost since the host of its recorder refuses what was sent `since`. The others with that recorder are lost with it,
    /// but for those of which it reports what it hears.
    pub(super) fn lose_companions(&mut self, id: usize, since: Instant, now: Instant) {
        // Whoever heard of it first: the others were refused in silence.
        let refused = self.companions(id).flat_map(|session| session.refused_streams());
        let since = refused.map(|(_, since)| since).fold(since, Instant::min);
        for session in self.companions(id) {
            session.lose_with_another(since, now);
        }
    }

    /// The other sessions with the recorder of one.
    fn companions(&mut self, id: usize) -> impl Iterator<Item = &mut RecordingSession> {
        let others = self.companions_of(id);
        let legs = self.legs.iter_mut().enumerate().filter(move |(other, _)| others.contains(other));
        legs.filter_map(|(_, leg)| leg.session_mut())
    }

    /// The numbers of those.
    pub(super) fn companions_of(&self, id: usize) -> Vec<usize> {
        let place = |leg: &Leg| leg.recorder.as_ref().map(|recorder| RecorderPlace::of(&recorder.uri));
        let own = self.legs.get(id).and_then(place).filter(|_| self.legs.len() > 1);
        let others = self.legs.iter().enumerate().filter(|(other, _)| *other != id);
        others.filter(|(_, leg)| own.is_some() && place(leg) == own).map(|(other, _)| other).collect()
    }
}
