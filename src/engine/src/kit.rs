//! What the branches share while the media thread works on one of them.

use std::sync::Arc;

use siprec_media::dtls::Identity;
use siprec_media::{HoldMemory, WallClock};
use siprec_model::Component;

use crate::budget::Budget;
use crate::burst::Burst;
use crate::ports::{PortPool, Ports};
use crate::sys::Epoll;

/// What all branches of the thread share while it works on one of them.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) burst: Burst,
    pub(crate) budget: Budget,
    /// What all rings may have.
    pub(crate) memory: HoldMemory,
    pub(crate) clock: WallClock,
    pub(crate) epoll: Epoll,
    pub(crate) pool: PortPool,
    /// Our certificate, for handshakes of DTLS.
    pub(crate) identity: Arc<Identity>,
    /// Receives datagrams, and holds those of RTCP that are built.
    pub(crate) scratch: Vec<u8>,
    /// Whether several packets may go to the kernel as one.
    pub(crate) segmentation: bool,
}

/// Which socket of a branch: what its watch in the epoll set is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u64);

impl Token {
    /// The tokens of the `serial`th pair of sockets are [`Token::of`] each component.
    pub(crate) fn of(serial: u64, component: Component) -> Self {
        Self(serial << 1 | u64::from(component == Component::Rtcp))
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) fn serial(self) -> u64 {
        self.0 >> 1
    }

    pub(crate) fn component(self) -> Component {
        if self.0 & 1 == 0 { Component::Rtp } else { Component::Rtcp }
    }
}

/// Watches the sockets of a branch under the tokens of `serial`.
///
/// # Errors
/// When the kernel has no room for them.
pub(crate) fn watch(epoll: &Epoll, ports: &Ports, serial: u64) -> std::io::Result<()> {
    let token = |component| Token::of(serial, component).0;
    epoll.add(&ports.rtp, token(Component::Rtp), true)?;
    match &ports.rtcp {
        Some(rtcp) => epoll.add(rtcp, token(Component::Rtcp), true),
        None => Ok(()),
    }
}
