//! A key of the call, as its application gives it.

use std::fmt;

use siprec_model::{SrtpKey, SrtpSuite};

use super::policy::Policy;

/// A key of one direction of a call. The bytes are overwritten when it goes; `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct CallKey {
    /// Master key and salt, with their identifier where packets carry it.
    pub key: SrtpKey,
    /// What protects RTP and RTCP under it: the key's suite, or something else that was asked for.
    pub policy: Policy,
    /// The rollover counter that packets have now, where the application knows it.
    pub roc: Option<u32>,
    /// Whose counter that is: one source's, or that of every source that nothing is known of.
    pub ssrc: Option<u32>,
}

impl CallKey {
    /// The suite that protects the packets, where it is one.
    pub fn suite(&self) -> Option<SrtpSuite> {
        Some(self.key.suite()).filter(|suite| Policy::from(*suite) == self.policy)
    }
}

impl From<SrtpKey> for CallKey {
    fn from(key: SrtpKey) -> Self {
        Self { policy: Policy::from(key.suite()), key, roc: None, ssrc: None }
    }
}

/// The suite alone.
impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallKey").field("suite", &self.key.suite()).finish_non_exhaustive()
    }
}
