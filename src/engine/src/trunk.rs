//! Sockets that the RTP of many branches leaves by.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use siprec_model::BranchId;

use crate::burst::{Burst, Errors, MAX_BURST, Outcome, Way};
use crate::kit::Token;
use crate::outlet::Refusing;
use crate::ports::PortPool;
use crate::section::{SendGuard, SendSection};
use crate::sys::{self, Epoll};

/// How many errors of one trunk a slice reads: a flood costs others nothing.
const MAX_ERRORS: usize = 256;

/// The trunks of all local addresses, and what is about to leave by them.
///
/// Packets wait here while the thread goes on from stream to stream, so that one system call sends those of many. The
/// send section that they were let into stays entered as long: whoever shuts a gate waits until they have left.
#[derive(Debug)]
pub(crate) struct Trunks {
    trunks: Vec<Trunk>,
    section: Arc<SendSection>,
    /// While packets wait.
    inside: Option<SendGuard<Arc<SendSection>>>,
    /// What branches have not been told of what they sent.
    outcomes: BTreeMap<BranchId, Outcome>,
}

#[derive(Debug)]
struct Trunk {
    socket: UdpSocket,
    local: IpAddr,
    burst: Burst,
}

/// Which of the trunks. They stay for as long as there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrunkId(pub(crate) usize);

impl Trunks {
    /// None at first. Packets leave in `section`.
    pub(crate) fn new(section: Arc<SendSection>) -> Self {
        Self { trunks: Vec::new(), section, inside: None, outcomes: BTreeMap::new() }
    }

