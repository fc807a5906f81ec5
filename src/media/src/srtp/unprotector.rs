//! The call's side: packets as they arrive, under keys that the call's parties agreed.

use std::borrow::Borrow;
use std::fmt;

use siprec_model::{DropCause, SrtpKey};

use super::call_key::CallKey;
use super::header::{RTCP_HEADER, RtpHeader, headline, rtcp_ssrc};
use super::keyset::{Keyset, Misfit};
use super::passed::Passed;
use super::policy::Policy;
use super::protector::KeyRefused;
use super::rollover::Followed;
use super::track::{Guesses, Sources, Track};
use super::transform::{Backend, ENCRYPTED, Refused};
use super::unread::Unread;
use super::window::Known;
use crate::RtpView;

/// Keys of one direction of a call that are valid at once; one more replaces the one that was given, or has decrypted
/// something, longest ago.
pub const MAX_KEYS: usize = 16;

/// Verifies and decrypts the packets of one direction of a call.
///
/// # Keys
/// Several can be valid at once, as after a change of keys in the middle of a call: by their identifiers where they have
/// any, else tried in turn, a source's last one first. There are 16 at most.
///
/// # Rollover counters
/// No packet carries its counter. While nothing is decrypted, [`Unprotector::observe`] follows it from headers, without
/// cryptography. A source's first packet is tried with the counter followed, and with the one that the application has
/// given, and with one more and one less of each. Where that was given for whatever sources there are, a source may also
/// be one that begins only now, at 0. Where no key fits, the counter of a known source is followed apart from that, since what
/// is not authentic may be forged: wraps among such packets count once another key comes, or packets that are not decrypted,
/// unless one was authentic by then.
///
/// # Bounds
/// A source is known only after a packet of it was authentic: forgeries cost a few tries each, and no memory. 64 sources
/// are known at once, a new one replaces the one silent for longest (whose packets could then be replayed; what sends
/// them on has a guard of its own). The counters of 16 more are followed unverified.
pub struct Unprotector {
    backend: Backend,
    /// The newest first.
    keys: Vec<Key>,
    keys_added: u64,
    /// Packets of RTP decrypted.
    opened: u64,
    sources: Sources,
    followed: Followed,
    unread: Unread,
    initial_roc: u32,
    /// A packet as it came, for the next try.
    copy: Vec<u8>,
}

struct Key {
    /// Counts keys, from 1 on.
    number: u64,
    key: SrtpKey,
    policy: Policy,
    keyset: Keyset,
    /// How many packets had been decrypted when it was given, or decrypted its last one.
    used: u64,
    /// The same where it has decrypted any, else 0.
    last_opened: u64,
}

/// Why a packet was not decrypted. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnprotectFault {
    /// No RTP or RTCP, or too short for what a protected packet has.
    #[error("too short for a protected packet, or none at all")]
    Malformed,
    /// There is no key yet.
    #[error("no key")]
    NoKey,
    /// No key has the identifier that the packet carries.
    #[error("no key has the packet's identifier")]
    UnknownMki,
    /// Forged, changed on its way, of another stream, or of a key that is not here.
    #[error("not authentic")]
    NotAuthentic,
    /// It came before.
    #[error("a replay")]
    Replayed,
    /// So far back (128) that nobody knows whether it came before.
    #[error("too old to tell a replay")]
    TooOld,
    /// RTCP in clear where it was to be encrypted (RFC 3711 §3.4).
    #[error("RTCP that is not encrypted")]
    Unencrypted,
}

impl fmt::Debug for Unprotector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suites: Vec<_> = self.keys.iter().map(|key| key.key.suite()).collect();
        let sources = self.sources.count();
        f.debug_struct("Unprotector")
            .field("keys", &suites)
            .field("sources", &sources)
            .finish_non_exhaustive()
    }
}

impl From<UnprotectFault> for DropCause {
    fn from(fault: UnprotectFault) -> Self {
        match fault {
            UnprotectFault::Malformed => Self::Malformed,
            UnprotectFault::NoKey | UnprotectFault::UnknownMki => Self::NoKey,
            UnprotectFault::NotAuthentic | UnprotectFault::Unencrypted => Self::NotAuthentic,
            UnprotectFault::Replayed | UnprotectFault::TooOld => Self::Replayed,
        }
    }
}

impl Default for Unprotector {
    fn default() -> Self {
        Self::new()
    }
}

impl Unprotector {
    /// Without keys.
    pub fn new() -> Self {
        Self::with_backend(Backend::default())
    }

