//! The sockets of one stream: RTP and RTCP in, receiver reports out, secured or not.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gate::{Arrival, Gate, Passed, SrtpAccount};
use super::missing::Missing;
use super::reception::Source;
use super::rtcp::{self, Feedback, Report};
use super::rtp::{self, RtpHeader};
use super::srtp::SrtpError;
use crate::clock;
use crate::files::track::Datagram;
use crate::security::Keys;

/// Receive buffer asked of the system for RTP: a second of one stream that comes 100 times faster than real time.
const BUFFER: usize = 4 << 20;
/// Most bytes of a stream that wait for the disk.
const INBOX: usize = 64 << 20;
/// Most sources that are told apart in one stream.
const SOURCES: usize = 64;
/// RFC 3550 §6.2: the fixed minimum between reports. The first comes after a part of it, so that short sessions have
/// one too.
const INTERVAL: Duration = Duration::from_secs(5);
const FIRST_REPORT: Duration = Duration::from_secs(1);
/// Most datagrams that are taken before others have their turn, and at the end: more than [`BUFFER`] holds.
const PORTION: usize = 256;
const LAST_PORTION: usize = 1 << 17;
/// Tries to find two neighbouring ports that are free.
const PORT_TRIES: usize = 200;
/// What comes so long after a stream has become inactive was sent after that.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// A bound pair of ports, or one port for both.
pub(crate) struct Ports {
    rtp: std::net::UdpSocket,
    rtcp: Option<std::net::UdpSocket>,
    local: SocketAddr,
}

/// How a stream is received.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) own_ssrc: u32,
    pub(crate) cname: String,
    /// Keep packets for [`Receiver::take`], not only count them.
    pub(crate) keep: bool,
    /// Send receiver reports.
    pub(crate) reports: bool,
    /// Take nothing that comes.
    pub(crate) deaf: bool,
    /// Send under another key than the one that was told.
    pub(crate) other_key: bool,
}

/// A stream that is being received.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    local: SocketAddr,
    /// Another handle of the socket that RTCP is sent from.
    rtcp: std::net::UdpSocket,
    /// One for each pair of ports that ever was in use: what is on its way to older ones is taken too.
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// What was counted of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) sources: Vec<Source>,
    /// Arrival of the first and of the last RTP packet.
    pub(crate) first: Option<SystemTime>,
    pub(crate) last: Option<SystemTime>,
    /// Datagrams that are neither RTP nor RTCP.
    pub(crate) malformed: u64,
    /// Datagrams that the disk was too slow for.
    pub(crate) overrun: u64,
    /// RTP packets that were sent while the stream was inactive.
    pub(crate) unwanted: u64,
    /// RTP packets by payload type.
    pub(crate) payload_types: BTreeMap<u8, u64>,
    /// RTP packets by the address that they came to.
    pub(crate) addresses: Vec<(SocketAddr, u64)>,
    /// Where it was ever secured.
    pub(crate) srtp: Option<SrtpAccount>,
    /// RTP packets that had not come, and have since they were asked for.
    pub(crate) repaired: u64,
}

struct Shared {
    account: Mutex<Account>,
    /// `None` when packets are only counted.
    inbox: Option<Mutex<Inbox>>,
    /// RTP clocks in Hz by payload type.
    clocks: Mutex<BTreeMap<u8, u32>>,
    /// Where receiver reports go.
    peer: Mutex<Option<SocketAddr>>,
    /// Since when nothing should come.
    inactive: Mutex<Option<Instant>>,
    /// Index of the ports in use.
    current: AtomicUsize,
    gate: Mutex<Gate>,
    /// `None` while nothing may be asked for.
    missing: Mutex<Option<Missing>>,
    manner: Manner,
}

#[derive(Default)]
struct Inbox {
    datagrams: Vec<Datagram>,
    bytes: usize,
}

