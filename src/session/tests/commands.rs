//! A hundred commands within a second, in any order: the session ends up as the last ones say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use siprec_model::{BranchCommand, RecordingState};
use siprec_session::{Command, Output, SessionMode};
use siprec_sip::{HeaderName, Message, Method, Request, SessionDescription};
use support::*;

/// A command, and how many milliseconds pass after it.
#[derive(Clone, Debug)]
struct Order {
    command: Command,
    pause_ms: u64,
}

fn order() -> impl Strategy<Value = Order> {
    let command = prop_oneof![
        3 => Just(Command::Pause),
        3 => Just(Command::Resume),
        4 => (0..2_u16, any::<bool>()).prop_map(|(slot, muted)| Command::Mute { slot, muted }),
        1 => (0..2_u16, "[a-c]").prop_map(|(slot, dn)| Command::ReplaceParty { slot, dn }),
    ];
    (command, 0..20_u64).prop_map(|(command, pause_ms)| Order { command, pause_ms })
}

/// What the recorder does with one INVITE: how many milliseconds it takes, and whether there is glare.
fn manner() -> impl Strategy<Value = (u64, bool)> {
    (0..200_u64, prop::bool::weighted(0.05))
}

/// A recorder that answers every INVITE in its own time, and counts.
struct Recorder {
    manners: Vec<(u64, bool)>,
    /// INVITEs without an answer, by Call-ID, and when that is due.
    open: BTreeMap<String, (Request, std::time::Instant, bool)>,
    directions: BTreeMap<String, String>,
    /// The last offer met glare.
    has_put_off: bool,
    offers: usize,
    answers: usize,
}

impl Recorder {
    /// Takes what was sent, and answers what is due.
    fn act(&mut self, call: &mut Call) {
        for (_, message) in std::mem::take(&mut call.wire) {
            let Message::Request(invite) = message else { continue };
            if invite.method != Method::Invite {
                continue;
            }
            let call_id = value(&invite, &HeaderName::CallId);
            let (delay, glare) = self.manners[self.offers % self.manners.len()];
            // One that puts off whatever it is offered agrees to nothing.
            let glare = glare && !self.has_put_off;
            let due = call.now + std::time::Duration::from_millis(delay);
            if let Some((open, ..)) =
                self.open.insert(call_id, (invite.clone(), due, glare && self.offers > 1))
            {
                let branch = |request: &Request| value(request, &HeaderName::Via);
                assert_eq!(branch(&open), branch(&invite), "two offers are open");
            } else {
                self.offers += 1;
                assert!(
                    self.offers <= self.answers + self.open.len(),
                    "an offer for each completed one at most"
                );
            }
        }
        let due: Vec<_> =
            self.open.iter().filter(|(_, (_, due, _))| *due <= call.now).map(|(id, _)| id.clone()).collect();
        for id in due {
            let (invite, _, glare) = self.open.remove(&id).unwrap();
            self.answers += 1;
            self.has_put_off = glare;
            if glare {
                call.answer(&invite, 491, &[], "");
                continue;
            }
            let offer = SessionDescription::parse(&invite.body).unwrap();
            self.directions.insert(id, lines(&offer));
            let silent = offer.medias().all(|media| !media.direction().sends());
            let ports: Vec<u16> = (0..offer.media_count()).map(|index| 4000 + 2 * index as u16).collect();
            let attribute = if silent { "a=inactive\r\n" } else { "a=recvonly\r\n" };
            call.answer(&invite, 200, &[], &sdp_with(&ports, attribute));
        }
    }
}

fn run(orders: Vec<Order>, manners: Vec<(u64, bool)>, mode: SessionMode) {
    let mut settings = config("sip:rec.example");
    settings.mode = mode;
    let mut call = Call::new(settings);
    let mut recorder = Recorder {
        manners,
        open: BTreeMap::new(),
        directions: BTreeMap::new(),
        has_put_off: false,
        offers: 0,
        answers: 0,
    };
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    let mut paused = false;
    let mut muted = [false; 2];
    for Order { command, pause_ms } in orders {
        match &command {
            Command::Pause => paused = true,
            Command::Resume => paused = false,
            Command::Mute { slot, muted: is_muted } => muted[usize::from(*slot)] = *is_muted,
            _ => {}
        }
        call.command(command);
        for _ in 0..=pause_ms {
            recorder.act(&mut call);
            call.wait_ms(1);
        }
    }
    for _ in 0..400 {
        recorder.act(&mut call);
        call.wait_ms(50);
    }
    let silent = |party: usize| match mode {
        SessionMode::BothParties => paused || muted[0] || muted[1],
        _ => paused || muted[party],
    };
    let mut open = BTreeMap::new();
    call.check_now(|output| match output {
        Output::Branch(BranchCommand::Open(command)) => {
            let _ = open.insert(command.branch.slot, true);
        }
        Output::Branch(BranchCommand::Pause { branch } | BranchCommand::Hold { branch }) => {
            let _ = open.insert(branch.slot, false);
        }
        _ => {}
    });
    for party in 0..2_u16 {
        assert_eq!(open.get(&party), Some(&!silent(party.into())), "the gate of party {party}");
    }
    let word = |silent: bool| if silent { "inactive" } else { "sendonly" };
    let mut expected = match mode {
        SessionMode::BothParties => vec![format!("{0}/{0}", word(silent(0)))],
        _ => vec![word(silent(0)).to_owned(), word(silent(1)).to_owned()],
    };
    let mut agreed: Vec<String> = recorder.directions.values().cloned().collect();
    expected.sort();
    agreed.sort();
    assert_eq!(agreed, expected);
    let all_silent = silent(0) && silent(1);
    let state = if all_silent { RecordingState::Paused } else { RecordingState::Recording };
    assert_eq!(call.recording.state(), state);
}

proptest! {
    #![proptest_config(random_settings(60, 20_261_125))]

    #[test]
    fn a_hundred_commands_in_a_second_end_in_the_right_state(
        orders in prop::collection::vec(order(), 100),
        manners in prop::collection::vec(manner(), 1..20),
        per_party: bool,
    ) {
        run(orders, manners, if per_party { SessionMode::PerParty } else { SessionMode::BothParties });
    }
}
