//! Dialogs that outlive their process: written down while they stand, and ended by the next agent with the same folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_agent::{Agent, AgentConfig, AgentError, Credentials, Password, StateDirError};
use siprec_model::RecordingState;
use siprec_session::{Journal, LeftDialog, SrtpUse};
use siprec_sip::{HeaderName, Method};
use siprec_transport::Protocol;

use crate::released::lost_and_ended;
use crate::support::{Call, DEADLINE, FakeMedia, Recorder, Script, Seen, agent_with, config};

/// A folder, and agents that write their dialogs down in it.
pub(crate) struct State(tempfile::TempDir);

impl State {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> AgentConfig {
        AgentConfig { state_dir: Some(self.path().to_owned()), ..AgentConfig::default() }
    }

    pub(crate) fn agent(&self) -> Arc<Agent> {
        agent_with(&FakeMedia::new(), self.config())
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The one file of a folder in which the dialogs of one agent stand.
    pub(crate) fn file(&self) -> PathBuf {
        wait_until("one file", || match self.files().as_slice() {
            [file] => Some(file.clone()),
            _ => None,
        })
    }

    /// The dialogs in a file, once it says what is wanted.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        file: &Path,
        is_so: impl Fn(&[LeftDialog]) -> bool,
    ) -> Vec<LeftDialog> {
        wait_until(what, || {
            let journal = Journal::read(&fs::read(file).ok()?).ok()?;
            assert_eq!(journal.damaged, 0);
            let dialogs: Vec<_> = journal.dialogs.into_values().collect();
            is_so(&dialogs).then_some(dialogs)
        })
    }

    /// A recording that has ended since, and the file in which it stood when it had not.
    pub(crate) fn crashed(&self, recorder: &str) -> (PathBuf, LeftDialog) {
        self.crashed_with(recorder, Vec::new())
    }

    /// The same, where the recorder asks who ends it.
    fn crashed_with(&self, recorder: &str, credentials: Vec<Credentials>) -> (PathBuf, LeftDialog) {
        let other = State::new();
        let agent = agent_with(&FakeMedia::new(), AgentConfig { credentials, ..other.config() });
        let mut call = Call::open(&agent, config(recorder));
        call.wait_for_state(RecordingState::Recording);
        other.wait_for("entry", &other.file(), |dialogs| dialogs.len() == 1);
        let left = self.leave(&other.file());
        let dialogs = self.wait_for("copy", &left, |dialogs| dialogs.len() == 1);
        // Its own BYE has another number than that of whoever takes over.
        call.stop();
        call.seen();
        (left, dialogs[0].clone())
    }

    /// Copies the file of an agent that lives: the copy is not locked.
    fn leave(&self, file: &Path) -> PathBuf {
        let left = self.path().join(format!("siprec-1-{}.dialogs", self.files().len()));
        fs::copy(file, &left).unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o600)).unwrap();
        left
    }
}

pub(crate) fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn number(seen: &Seen) -> u32 {
    seen.request.headers.cseq().unwrap().number
}

/// The BYEs of agents that have taken over.
fn sweeping(byes: &[Seen]) -> Vec<&Seen> {
    byes.iter().filter(|bye| number(bye) > 1000).collect()
}

#[test]
fn a_dialog_is_written_down_for_as_long_as_it_stands() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let agent = state.agent();
    assert_eq!(state.files(), Vec::<PathBuf>::new());
    let mut call = Call::open(&agent, config(&format!("{};transport=tcp", recorder.uri())));
    call.wait_for_state(RecordingState::Recording);
    let ack = &recorder.wait_for(&Method::Ack, 1)[0];
    // Who has the ACK finds the dialog written down.
    let [file] = &state.files()[..] else { panic!("{:?}", state.files()) };
    assert_eq!(Journal::read(&fs::read(file).unwrap()).unwrap().dialogs.len(), 1);
    let file = file.clone();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let left = state.wait_for("entry", &file, |dialogs| dialogs.len() == 1);
    let LeftDialog { dialog, way, recording_id, .. } = &left[0];
    assert_eq!(dialog.call_id().to_str(), Some(ack.call_id().as_str()));
    assert_eq!(*dialog.local(), ack.request.headers.from().unwrap());
    assert_eq!(*dialog.remote(), ack.request.headers.to().unwrap());
    assert_eq!((dialog.local_cseq(), dialog.remote_target()), (1, &ack.request.uri));
    assert_eq!((way.remote, way.transport), (recorder.address(), siprec_sip::Transport::Tcp));
    assert!(ack.request.headers.to().unwrap().uri.as_str().len() > 4 && !recording_id.as_str().is_empty());
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    call.seen();
    assert!(agent.wait_idle(DEADLINE));
    assert_eq!(state.files(), Vec::<PathBuf>::new(), "who has waited may end at once, and leaves nothing");
}