impl Ports {
    /// Where RTP comes to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Binds an even port and the next one (RFC 3550 §11), or one port for both with `mux` (RFC 5761).
    ///
    /// # Errors
    /// What the system said when no such ports are free.
    pub(crate) fn bind(address: IpAddr, mux: bool) -> io::Result<Self> {
        if mux {
            let rtp = bind(SocketAddr::new(address, 0))?;
            let local = rtp.local_addr()?;
            return Ok(Self { rtp, rtcp: None, local });
        }
        let mut last = None;
        for _ in 0..PORT_TRIES {
            let rtp = bind(SocketAddr::new(address, 0))?;
            let local = rtp.local_addr()?;
            if local.port() % 2 != 0 {
                continue;
            }
            match bind(SocketAddr::new(address, local.port() + 1)) {
                Ok(rtcp) => return Ok(Self { rtp, rtcp: Some(rtcp), local }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
    }
}

impl Receiver {
    /// Begins to receive.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets.
    pub(crate) fn start(ports: Ports, manner: Manner) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            account: Mutex::default(),
            inbox: manner.keep.then(Mutex::default),
            clocks: Mutex::default(),
            peer: Mutex::default(),
            inactive: Mutex::default(),
            current: AtomicUsize::new(0),
            gate: Mutex::default(),
            missing: Mutex::default(),
            manner,
        });
        let (stop, stopped) = watch::channel(false);
        let (local, rtcp, task) = read(ports, 0, &shared, stopped)?;
        Ok(Self { shared, local, rtcp, tasks: vec![task], stop })
    }

    /// Receives at other ports from now on. What is still sent to the old ones is taken too.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets; then nothing has changed.
    pub(crate) fn move_to(&mut self, ports: Ports) -> io::Result<()> {
        let index = self.tasks.len();
        let (local, rtcp, task) = read(ports, index, &self.shared, self.stop.subscribe())?;
        self.local = local;
        self.rtcp = rtcp;
        self.tasks.push(task);
        self.shared.current.store(index, Ordering::Relaxed);
        Ok(())
    }

    /// Where RTP is received.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Says that nothing should come any more, or that it should again.
    pub(crate) fn set_active(&self, active: bool) {
        let mut inactive = lock(&self.shared.inactive);
        *inactive = if active { None } else { inactive.or_else(|| Some(Instant::now())) };
        if let Some(missing) = &mut *lock(&self.shared.missing) {
            missing.set_active(active, Instant::now());
        }
    }

    /// Asks for packets that have not come from now on, or no longer.
    pub(crate) fn ask_for_missing(&self, asks: bool) {
        let mut missing = lock(&self.shared.missing);
        *missing = missing.take().or_else(|| Some(Missing::default())).filter(|_| asks);
    }

    /// Takes and sends packets under these keys, or plain ones, from now on; see [`Gate::secure`].
    ///
    /// # Errors
    /// [`SrtpError`]: GStreamer lacks what is needed.
    pub(crate) fn secure(&self, keys: Option<&Keys>, anew: bool) -> Result<bool, SrtpError> {
        let mut gate = lock(&self.shared.gate);
        let is_new = gate.secure(keys, anew, self.shared.manner.other_key)?;
        let held = gate.take_held();
        self.shared.retry(&mut gate, held);
        Ok(is_new)
    }

    /// Holds what no key opens, while the other side may answer by another key, which its media overtakes.
    pub(crate) fn hold(&self, holds: bool) {
        let mut gate = lock(&self.shared.gate);
        let held = gate.take_held();
        gate.hold(holds);
        self.shared.retry(&mut gate, held);
    }

    /// What came that is not authentic, once for each burst.
    pub(crate) fn alarm(&self) -> Option<String> {
        lock(&self.shared.gate).alarm()
    }

    /// Asks every source that is here for a key frame.
    pub(crate) fn ask_keyframe(&self, feedback: Feedback) {
        let Manner { reports, deaf, .. } = &self.shared.manner;
        let Some(peer) = lock(&self.shared.peer).filter(|_| *reports && !*deaf) else { return };
        let account = lock(&self.shared.account);
        let present = account.sources.iter().filter(|source| source.packets > 0 && !source.left);
        let sources: Vec<_> = present.map(|source| source.ssrc).collect();
        drop(account);
        let Manner { own_ssrc, cname, .. } = &self.shared.manner;
        let packet = rtcp::feedback(*own_ssrc, cname, &sources, feedback);
        if let Some(packet) = lock(&self.shared.gate).seal(packet) {
            // One that is lost is followed by another.
            let _ = self.rtcp.send_to(&packet, peer);
        }
    }