    /// The one of this local address, which is made unless it is there.
    ///
    /// # Errors
    /// When there is no port for it, or the kernel cannot watch it.
    pub(crate) fn of(
        &mut self,
        local: IpAddr,
        pool: &mut PortPool,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<TrunkId, String> {
        if let Some(there) = self.trunks.iter().position(|trunk| trunk.local == local) {
            return Ok(TrunkId(there));
        }
        let id = TrunkId(self.trunks.len());
        let socket = pool.bind_trunk(local, now).map_err(|error| error.to_string())?;
        epoll
            .add(&socket, Token::of_trunk(id).raw(), false)
            .map_err(|error| format!("the shared media port on {local} cannot be watched: {error}"))?;
        self.trunks.push(Trunk { socket, local, burst: Burst::default() });
        Ok(id)
    }

    /// What is about to leave by a trunk.
    pub(crate) fn burst(&mut self, id: TrunkId) -> Option<&mut Burst> {
        self.trunks.get_mut(id.0).map(|trunk| &mut trunk.burst)
    }

    /// Whether so much is about to leave that it should.
    pub(crate) fn are_full(&self) -> bool {
        self.packets() >= MAX_BURST
    }

    /// What a branch has written waits with the rest. The branch is in the send section.
    pub(crate) fn assign(&mut self, id: TrunkId, way: Way) {
        if let Some(burst) = self.burst(id) {
            burst.assign(way);
        }
        if self.inside.is_none() && self.packets() > 0 {
            self.inside = Some(self.section.stay());
        }
    }

    /// Sends everything that waits.
    pub(crate) fn flush(&mut self) {
        if self.inside.is_none() {
            return;
        }
        let Self { trunks, outcomes, .. } = self;
        for Trunk { socket, burst, .. } in trunks {
            burst.send(socket, Errors::Anyone, |branch, outcome| {
                outcomes.entry(branch).or_default().join(outcome);
            });
        }
        self.inside = None;
    }

    /// Forgets what a branch has written that has crashed.
    pub(crate) fn abandon_unassigned(&mut self) {
        self.trunks.iter_mut().for_each(|trunk| trunk.burst.abandon_unassigned());
    }

    /// A branch that has not been told of what it sent.
    pub(crate) fn untold(&self) -> Option<BranchId> {
        self.outcomes.keys().next().copied()
    }

    /// What this branch has not been told of.
    pub(crate) fn take_outcome(&mut self, branch: BranchId) -> Outcome {
        self.outcomes.remove(&branch).unwrap_or_default()
    }

    /// Which addresses were found to refuse, since this was last asked, what went there by a trunk.
    pub(crate) fn refusing(&mut self, id: TrunkId, refusing: &mut Refusing) {
        let Some(Trunk { socket, .. }) = self.trunks.get(id.0) else { return };
        for _ in 0..MAX_ERRORS {
            let Ok(undelivered) = sys::receive_error(socket) else { break };
            if let Some(destination) = undelivered.destination.filter(|_| undelivered.is_refused()) {
                refusing.entry(destination).or_default().note(&undelivered);
            }
        }
        // Where the queue was full, the socket goes on telling of an error that is not in it.
        let _ = socket.take_error();
    }

    fn packets(&self) -> usize {
        self.trunks.iter().map(|trunk| trunk.burst.packets()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use siprec_model::RecordingKey;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    struct Rig {
        section: Arc<SendSection>,
        trunks: Trunks,
        id: TrunkId,
        epoll: Epoll,
    }

    impl Rig {
        fn new() -> Self {
            let section = Arc::<SendSection>::default();
            let mut trunks = Trunks::new(section.clone());
            let (mut pool, epoll) = (PortPool::new(None, None), Epoll::new().unwrap());
            let now = Instant::now();
            let id = trunks.of(LOCAL, &mut pool, &epoll, now).unwrap();
            assert_eq!(trunks.of(LOCAL, &mut pool, &epoll, now), Ok(id), "one for each address");
            Self { section, trunks, id, epoll }
        }

        /// One packet of a branch of its own.
        fn write(&mut self, to: SocketAddr) -> BranchId {
            let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
            let burst = self.trunks.burst(self.id).unwrap();
            burst.bytes.extend([7; 20]);
            burst.seal_packet();
            self.trunks.assign(self.id, Way { branch, to, segmentation: true, again: false });
            branch
        }
    }

    fn receiver() -> (UdpSocket, SocketAddr) {
        let receiver = UdpSocket::bind((LOCAL, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let to = receiver.local_addr().unwrap();
        (receiver, to)
    }

    #[test]
    fn whoever_shuts_a_gate_waits_until_what_waits_has_left() {
        let mut rig = Rig::new();
        let (receiver, to) = receiver();
        let section = rig.section.clone();
        let guard = section.enter();
        rig.write(to);
        drop(guard);
        let closer = std::thread::spawn(move || {
            section.wait();
            receiver.recv(&mut [0; 64]).map_err(|error| error.kind())
        });
        // Long enough for it to come back too early.
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(!closer.is_finished());
        rig.trunks.flush();
        assert_eq!(closer.join().unwrap(), Ok(20));
        rig.section.wait();
    }

    #[test]
    fn as_much_as_one_burst_waits() {
        let mut rig = Rig::new();
        let (receiver, to) = receiver();
        for number in 0..MAX_BURST {
            assert!(!rig.trunks.are_full(), "{number}");
            rig.write(to);
        }
        assert!(rig.trunks.are_full());
        rig.trunks.flush();
        assert!(!rig.trunks.are_full());
        (0..MAX_BURST).for_each(|_| assert_eq!(receiver.recv(&mut [0; 64]).unwrap(), 20));
    }

    #[test]
    fn each_branch_is_told_of_its_own_packets_once() {
        let mut rig = Rig::new();
        let (_receiver, to) = receiver();
        let fine = rig.write(to);
        // From a loopback address, no other host can be reached.
        let lost = rig.write("192.0.2.1:4000".parse().unwrap());
        rig.trunks.flush();
        assert_eq!(rig.trunks.untold(), Some(lost));
        assert_eq!(rig.trunks.take_outcome(fine), Outcome::default());
        let outcome = Outcome { failed: 1, failed_bytes: 20, refused: true, indivisible: false };
        assert_eq!(rig.trunks.take_outcome(lost), outcome);
        assert_eq!(rig.trunks.take_outcome(lost), Outcome::default());
        assert_eq!(rig.trunks.untold(), None);
    }

    #[test]
    fn an_address_that_refuses_is_known_by_the_error_queue() {
        let mut rig = Rig::new();
        let (_receiver, to) = receiver();
        let (_deaf, dead) = deaf();
        for _ in 0..3 {
            rig.write(dead);
            rig.write(to);
        }
        rig.trunks.flush();
        assert_eq!(rig.trunks.untold(), None);
        let mut ready = Vec::new();
        rig.epoll.ready(&mut ready);
        assert_eq!(ready, [Token::of_trunk(rig.id).raw()]);
        let mut refusing = Refusing::new();
        rig.trunks.refusing(rig.id, &mut refusing);
        assert_eq!(refusing, Refusing::from([(dead, Default::default())]));
        ready.clear();
        rig.epoll.ready(&mut ready);
        assert_eq!(ready, Vec::<u64>::new(), "nothing is left to tell");
    }

    /// An address at which nobody listens: its port is taken, but for what comes from elsewhere.
    fn deaf() -> (UdpSocket, SocketAddr) {
        let (socket, address) = receiver();
        socket.connect((LOCAL, 9)).unwrap();
        (socket, address)
    }
}
