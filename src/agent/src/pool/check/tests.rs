use siprec_sip::Response;

use super::*;

const LOCAL: &str = "192.0.2.100:5060";

/// Checks on a virtual clock; what they want done is kept.
struct Watch {
    checks: Checks,
    now: Instant,
    begun: Instant,
    errands: Vec<Errand>,
}

impl Watch {
    fn over(text: &str) -> Self {
        let who = Identity {
            user: "rec".to_owned(),
            user_agent: String::new(),
            outbound_proxy: OutboundProxy::default(),
        };
        let now = Instant::now();
        let mut checks = Checks::new(who, Random::from_seed([7; 32]));
        checks.follow(&Pools::parse(text, "pools.toml").unwrap(), now);
        Self { checks, now, begun: now, errands: Vec::new() }
    }

    /// Does what is due until something is to be done elsewhere, and gives that; None where nothing is for an hour.
    fn next(&mut self) -> Option<Errand> {
        while self.errands.is_empty() {
            let deadline = self.checks.next_deadline()?;
            if deadline > self.begun + Duration::from_secs(3600) {
                return None;
            }
            self.now = self.now.max(deadline);
            let errands = self.checks.run(self.now, |_| false);
            self.take(errands);
        }
        Some(self.errands.remove(0))
    }

    fn take(&mut self, errands: Vec<Errand>) {
        for errand in errands {
            match errand {
                Errand::Reach(address, destination) => {
                    let local = Some(LOCAL.parse().unwrap());
                    let more = self.checks.ask(&address, destination, local, self.now);
                    self.take(more);
                }
                other => self.errands.push(other),
            }
        }
    }