#[test]
fn what_is_written_down_has_no_key_and_no_password() {
    let (state, recorder) = (State::new(), Recorder::start(Script::DeafAfterAnswer));
    let credentials =
        vec![Credentials::new("client", Password::new("of-the-agent".to_owned()), None).unwrap()];
    let agent = agent_with(&FakeMedia::new(), AgentConfig { credentials, ..state.config() });
    let mut secured = config(&format!("sip:client:of-the-uri@{}", recorder.address()));
    (secured.security.srtp, secured.security.allow_clear_keys) = (SrtpUse::Require, true);
    let mut call = Call::open(&agent, secured);
    // Its answer has no keys, and so is of no use; but it has accepted, and does not answer the BYE.
    call.wait_for_state(RecordingState::Failed);
    let invite = &recorder.wait_for(&Method::Invite, 1)[0];
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
    let written = String::from_utf8(fs::read(state.file()).unwrap()).unwrap();
    assert!(written.contains(&invite.call_id()), "{written}");
    let offer = String::from_utf8(invite.request.body.clone()).unwrap();
    let keys: Vec<&str> =
        offer.lines().filter_map(|line| line.split_once("inline:")).map(|(_, key)| key).collect();
    assert!(keys.len() >= 4, "{offer}");
    for secret in keys.into_iter().chain(["of-the-agent", "of-the-uri", "inline"]) {
        assert!(!written.contains(secret), "{secret} is in {written}");
    }
}

#[test]
fn a_bye_of_the_recorder_ends_what_is_written_down() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let agent = state.agent();
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    recorder.wait_for(&Method::Ack, 1);
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
    recorder.hang_up(&recorder.wait_for(&Method::Invite, 1)[0]);
    call.seen();
    assert!(agent.wait_idle(DEADLINE));
    assert_eq!(state.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_bye_that_nobody_answers_is_left_to_the_next_process() {
    let (state, recorder) = (State::new(), Recorder::start(Script::DeafAfterAnswer));
    let agent = state.agent();
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    agent.shutdown(Duration::from_millis(200));
    recorder.wait_for(&Method::Bye, 1);
    wait_until("the agent lets go of its file", || fs::File::open(state.file()).ok()?.try_lock().ok());
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
}

#[test]
fn the_dialog_of_a_lost_recorder_that_nobody_waits_for_is_left_to_the_next_process() {
    let (dead, living) = (Recorder::start(Script::DeafAfterAnswer), Recorder::start(Script::Accept));
    let (state, media) = (State::new(), FakeMedia::new());
    let agent = agent_with(&media, state.config());
    lost_and_ended(&agent, &media, &dead, &living);
    assert!(agent.wait_idle(DEADLINE));
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
    assert!(agent.shutdown(DEADLINE));
    state.wait_for("entry", &state.file(), |dialogs| dialogs.len() == 1);
}

#[test]
fn the_next_agent_ends_what_a_crashed_one_has_left_and_nothing_else() {
    for (parameter, protocol) in [("", Protocol::Udp), (";transport=tcp", Protocol::Tcp)] {
        let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
        let (_, left) = state.crashed(&format!("{}{parameter}", recorder.uri()));
        // Another agent lives, and records.
        let living = state.agent();
        let mut call = Call::open(&living, config(&format!("{}{parameter}", recorder.uri())));
        let byes = wait_until("BYE", || {
            let byes = recorder.wait_for(&Method::Bye, 1);
            (!sweeping(&byes).is_empty()).then_some(byes)
        });
        let bye = sweeping(&byes)[0];
        assert_eq!(number(bye), left.dialog.local_cseq() + 1000);
        assert_eq!(Some(bye.call_id().as_str()), left.dialog.call_id().to_str());
        assert_eq!(bye.request.headers.from().unwrap(), *left.dialog.local());
        assert_eq!(bye.request.headers.to().unwrap(), *left.dialog.remote());
        assert_eq!((&bye.request.uri, bye.protocol), (left.dialog.remote_target(), protocol));
        call.wait_for_state(RecordingState::Recording);
        wait_until("its file is gone", || (state.files().len() == 1).then_some(()));

        // And one more comes: the file of the one that lives is not its to sweep.
        let file = state.file();
        state.wait_for("entry", &file, |dialogs| dialogs.len() == 1);
        let (_, other) = state.crashed(&format!("{}{parameter}", recorder.uri()));
        let third = state.agent();
        let byes = wait_until("BYE", || {
            let byes = recorder.wait_for(&Method::Bye, 1);
            (sweeping(&byes).len() == 2).then_some(byes)
        });
        assert_eq!(Some(sweeping(&byes)[1].call_id().as_str()), other.dialog.call_id().to_str());
        state.wait_for("entry", &file, |dialogs| dialogs.len() == 1);
        call.stop();
        call.seen();
        assert!(third.shutdown(DEADLINE) && living.shutdown(DEADLINE));
        assert_eq!(state.files(), Vec::<PathBuf>::new());
        let byes = recorder.wait_for(&Method::Bye, 1);
        assert_eq!(sweeping(&byes).len(), 2, "the call that went on has a BYE of its own");
    }
}

#[test]
fn of_agents_that_start_at_once_only_one_ends_a_dialog() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    state.crashed(&recorder.uri());
    let agents = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| state.agent())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    wait_until("its file is gone", || state.files().is_empty().then_some(()));
    assert!(agents.iter().all(|agent| agent.shutdown(DEADLINE)));
    assert_eq!(sweeping(&recorder.wait_for(&Method::Bye, 1)).len(), 1);
}

