//! One handshake with one recorder.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{CertificateError, Dtls, Error, KeyingMaterial, Output, SecurityError, SrtpProfile};
use siprec_model::{CertificateHash, DtlsAssociation, DtlsRole, Fingerprint, SrtpKeys, SrtpSuite};

use super::identity::{Identity, fingerprint};
use super::intake::Intake;
use super::record::{ALERT, RECORD_HEADER};
use super::{keys, provider};

/// How long an association answers after its end: the recorder may not have got our last flight (RFC 6347 §4.2.4).
const LINGER: Duration = Duration::from_secs(60);
/// How often a handshake that went wrong is begun again, and the pause before we do: whoever can send in the recorder's
/// name must not end it by one datagram.
const RESTARTS: u8 = 6;
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// How long an alert that nobody has authenticated waits for what proves it wrong: anything else that comes from there.
const DOUBT: Duration = Duration::from_millis(500);
/// Largest datagram that is looked at, in bytes. With the bound on how many wait ([`Identity`]), no certificate can be larger
/// than what is kept for it.
pub const LARGEST_DATAGRAM: usize = 2048;
/// Room for what `dimpl` hands out, of which a certificate is the largest.
const OUTPUT: usize = 1 << 16;
/// Most outputs that are taken at once, and most datagrams that wait to be sent.
const MOST_OUTPUTS: usize = 64;

/// A handshake, and what it ends with.
///
/// Feed it what comes ([`Self::handle_datagram`]) and time ([`Self::handle_timeout`], at [`Self::next_timeout`]); after each,
/// send what [`Self::poll_transmit`] has and take [`Self::poll_event`], which tells once how it ended.
pub struct Association {
    identity: Arc<Identity>,
    terms: DtlsAssociation,
    dtls: Option<Box<Dtls>>,
    /// When that has something to do.
    timeout: Option<Instant>,
    phase: Phase,
    intake: Intake,
    transmits: VecDeque<Vec<u8>>,
    event: Option<AssociationEvent>,
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssociationEvent {
    /// Both sides have the keys.
    Secured(Box<SrtpKeys>),
    /// There are none, and will be none.
    Failed(AssociationFault),
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssociationFault {
    /// The recorder has another certificate than its description says.
    #[error("the recorder's certificate is not the one that its description names: it has {0}")]
    Fingerprint(Fingerprint),
    /// It has shown none; a handshake without one is none (RFC 5763 §5).
    #[error(
        "the recorder has shown no certificate; one possible cause is one of its own that is not of ECDSA"
    )]
    NoCertificate,
    /// It did not end in time.
    #[error("the DTLS handshake with the recorder did not end within {0:?}")]
    Timeout(Duration),
    /// The two sides have no profile of SRTP in common.
    #[error("the recorder agrees to no profile of SRTP that it could (use_srtp)")]
    NoProfile,
    /// What was negotiated is weaker than what may be.
    #[error("the DTLS handshake ended with {0}, which is weaker than what was asked for")]
    Suite(SrtpSuite),
    /// An alert in the recorder's name ended it.
    #[error("the DTLS handshake failed after alert {0}{hint} came from the recorder's address", hint = hint(*.0))]
    Alert(u8),
    /// It went wrong.
    #[error("the DTLS handshake with the recorder failed: {0}")]
    Failed(String),
}

/// Where the handshake stands.
enum Phase {
    Handshaking(Handshake),
    /// There are keys; the recorder may still ask for our last flight.
    Secured {
        until: Instant,
    },
    /// Nothing is answered any more.
    Over,
}

struct Handshake {
    deadline: Instant,
    restarts: u8,
    /// When it begins again.
    again: Option<Instant>,
    /// When an alert counts that came last.
    doubt: Option<Instant>,
    last_fault: Option<AssociationFault>,
    is_known: bool,
    is_connected: bool,
    material: Option<(KeyingMaterial, SrtpProfile)>,
}

