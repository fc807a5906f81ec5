//! Two peers, a clock that only tests move, and the network between them.

use std::time::{Duration, Instant};

use siprec_sip::{
    Body, DialogEvent, DialogUa, Endpoint, Headers, Message, Method, NameAddr, Random, RequestError,
    RequestToken, ServerToken, Termination, Transport, UacConfig, Uri,
};

pub(crate) const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=offer\r\nt=0 0\r\n";
pub(crate) const ANSWER: &[u8] = b"v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=answer\r\nt=0 0\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

/// One end and what it was told.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) ua: Option<DialogUa>,
    pub(crate) events: Vec<DialogEvent>,
    /// Requests that wait for the user.
    pub(crate) asked: Vec<(ServerToken, Method)>,
    /// Answers everything at once.
    pub(crate) auto: bool,
}

/// Whether to drop what this side sends.
pub(crate) type Filter = Box<dyn FnMut(Side, &Message) -> bool>;

/// What the network does to datagrams.
pub(crate) struct Network {
    pub(crate) transport: Transport,
    pub(crate) delay: (Duration, Duration),
    /// Per cent.
    pub(crate) loss: u32,
    /// Per cent.
    pub(crate) duplication: u32,
    /// Drops what it says true to.
    pub(crate) filter: Filter,
    random: Random,
    under_way: Vec<(Instant, Side, Vec<u8>)>,
}

pub(crate) struct Pair {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) caller: Peer,
    pub(crate) callee: Peer,
    pub(crate) network: Network,
    /// What was sent, by whom and when, such as `(0 ms, Caller, "INVITE 1")` or `(…, Callee, "200 INVITE 1")`.
    pub(crate) log: Vec<(u64, Side, String)>,
    random: Random,
}

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

pub(crate) fn address(text: &str) -> NameAddr {
    NameAddr::parse(text.as_bytes()).unwrap()
}

pub(crate) fn endpoint(transport: Transport, host: &str) -> Endpoint {
    let contact = address(&format!("<sip:{host}:5060>"));
    let mut endpoint = Endpoint::new(transport, host, Some(5060), contact).unwrap();
    endpoint.user_agent = Some("test".into());
    endpoint
}

pub(crate) fn config(transport: Transport) -> UacConfig {
    UacConfig {
        endpoint: endpoint(transport, "192.0.2.1"),
        request_uri: uri("sip:record=1@192.0.2.2;dn=1001"),
        from: address("<sip:client@192.0.2.1>"),
        to: address("<sip:record=1@192.0.2.2>;dn=1001"),
        route: Vec::new(),
    }
}

impl Pair {
    /// Both ends over a perfect network; the INVITE is on its way.
    pub(crate) fn new(transport: Transport) -> Pair {
        Pair::with_seed(transport, 0)
    }

    pub(crate) fn with_seed(transport: Transport, seed: u64) -> Pair {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::from_seed(bytes);
        let now = Instant::now();
        let ua =
            DialogUa::invite(config(transport), Headers::new(), Some(Body::sdp(OFFER)), &mut random, now);
        let network = Network {
            transport,
            delay: (Duration::from_millis(10), Duration::from_millis(10)),
            loss: 0,
            duplication: 0,
            filter: Box::new(|_, _| false),
            random: random.fork(),
            under_way: Vec::new(),
        };
        Pair {
            start: now,
            now,
            caller: Peer { ua: Some(ua), auto: true, ..Peer::default() },
            callee: Peer { auto: true, ..Peer::default() },
            network,
            log: Vec::new(),
            random,
        }
    }

    /// A dialog that both ends think confirmed.
    pub(crate) fn confirmed(transport: Transport) -> Pair {
        let mut pair = Pair::new(transport);
        pair.run_for(Duration::from_secs(1));
        assert!(pair.ua(Side::Caller).is_confirmed() && pair.ua(Side::Callee).is_confirmed());
        pair.log.clear();
        pair.caller.events.clear();
        pair.callee.events.clear();
        pair
    }

    pub(crate) fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    pub(crate) fn ua(&mut self, side: Side) -> &mut DialogUa {
        self.peer(side).ua.as_mut().unwrap()
    }

    pub(crate) fn request(
        &mut self,
        side: Side,
        method: Method,
        body: Option<&[u8]>,
    ) -> Result<RequestToken, RequestError> {
        let now = self.now;
        let token = self.ua(side).request(method, Headers::new(), body.map(Body::sdp), now);
        self.settle();
        token
    }

    pub(crate) fn respond(&mut self, side: Side, token: ServerToken, status: u16, body: Option<&[u8]>) {
        let now = self.now;
        self.ua(side).respond(token, status, "", Headers::new(), body.map(Body::sdp), now).unwrap();
        self.settle();
    }