    fn question(&mut self) -> (Request, String) {
        match self.next() {
            Some(Errand::Send(request, destination)) => (request, destination.remote.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.next() {
            Some(Errand::Judge(_, _, verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, question: &Request, status: u16) {
        let call_id = question.headers.call_id().unwrap().to_owned();
        let errands = self.checks.answered(&call_id, Response::to_request(question, status), self.now);
        self.take(errands);
    }

    fn found(&mut self, addresses: &[&str]) {
        let Some(Errand::Find(address, _)) = self.next() else { panic!("a name is to be found") };
        let destination = |text: &&str| Destination {
            remote: text.parse().unwrap(),
            protocol: siprec_transport::Protocol::Udp,
            fixed: true,
            tls: None,
        };
        let errands = self.checks.found(&address, Ok(addresses.iter().map(destination).collect()));
        self.take(errands);
    }

    fn elapsed(&self) -> Duration {
        self.now - self.begun
    }
}

const ONE: &str = "[[pool.a.recorder]]\nuri = \"sip:192.0.2.1\"\n";
const NAMED: &str = "[[pool.a.recorder]]\nuri = \"sip:rec.example;transport=udp\"\n";

fn dead(reason: &str) -> Verdict {
    Verdict::Dead(reason.to_owned())
}

#[test]
fn a_question_is_repeated_as_rfc_3261_says_and_given_up_in_time() {
    let mut watch = Watch::over(ONE);
    let mut sent = Vec::new();
    let verdict = loop {
        match watch.next() {
            Some(Errand::Send(..)) => sent.push(watch.elapsed().as_millis()),
            Some(Errand::Judge(_, _, verdict)) => break verdict,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sent, [0, 500, 1500]);
    assert_eq!((verdict, watch.elapsed()), (dead("it does not answer"), Duration::from_secs(2)));
    // The next round is another question, an interval after the first began.
    let (_, _) = watch.question();
    assert_eq!(watch.elapsed(), Duration::from_secs(10));
}

#[test]
fn an_answer_ends_the_round_and_is_taken_once() {
    let mut watch = Watch::over(ONE);
    let (first, _) = watch.question();
    watch.answer(&first, 100);
    assert!(watch.errands.is_empty(), "a provisional response says nothing yet");
    watch.answer(&first, 404);
    assert_eq!(watch.verdict(), Verdict::Alive("it answers 404 Not Found".to_owned()));
    watch.answer(&first, 503);
    let (second, _) = watch.question();
    assert_eq!(watch.elapsed(), Duration::from_secs(10));
    let mut forged = second.clone();
    let via = "SIP/2.0/UDP 192.0.2.100:5060;branch=z9hG4bKguessed";
    forged.headers.set(HeaderName::Via, via);
    watch.answer(&forged, 200);
    assert!(watch.errands.is_empty(), "a guess");
    watch.answer(&second, 200);
    assert_eq!(watch.verdict(), Verdict::Alive("it answers 200 OK".to_owned()));
}

#[test]
fn a_name_with_several_addresses_lives_when_one_does_and_four_are_asked() {
    let mut watch = Watch::over(NAMED);
    watch.found(&["192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.3:5060"]);
    let (first, place) = watch.question();
    assert_eq!(place, "192.0.2.1:5060");
    watch.answer(&first, 503);
    let call_id = loop {
        let (request, place) = watch.question();
        if place == "192.0.2.3:5060" {
            break request;
        }
        assert_eq!(place, "192.0.2.2:5060");
    };
    assert_eq!(watch.elapsed(), Duration::from_secs(2), "the second was silent");
    watch.answer(&call_id, 200);
    assert!(matches!(watch.verdict(), Verdict::Alive(_)));

    let many: Vec<String> = (1..=9).map(|number| format!("192.0.2.{number}:5060")).collect();
    watch.found(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let mut places = Vec::new();
    loop {
        match watch.next() {
            Some(Errand::Send(request, destination)) => {
                places.push(destination.remote.to_string());
                watch.answer(&request, 504);
            }
            Some(Errand::Judge(_, _, verdict)) => {
                assert_eq!(verdict, dead("it answers 504 Server Time-out"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(places, many[..4]);
}

#[test]
fn what_cannot_be_found_reached_or_sent_is_dead_with_its_reason() {
    let mut watch = Watch::over(NAMED);
    let Some(Errand::Find(address, _)) = watch.next() else { panic!("a name is to be found") };
    let error = ResolveError::NotFound { host: "rec.example".to_owned(), reason: "unknown".to_owned() };
    let errands = watch.checks.found(&address, Err(error));
    watch.take(errands);
    assert!(matches!(watch.verdict(), Verdict::Dead(reason) if reason.contains("rec.example")));
    watch.found(&[]);
    assert_eq!(watch.verdict(), dead("it has no address"));
    // Nobody says what became of the name.
    assert!(matches!(watch.next(), Some(Errand::Find(..))));
    assert_eq!(watch.verdict(), dead("its address was not found in time"));

    let mut watch = Watch::over(ONE);
    let Some(Errand::Send(request, _)) = watch.next() else { panic!("a question") };
    let call_id = request.headers.call_id().unwrap().to_owned();
    let errands = watch.checks.unsent(&call_id, "refused".to_owned());
    watch.take(errands);
    assert_eq!(watch.verdict(), dead("refused"));
    let errands = watch.checks.run(watch.now + Duration::from_secs(10), |_| false);
    let Some(Errand::Reach(address, destination)) = errands.into_iter().next() else { panic!("a place") };
    let errands = watch.checks.ask(&address, destination, None, watch.now);
    watch.take(errands);
    assert_eq!(watch.verdict(), dead("there is no way to it"));
}

#[test]
fn the_first_questions_are_spread_over_a_second_and_never_more_than_one_is_open() {
    let recorders: String = (1..=50).map(|number| ONE.replace(".1\"", &format!(".{number}\""))).collect();
    let mut watch = Watch::over(&recorders);
    let mut open = std::collections::BTreeSet::new();
    let mut last = Duration::ZERO;
    for _ in 0..50 {
        let (request, place) = watch.question();
        assert!(open.insert(place), "asked twice");
        last = watch.elapsed();
        watch.answer(&request, 200);
        watch.verdict();
    }
    assert!(last > Duration::from_millis(900) && last < Duration::from_secs(1), "{last:?}");
}
