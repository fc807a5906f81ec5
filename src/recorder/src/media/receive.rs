//! The sockets of one stream: RTP and RTCP in, receiver reports out.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::reception::Source;
use super::rtcp::{self, Report};
use super::rtp::{self, RtpHeader};
use crate::clock;
use crate::files::track::Datagram;

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
/// Tries to find two neighbouring ports that are free.
const PORT_TRIES: usize = 200;

/// A bound pair of ports, or one port for both.
pub(crate) struct Ports {
    rtp: std::net::UdpSocket,
    rtcp: Option<std::net::UdpSocket>,
    local: SocketAddr,
}

/// A stream that is being received.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    local: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
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
}

struct Shared {
    account: Mutex<Account>,
    /// `None` when packets are only counted.
    inbox: Option<Mutex<Inbox>>,
    /// RTP clocks in Hz by payload type.
    clocks: Mutex<BTreeMap<u8, u32>>,
    /// Where receiver reports go.
    peer: Mutex<Option<SocketAddr>>,
    own_ssrc: u32,
    cname: String,
}

#[derive(Default)]
struct Inbox {
    datagrams: Vec<Datagram>,
    bytes: usize,
}

impl Ports {
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
    /// Begins to receive. With `count_only`, packets are counted and forgotten.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets.
    pub(crate) fn start(ports: Ports, own_ssrc: u32, cname: String, count_only: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            account: Mutex::default(),
            inbox: (!count_only).then(Mutex::default),
            clocks: Mutex::default(),
            peer: Mutex::default(),
            own_ssrc,
            cname,
        });
        let (stop, stopped) = watch::channel(false);
        let rtp = UdpSocket::from_std(ports.rtp)?;
        let rtcp = ports.rtcp.map(UdpSocket::from_std).transpose()?;
        let task = tokio::spawn(receive(Arc::clone(&shared), rtp, rtcp, stopped));
        Ok(Self { shared, local: ports.local, stop, task })
    }

    /// Where RTP is received.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
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
        lock(&self.shared.account).clone()
    }

    /// Takes what the sockets still hold, and closes them. [`Receiver::take`] and [`Receiver::account`] go on.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        // A task that panicked has nothing more to give.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
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

async fn receive(
    shared: Arc<Shared>,
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut buffer = vec![0u8; 1 << 16];
    let mut next_report: Option<Instant> = None;
    loop {
        let due = next_report.unwrap_or_else(|| Instant::now() + INTERVAL);
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
        let arrived = shared.drain(&mut buffer, |buffer| rtp.try_recv_from(buffer));
        if let Some(rtcp) = &rtcp {
            shared.drain(&mut buffer, |buffer| rtcp.try_recv_from(buffer));
        }
        let now = Instant::now();
        match next_report {
            None if arrived => next_report = Some(now + FIRST_REPORT),
            Some(due) if due <= now => {
                shared.send_report(rtcp.as_ref().unwrap_or(&rtp), now);
                next_report = Some(now + INTERVAL);
            }
            _ => {}
        }
    }
    // The runtime may not have noticed yet what the sockets hold: ask the system.
    for socket in [Some(rtp), rtcp].into_iter().flatten() {
        if let Ok(socket) = socket.into_std() {
            shared.drain(&mut buffer, |buffer| socket.recv_from(buffer));
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

impl Shared {
    /// Takes all that a socket holds. True when there was anything.
    fn drain(
        &self,
        buffer: &mut [u8],
        mut next: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
    ) -> bool {
        let mut any = false;
        loop {
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
    }

    fn datagram(&self, bytes: &[u8], from: SocketAddr) {
        let (now, arrival) = (Instant::now(), SystemTime::now());
        let is_rtcp = rtp::is_rtcp(bytes);
        if is_rtcp {
            self.count_rtcp(bytes, from, now);
        } else if let Some(header) = RtpHeader::parse(bytes) {
            let clock_rate = lock(&self.clocks).get(&header.payload_type).copied().unwrap_or(8000);
            let mut account = lock(&self.account);
            account.first.get_or_insert(arrival);
            account.last = Some(arrival);
            match account.source(header.ssrc) {
                Some(source) => source.packet(&header, bytes.len(), clock_rate, now),
                None => account.malformed += 1,
            }
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
            let arrival = clock::nanoseconds(arrival);
            inbox.datagrams.push(Datagram { bytes: bytes.to_vec(), arrival, rtcp: is_rtcp });
        }
    }

    fn count_rtcp(&self, bytes: &[u8], from: SocketAddr, now: Instant) {
        lock(&self.peer).get_or_insert(from);
        let mut account = lock(&self.account);
        for report in rtcp::parse(bytes) {
            let (Report::Sender { ssrc, .. } | Report::CanonicalName { ssrc, .. } | Report::Bye { ssrc }) =
                report;
            let Some(source) = account.source(ssrc) else { continue };
            match report {
                Report::Sender { ntp, .. } => source.sender_report(ntp, now),
                Report::CanonicalName { cname, .. } => source.cname = Some(cname),
                Report::Bye { .. } => source.left = true,
            }
        }
    }

    /// A report on every source that sent anything (RFC 3550 §6.4).
    fn send_report(&self, socket: &UdpSocket, now: Instant) {
        let Some(peer) = *lock(&self.peer) else { return };
        let mut account = lock(&self.account);
        let heard = account.sources.iter_mut().filter(|source| source.packets > 0 && !source.left);
        let blocks: Vec<_> = heard.map(|source| source.report_block(now)).collect();
        let packet = rtcp::receiver_report(self.own_ssrc, &self.cname, &blocks);
        // A report that is lost is followed by another.
        let _ = socket.try_send_to(&packet, peer);
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
}

/// Locks; nothing under these locks stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut receiver = Receiver::start(ports, 1, "r".into(), false).unwrap();
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
        let receiver = Receiver::start(ports, 0xabcd, "r".into(), true).unwrap();
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
        let receiver = Receiver::start(Ports::bind(HOST, true).unwrap(), 1, "r".into(), false).unwrap();
        let client = std::net::UdpSocket::bind((HOST, 0)).unwrap();
        client.send_to(&packet(5), receiver.local()).unwrap();
        client.send_to(&[0x81, 203, 0, 1, 0, 0, 0, 7], receiver.local()).unwrap();
        until("BYE is counted", || receiver.account().sources.first().is_some_and(|source| source.left))
            .await;
    }
}
