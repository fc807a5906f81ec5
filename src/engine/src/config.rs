//! What an engine is told at its start, and why it may refuse.

use std::io;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use siprec_media::HoldMemory;
use siprec_media::dtls::HANDSHAKE_LIMIT;
use siprec_media::srtp::KeyLimits;

use crate::rota::TICK;

/// How much the rings of a process may have together, in bytes: 512 MiB.
pub const PROCESS_HOLD_BYTES: usize = 512 << 20;

/// A count of bytes, and nothing else that is common to engines: it is the process that runs out of memory.
static OF_THE_PROCESS: LazyLock<HoldMemory> = LazyLock::new(|| HoldMemory::new(PROCESS_HOLD_BYTES));

/// See [`EngineConfig::send_interval`].
const LONGEST_SEND_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of an [`Engine`](crate::Engine).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Local UDP ports that branches may use. `None` takes ephemeral ports. The range must hold an even port and
    /// the odd one above it (RFC 3550 §11); ports below 1 are not possible.
    pub port_range: Option<RangeInclusive<u16>>,
    /// Differentiated services code point of RTP and RTCP, 0-63; `None` leaves the system's default.
    pub dscp: Option<u8>,
    /// How many packets per second of held backlog may leave beyond real time, over all branches together. It is
    /// shared fairly. Default 20,000: the streams of 200 calls of two parties, all of whose recorders die at once, catch up at
    /// twice real time. With 0 a backlog leaves in real time only.
    pub catch_up_budget: u32,
    /// What all branches together hold and keep. Default [`PROCESS_HOLD_BYTES`], which all engines of the process share that
    /// have no other. Packets that wait may use all of it; those that
    /// were sent, and are kept in case their recorder is lost, let their ring grow only while a quarter is free, and make
    /// room for those that wait. Where even so there is no memory, a stream loses the oldest that it holds.
    pub hold_memory: HoldMemory,
    /// How many commands may wait, at least 1. Default 4096.
    pub command_queue: usize,
    /// By which sockets RTP leaves. Default [`MediaSource::PerStream`].
    pub media_source: MediaSource,
    /// How often the packets of a stream that have come meanwhile leave together, in steps of 2 ms from 10 ms up to a second. The longer,
    /// the less a packet costs. Default 100 ms: five packets of most audio streams. Where a recorder places packets by their
    /// arrival ([`BranchLimits::catch_up`](siprec_model::BranchLimits::catch_up) is 0), or a stream has much to send, it is 10 ms.
    pub send_interval: Duration,
    /// Whether several packets may go to the kernel as one (UDP generic segmentation offload) where it can.
    /// Default true; what arrives is the same.
    pub segmentation_offload: bool,
    /// How far each key that we send under may be used. By default as far as RFC 3711 §9.2 lets it.
    pub key_limits: KeyLimits,
    /// How long a handshake of DTLS may take, from the recorder's answer on. Default 10 s.
    pub handshake_limit: Duration,
}

/// By which sockets RTP leaves towards recorders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaSource {
    /// Each branch sends from the port that it has bound and that its session names: symmetric RTP (RFC 4961).
    #[default]
    PerStream,
    /// All branches send from one port for each local address, so that one system call sends packets of many, and one payload
    /// those of many for one address. RTCP keeps to the branch's own ports both ways, and so does everything of a branch
    /// whose keys are made by DTLS, since those belong to one pair of addresses and ports (RFC 5764 §3). No session
    /// description promises where RTP comes from, but some recorders and firewalls expect it from where it may be
    /// answered.
    Shared,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            port_range: None,
            dscp: None,
            catch_up_budget: 20_000,
            hold_memory: OF_THE_PROCESS.clone(),
            command_queue: 4096,
            media_source: MediaSource::default(),
            send_interval: Duration::from_millis(100),
            segmentation_offload: true,
            key_limits: KeyLimits::default(),
            handshake_limit: HANDSHAKE_LIMIT,
        }
    }
}

impl EngineConfig {
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if let Some(range) = &self.port_range {
            let (first, last) = (*range.start(), *range.end());
            let first_even = u32::from(first) + u32::from(first % 2);
            if first == 0 || first_even + 1 > u32::from(last) {
                return Err(EngineError::PortRange { first, last });
            }
        }
        match self.dscp {
            Some(dscp) if dscp > 63 => Err(EngineError::Dscp(dscp)),
            _ if !(TICK..=LONGEST_SEND_INTERVAL).contains(&self.send_interval) => {
                Err(EngineError::SendInterval(self.send_interval))
            }
            _ if self.command_queue == 0 => Err(EngineError::CommandQueue),
            _ => Ok(()),
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configured range has no pair of ports.
    #[error("port range {first}-{last} holds no even port with the odd port above it")]
    PortRange {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The configured code point does not exist.
    #[error("DSCP {0} is not in 0-63")]
    Dscp(u8),
    /// Packets cannot leave so often, or would leave too rarely.
    #[error("the send interval {0:?} is not in {TICK:?} to {LONGEST_SEND_INTERVAL:?}")]
    SendInterval(Duration),
    /// The configured command queue has no room for a single command.
    #[error("the command queue must hold at least one command")]
    CommandQueue,
    /// The system refused the thread or one of its descriptors.
    #[error("the media thread cannot start: {0}")]
    Start(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_range(first: u16, last: u16) -> EngineConfig {
        EngineConfig { port_range: Some(first..=last), ..EngineConfig::default() }
    }

    #[test]
    fn a_range_needs_an_even_port_and_its_successor() {
        assert!(with_range(10_000, 10_001).check().is_ok());
        assert!(with_range(10_001, 10_003).check().is_ok());
        for (first, last) in [(10_001, 10_002), (10_000, 10_000), (0, 9), (65_535, 65_535), (20, 10)] {
            assert!(
                matches!(with_range(first, last).check(), Err(EngineError::PortRange { .. })),
                "{first}-{last}"
            );
        }
    }

    #[test]
    fn a_code_point_has_six_bits() {
        assert!(EngineConfig { dscp: Some(63), ..EngineConfig::default() }.check().is_ok());
        let config = EngineConfig { dscp: Some(64), ..EngineConfig::default() };
        assert!(matches!(config.check(), Err(EngineError::Dscp(64))));
    }
}