    /// Tells the clocks of payload types and where reports go; without an address, to where RTCP comes from.
    pub(crate) fn describe(&self, clocks: impl IntoIterator<Item = (u8, u32)>, peer: Option<SocketAddr>) {
        lock(&self.shared.clocks).extend(clocks);
        if peer.is_some() {
            *lock(&self.shared.peer) = peer;
        }
    }

    /// What was received since the last call, in order.
    pub(crate) fn take(&self) -> Vec<Datagram> {
        match &self.shared.inbox {
            Some(inbox) => std::mem::take(&mut *lock(inbox)).datagrams,
            None => Vec::new(),
        }
    }

    /// What has been counted so far.
    pub(crate) fn account(&self) -> Account {
        let srtp = lock(&self.shared.gate).account().cloned();
        let repaired = lock(&self.shared.missing).as_ref().map_or(0, |missing| missing.repaired);
        Account { srtp, repaired, ..lock(&self.shared.account).clone() }
    }

    /// Takes what the sockets still hold, and closes them. [`Receiver::take`] and [`Receiver::account`] go on.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in &mut self.tasks {
            // A task that panicked has nothing more to give.
            let _ = task.await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The system may grant less.
    let _ = socket.set_recv_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Starts to read a pair of ports: gives its address, another handle of the socket that RTCP is sent from, and the task.
fn read(
    ports: Ports,
    index: usize,
    shared: &Arc<Shared>,
    stopped: watch::Receiver<bool>,
) -> io::Result<(SocketAddr, std::net::UdpSocket, JoinHandle<()>)> {
    let handle = ports.rtcp.as_ref().unwrap_or(&ports.rtp).try_clone()?;
    let rtp = UdpSocket::from_std(ports.rtp)?;
    let rtcp = ports.rtcp.map(UdpSocket::from_std).transpose()?;
    let reader = Reader { shared: Arc::clone(shared), index, local: ports.local };
    Ok((ports.local, handle, tokio::spawn(receive(reader, rtp, rtcp, stopped))))
}

/// The side of the task that reads one pair of ports.
struct Reader {
    shared: Arc<Shared>,
    index: usize,
    local: SocketAddr,
}

async fn receive(
    reader: Reader,
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut buffer = vec![0u8; 1 << 16];
    let mut next_report: Option<Instant> = None;
    loop {
        let due = next_report.unwrap_or_else(|| Instant::now() + INTERVAL);
        let due = reader.next_request().map_or(due, |request| request.min(due));
        let stop = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep_until(due.into()) => false,
            _ = rtp.readable() => false,
            _ = readable(rtcp.as_ref()) => false,
        };
        if stop {
            break;
        }
        let arrived = reader.drain(PORTION, &mut buffer, |buffer| rtp.try_recv_from(buffer));
        if let Some(rtcp) = &rtcp {
            reader.drain(PORTION, &mut buffer, |buffer| rtcp.try_recv_from(buffer));
        }
        let now = Instant::now();
        match next_report {
            None if arrived => next_report = Some(now + FIRST_REPORT),
            Some(due) if due <= now => {
                reader.send_report(rtcp.as_ref().unwrap_or(&rtp), now);
                next_report = Some(now + INTERVAL);
            }
            _ => {}
        }
        reader.ask_for_missing(rtcp.as_ref().unwrap_or(&rtp), now);
    }
    // The runtime may not have noticed yet what the sockets hold: ask the system.
    for socket in [Some(rtp), rtcp].into_iter().flatten() {
        if let Ok(socket) = socket.into_std() {
            reader.drain(LAST_PORTION, &mut buffer, |buffer| socket.recv_from(buffer));
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) {
    match socket {
        // An error shows itself again when the socket is read.
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    }
}

impl Reader {
    /// Takes what a socket holds, at most so many datagrams. True when there was anything.
    fn drain(
        &self,
        most: usize,
        buffer: &mut [u8],
        mut next: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
    ) -> bool {
        let mut any = false;
        for _ in 0..most {
            match next(buffer) {
                Ok((length, from)) => {
                    any = true;
                    self.datagram(buffer.get(..length).unwrap_or_default(), from);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return any,
                // An ICMP error of a report that we sent: the next read has the next datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return any,
            }
        }
        any
    }

    fn datagram(&self, bytes: &[u8], from: SocketAddr) {
        if !self.shared.manner.deaf {
            let arrival = Arrival { now: Instant::now(), time: SystemTime::now(), from, local: self.local };
            self.shared.take_in(&mut lock(&self.shared.gate), bytes, arrival);
        }
    }

    /// When something is to be asked for again.
    fn next_request(&self) -> Option<Instant> {
        if self.may_send() { lock(&self.shared.missing).as_ref()?.next_timeout() } else { None }
    }

    /// Whether reports go from these ports.
    fn may_send(&self) -> bool {
        let Manner { reports, deaf, .. } = &self.shared.manner;
        *reports && !*deaf && self.shared.current.load(Ordering::Relaxed) == self.index
    }

    /// Asks for what has not come, if that is due: at once and not with the next report, since this is unicast to one sender
    /// (RFC 4585 §3.4), and at most every 20 ms.
    fn ask_for_missing(&self, socket: &UdpSocket, now: Instant) {
        if !self.may_send() {
            return;
        }
        let Manner { own_ssrc, cname, .. } = &self.shared.manner;
        let asked = lock(&self.shared.missing).as_mut().map(|missing| missing.ask(now)).unwrap_or_default();
        let Some(peer) = lock(&self.shared.peer).filter(|_| !asked.is_empty()) else { return };
        let packet = rtcp::missing(*own_ssrc, cname, &asked);
        if let Some(packet) = lock(&self.shared.gate).seal(packet) {
            // One that is lost is followed by another.
            let _ = socket.try_send_to(&packet, peer);
        }
    }

    /// A report on every source that sent anything (RFC 3550 §6.4).
    fn send_report(&self, socket: &UdpSocket, now: Instant) {
        if !self.may_send() {
            return;
        }
        let Manner { own_ssrc, cname, .. } = &self.shared.manner;
        let Some(peer) = *lock(&self.shared.peer) else { return };
        let mut account = lock(&self.shared.account);
        let heard = account.sources.iter_mut().filter(|source| source.packets > 0 && !source.left);
        let blocks: Vec<_> = heard.map(|source| source.report_block(now)).collect();
        drop(account);
        let packet = rtcp::receiver_report(*own_ssrc, cname, &blocks);
        if let Some(packet) = lock(&self.shared.gate).seal(packet) {
            // A report that is lost is followed by another.
            let _ = socket.try_send_to(&packet, peer);
        }
    }
}

impl Shared {
    /// Counts and keeps a datagram, if it is any good. The gate stays locked meanwhile, so that what it held goes before
    /// what comes later.
    fn take_in(&self, gate: &mut Gate, bytes: &[u8], arrival: Arrival) {
        let opened = match gate.pass(bytes, arrival) {
            Passed::Plain => None,
            Passed::Opened(opened) => Some(opened),
            Passed::Stopped => return,
        };
        let bytes = opened.as_deref().unwrap_or(bytes);
        let is_rtcp = rtp::is_rtcp(bytes);
        if is_rtcp {
            self.count_rtcp(bytes, arrival);
        } else if let Some(header) = RtpHeader::parse(bytes) {
            self.count_rtp(&header, bytes.len(), arrival);
        } else {
            lock(&self.account).malformed += 1;
            return;
        }
        if let Some(inbox) = &self.inbox {
            let mut inbox = lock(inbox);
            if inbox.bytes + bytes.len() > INBOX {
                lock(&self.account).overrun += 1;
                return;
            }
            inbox.bytes += bytes.len();
            let arrival = clock::nanoseconds(arrival.time);
            inbox.datagrams.push(Datagram { bytes: bytes.to_vec(), arrival, rtcp: is_rtcp });
        }
    }

    /// Gives what was held another chance.
    fn retry(&self, gate: &mut Gate, held: Vec<(Vec<u8>, Arrival)>) {
        for (bytes, arrival) in held {
            self.take_in(gate, &bytes, arrival);
        }
    }

    fn count_rtp(&self, header: &RtpHeader, length: usize, arrival: Arrival) {
        let clock_rate = lock(&self.clocks).get(&header.payload_type).copied().unwrap_or(8000);
        let mut account = lock(&self.account);
        account.first.get_or_insert(arrival.time);
        account.last = Some(arrival.time);
        account.unwanted += u64::from(self.is_unwanted(arrival.now));
        *account.payload_types.entry(header.payload_type).or_default() += 1;
        account.arrived_at(arrival.local);
        match account.source(header.ssrc) {
            Some(source) => source.packet(header, length, clock_rate, arrival.now),
            None => {
                account.malformed += 1;
                return;
            }
        }
        drop(account);
        if let Some(missing) = &mut *lock(&self.missing) {
            missing.note(header.ssrc, header.sequence, arrival.now);
        }
    }

    fn count_rtcp(&self, bytes: &[u8], arrival: Arrival) {
        lock(&self.peer).get_or_insert(arrival.from);
        let mut account = lock(&self.account);
        for report in rtcp::parse(bytes) {
            let (Report::Sender { ssrc, .. } | Report::CanonicalName { ssrc, .. } | Report::Bye { ssrc }) =
                report;
            let Some(source) = account.source(ssrc) else { continue };
            match report {
                Report::Sender { ntp, .. } => source.sender_report(ntp, arrival.now),
                Report::CanonicalName { cname, .. } => source.cname = Some(cname),
                Report::Bye { .. } => {
                    source.left = true;
                    if let Some(missing) = &mut *lock(&self.missing) {
                        missing.forget(ssrc);
                    }
                }
            }
        }
    }

    /// Whether what arrives at `now` was sent although the stream is inactive.
    fn is_unwanted(&self, now: Instant) -> bool {
        lock(&self.inactive).is_some_and(|since| now.saturating_duration_since(since) > UNDER_WAY)
    }
}

impl Account {
    /// The source with this SSRC; `None` when there are too many.
    fn source(&mut self, ssrc: u32) -> Option<&mut Source> {
        let index = self.sources.iter().position(|source| source.ssrc == ssrc);
        match index {
            Some(index) => self.sources.get_mut(index),
            None if self.sources.len() < SOURCES => {
                self.sources.push(Source::new(ssrc));
                self.sources.last_mut()
            }
            None => None,
        }
    }

    fn arrived_at(&mut self, local: SocketAddr) {
        match self.addresses.iter_mut().find(|(address, _)| *address == local) {
            Some((_, packets)) => *packets += 1,
            None => self.addresses.push((local, 1)),
        }
    }
}

/// Locks; nothing under these locks stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(ports: Ports, keep: bool) -> Receiver {
        let manner = Manner {
            own_ssrc: 0xabcd,
            cname: "r".into(),
            keep,
            reports: true,
            deaf: false,
            other_key: false,
        };
        Receiver::start(ports, manner).unwrap()
    }

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn packet(sequence: u16) -> [u8; 14] {
        let [high, low] = sequence.to_be_bytes();
        [0x80, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2]
    }

    async fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[test]
    fn pairs_are_even_and_odd_neighbours() {
        let ports = Ports::bind(HOST, false).unwrap();
        assert_eq!(ports.local.port() % 2, 0);
        assert_eq!(ports.rtcp.unwrap().local_addr().unwrap().port(), ports.local.port() + 1);
    }

    #[tokio::test]
    async fn what_the_sockets_hold_at_the_end_is_taken() {
        let ports = Ports::bind(HOST, false).unwrap();
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        let mut receiver = start(ports, true);
        for sequence in 0..50 {
            client.send_to(&packet(sequence), receiver.local()).unwrap();
        }
        client.send_to(b"junk", receiver.local()).unwrap();
        receiver.stop().await;
        assert_eq!(receiver.take().len(), 50);
        let account = receiver.account();
        assert_eq!((account.sources[0].packets, account.malformed), (50, 1));
    }

    #[tokio::test]
    async fn a_receiver_report_comes_to_where_rtcp_came_from() {
        let ports = Ports::bind(HOST, false).unwrap();
        let client = UdpSocket::bind((HOST, 0)).await.unwrap();
        let receiver = start(ports, false);
        let rtcp_port = SocketAddr::new(HOST, receiver.local().port() + 1);
        client.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 7], rtcp_port).await.unwrap();
        client.send_to(&packet(5), receiver.local()).await.unwrap();
        let mut buffer = [0; 200];
        let received = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer)).await;
        let length = received.unwrap().unwrap();
        let parsed = rtcp_types::Compound::parse(&buffer[..length]).unwrap().next().unwrap().unwrap();
        let rtcp_types::Packet::Rr(report) = parsed else { panic!("{parsed:?}") };
        assert_eq!(report.ssrc(), 0xabcd);
        assert_eq!(report.report_blocks().next().unwrap().extended_sequence_number(), 5);
        assert!(receiver.take().is_empty(), "only counted");
    }

    #[tokio::test]
    async fn rtcp_on_the_rtp_port_is_understood() {
        let receiver = start(Ports::bind(HOST, true).unwrap(), true);
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        client.send_to(&packet(5), receiver.local()).unwrap();
        client.send_to(&[0x81, 203, 0, 1, 0, 0, 0, 7], receiver.local()).unwrap();
        until("BYE is counted", || receiver.account().sources.first().is_some_and(|source| source.left))
            .await;
    }

    #[tokio::test]
    async fn a_receiver_that_moved_takes_what_still_comes_to_the_old_port() {
        let mut receiver = start(Ports::bind(HOST, false).unwrap(), true);
        let old = receiver.local();
        receiver.move_to(Ports::bind(HOST, false).unwrap()).unwrap();
        let new = receiver.local();
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        client.send_to(&packet(5), old).unwrap();
        client.send_to(&packet(6), new).unwrap();
        client.send_to(&packet(7), new).unwrap();
        receiver.stop().await;
        let account = receiver.account();
        let mut addresses = account.addresses.clone();
        addresses.sort_by_key(|(_, packets)| *packets);
        assert_eq!(addresses, [(old, 1), (new, 2)]);
        assert_eq!((account.sources[0].packets, account.sources[0].lost()), (3, 0));
        assert_eq!(receiver.take().len(), 3);
    }

    #[tokio::test]
    async fn what_comes_while_a_stream_is_inactive_is_unwanted() {
        let receiver = start(Ports::bind(HOST, false).unwrap(), true);
        *lock(&receiver.shared.inactive) = Instant::now().checked_sub(UNDER_WAY * 2);
        receiver.set_active(false);
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        client.send_to(&packet(5), receiver.local()).unwrap();
        until("one packet is unwanted", || receiver.account().unwanted == 1).await;
        receiver.set_active(true);
        client.send_to(&packet(6), receiver.local()).unwrap();
        until("two packets came", || receiver.account().payload_types == BTreeMap::from([(0, 2)])).await;
        assert_eq!(receiver.account().unwanted, 1);
    }

    #[tokio::test]
    async fn a_deaf_receiver_counts_nothing() {
        let manner = Manner {
            own_ssrc: 1,
            cname: "r".into(),
            keep: true,
            reports: true,
            deaf: true,
            other_key: false,
        };
        let mut receiver = Receiver::start(Ports::bind(HOST, false).unwrap(), manner).unwrap();
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        client.send_to(&packet(5), receiver.local()).unwrap();
        receiver.stop().await;
        assert_eq!((receiver.take().len(), receiver.account().sources.len()), (0, 0));
    }
}