    /// The same with another backend.
    pub fn with_backend(backend: Backend) -> Self {
        Self {
            backend,
            keys: Vec::new(),
            keys_added: 0,
            opened: 0,
            sources: Sources::default(),
            followed: Followed::default(),
            unread: Unread::default(),
            initial_roc: 0,
            copy: Vec::new(),
        }
    }

    /// Adds a key, with what its suite says. One that is there already changes nothing.
    ///
    /// # Errors
    /// [`KeyRefused::Backend`].
    pub fn add_key(&mut self, key: &SrtpKey) -> Result<(), KeyRefused> {
        self.add_key_with(key, Policy::from(key.suite()))
    }

    /// Adds keys as an application gave them, with their rollover counters, each that is not refused.
    ///
    /// # Errors
    /// As [`Unprotector::add_key_with`], of the first one that is.
    pub fn add_call_keys<K: Borrow<CallKey>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), KeyRefused> {
        let before = self.keys_added;
        let mut added = Ok(());
        for key in keys {
            let key = key.borrow();
            if let Err(refused) = self.insert(&key.key, key.policy) {
                added = added.and(Err(refused));
                continue;
            }
            match (key.roc, key.ssrc) {
                (Some(roc), Some(ssrc)) => self.set_roc(ssrc, roc),
                (Some(roc), None) => self.set_initial_roc(roc),
                (None, _) => {}
            }
        }
        if self.keys_added > before {
            self.count_unread();
        }
        added
    }

    /// Adds a key with a policy that is not its suite's, because somebody asked for it.
    ///
    /// # Errors
    /// [`KeyRefused::Policy`] for a key of a suite with another cipher or length, [`KeyRefused::Backend`].
    pub fn add_key_with(&mut self, key: &SrtpKey, policy: Policy) -> Result<(), KeyRefused> {
        let before = self.keys_added;
        self.insert(key, policy)?;
        if self.keys_added > before {
            self.count_unread();
        }
        Ok(())
    }

    fn insert(&mut self, key: &SrtpKey, policy: Policy) -> Result<(), KeyRefused> {
        if !policy.takes_keys_of(key.suite()) {
            return Err(KeyRefused::Policy);
        }
        if self.keys.iter().any(|known| known.policy == policy && known.has(key)) {
            return Ok(());
        }
        let keyset =
            Keyset::new(self.backend, key, policy).map_err(|Refused| KeyRefused::Backend(self.backend))?;
        self.keys_added += 1;
        self.keys.reserve_exact(1);
        self.keys.insert(
            0,
            Key {
                number: self.keys_added,
                key: key.clone(),
                policy,
                keyset,
                used: self.opened,
                last_opened: 0,
            },
        );
        if self.keys.len() > MAX_KEYS {
            self.forget_idlest();
        }
        Ok(())
    }

    /// Forgets the key that was given, or has decrypted something, longest ago: neither one in use, whose packets come
    /// between new keys, nor a new one before its first packet.
    fn forget_idlest(&mut self) {
        let keys = self.keys.iter().enumerate();
        if let Some((place, _)) = keys.min_by_key(|(_, key)| (key.used, key.number)) {
            self.keys.remove(place);
        }
    }

    /// Forgets all keys but the newest.
    pub fn forget_older_keys(&mut self) {
        self.keys.truncate(1);
    }

    /// Whether there is a key.
    pub fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The rollover counter of sources that nothing else is known of.
    pub fn set_initial_roc(&mut self, roc: u32) {
        self.initial_roc = roc;
    }

    /// The rollover counter that a source has now.
    pub fn set_roc(&mut self, ssrc: u32, roc: u32) {
        self.followed.set(ssrc, middle_of(roc));
    }

    /// How many keys were added that were not there.
    pub fn keys_added(&self) -> u64 {
        self.keys_added
    }

    /// Packets of RTP decrypted.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The keys that have decrypted a packet of RTP since so many were ([`Unprotector::opened`]), and how many had been with
    /// the last of each. In no order, but always in the same.
    pub fn keys_used_since(&self, opened: u64) -> impl Iterator<Item = (u64, &SrtpKey)> {
        let used = self.keys.iter().filter(move |key| key.last_opened > opened);
        used.map(|key| (key.last_opened, &key.key))
    }

    /// Whether a packet of RTP of this source was authentic, not too many sources ago.
    pub fn knows(&mut self, ssrc: u32) -> bool {
        self.sources.rtp(ssrc).highest().is_some()
    }

    /// Sources that are known by authentic packets.
    pub fn sources(&self) -> usize {
        self.sources.count()
    }

    /// Follows a packet's rollover counter that need not be decrypted. Looks at the first 12 bytes alone.
    pub fn observe(&mut self, packet: &[u8]) {
        self.count_unread();
        if let Some((ssrc, sequence)) = headline(packet) {
            self.follow(ssrc, sequence);
        }
    }

    /// Where the sources are that are known by authentic packets: the highest index of each, as far as it was decrypted or
    /// followed. For another unprotector, by [`Passed::from`].
    pub fn positions(&self) -> impl Iterator<Item = (u32, u64)> {
        let followed =
            |(ssrc, highest)| (ssrc, self.followed.highest(ssrc).map_or(highest, |at| at.max(highest)));
        self.sources.highest().map(followed)
    }

    /// Catches up with what has passed elsewhere since the last packet that came here.
    pub fn catch_up(&mut self, passed: &Passed) {
        if passed.is_empty() {
            return;
        }
        self.count_unread();
        for (ssrc, index) in passed.known() {
            if self.sources.rtp(*ssrc).highest().is_none() {
                self.followed.set(*ssrc, *index);
            }
        }
        let initial = first_of(self.initial_roc);
        self.followed.catch_up(passed.followed(), |_, sequence| initial | u64::from(sequence));
    }

    /// Verifies and decrypts an RTP packet in its place, and gives its plain length.
    ///
    /// # Errors
    /// [`UnprotectFault`].
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectFault> {
        let header = RtpHeader::parse(packet).ok_or(UnprotectFault::Malformed)?;
        let track = self.sources.rtp(header.ssrc);
        if track.highest().is_none() {
            self.follow(header.ssrc, header.sequence);
        }
        let mut fault = Misses::default();
        self.copy.clear();
        for place in in_turn(&self.keys, &track) {
            let Some(key) = self.keys.get_mut(place) else { continue };
            if let Err(misfit) = key.keyset.fits_rtp(packet, header.length) {
                fault.misfits(misfit);
                continue;
            }
            // A source may begin again with a new key, but not in the middle of one. What was given for all stays a guess
            // beside that, lest a replay from the source's beginning takes it there for good.
            let is_new = !track.has_used(key.number);
            let initial = (is_new || self.initial_roc > 0).then(|| middle_of(self.initial_roc));
            let beginning = is_new.then(|| middle_of(0));
            let highest = track.highest();
            let believed = self.followed.highest(header.ssrc).max(highest);
            let places = [believed, highest, initial, beginning];
            // What is told of a key is what its likeliest guess came to.
            let mut of_key = Misses::default();
            for index in Guesses::each(places.into_iter().flatten(), header.sequence) {
                if let Err(known) = track.check(key.number, index) {
                    of_key.is_known(known);
                    // RFC 3711 §3.3.2: a replay is dropped before any cryptography. What only seems too old may be of
                    // another round.
                    if known == Known::Repeated {
                        break;
                    }
                    continue;
                }
                if key.keyset.spoils_what_it_refuses() && self.copy.is_empty() {
                    self.copy.extend_from_slice(packet);
                }
                match key.keyset.open_rtp(packet, header.length, header.ssrc, index) {
                    Ok(length) => {
                        self.opened += 1;
                        (key.used, key.last_opened) = (self.opened, self.opened);
                        let mut track = track;
                        track.note(key.number, index);
                        if let Some(highest) = track.highest() {
                            self.followed.set(header.ssrc, highest);
                        }
                        self.unread.forget(header.ssrc);
                        self.sources.put_rtp(header.ssrc, track);
                        return Ok(length);
                    }
                    Err(Refused) => {
                        restore(packet, &self.copy);
                        of_key.is_not_authentic();
                    }
                }
            }
            fault.add(of_key);
        }
        let fault = fault.told(self.has_key());
        // What seems too old may be of another key, half a round ahead and more.
        let is_unread = fault.lacks_a_key() || fault == UnprotectFault::TooOld;
        if is_unread && track.highest().is_some() && RtpView::is_rtp(packet) {
            self.unread.note(header.ssrc, header.sequence);
        }
        Err(fault)
    }

    /// Verifies and decrypts an RTCP packet in its place, and gives its plain length.
    ///
    /// # Errors
    /// [`UnprotectFault`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectFault> {
        let ssrc = rtcp_ssrc(packet).ok_or(UnprotectFault::Malformed)?;
        let track = self.sources.rtcp(ssrc);
        let mut fault = Misses::default();
        self.copy.clear();
        for place in in_turn(&self.keys, &track) {
            let Some(key) = self.keys.get_mut(place) else { continue };
            let word = match key.keyset.fits_rtcp(packet, RTCP_HEADER) {
                Ok(word) => word,
                Err(misfit) => {
                    fault.misfits(misfit);
                    continue;
                }
            };
            if (word & ENCRYPTED != 0) != key.keyset.encrypts_rtcp() {
                fault.is_unencrypted();
                continue;
            }
            let index = u64::from(word & !ENCRYPTED);
            let mut of_key = Misses::default();
            if let Err(known) = track.check(key.number, index) {
                of_key.is_known(known);
                fault.add(of_key);
                continue;
            }
            if key.keyset.spoils_what_it_refuses() && self.copy.is_empty() {
                self.copy.extend_from_slice(packet);
            }
            match key.keyset.open_rtcp(packet, RTCP_HEADER, ssrc, word) {
                Ok(length) => {
                    let mut track = track;
                    track.note(key.number, index);
                    self.sources.put_rtcp(ssrc, track);
                    return Ok(length);
                }
                Err(Refused) => {
                    restore(packet, &self.copy);
                    of_key.is_not_authentic();
                    fault.add(of_key);
                }
            }
        }
        Err(fault.told(self.has_key()))
    }

    fn follow(&mut self, ssrc: u32, sequence: u16) {
        let initial = first_of(self.initial_roc);
        self.followed.note(ssrc, sequence, || initial | u64::from(sequence));
    }

    /// Counts the wraps among packets that no key has fitted, before those of what has come since.
    fn count_unread(&mut self) {
        let initial = first_of(self.initial_roc);
        self.unread.count(&mut self.followed, |sequence| initial | u64::from(sequence));
    }
}