#[test]
fn a_recorder_that_asks_for_a_password_gets_it() {
    let (state, recorder) = (State::new(), Recorder::start(Script::GuardsBye));
    let credentials = Credentials::new("client", Password::new("secret".to_owned()), None).unwrap();
    let (left, crashed) = state.crashed_with(&recorder.uri(), vec![credentials.clone()]);
    let config = AgentConfig { credentials: vec![credentials], ..state.config() };
    let agent = agent_with(&FakeMedia::new(), config);
    let byes = wait_until("BYEs", || {
        let byes = recorder.wait_for(&Method::Bye, 1);
        (sweeping(&byes).len() == 2).then_some(byes)
    });
    let byes = sweeping(&byes);
    // On a busy machine the recorder may have been asked something before the crash, which has a number, too.
    let last = crashed.dialog.local_cseq();
    assert_eq!((number(byes[0]), number(byes[1])), (last + 1000, last + 1001));
    assert!(!byes[0].request.headers.contains(&HeaderName::Authorization));
    let authorization = byes[1].request.headers.get(&HeaderName::Authorization).unwrap();
    assert!(authorization.to_str().unwrap().contains("username=\"client\""), "{authorization}");
    wait_until("its file is gone", || (!left.exists()).then_some(()));
    assert!(agent.shutdown(DEADLINE));
}

#[test]
fn a_sweep_that_does_not_come_to_its_end_goes_on_with_higher_numbers() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let (left, dialog) = state.crashed(&recorder.uri());
    drop(recorder);
    let deaf = Recorder::start(Script::Silent);
    // Its place is taken by one that says nothing.
    let mut moved = dialog.clone();
    moved.way.remote = deaf.address();
    moved.way.hop = siprec_sip::Uri::parse(&deaf.uri()).unwrap();
    moved.dialog = siprec_sip::Dialog::left_behind(
        dialog.dialog.call_id().clone(),
        dialog.dialog.local().clone(),
        dialog.dialog.remote().clone(),
        7,
        siprec_sip::Uri::parse(&deaf.uri()).unwrap(),
        Vec::new(),
    );
    let mut bytes = Journal::read(&fs::read(&left).unwrap()).unwrap().head.to_line();
    bytes.extend(moved.to_line(1));
    // A torn line at the end.
    bytes.extend(b"01234567 +2\tcall-id");
    fs::write(&left, bytes).unwrap();
    for count in 1..=2 {
        let agent = state.agent();
        let byes = deaf.wait_for(&Method::Bye, count);
        assert_eq!(number(&byes[count - 1]), 7 + 1000 * u32::try_from(count).unwrap());
        state.wait_for("entry", &left, |dialogs| {
            dialogs.len() == 1 && dialogs[0].dialog.local_cseq() == number(&byes[count - 1])
        });
        assert!(agent.shutdown(DEADLINE), "nobody waits for a BYE of another process");
        wait_until("the file is let go", || fs::File::open(&left).ok()?.try_lock().ok());
    }
}