    /// Runs until nothing is due before `time` from now.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            assert!(next >= self.now, "a deadline lies in the past: the clock would stand still");
            self.now = next;
            self.step();
        }
        self.now = end;
    }

    /// Puts a message before one end, as if it came from the network.
    /// Everything sent by one side so far, without times.
    pub(crate) fn sent_by(&self, side: Side) -> Vec<&str> {
        self.log.iter().filter(|(_, by, _)| *by == side).map(|(_, _, what)| what.as_str()).collect()
    }

    /// When one side sent this, in ms since the start.
    pub(crate) fn times_of(&self, side: Side, what: &str) -> Vec<u64> {
        self.log.iter().filter(|(_, by, sent)| *by == side && sent == what).map(|(at, _, _)| *at).collect()
    }

    pub(crate) fn termination(&mut self, side: Side) -> Option<Termination> {
        self.peer(side).events.iter().find_map(|event| match event {
            DialogEvent::Terminated(why) => Some(why.clone()),
            _ => None,
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let uas =
            [&self.caller, &self.callee].into_iter().filter_map(|peer| peer.ua.as_ref()?.next_timeout());
        uas.chain(self.network.under_way.iter().map(|(at, _, _)| *at)).min()
    }

    fn step(&mut self) {
        while let Some(index) = self.network.due(self.now) {
            let (_, to, bytes) = self.network.under_way.remove(index);
            self.deliver(to, &bytes);
            self.settle();
        }
        for side in [Side::Caller, Side::Callee] {
            let now = self.now;
            if let Some(ua) = self.peer(side).ua.as_mut()
                && ua.next_timeout().is_some_and(|at| at <= now)
            {
                ua.handle_timeout(now);
            }
        }
        self.settle();
    }

    fn deliver(&mut self, to: Side, bytes: &[u8]) {
        let message = Message::parse(bytes).unwrap();
        let now = self.now;
        if let Some(ua) = self.peer(to).ua.as_mut() {
            // What is nobody's would be answered by others.
            let _ = ua.handle_message(message, now);
            return;
        }
        if let Message::Request(request) = message
            && request.method == Method::Invite
            && to == Side::Callee
        {
            let endpoint = endpoint(self.network.transport, "192.0.2.2");
            let (ua, token) = DialogUa::accept_invite(endpoint, request, &mut self.random, now).unwrap();
            self.callee.ua = Some(ua);
            self.callee.asked.push((token, Method::Invite));
        }
    }

    /// Lets both ends act until neither has anything to say.
    pub(crate) fn settle(&mut self) {
        for side in [Side::Caller, Side::Callee] {
            loop {
                self.answer_asked(side);
                let now = self.now;
                let at = (now - self.start).as_millis() as u64;
                let peer = self.peer(side);
                let Some(ua) = peer.ua.as_mut() else { break };
                if let Some(message) = ua.poll_transmit() {
                    self.log.push((at, side, describe(&message)));
                    self.network.send(side, &message, now);
                } else if let Some(event) = ua.poll_event() {
                    if let DialogEvent::Request { token, request } = &event {
                        peer.asked.push((*token, request.method.clone()));
                    }
                    peer.events.push(event);
                } else {
                    break;
                }
            }
        }
    }

    fn answer_asked(&mut self, side: Side) {
        let now = self.now;
        let peer = self.peer(side);
        if peer.auto
            && let Some(ua) = peer.ua.as_mut()
        {
            for (token, _) in std::mem::take(&mut peer.asked) {
                let _ = ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), now);
            }
        }
    }
}

impl Network {
    fn send(&mut self, from: Side, message: &Message, now: Instant) {
        if (self.filter)(from, message) {
            return;
        }
        let copies = 1 + u32::from(self.random.below(100) < self.duplication);
        for _ in 0..copies {
            if self.random.below(100) < self.loss {
                continue;
            }
            let spread = (self.delay.1 - self.delay.0).as_millis() as u32;
            let delay = self.delay.0 + Duration::from_millis(self.random.below(spread + 1).into());
            self.under_way.push((now + delay, from.other(), message.to_bytes()));
        }
    }

    fn due(&self, now: Instant) -> Option<usize> {
        let due = self.under_way.iter().enumerate().filter(|(_, (at, _, _))| *at <= now);
        due.min_by_key(|(index, (at, _, _))| (*at, *index)).map(|(index, _)| index)
    }
}

pub(crate) fn describe(message: &Message) -> String {
    match message {
        Message::Request(request) => format!("{} {}", request.method, request.headers.cseq().unwrap().number),
        Message::Response(response) => {
            let cseq = response.headers.cseq().unwrap();
            format!("{} {} {}", response.status, cseq.method, cseq.number)
        }
    }
}
