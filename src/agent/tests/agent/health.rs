//! Recorders that are asked whether they live.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use siprec_agent::{Agent, AgentConfig, Health, Pools, RecorderChange, RecorderState, RecorderWatch};
use siprec_model::RecordingState;
use siprec_session::{Recorders, RecordingConfig};
use siprec_sip::{HeaderName, Message, Method, Request, Response};

use crate::support::{Call, DEADLINE, FakeMedia, Recorder, Script, agent_with};

/// Whoever answers OPTIONS and nothing else, with a status that may change; 0 is silence.
struct Pulse {
    address: String,
    status: Arc<AtomicU16>,
    questions: mpsc::Receiver<Request>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    fn start(status: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let (status, over) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicBool::new(false)));
        let (tell, questions) = mpsc::channel();
        let (answer, ended) = (Arc::clone(&status), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(Message::Request(request)) = Message::parse(&buffer[..length]) else { continue };
                if request.method == Method::Options {
                    let status = answer.load(Ordering::SeqCst);
                    if status > 0 {
                        let mut response = Response::to_request(&request, status);
                        let to = request.headers.to().unwrap().with_tag("pulse");
                        response.headers.set(HeaderName::To, to);
                        response.headers.push(HeaderName::ContentLength, "0");
                        socket.send_to(&Message::from(response).to_bytes(), from).unwrap();
                    }
                    drop(tell.send(request));
                }
            }
        });
        Self { address, status, questions, over, thread: Some(thread) }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn question(&self) -> Request {
        self.questions.recv_timeout(DEADLINE).expect("a question")
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// An ordered pool of these addresses, asked ten times a second.
fn pool(head: &str, recorders: &[&str]) -> Pools {
    Pools::parse(&pool_text(head, recorders), "pools.toml").unwrap()
}

fn pool_text(head: &str, recorders: &[&str]) -> String {
    let mut text = format!("[pool.east]\nhealth-check.interval = 0.1\n{head}\n");
    for recorder in recorders {
        text += &format!("[[pool.east.recorder]]\nuri = \"sip:{recorder}\"\n");
    }
    text
}

fn watched(pools: Pools) -> (Arc<Agent>, mpsc::Receiver<RecorderChange>) {
    watched_with(pools, AgentConfig::default())
}

fn watched_with(pools: Pools, config: AgentConfig) -> (Arc<Agent>, mpsc::Receiver<RecorderChange>) {
    let (tell, changes) = mpsc::channel();
    let watcher = RecorderWatch::new(move |change| drop(tell.send(change)));
    let config = AgentConfig { pools, watcher: Some(watcher), ..config };
    (agent_with(&FakeMedia::new(), config), changes)
}

fn pooled() -> RecordingConfig {
    RecordingConfig::new(Recorders::Pool { name: "east".parse().unwrap(), location: None })
}

fn next(changes: &mpsc::Receiver<RecorderChange>) -> (RecorderState, String) {
    let change = changes.recv_timeout(DEADLINE).expect("a change");
    (change.state, change.reason)
}

#[test]
fn a_recorder_that_does_not_answer_counts_as_dead_and_one_that_does_again_as_alive() {
    let (first, second) = (Pulse::start(200), Recorder::start(Script::Accept));
    let head = "health-check.failures = 3\nhealth-check.recoveries = 2";
    let (agent, changes) = watched(pool(head, &[&first.address, &second.address().to_string()]));
    let mut alive: Vec<String> = (0..2).map(|_| changes.recv_timeout(DEADLINE).unwrap().recorder).collect();
    alive.sort_unstable();
    let mut expected = [format!("sip:{}", first.address), second.uri()];
    expected.sort_unstable();
    assert_eq!(alive, expected);
    first.answers(0);
    assert_eq!(next(&changes), (RecorderState::Dead, "it does not answer".to_owned()));
    let health: Vec<Health> = agent.pools()[0].recorders.iter().map(|recorder| recorder.health).collect();
    assert_eq!(health, [Health::Dead, Health::Alive]);
    let mut call = Call::open(&agent, pooled());
    call.wait_for_state(RecordingState::Recording);
    assert_eq!(call.so_far().len(), 3, "nobody else was tried: {:?}", call.so_far());
    first.answers(405);
    assert_eq!(next(&changes), (RecorderState::Alive, "it answers 405 Method Not Allowed".to_owned()));
}

#[test]
fn any_answer_is_a_sign_of_life_but_those_that_speak_of_somebody_who_is_not_there() {
    for (status, state) in [
        (200, RecorderState::Alive),
        (302, RecorderState::Alive),
        (401, RecorderState::Alive),
        (404, RecorderState::Alive),
        (481, RecorderState::Alive),
        (500, RecorderState::Alive),
        (501, RecorderState::Alive),
        (603, RecorderState::Alive),
        (408, RecorderState::Dead),
        (502, RecorderState::Dead),
        (503, RecorderState::Dead),
        (504, RecorderState::Dead),
    ] {
        let pulse = Pulse::start(status);
        let (_agent, changes) = watched(pool("", &[&pulse.address]));
        let (found, reason) = next(&changes);
        assert_eq!(found, state, "{status}");
        assert!(reason.starts_with(&format!("it answers {status} ")), "{reason}");
    }
}

#[test]
fn when_all_are_dead_they_are_tried_in_their_order() {
    let (first, second) = (Pulse::start(503), Pulse::start(503));
    let (agent, changes) = watched(pool("health-check.failures = 1", &[&first.address, &second.address]));
    assert_eq!((next(&changes).0, next(&changes).0), (RecorderState::Dead, RecorderState::Dead));
    let mut config = pooled();
    config.timers.first_response = Duration::from_millis(200);
    let mut call = Call::open(&agent, config);
    call.wait_for_state(RecordingState::Failed);
    let chosen: Vec<u64> = agent.pools()[0].recorders.iter().map(|recorder| recorder.chosen).collect();
    assert_eq!(chosen, [1, 1]);
}

#[test]
fn a_question_says_who_asks_and_goes_by_the_proxy_where_there_is_one() {
    let proxy = Pulse::start(200);
    let config = AgentConfig {
        outbound_proxy: format!("sip:{}", proxy.address).parse().unwrap(),
        user: "rec".to_owned(),
        ..AgentConfig::default()
    };
    let (agent, changes) = watched_with(pool("", &["192.0.2.1:5070"]), config);
    let question = proxy.question();
    assert_eq!(question.uri.as_str(), "sip:192.0.2.1:5070");
    let header = |name| question.headers.get(&name).map(ToString::to_string).unwrap_or_default();
    assert_eq!(header(HeaderName::Route), format!("<sip:{};lr>", proxy.address));
    assert_eq!(header(HeaderName::To), "<sip:192.0.2.1:5070>");
    assert!(
        header(HeaderName::From).starts_with(&format!("<sip:rec@127.0.0.1:{}>;tag=", agent.local().port()))
    );
    assert_eq!(header(HeaderName::CSeq), "1 OPTIONS");
    assert_eq!(header(HeaderName::Accept), "application/sdp");
    assert_eq!(header(HeaderName::UserAgent), AgentConfig::default().user_agent);
    assert_eq!(next(&changes).0, RecorderState::Alive);
    // The next one is another question.
    assert_ne!(proxy.question().headers.call_id().unwrap(), question.headers.call_id().unwrap());
}

#[test]
fn recorders_are_asked_as_the_pools_say_while_they_change() {
    let (first, second) = (Pulse::start(0), Pulse::start(200));
    let (agent, changes) = watched(pool("health-check.failures = 1", &[&first.address]));
    assert_eq!(next(&changes).0, RecorderState::Dead);
    agent.set_pools(pool("", &[&first.address, &second.address]));
    assert_eq!(next(&changes).0, RecorderState::Alive);
    assert_eq!(agent.pools()[0].recorders[0].health, Health::Dead, "what is known stays known");
    let quiet = format!(
        "[pool.east]\nhealth-check.interval = 0\nrecorder = [{{ uri = \"sip:{}\" }}]\n",
        first.address
    );
    agent.set_pools(Pools::parse(&quiet, "pools.toml").unwrap());
    assert_eq!(agent.pools()[0].recorders[0].health, Health::Unknown);
    // Nobody is asked any more: the next is asked when there is a pool again.
    while second.questions.try_recv().is_ok() {}
    agent.set_pools(pool("", &[&second.address]));
    second.question();
}

#[test]
fn a_recorder_that_is_dead_for_one_reason_says_another_no_second_time() {
    let pulse = Pulse::start(0);
    let (_agent, changes) = watched(pool("health-check.failures = 1", &[&pulse.address]));
    assert_eq!(next(&changes).0, RecorderState::Dead);
    pulse.answers(503);
    for _ in 0..5 {
        pulse.question();
    }
    assert_eq!(changes.try_recv().ok(), None);
}

#[test]
fn a_busy_recorder_is_told_and_not_asked_until_its_time_has_come() {
    let busy = Recorder::start(Script::Busy(600));
    let (agent, changes) = watched(pool("", &[&busy.address().to_string()]));
    assert_eq!(next(&changes).0, RecorderState::Alive);
    let mut call = Call::open(&agent, pooled());
    call.wait_for_state(RecordingState::Failed);
    let (state, reason) = next(&changes);
    assert_eq!(
        (state, reason.as_str()),
        (RecorderState::Away, "it is busy, and wants to be left alone for 300 s")
    );
    let asked = busy.count(&Method::Options);
    // Whatever is asked meanwhile is asked of others.
    let other = Pulse::start(200);
    agent.set_pools(pool("", &[&busy.address().to_string(), &other.address]));
    let until = Instant::now() + DEADLINE;
    for _ in 0..5 {
        other.question();
        assert!(Instant::now() < until);
    }
    assert!(busy.count(&Method::Options) <= asked + 1, "one may have been on its way");
}

#[test]
fn an_invite_that_nobody_answers_counts_as_a_question() {
    let (silent, good) = (Recorder::start(Script::Silent), Recorder::start(Script::Accept));
    let address = silent.address().to_string();
    let head = "health-check.failures = 3\n".to_owned();
    // Asked once by the hour: all that is known comes from calls.
    let text = pool_text(&head, &[&address, &good.address().to_string()])
        .replace("interval = 0.1", "interval = 3600");
    let (agent, changes) = watched(Pools::parse(&text, "pools.toml").unwrap());
    assert_eq!(next(&changes).0, RecorderState::Alive, "the good one");
    for calls in 1..=3 {
        let mut config = pooled();
        config.timers.first_response = Duration::from_millis(100);
        let mut call = Call::open(&agent, config);
        call.wait_for_state(RecordingState::Recording);
        if changes.try_recv().is_ok_and(|change| change.state == RecorderState::Dead) {
            assert!(calls >= 2, "with the question at the beginning three are missing");
            let chosen = agent.pools()[0].recorders[0].chosen;
            let mut call = Call::open(&agent, pooled());
            call.wait_for_state(RecordingState::Recording);
            assert_eq!(agent.pools()[0].recorders[0].chosen, chosen, "it is not tried any more");
            return;
        }
    }
    assert_eq!(next(&changes).0, RecorderState::Dead);
}