impl UnprotectFault {
    /// Whether another key might decrypt the packet.
    pub fn lacks_a_key(self) -> bool {
        match self {
            Self::NoKey | Self::UnknownMki | Self::NotAuthentic => true,
            Self::Malformed | Self::Replayed | Self::TooOld | Self::Unencrypted => false,
        }
    }
}

impl Key {
    fn has(&self, key: &SrtpKey) -> bool {
        self.key == *key
    }
}

/// What went wrong with one key, or with one after the other.
#[derive(Debug, Default)]
struct Misses {
    fault: Option<UnprotectFault>,
}

impl Misses {
    fn misfits(&mut self, misfit: Misfit) {
        self.add(Self::of(match misfit {
            Misfit::Short => UnprotectFault::Malformed,
            Misfit::Mki => UnprotectFault::UnknownMki,
        }));
    }

    fn is_unencrypted(&mut self) {
        self.add(Self::of(UnprotectFault::Unencrypted));
    }

    /// The first thing said of a key is kept.
    fn is_known(&mut self, known: Known) {
        self.fault.get_or_insert(match known {
            Known::Repeated => UnprotectFault::Replayed,
            Known::TooOld => UnprotectFault::TooOld,
        });
    }

    /// The first thing said of a key is kept.
    fn is_not_authentic(&mut self) {
        self.fault.get_or_insert(UnprotectFault::NotAuthentic);
    }

