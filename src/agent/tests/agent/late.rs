//! A loop that stood still for a while.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use siprec_model::{RecordingState, SessionEventKind as Kind};
use siprec_session::Command;
use siprec_sip::{Message, Method, Request};

use crate::support::{Call, DEADLINE, FakeMedia, LOCALHOST, Script, agent, answer, config};

/// A recorder in the test's own hands.
struct Hand {
    socket: UdpSocket,
    own: SocketAddr,
}

impl Hand {
    fn open() -> Self {
        let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let own = socket.local_addr().unwrap();
        Self { socket, own }
    }

    /// The next request that is no repetition of one before.
    fn next(&self, seen: &mut Vec<Vec<u8>>) -> (Request, SocketAddr) {
        let mut buffer = [0; 65_535];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).expect("a request in time");
            if !seen.iter().any(|earlier| *earlier == buffer[..length]) {
                seen.push(buffer[..length].to_vec());
                let Message::Request(request) = Message::parse(&buffer[..length]).unwrap() else { continue };
                return (request, from);
            }
        }
    }

    fn answer(&self, request: &Request, to: SocketAddr) {
        if let Some(response) = answer(Script::Accept, request, self.own) {
            self.socket.send_to(&response.to_bytes(), to).unwrap();
        }
    }
}

#[test]
fn an_answer_that_came_while_the_loop_stood_still_came_in_time() {
    let (recorder, media) = (Hand::open(), FakeMedia::new());
    let agent = agent(&media);
    let mut asked = config(&format!("sip:{}", recorder.own));
    asked.timers.probe = Duration::from_millis(500);
    asked.timers.probe_answer = Duration::from_secs(2);
    let answer_time = asked.timers.probe_answer;
    let mut call = Call::open(&agent, asked);
    let mut seen = Vec::new();
    let (question, from) = loop {
        let (request, from) = recorder.next(&mut seen);
        if request.method == Method::Options {
            break (request, from);
        }
        recorder.answer(&request, from);
    };
    call.wait_for_state(RecordingState::Recording);
    // The engine takes longer for a command than the recorder has for its answer, which comes meanwhile.
    let (release, released) = mpsc::channel();
    *media.stalled.lock().unwrap() = Some(released);
    call.handle.command(Command::Pause).unwrap();
    recorder.answer(&question, from);
    let (_nobody, nothing) = mpsc::channel::<()>();
    assert!(nothing.recv_timeout(answer_time + Duration::from_millis(200)).is_err());
    release.send(()).unwrap();
    // It is asked again as if nothing had been: the pause is the only offer.
    let mut offers = 0;
    loop {
        let (request, from) = recorder.next(&mut seen);
        recorder.answer(&request, from);
        match request.method {
            Method::Invite => offers += 1,
            Method::Options => break,
            _ => {}
        }
    }
    assert_eq!(offers, 1);
    call.stop();
    loop {
        let (request, from) = recorder.next(&mut seen);
        recorder.answer(&request, from);
        if request.method == Method::Bye {
            break;
        }
    }
    let seen = call.seen();
    assert!(!seen.iter().any(|kind| matches!(kind, Kind::Suspected { .. })), "{seen:?}");
}