impl Association {
    /// Begins a handshake, or waits for the recorder's.
    pub fn new(identity: Arc<Identity>, terms: DtlsAssociation, now: Instant) -> Self {
        let handshake = Handshake {
            deadline: now + identity.limit,
            restarts: 0,
            again: None,
            doubt: None,
            last_fault: None,
            is_known: false,
            is_connected: false,
            material: None,
        };
        let mut association = Self {
            identity,
            intake: Intake::new(terms.role, now),
            terms,
            dtls: None,
            timeout: None,
            phase: Phase::Handshaking(handshake),
            transmits: VecDeque::new(),
            event: None,
        };
        association.begin(now);
        association
    }

    /// What it was made for.
    pub const fn terms(&self) -> &DtlsAssociation {
        &self.terms
    }

    /// Takes a datagram of the recorder's. Whatever is none of DTLS, or too large for a handshake, is passed over.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        if datagram.len() > LARGEST_DATAGRAM || !super::is_dtls(datagram) {
            return;
        }
        if let Phase::Handshaking(handshake) = &mut self.phase {
            if let Some(alert) = plain_alert(datagram) {
                handshake.last_fault = Some(AssociationFault::Alert(alert));
                if self.dtls.is_some() {
                    handshake.doubt.get_or_insert(now + DOUBT);
                }
                return;
            }
            handshake.doubt = None;
        }
        if !matches!(self.phase, Phase::Over) {
            self.intake.take(datagram, &self.terms.fingerprints, now);
            self.feed(now);
        }
    }

    /// How many datagrams and records in the recorder's name were passed over, since they were broken, forged or not its turn.
    pub const fn refused(&self) -> u64 {
        self.intake.refused()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Handshaking(handshake) if handshake.deadline <= now => {
                let known = handshake.last_fault.take().or_else(|| self.intake.suspicion());
                self.fail(known.unwrap_or(AssociationFault::Timeout(self.identity.limit)));
            }
            Phase::Handshaking(handshake) if handshake.again.is_some_and(|again| again <= now) => {
                self.begin(now);
            }
            Phase::Handshaking(handshake) if handshake.doubt.is_some_and(|doubt| doubt <= now) => {
                handshake.doubt = None;
                self.believe_alert(now);
            }
            Phase::Handshaking(_) if self.intake.handle_timeout(now) => {
                self.intake.renew(now);
                self.begin(now);
            }
            Phase::Handshaking(_) => self.feed(now),
            Phase::Secured { until } if *until <= now => self.end(),
            _ => self.advance(None, now),
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Handshaking(handshake) => [Some(handshake.deadline), handshake.again, handshake.doubt],
            Phase::Secured { until } => [Some(*until), None, None],
            Phase::Over => [None; 3],
        };
        let intake = self.intake.next_timeout().filter(|_| self.dtls.is_some());
        own.into_iter().chain([self.timeout, intake]).flatten().min()
    }

    /// The next datagram for the recorder.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// How the handshake ended: once.
    pub fn poll_event(&mut self) -> Option<AssociationEvent> {
        self.event.take()
    }

    /// Begins, or begins again.
    fn begin(&mut self, now: Instant) {
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        handshake.again = None;
        handshake.doubt = None;
        handshake.is_known = false;
        handshake.is_connected = false;
        handshake.material = None;
        let (config, certificate) = (Arc::clone(&self.identity.config), self.identity.for_dimpl());
        let made = provider::with_key(&self.identity.key, || Dtls::new_12(config, certificate, now));
        let dtls = self.dtls.insert(Box::new(made));
        dtls.set_active(self.terms.role == DtlsRole::Client);
        self.feed(now);
    }

    /// Gives the handshake what it may see.
    fn feed(&mut self, now: Instant) {
        self.advance(None, now);
        while self.dtls.is_some()
            && let Some((record, number)) = self.intake.next()
        {
            provider::with_number(number, || self.advance(Some(&record), now));
        }
    }

    /// Nothing has come since an alert. A client begins again, as a recorder that was confused by others needs it; who waits
    /// for a client goes on waiting.
    fn believe_alert(&mut self, now: Instant) {
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        if self.terms.role == DtlsRole::Server {
            return;
        }
        if handshake.restarts < RESTARTS {
            handshake.restarts += 1;
            self.intake.renew(now);
            self.begin(now);
        } else if let Some(fault) = handshake.last_fault.take() {
            self.fail(fault);
        }
    }

    /// Brings the handshake to `now` and gives it a datagram.
    fn advance(&mut self, datagram: Option<&[u8]>, now: Instant) {
        let mut done = self.act(|dtls| dtls.handle_timeout(now));
        if let (Ok(()), Some(datagram)) = (&done, datagram) {
            done = self.act(|dtls| dtls.handle_packet(datagram));
        }
        match (done, &mut self.phase) {
            (Ok(()), Phase::Handshaking(handshake)) if handshake.is_connected => self.conclude(now),
            // What went wrong after the end changes nothing: the keys are there.
            (Err(_), Phase::Secured { .. }) => self.end(),
            (Ok(()), _) | (Err(_), Phase::Over) => {}
            (Err(error), Phase::Handshaking(handshake)) => {
                self.dtls = None;
                self.timeout = None;
                handshake.doubt = None;
                let fault = fault(&error, self.identity.limit);
                // What nobody has proven says nothing of the recorder.
                let counts = self.terms.role == DtlsRole::Client || self.intake.is_proven();
                self.intake.renew(now);
                if handshake.restarts >= RESTARTS {
                    self.fail(fault);
                } else {
                    handshake.restarts += u8::from(counts);
                    handshake.last_fault = Some(fault);
                    handshake.again = Some(now + RESTART_PAUSE);
                }
            }
        }
    }

    /// Does one thing to the handshake and takes what it says.
    fn act(&mut self, act: impl FnOnce(&mut Dtls) -> Result<(), Error>) -> Result<(), Error> {
        let Some(dtls) = &mut self.dtls else { return Ok(()) };
        let done = act(dtls);
        let mut buffer = vec![0; OUTPUT];
        for _ in 0..MOST_OUTPUTS {
            match (dtls.poll_output(&mut buffer), &mut self.phase) {
                (Output::Packet(packet), _) if self.transmits.len() < MOST_OUTPUTS => {
                    self.intake.note_sent(packet);
                    self.transmits.push_back(packet.to_vec());
                }
                (Output::Timeout(due), _) => {
                    self.timeout = Some(due);
                    break;
                }
                (Output::PeerCert(certificate), Phase::Handshaking(handshake)) => {
                    let wanted = &self.terms.fingerprints;
                    let hash = wanted.first().map_or(CertificateHash::Sha256, Fingerprint::hash);
                    let own = fingerprint(certificate, hash);
                    handshake.is_known = own.as_ref().is_some_and(|own| wanted.contains(own));
                    if let (false, Some(own)) = (handshake.is_known, own) {
                        self.fail(AssociationFault::Fingerprint(own));
                        return Ok(());
                    }
                }
                (Output::Connected, Phase::Handshaking(handshake)) => handshake.is_connected = true,
                (Output::KeyingMaterial(material, profile), Phase::Handshaking(handshake)) => {
                    handshake.material = Some((material, profile));
                }
                _ => {}
            }
        }
        done
    }

    /// Both sides have finished.
    fn conclude(&mut self, now: Instant) {
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        let negotiated = handshake.material.take();
        let found = negotiated.and_then(|(material, profile)| Some((material, keys::suite(profile)?)));
        let fault = match found {
            _ if !handshake.is_known => AssociationFault::NoCertificate,
            None => AssociationFault::NoProfile,
            Some((_, suite)) if !self.terms.suites.contains(&suite) => AssociationFault::Suite(suite),
            Some((material, suite)) => {
                match keys::split(suite, &material, self.terms.role, self.terms.session) {
                    Some(keys) => {
                        self.phase = Phase::Secured { until: now + LINGER };
                        self.event = Some(AssociationEvent::Secured(Box::new(keys)));
                        return;
                    }
                    None => AssociationFault::NoProfile,
                }
            }
        };
        self.fail(fault);
    }

    fn fail(&mut self, fault: AssociationFault) {
        self.end();
        self.event = Some(AssociationEvent::Failed(fault));
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.dtls = None;
        self.timeout = None;
    }
}

