//! What of a recorder's datagrams the handshake gets to see.
//!
//! The first messages of a handshake are in the clear and of nobody in particular: whoever can send in the recorder's name can
//! make them up. The library takes the first that fits, ends at one that does not, and is not told of the genuine one any more.
//! So messages wait here, every version of each, until a signature over random bytes of ours says which are genuine
//! (`proof`); those it gets, and later nothing in the clear but their repetitions. What is implausible is passed over before
//! (RFC 6347 §4.1.2.7), and counted.
//!
//! What cannot be helped without a shared secret: somebody who floods us with a client's first messages in the recorder's name
//! may be answered instead of it, each for [`TRIAL`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use siprec_model::{DtlsRole, Fingerprint};

use super::AssociationFault;
use super::assembly::{Assembly, Message};
use super::certificate::PublicKey;
use super::proof::{Search, first_certificate};
use super::record::{self, CERTIFICATE, CLIENT_HELLO, HANDSHAKE, HELLO_VERIFY_REQUEST, Piece, Record};

/// How long a client that was answered may take to prove itself where another one asks, too.
const TRIAL: Duration = Duration::from_millis(700);
/// How long a request for a cookie waits: a recorder that wants one says nothing else, and who is taken in by a forged one
/// confuses a recorder that wants none.
const COOKIE_PAUSE: Duration = Duration::from_millis(300);
/// Most records under keys that wait for what precedes them.
const MOST_HELD: usize = 8;
const LONGEST_HELD: usize = 512;
/// How many signatures are verified in a second: some 50 ms. Half of them are kept for messages that came at once.
const SIGNATURES: u32 = 1000;

/// See the module's text.
pub(super) struct Intake {
    own: DtlsRole,
    said: Assembly,
    heard: Assembly,
    datagrams: u32,
    /// The number of the recorder's hello, where that is the server: 1 after a request for a cookie.
    base: u16,
    cookie: Option<(Message, Instant)>,
    /// The hello that we have answered, where the recorder is the client, and since when; and another one, and when that has
    /// its turn.
    hello: Option<(Message, Instant)>,
    rival: Option<(Message, Instant)>,
    /// What a signature has proven: nothing yet, or the beginning of the recorder's flight.
    signed: Vec<Message>,
    is_proven: bool,
    /// ChangeCipherSpec and what follows it, before its turn.
    changed: Option<Vec<u8>>,
    held: VecDeque<Vec<u8>>,
    /// How many records under keys were handed over.
    protected: u64,
    tested: u32,
    budget: Budget,
    ready: VecDeque<Vec<u8>>,
    refused: u64,
}

impl Intake {
    pub(super) fn new(own: DtlsRole, now: Instant) -> Self {
        Self {
            own,
            said: Assembly::default(),
            heard: Assembly::default(),
            datagrams: 0,
            base: 0,
            cookie: None,
            hello: None,
            rival: None,
            signed: Vec::new(),
            is_proven: false,
            changed: None,
            held: VecDeque::new(),
            protected: 0,
            tested: 0,
            budget: Budget { left: SIGNATURES, at: now },
            ready: VecDeque::new(),
            refused: 0,
        }
    }

    /// Begins anew, with the client that waits if there is one.
    pub(super) fn renew(&mut self, now: Instant) {
        let (rival, refused) = (self.rival.take(), self.refused);
        *self = Self { refused, budget: self.budget, ..Self::new(self.own, now) };
        if let Some((rival, _)) = rival {
            self.adopt(rival, now);
        }
    }

    /// Takes note of a datagram of ours.
    pub(super) fn note_sent(&mut self, datagram: &[u8]) {
        for record in record::records(datagram).unwrap_or_default() {
            let mut rest = if (record.epoch, record.kind) == (0, HANDSHAKE) { record.body } else { &[] };
            while let Some((piece, behind)) = record::piece(rest) {
                self.said.take(&piece, 0);
                rest = behind;
            }
        }
    }

    /// Takes a datagram in the recorder's name, whose certificate is one of `wanted`.
    pub(super) fn take(&mut self, datagram: &[u8], wanted: &[Fingerprint], now: Instant) {
        self.datagrams = self.datagrams.wrapping_add(1);
        let Some(records) = record::records(datagram) else { return self.refuse() };
        for record in records {
            let pieces = match (record.epoch, record.kind) {
                _ if !record.is_plausible() => None,
                (0, HANDSHAKE) => record.pieces(self.own),
                (0, record::ALERT) => None,
                _ => {
                    self.take_change(&record);
                    continue;
                }
            };
            match pieces {
                None => self.refuse(),
                Some(pieces) => pieces.iter().for_each(|piece| self.hear(piece, now)),
            }
        }
        self.prove(wanted, now);
    }