    /// Of several keys, the one nearest to success is told.
    fn add(&mut self, other: Self) {
        let rank = |fault| match fault {
            UnprotectFault::NoKey => 0,
            UnprotectFault::Malformed => 1,
            UnprotectFault::UnknownMki => 2,
            UnprotectFault::Unencrypted => 3,
            UnprotectFault::NotAuthentic => 4,
            UnprotectFault::TooOld => 5,
            UnprotectFault::Replayed => 6,
        };
        if self.fault.map(rank) < other.fault.map(rank) {
            self.fault = other.fault;
        }
    }

    fn told(self, has_key: bool) -> UnprotectFault {
        let nothing = if has_key { UnprotectFault::NotAuthentic } else { UnprotectFault::NoKey };
        self.fault.unwrap_or(nothing)
    }

    fn of(fault: UnprotectFault) -> Self {
        Self { fault: Some(fault) }
    }
}

/// The first index of a round.
fn first_of(roc: u32) -> u64 {
    u64::from(roc) << 16
}

/// An index from which every sequence number is in the same round (RFC 3711 appendix A).
fn middle_of(roc: u32) -> u64 {
    first_of(roc) | 0x8000
}

/// Places of the keys that a source may use: that of its last packet, then the newest first.
fn in_turn(keys: &[Key], track: &Track) -> impl Iterator<Item = usize> + use<> {
    let last = keys.iter().position(|key| key.number == track.key());
    let oldest = keys.iter().rposition(|key| track.admits(key.number));
    let admitted = oldest.map_or(0, |place| place + 1);
    last.into_iter().chain((0..admitted).filter(move |place| Some(*place) != last))
}

fn restore(packet: &mut [u8], copy: &[u8]) {
    if packet.len() == copy.len() {
        packet.copy_from_slice(copy);
    }
}