/// No secret.
impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Handshaking(_) => "handshaking",
            Phase::Secured { .. } => "secured",
            Phase::Over => "over",
        };
        f.debug_struct("Association")
            .field("terms", &self.terms)
            .field("phase", &phase)
            .field("is_proven", &self.intake.is_proven())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

/// The description of a fatal alert that nobody has authenticated: such a record is invalid as far as anybody knows, and
/// ends nothing by itself (RFC 6347 §4.1.2.7). Later alerts are encrypted, and `dimpl` passes over those that are not.
fn plain_alert(datagram: &[u8]) -> Option<u8> {
    const FATAL: u8 = 2;
    let (record, alert) = datagram.split_at_checked(RECORD_HEADER)?;
    let is_plain = record.first() == Some(&ALERT) && record.get(3..5) == Some(&[0, 0]);
    match alert {
        [FATAL, description, ..] if is_plain => Some(*description),
        _ => None,
    }
}

fn fault(error: &Error, limit: Duration) -> AssociationFault {
    match error {
        Error::SecurityError(SecurityError::FatalAlert { description }) => {
            AssociationFault::Alert(*description)
        }
        Error::CertificateError(CertificateError::NoClientCertificateReceived) => {
            AssociationFault::NoCertificate
        }
        // It gives up by itself after so many repetitions: how soon, its random pauses say.
        Error::Timeout(_) => AssociationFault::Timeout(limit),
        error => AssociationFault::Failed(error.to_string()),
    }
}