    /// The next record for the handshake. One under keys gets a number that none had, since the library remembers the
    /// numbers of forged ones too and would pass the genuine one over; its own number is given beside it.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, Option<[u8; 8]>)> {
        let mut record = self.ready.pop_front()?;
        let number = record.get_mut(3..11).filter(|number| number.starts_with(&[0, 1]));
        let own = number.and_then(|number| {
            let own = <[u8; 8]>::try_from(&*number).ok()?;
            self.protected += 1;
            number.copy_from_slice(&(1 << 48 | self.protected).to_be_bytes());
            Some(own)
        });
        Some((record, own))
    }

    /// How many datagrams and records were passed over.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether the recorder has proven that what the handshake has got is its own.
    pub(super) const fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.cookie.iter().chain(&self.rival).map(|(_, due)| *due).min()
    }

    /// Does what is due; says whether the handshake has to begin anew, with another client.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        if let Some((request, _)) = self.cookie.take_if(|(_, due)| *due <= now) {
            self.ready.push_back(request.to_record());
            self.base = 1;
        }
        self.rival.as_ref().is_some_and(|(_, due)| *due <= now)
    }

    /// Why nothing may ever be proven.
    pub(super) fn suspicion(&self) -> Option<AssociationFault> {
        let number = if self.own == DtlsRole::Server { 1 } else { self.base + 1 };
        let shown = self.heard.versions(CERTIFICATE, number).next().filter(|_| !self.is_proven)?;
        match first_certificate(&shown.body) {
            None => Some(AssociationFault::NoCertificate),
            Some(certificate) if PublicKey::of(certificate).is_none() => Some(AssociationFault::Failed(
                "its certificate has no key of ECDSA on P-256 or P-384".to_owned(),
            )),
            Some(_) => None,
        }
    }

    const fn refuse(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    fn hear(&mut self, piece: &Piece<'_>, now: Instant) {
        let known = self.signed.iter().chain(self.hello.as_ref().map(|(hello, _)| hello));
        let repeated = known.into_iter().find(|message| message.contains(piece)).map(Message::to_record);
        let hello_is_repeated = repeated.is_some() && piece.kind == CLIENT_HELLO;
        match repeated {
            // It asks for our flight again, by the beginning of any message of its own.
            Some(record) if self.is_proven || hello_is_repeated => {
                if piece.offset == 0 {
                    self.ready.push_back(record);
                }
            }
            _ if self.is_proven => self.refuse(),
            _ => {
                let became_whole = self.heard.take(piece, self.datagrams);
                let whole = self.heard.versions(piece.kind, piece.number).next().filter(|_| became_whole);
                match (piece.kind, whole.cloned()) {
                    (CLIENT_HELLO, Some(whole)) => match &self.hello {
                        Some((_, since)) => self.rival = Some((whole, now.max(*since + TRIAL))),
                        None => self.adopt(whole, now),
                    },
                    (HELLO_VERIFY_REQUEST, Some(whole)) => self.hear_cookie(whole, now),
                    _ => {}
                }
            }
        }
    }

    /// Answers this client.
    fn adopt(&mut self, hello: Message, now: Instant) {
        self.ready.push_back(hello.to_record());
        self.hello = Some((hello, now));
    }

    /// A version and a cookie (RFC 6347 §4.2.1).
    fn hear_cookie(&mut self, request: Message, now: Instant) {
        let is_sound = matches!(&request.body[..], [254, 253 | 255, length, cookie @ ..]
            if cookie.len() == usize::from(*length));
        if !is_sound || self.base != 0 {
            return self.refuse();
        }
        let due = self.cookie.as_ref().map_or(now + COOKIE_PAUSE, |(_, due)| *due);
        self.cookie = Some((request, due));
    }

    /// ChangeCipherSpec, or what is under keys.
    fn take_change(&mut self, record: &Record<'_>) {
        if self.is_proven {
            self.ready.push_back(record.whole.to_vec());
        } else if self.own == DtlsRole::Client || record.whole.len() > LONGEST_HELD {
            // A server has nothing of the kind to say before we have.
            self.refuse();
        } else if record.epoch == 0 {
            self.changed = Some(record.whole.to_vec());
        } else {
            if self.held.len() >= MOST_HELD {
                self.held.pop_front();
            }
            self.held.push_back(record.whole.to_vec());
        }
    }

    /// Looks whether anything that has come proves what is genuine, and hands that over.
    fn prove(&mut self, wanted: &[Fingerprint], now: Instant) {
        if self.is_proven {
            return;
        }
        let (mut is_spent, budget) = (false, &mut self.budget);
        let mut may_verify = |is_likely| {
            let may = budget.take(is_likely, now);
            is_spent |= !may;
            may
        };
        let (said, heard, tested) = (&self.said, &self.heard, self.tested);
        let mut search = Search { said, heard, wanted, tested, may_verify: &mut may_verify };
        if self.signed.is_empty() {
            let found = match (self.own, &self.hello) {
                (DtlsRole::Client, _) => search.servers(self.base),
                (DtlsRole::Server, Some((hello, _))) => search.clients(hello),
                (DtlsRole::Server, None) => None,
            };
            self.signed = found.unwrap_or_default();
        }
        let Some(last) = self.signed.last() else {
            if !is_spent {
                self.tested = self.heard.newest();
            }
            return;
        };
        if self.own == DtlsRole::Client {
            let Some(end) = search.servers_end(last) else { return };
            self.signed.extend(end);
        }
        self.is_proven = true;
        self.cookie = None;
        self.rival = None;
        self.ready.extend(self.signed.iter().map(Message::to_record));
        self.ready.extend(self.changed.take().into_iter().chain(self.held.drain(..)));
        self.heard = Assembly::default();
    }
}

/// How many signatures may be verified.
#[derive(Clone, Copy)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Budget {
    fn take(&mut self, is_likely: bool, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        if passed >= Duration::from_secs(1) {
            *self = Self { left: SIGNATURES, at: now };
        }
        let may = self.left > if is_likely { 0 } else { SIGNATURES / 2 };
        self.left -= u32::from(may);
        may
    }
}