#[test]
fn what_is_not_ours_to_read_stays_as_it_is() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let (_, dialog) = state.crashed(&recorder.uri());
    let line = dialog.to_line(1);
    let head = |host: &str| siprec_session::JournalHead { host: host.to_owned(), process: 1 }.to_line();
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    fs::write(&target, [head(&own), line.clone()].concat()).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    let mut kept = vec![target.clone()];
    let mut keep = |name: &str, content: &[u8], mode| {
        let path = state.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        kept.push(path);
    };
    keep("siprec-1-foreign.dialogs", &[head("another host"), line.clone()].concat(), 0o600);
    keep("siprec-1-garbage.dialogs", b"\x00\xff garbage\n", 0o600);
    keep("siprec-1-future.dialogs", b"9edeb057 dialogs 2\twhatever\n", 0o600);
    keep("siprec-1-readable.dialogs", &[head(&own), line.clone()].concat(), 0o644);
    keep("other.dialogs", &[head(&own), line.clone()].concat(), 0o600);
    let link = state.path().join("siprec-1-link.dialogs");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    fs::hard_link(&target, state.path().join("siprec-1-hard.dialogs")).unwrap();
    fs::create_dir(state.path().join("siprec-1-folder.dialogs")).unwrap();
    let before: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    // These two are as good as gone.
    for name in ["siprec-1-empty.dialogs", "siprec-1-half.dialogs.new"] {
        fs::write(state.path().join(name), "").unwrap();
        fs::set_permissions(state.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let agent = state.agent();
    wait_until("BYE", || (!sweeping(&recorder.wait_for(&Method::Bye, 1)).is_empty()).then_some(()));
    assert!(agent.shutdown(DEADLINE));
    let after: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(before, after);
    assert!(link.exists() && state.path().join("siprec-1-hard.dialogs").exists());
    assert_eq!(state.files().len(), 8, "{:?}", state.files());
    assert_eq!(sweeping(&recorder.wait_for(&Method::Bye, 1)).len(), 1);
}

#[test]
fn a_damaged_line_stays_when_the_dialogs_beside_it_are_ended() {
    let (state, recorder) = (State::new(), Recorder::start(Script::Accept));
    let (left, dialog) = state.crashed(&recorder.uri());
    let head = Journal::read(&fs::read(&left).unwrap()).unwrap().head.to_line();
    let mut altered = dialog.to_line(2);
    altered[12] ^= 1;
    fs::write(&left, [head.clone(), dialog.to_line(1), altered.clone()].concat()).unwrap();
    let rest = [head, altered].concat();
    let agent = state.agent();
    wait_until("BYE", || (!sweeping(&recorder.wait_for(&Method::Bye, 1)).is_empty()).then_some(()));
    wait_until("the rest", || (fs::read(&left).unwrap() == rest).then_some(()));
    assert!(agent.shutdown(DEADLINE));
    wait_until("the file is let go", || fs::File::open(&left).ok()?.try_lock().ok());
    // The next one finds nothing to end, and leaves it alone.
    let next = state.agent();
    assert!(next.shutdown(DEADLINE));
    assert_eq!(fs::read(&left).unwrap(), rest);
    assert_eq!(sweeping(&recorder.wait_for(&Method::Bye, 1)).len(), 1);
}

#[test]
fn a_folder_that_is_of_no_use_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let media = FakeMedia::new();
    let config = AgentConfig { state_dir: Some(file.path().to_owned()), ..AgentConfig::default() };
    let error = Agent::start(config, media).unwrap_err();
    assert!(matches!(error, AgentError::StateDir(StateDirError::NoFolder(_))), "{error}");
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn without_a_folder_nothing_is_written() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent_with(&FakeMedia::new(), AgentConfig::default());
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    call.seen();
}