/// The name of an alert (RFC 5246 §7.2), and what an operator can look at, for those where there is something.
const fn hint(alert: u8) -> &'static str {
    match alert {
        40 => " (handshake_failure; one possible cause is a certificate of its own that is not of ECDSA)",
        42 => " (bad_certificate: ours)",
        43 => " (unsupported_certificate: ours)",
        46 => " (certificate_unknown: ours)",
        47 => " (illegal_parameter)",
        70 => " (protocol_version; it must speak DTLS 1.2)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(role: DtlsRole, peer: &Identity) -> DtlsAssociation {
        DtlsAssociation {
            role,
            fingerprints: vec![peer.fingerprint().clone()],
            suites: SrtpSuite::ALL.to_vec(),
            own_id: String::new(),
            recorder_id: None,
            session: 1,
        }
    }

    /// What became of a handshake whose server has a certificate of so many names.
    fn with_certificate_of(names: usize) -> (usize, Option<AssociationEvent>) {
        let names: Vec<String> = (0..names).map(|number| format!("host-number-{number}.example")).collect();
        let large = Identity::of(rcgen::CertificateParams::new(names).unwrap()).unwrap();
        let length = large.certificate().len();
        let (large, own) = (Arc::new(large), Arc::new(Identity::generate().unwrap()));
        let now = Instant::now();
        let mut client = Association::new(Arc::clone(&own), terms(DtlsRole::Client, &large), now);
        let mut server = Association::new(Arc::clone(&large), terms(DtlsRole::Server, &own), now);
        for _ in 0..100 {
            while let Some(datagram) = client.poll_transmit() {
                server.handle_datagram(&datagram, now);
            }
            while let Some(datagram) = server.poll_transmit() {
                client.handle_datagram(&datagram, now);
            }
        }
        (length, client.poll_event())
    }

    /// `dimpl` panics where a certificate is larger than the room that it gets.
    #[test]
    fn a_large_certificate_is_taken_or_not_and_never_too_large_for_its_room() {
        for (names, taken) in [(100, true), (250, true), (1000, false), (1400, false)] {
            let (length, event) = with_certificate_of(names);
            let secured = matches!(event, Some(AssociationEvent::Secured(_)));
            assert_eq!(secured, taken, "{length} bytes: {event:?}");
        }
        let most = LARGEST_DATAGRAM * super::super::identity::LONGEST_QUEUE;
        assert!(most < OUTPUT, "what can be received fits");
    }
}
