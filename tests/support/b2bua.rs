//! A back-to-back user agent for one call between two phones: it answers the caller, calls the callee, and offers each
//! of them a port of the relay.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use siprec_sip::sdp::{MediaBuilder, Origin, SdpBuilder};
use siprec_sip::{
    Body, DialogEvent, DialogUa, Endpoint, Headers, Message, Method, NameAddr, Random, ServerToken,
    SessionDescription, Transport, UacConfig, Uri,
};

/// The call's two legs on one UDP socket.
pub struct BackToBack {
    socket: UdpSocket,
    own: SocketAddr,
    callee: SocketAddr,
    name: String,
    random: Random,
    caller_leg: Option<Leg>,
    callee_leg: Option<Leg>,
    /// The caller's INVITE, until it is answered.
    waiting: Option<ServerToken>,
}

/// One dialog and where its messages go.
struct Leg {
    ua: DialogUa,
    peer: SocketAddr,
}

/// Where the media of the call goes.
pub struct Relayed {
    /// The relay's ports, on which the media of caller and callee comes in.
    pub inputs: [u16; 2],
    /// Where caller and callee listen.
    pub phones: [SocketAddr; 2],
}

impl BackToBack {
    /// Waits for a call on an ephemeral port of 127.0.0.1, to pass on to the phone `name` at `callee`.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn start(name: &str, callee: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let own = socket.local_addr()?;
        let random = Random::from_seed([7; 32]);
        let name = name.to_owned();
        Ok(Self { socket, own, callee, name, random, caller_leg: None, callee_leg: None, waiting: None })
    }

    /// Where the caller is to call.
    pub fn address(&self) -> SocketAddr {
        self.own
    }

    /// Carries one call. `relay` is told where the media goes, as soon as both phones have said so, before the caller's
    /// call is answered. Returns when a phone has hung up and the other has been told.
    ///
    /// # Errors
    /// When a phone refuses, talks nonsense, or `within` passes.
    pub fn carry(
        &mut self,
        inputs: [u16; 2],
        relay: impl FnOnce(&Relayed) -> Result<()>,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut relay = Some(relay);
        let mut caller_listens = None;
        loop {
            ensure!(Instant::now() < deadline, "the phones did not finish within {within:?}");
            if let Some((message, from)) = self.receive()?
                && let Some(offer) = self.dispatch(message, from, inputs)?
            {
                caller_listens = Some(offer);
            }
            self.expire();
            if let Some(answer) = self.callee_answer()? {
                let phones = [caller_listens.context("an answer before the offer")?, media_address(&answer)?];
                relay.take().context("answered twice")?(&Relayed { inputs, phones })?;
                self.answer_caller(inputs)?;
            }
            self.flush()?;
            if self.pass_on_goodbye()? {
                return Ok(());
            }
        }
    }

    fn receive(&self) -> Result<Option<(Message, SocketAddr)>> {
        let mut buffer = [0; 65536];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, _)) if buffer[..length].iter().all(u8::is_ascii_whitespace) => Ok(None),
            Ok((length, from)) => Ok(Some((Message::parse(&buffer[..length])?, from))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a message to its leg; a new INVITE makes both legs, and tells where the caller listens.
    fn dispatch(
        &mut self,
        message: Message,
        from: SocketAddr,
        inputs: [u16; 2],
    ) -> Result<Option<SocketAddr>> {
        let mut message = Box::new(message);
        for leg in [&mut self.caller_leg, &mut self.callee_leg].into_iter().flatten() {
            match leg.ua.handle_message(*message, Instant::now()) {
                Ok(()) => return Ok(None),
                Err(back) => message = back,
            }
        }
        let Message::Request(request) = *message else { return Ok(None) };
        if request.method != Method::Invite || self.caller_leg.is_some() {
            return Ok(None);
        }
        let offer = SessionDescription::parse(&request.body)?;
        let (ua, token) =
            DialogUa::accept_invite(self.endpoint()?, request, &mut self.random, Instant::now())
                .map_err(|refusal| anyhow!("the caller's INVITE is refused: {}", refusal.reason))?;
        self.caller_leg = Some(Leg { ua, peer: from });
        self.waiting = Some(token);

        let uri = Uri::parse(&format!("sip:{}@{}", self.name, self.callee))?;
        let config = UacConfig {
            endpoint: self.endpoint()?,
            request_uri: uri.clone(),
            from: NameAddr::new(Uri::parse("sip:b2bua@127.0.0.1")?),
            to: NameAddr::new(uri),
            route: Vec::new(),
        };
        let body = Some(Body::sdp(description(inputs[1])?));
        let ua = DialogUa::invite(config, Headers::new(), body, &mut self.random, Instant::now());
        self.callee_leg = Some(Leg { ua, peer: self.callee });
        media_address(&offer).map(Some)
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let contact = NameAddr::new(Uri::parse(&format!("sip:b2bua@{}", self.own))?);
        Ok(Endpoint::new(Transport::Udp, "127.0.0.1", Some(self.own.port()), contact)?)
    }

    fn callee_answer(&mut self) -> Result<Option<SessionDescription>> {
        let Some(leg) = &mut self.callee_leg else { return Ok(None) };
        if self.waiting.is_none() {
            return Ok(None);
        }
        while let Some(event) = leg.ua.poll_event() {
            match event {
                DialogEvent::Answered { response, .. } => {
                    return Ok(Some(SessionDescription::parse(&response.body)?));
                }
                DialogEvent::Progress { .. } => {}
                other => bail!("the callee does not answer: {other:?}"),
            }
        }
        Ok(None)
    }

    fn answer_caller(&mut self, inputs: [u16; 2]) -> Result<()> {
        let leg = self.caller_leg.as_mut().context("no caller")?;
        let token = self.waiting.take().context("nothing to answer")?;
        let body = Some(Body::sdp(description(inputs[0])?));
        Ok(leg.ua.respond(token, 200, "", Headers::new(), body, Instant::now())?)
    }

    /// Whether the call is over on both legs.
    fn pass_on_goodbye(&mut self) -> Result<bool> {
        let now = Instant::now();
        let mut goodbye = false;
        for leg in [&mut self.caller_leg, &mut self.callee_leg].into_iter().flatten() {
            if self.waiting.is_none() {
                while let Some(event) = leg.ua.poll_event() {
                    if let DialogEvent::Request { token, .. } = event {
                        leg.ua.respond(token, 488, "", Headers::new(), None, now)?;
                    }
                }
            }
            goodbye |= leg.ua.is_terminated();
        }
        let mut over = goodbye;
        for leg in [&mut self.caller_leg, &mut self.callee_leg].into_iter().flatten() {
            if goodbye && leg.ua.is_confirmed() {
                leg.ua.request(Method::Bye, Headers::new(), None, now)?;
            }
            over &= leg.ua.is_terminated();
        }
        self.flush()?;
        Ok(over)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for leg in [&mut self.caller_leg, &mut self.callee_leg].into_iter().flatten() {
            if leg.ua.next_timeout().is_some_and(|due| due <= now) {
                leg.ua.handle_timeout(now);
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        for leg in [&mut self.caller_leg, &mut self.callee_leg].into_iter().flatten() {
            while let Some(message) = leg.ua.poll_transmit() {
                self.socket.send_to(&message.to_bytes(), leg.peer)?;
            }
        }
        Ok(())
    }
}

/// PCMU at a port of 127.0.0.1.
fn description(port: u16) -> Result<Vec<u8>> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pcmu = siprec_model::PayloadFormat {
        payload_type: 0,
        encoding: "PCMU".to_owned(),
        clock_rate: 8000,
        channels: None,
        fmtp: None,
    };
    let media = MediaBuilder::new(siprec_model::Medium::Audio, port, "RTP/AVP", &[pcmu]).ptime_ms(20);
    let origin = Origin { session_id: u64::from(port), version: 1, address };
    Ok(SdpBuilder::new(origin, "relay", address).media(media).build()?.to_bytes())
}

fn media_address(description: &SessionDescription) -> Result<SocketAddr> {
    let media = description.media(0).context("no m-line")?;
    let (address, port) = media.rtp().context("no address")?;
    Ok((address.ip().context("a host name")?, port).into())
}
