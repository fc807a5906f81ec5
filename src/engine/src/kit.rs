//! What the branches share while the media thread works on one of them.

use std::sync::Arc;

use siprec_media::dtls::Identity;
use siprec_media::srtp::KeyLimits;
use siprec_media::{HoldMemory, WallClock};
use siprec_model::Component;

use crate::budget::Budget;
use crate::burst::{Burst, MAX_BURST};
use crate::config::MediaSource;
use crate::hosts::RefusingHosts;
use crate::late::LateRoom;
use crate::ports::{PortPool, Ports};
use crate::sys::Epoll;
use crate::trunk::{TrunkId, Trunks};

/// What all branches of the thread share while it works on one of them.
#[derive(Debug)]
pub(crate) struct Kit {
    /// What a branch sends by its own socket.
    pub(crate) burst: Burst,
    pub(crate) trunks: Trunks,
    pub(crate) source: MediaSource,
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
    /// What all late packets of the call may have.
    pub(crate) late_room: LateRoom,
    /// How far a key may be used.
    pub(crate) key_limits: KeyLimits,
    pub(crate) refusing_hosts: RefusingHosts,
}

impl Kit {
    /// What is about to leave by a trunk, or by a socket of the branch's own.
    pub(crate) fn burst(&mut self, trunk: Option<TrunkId>) -> &mut Burst {
        match trunk.and_then(|trunk| self.trunks.burst(trunk)) {
            Some(burst) => burst,
            None => &mut self.burst,
        }
    }

    /// Whether that is so much that it should.
    pub(crate) fn is_full(&self, trunk: Option<TrunkId>) -> bool {
        match trunk {
            Some(_) => self.trunks.are_full(),
            None => self.burst.packets() >= MAX_BURST,
        }
    }

    /// Forgets what a branch has written that has crashed.
    pub(crate) fn abandon_unassigned(&mut self) {
        self.burst.abandon_unassigned();
        self.trunks.abandon_unassigned();
    }
}

/// Which socket, of a branch or a trunk: what its watch in the epoll set is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u64);

/// Set in the tokens of trunks. No branch has so large a serial number.
const TRUNK: u64 = 1 << 63;

impl Token {
    /// The tokens of the `serial`th pair of sockets are [`Token::of`] each component.
    pub(crate) fn of(serial: u64, component: Component) -> Self {
        Self(serial << 1 | u64::from(component == Component::Rtcp))
    }

    pub(crate) fn of_trunk(TrunkId(id): TrunkId) -> Self {
        Self(TRUNK | id as u64)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    /// The trunk, if it is of one.
    pub(crate) fn trunk(self) -> Option<TrunkId> {
        (self.0 & TRUNK != 0).then_some(TrunkId((self.0 & !TRUNK) as usize))
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
