//! How a branch is secured: what its properties ask for, and what that comes to.

use siprec_media::Sent;
use siprec_media::srtp::{KeyRefused, ProtectFault, Protector};
use siprec_model::{KeyFault, SrtpKey, SrtpSuite};
use zeroize::Zeroizing;

use super::keys_in_use::KeysInUse;
use super::suite::SiprecSrtpSuite;

/// What the properties of a branch say. The key is overwritten when it goes; nothing shows it.
#[derive(Default)]
pub(super) struct Wish {
    pub(super) suite: SiprecSrtpSuite,
    pub(super) key: Option<Zeroizing<Vec<u8>>>,
    pub(super) mki: Option<gst::Buffer>,
    pub(super) allow_downgrade: bool,
}

/// How the call comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) is_secured: bool,
    /// What it is secured with, where a key is known.
    pub(super) suite: Option<SrtpSuite>,
}

/// How packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Plain,
    Secured,
}

/// Why nothing leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the call is encrypted, and the branch would not be: set srtp-suite and srtp-key, or allow-downgrade"
    )]
    Downgrade,
    #[error("srtp-suite is set, and srtp-key is not")]
    NoKey,
    #[error("srtp-key or mki: {0}")]
    Key(KeyFault),
    #[error("srtp-key is the call's, or that of another branch, or was: a key is for one branch alone")]
    KeyInUse,
    #[error("srtp-key: {0}")]
    Refused(KeyRefused),
}

/// How one branch is secured.
pub(super) struct Protection {
    wish: Wish,
    /// What the properties came to, for a call that came in like that; `None` when they changed.
    settled: Option<(Incoming, Result<Outgoing, Refusal>)>,
    /// Whether that has been told.
    is_told: bool,
    /// Stays, whatever the properties become: it knows which indices were used under which key.
    protector: Option<Protector>,
    number: u64,
}

/// What settling changed.
pub(super) struct Settled {
    pub(super) outgoing: Result<Outgoing, Refusal>,
    /// Whether it is another one than before, or another key.
    pub(super) is_new: bool,
    /// The branch is encrypted from now on: its receiver's rollover counter begins at 0.
    pub(super) begins: bool,
    /// The branch's suite is weaker than the call's (RFC 7866 §12.2).
    pub(super) is_weaker: bool,
}

impl Protection {
    /// Of a branch with this number, which no other has or had.
    pub(super) fn new(number: u64) -> Self {
        Self { wish: Wish::default(), settled: None, is_told: false, protector: None, number }
    }

    pub(super) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Changes the properties.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish);
        self.settled = None;
    }

    /// How packets leave, as far as it is settled.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        self.settled.as_ref().and_then(|(_, outgoing)| outgoing.ok())
    }

    /// Settles how packets leave.
    pub(super) fn settle(&mut self, incoming: Incoming, keys: &KeysInUse) -> Settled {
        if let Some((known, outgoing)) = self.settled
            && known == incoming
        {
            return Settled { outgoing, is_new: false, begins: false, is_weaker: false };
        }
        let was_plain = self.protector.is_none();
        let outgoing = self.judge(incoming, keys);
        self.is_told = self.settled.take().is_some_and(|(_, before)| self.is_told && before == outgoing);
        self.settled = Some((incoming, outgoing));
        let own = self.wish.suite.suite();
        let is_weaker = incoming.suite.zip(own).is_some_and(|(call, own)| call.is_stronger_than(own));
        let begins = was_plain && self.protector.is_some();
        Settled { outgoing, is_new: true, begins, is_weaker: is_weaker && outgoing.is_ok() }
    }

    /// Whether what was settled has not been told yet. From now on it has.
    pub(super) fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Encrypts the packet at the beginning of `room`, if it is to be. Answers the length that it has then.
    pub(super) fn protect(&mut self, room: &mut [u8], sent: &Sent) -> Result<usize, ProtectFault> {
        match (self.outgoing(), &mut self.protector) {
            (Some(Outgoing::Plain), _) => Ok(sent.length),
            (Some(Outgoing::Secured), Some(protector)) => {
                protector.protect_rtp_in_place(room, sent.length, sent.ssrc, sent.index)
            }
            _ => Err(ProtectFault::Refused),
        }
    }

    fn judge(&mut self, incoming: Incoming, keys: &KeysInUse) -> Result<Outgoing, Refusal> {
        let Some(suite) = self.wish.suite.suite() else {
            let is_allowed = !incoming.is_secured || self.wish.allow_downgrade;
            return is_allowed.then_some(Outgoing::Plain).ok_or(Refusal::Downgrade);
        };
        let master = self.wish.key.as_ref().ok_or(Refusal::NoKey)?;
        let mut key = SrtpKey::new(suite, master).map_err(Refusal::Key)?;
        if let Some(mki) = &self.wish.mki {
            let mki = mki.map_readable().map(|mki| mki.to_vec()).unwrap_or_default();
            key = key.with_mki(&mki).map_err(Refusal::Key)?;
        }
        keys.of_branch(self.number, &key).map_err(|_| Refusal::KeyInUse)?;
        match &mut self.protector {
            // The numbers go on, and so do the rollover counters.
            Some(protector) => protector.rekey(&key).map_err(Refusal::Refused)?,
            None => self.protector = Some(Protector::new(&key).map_err(Refusal::Refused)?),
        }
        Ok(Outgoing::Secured)
    }
}
