//! Dialogs whose BYE cannot leave: that says nothing of the recorder, which keeps its side open until it hears of the end.

use std::time::Duration;

use siprec_agent::{Agent, AgentConfig};
use siprec_model::RecordingState;
use siprec_sip::Method;

use crate::Capture;
use crate::restart::{State, number, wait_until};
use crate::support::{Call, DEADLINE, FakeMedia, Recorder, Script, agent_with, config};

const TRIED_AGAIN: &str = "cannot be sent; it is tried again";

/// An agent with the folder, and what it logs.
fn logging(state: &State) -> (std::sync::Arc<Agent>, Capture) {
    let log = Capture::default();
    let config = AgentConfig { log: Some(tracing::Dispatch::new(log.clone())), ..state.config() };
    (agent_with(&FakeMedia::new(), config), log)
}

fn wait_for_words(log: &Capture, words: &str) {
    wait_until(words, || log.0.lock().unwrap().contains(words).then_some(()));
}

fn starts_that_reach_nobody(parameter: &str) {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let (left, crashed) = state.crashed(&format!("{}{parameter}", recorder.uri()));
    let (address, last) = (recorder.address(), crashed.dialog.local_cseq());
    drop(recorder);
    // This start reaches nobody, and neither does the next one at first.
    for is_back in [false, true] {
        let (agent, log) = logging(&state);
        wait_for_words(&log, TRIED_AGAIN);
        state.wait_for("entry", &left, |dialogs| dialogs.len() == 1);
        if is_back {
            let recorder = Recorder::start_at(address, Script::Accept);
            let bye = &recorder.wait_for(&Method::Bye, 1)[0];
            assert!((last + 2001..last + 2010).contains(&number(bye)), "{} after {last}", number(bye));
            wait_until("its file is gone", || (!left.exists()).then_some(()));
        }
        assert!(agent.shutdown(DEADLINE), "nobody waits for a BYE of another process");
        wait_until("the file is let go", || match std::fs::File::open(&left) {
            Ok(file) => file.try_lock().ok(),
            Err(_) => Some(()),
        });
    }
}

#[test]
fn a_bye_that_no_port_takes_is_sent_again_and_its_dialog_stays_for_the_next_start() {
    starts_that_reach_nobody("");
}

#[test]
fn a_bye_for_which_there_is_no_connection_is_sent_again_and_its_dialog_stays_for_the_next_start() {
    starts_that_reach_nobody(";transport=tcp");
}

#[test]
fn a_dialog_whose_recorder_is_gone_at_the_end_is_left_to_the_next_process_and_told() {
    for parameter in ["", ";transport=tcp"] {
        let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
        let (agent, log) = logging(&state);
        let mut call = Call::open(&agent, config(&format!("{}{parameter}", recorder.uri())));
        call.wait_for_state(RecordingState::Recording);
        recorder.wait_for(&Method::Ack, 1);
        drop(recorder);
        call.stop();
        call.wait_for_state(RecordingState::Stopped);
        assert!(agent.wait_idle(DEADLINE));
        let started = std::time::Instant::now();
        assert!(agent.shutdown(DEADLINE));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
        wait_for_words(&log, "a dialog has not ended, and is left to the next start");
    }
}

#[test]
fn a_recorder_that_comes_back_in_time_gets_the_bye_of_a_session_that_was_lost() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let agent = state.agent();
    let mut call = Call::open(&agent, config(&format!("{};transport=tcp", recorder.uri())));
    call.wait_for_state(RecordingState::Recording);
    recorder.wait_for(&Method::Ack, 1);
    let address = recorder.address();
    drop(recorder);
    call.stop();
    call.wait_for_state(RecordingState::Stopped);
    assert!(agent.wait_idle(DEADLINE));
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
    let recorder = Recorder::start_at(address, Script::Accept);
    recorder.wait_for(&Method::Bye, 1);
    wait_until("its file is gone", || state.files().is_empty().then_some(()));
}
