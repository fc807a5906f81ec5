//! Local ports for branches.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_model::RtcpMode;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::sys;

/// How long a released port of the range is passed over: late packets of its last recorder's session must not meet
/// the next one.
const REST: Duration = Duration::from_secs(5);
/// Bytes that one socket may have on their way out of the host.
const SEND_BUFFER: usize = 1 << 20;
/// The same for a socket by which many branches send.
const TRUNK_SEND_BUFFER: usize = 8 << 20;
/// How often an ephemeral port is drawn whose neighbour turns out to be taken.
const DRAWS: usize = 64;

/// A filter of the kernel's that lets through what begins with a byte from 20 to 63 behind the header of UDP: DTLS
/// (RFC 7983 §7).
const ONLY_DTLS: [SockFilter; 5] = [
    // Load byte 8; below 20: drop; above 63: drop; all of the rest.
    SockFilter::new(0x30, 0, 0, 8),
    SockFilter::new(0x35, 0, 2, 20),
    SockFilter::new(0x25, 1, 0, 63),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

/// A filter that lets nothing through.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// The sockets of one branch, bound before the offer.
#[derive(Debug)]
pub(crate) struct Ports {
    /// The socket that sends RTP; with rtcp-mux also RTCP both ways.
    pub(crate) rtp: UdpSocket,
    /// The socket of RTCP, unless it shares the one of RTP.
    pub(crate) rtcp: Option<UdpSocket>,
    /// Local address of RTP.
    pub(crate) rtp_address: SocketAddr,
    /// Local address of RTCP.
    pub(crate) rtcp_address: SocketAddr,
}

impl Ports {
    /// The socket that sends and receives RTCP.
    pub(crate) fn rtcp_socket(&self) -> &UdpSocket {
        self.rtcp.as_ref().unwrap_or(&self.rtp)
    }

    /// Whether these are what a bind with these arguments would give.
    pub(crate) fn suit(&self, local: IpAddr, mode: RtcpMode) -> bool {
        self.rtp_address.ip() == local && self.rtcp.is_none() == (mode == RtcpMode::Mux)
    }
}

/// Binds and releases ports, in a configured range or wherever the system has room.
#[derive(Debug)]
pub(crate) struct PortPool {
    range: Option<RangeInclusive<u16>>,
    dscp: Option<u8>,
    /// Where the next search of the range begins.
    next: u16,
    /// Ports of the range that our own branches have: not worth a system call.
    ours: HashSet<(IpAddr, u16)>,
    /// When ports of the range were last released.
    released: HashMap<(IpAddr, u16), Instant>,
}

impl PortPool {
    pub(crate) fn new(range: Option<RangeInclusive<u16>>, dscp: Option<u8>) -> Self {
        let next = range.as_ref().map_or(0, |range| *range.start());
        Self { range, dscp, next, ours: HashSet::new(), released: HashMap::new() }
    }

    /// Binds the ports of one branch on `local`.
    ///
    /// # Errors
    /// [`PortError`] when no port is free or the address is not one of this host.
    pub(crate) fn bind(&mut self, local: IpAddr, mode: RtcpMode, now: Instant) -> Result<Ports, PortError> {
        match self.range.clone() {
            Some(range) => self.bind_in(range, local, mode, now),
            None => self.bind_anywhere(local, mode),
        }
    }

    /// Binds a socket on `local` by which many branches send, and which receives nothing but errors.
    ///
    /// # Errors
    /// [`PortError`], as of ports.
    pub(crate) fn bind_trunk(&mut self, local: IpAddr, now: Instant) -> Result<UdpSocket, PortError> {
        let socket = self.bind(local, RtcpMode::Mux, now)?.rtp;
        let options = socket2::SockRef::from(&socket);
        // The kernel counts errors against the same buffer as what comes, which is not for us.
        let _ = options.attach_filter(&NOTHING);
        let _ = options.set_send_buffer_size(TRUNK_SEND_BUFFER);
        Ok(socket)
    }

    /// Closes the sockets. Ports of a range then rest, unless nothing else is free.
    pub(crate) fn release(&mut self, ports: Ports, now: Instant) {
        if self.range.is_some() {
            for address in [ports.rtp_address, ports.rtcp_address] {
                if self.ours.remove(&(address.ip(), address.port())) {
                    self.released.insert((address.ip(), address.port()), now);
                }
            }
        }
        drop(ports);
    }

    fn bind_in(
        &mut self,
        range: RangeInclusive<u16>,
        local: IpAddr,
        mode: RtcpMode,
        now: Instant,
    ) -> Result<Ports, PortError> {
        // RFC 3550 §11: RTP on an even port, RTCP on the next higher one.
        let is_candidate = |port: u16| match mode {
            RtcpMode::Pair => port.is_multiple_of(2) && port < *range.end(),
            RtcpMode::Mux => true,
        };
        let neighbour = |port: u16| if mode == RtcpMode::Pair { port + 1 } else { port };
        let mut last_error = None;
        for rested in [false, true] {
            for port in
                (self.next..=*range.end()).chain(*range.start()..self.next).filter(|port| is_candidate(*port))
            {
                let both = [port, neighbour(port)].map(|port| (local, port));
                if both.iter().any(|port| self.ours.contains(port))
                    || both.iter().any(|port| self.rests(port, now)) != rested
                {
                    continue;
                }
                match self.bind_at(local, port, mode) {
                    Ok(ports) => {
                        self.ours.extend(both);
                        self.next = match neighbour(port) {
                            last if last >= *range.end() => *range.start(),
                            last => last + 1,
                        };
                        return Ok(ports);
                    }
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => last_error = Some(error),
                    Err(source) => return Err(PortError { local, range: Some(range), source }),
                }
            }
        }
        let source = last_error.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse));
        Err(PortError { local, range: Some(range), source })
    }

    /// Whether a port was released so recently that another is better.
    fn rests(&self, port: &(IpAddr, u16), now: Instant) -> bool {
        self.released.get(port).is_some_and(|since| now.saturating_duration_since(*since) < REST)
    }

    fn bind_anywhere(&self, local: IpAddr, mode: RtcpMode) -> Result<Ports, PortError> {
        let failed = |source| PortError { local, range: None, source };
        if mode == RtcpMode::Mux {
            return self.bind_at(local, 0, mode).map_err(failed);
        }
        let mut last_error = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..DRAWS {
            let drawn = self.socket(local, 0).map_err(failed)?;
            let port = drawn.local_addr().map_err(failed)?.port();
            // The drawn port is kept as the half that it can be; the system is asked for the other.
            let neighbour = port ^ 1;
            match self.socket(local, neighbour) {
                Ok(other) => {
                    let (rtp, rtcp) = if port < neighbour { (drawn, other) } else { (other, drawn) };
                    return into_pair(rtp, rtcp).map_err(failed);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last_error = error,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => last_error = error,
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(last_error))
    }

    fn bind_at(&self, local: IpAddr, port: u16, mode: RtcpMode) -> io::Result<Ports> {
        let rtp = self.socket(local, port)?;
        match mode {
            RtcpMode::Pair => into_pair(rtp, self.socket(local, port + 1)?),
            RtcpMode::Mux => {
                let address = rtp.local_addr()?;
                Ok(Ports { rtp, rtcp: None, rtp_address: address, rtcp_address: address })
            }
        }
    }

    fn socket(&self, local: IpAddr, port: u16) -> io::Result<UdpSocket> {
        let address = SocketAddr::new(local, port);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(dscp) = self.dscp {
            // RFC 2474 §3: the upper six bits of the octet.
            let octet = u32::from(dscp) << 2;
            if local.is_ipv6() { socket.set_tclass_v6(octet)? } else { socket.set_tos_v4(octet)? }
        }
        // A key frame leaves in one slice, faster than the network takes it. The system's own limit caps this.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        // A kernel that cannot tell of refusals can still send.
        let _ = sys::report_errors(&socket, local);
        Ok(socket)
    }
}

fn into_pair(rtp: UdpSocket, rtcp: UdpSocket) -> io::Result<Ports> {
    // What a recorder sends to the RTP port is not for us, unless it is DTLS. It must not fill the socket either: the
    // kernel counts errors against the same buffer. A filter drops it, where there are filters.
    let _ = socket2::SockRef::from(&rtp).attach_filter(&ONLY_DTLS);
    let (rtp_address, rtcp_address) = (rtp.local_addr()?, rtcp.local_addr()?);
    Ok(Ports { rtp, rtcp: Some(rtcp), rtp_address, rtcp_address })
}

/// No ports for a branch.
#[derive(Debug)]
pub(crate) struct PortError {
    local: IpAddr,
    range: Option<RangeInclusive<u16>>,
    source: io::Error,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.range {
            Some(range) => {
                write!(f, "no free media port on {} in {}-{}: ", self.local, range.start(), range.end())?;
            }
            None => write!(f, "no free media port on {}: ", self.local)?,
        }
        self.source.fmt(f)
    }
}

impl std::error::Error for PortError {}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A range of `count` ports that were free a moment ago, its first port even.
    fn free_range(count: u16) -> RangeInclusive<u16> {
        loop {
            let first = UdpSocket::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port() & !1;
            if first > 60_000 {
                continue;
            }
            let held: Vec<_> =
                (first..first + count).filter_map(|port| UdpSocket::bind((LOCAL, port)).ok()).collect();
            if held.len() == usize::from(count) {
                return first..=first + count - 1;
            }
        }
    }

    #[test]
    fn a_pair_is_even_and_odd() {
        let mut pool = PortPool::new(None, None);
        for local in [LOCAL, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            for _ in 0..50 {
                let ports = pool.bind(local, RtcpMode::Pair, Instant::now()).unwrap();
                assert_eq!(ports.rtp_address.port() % 2, 0);
                assert_eq!(ports.rtcp_address.port(), ports.rtp_address.port() + 1);
                assert_eq!(ports.rtp_address.ip(), local);
                assert!(ports.suit(local, RtcpMode::Pair) && !ports.suit(local, RtcpMode::Mux));
            }
        }
    }

    #[test]
    fn mux_takes_one_port() {
        let ports = PortPool::new(None, None).bind(LOCAL, RtcpMode::Mux, Instant::now()).unwrap();
        assert_eq!(ports.rtp_address, ports.rtcp_address);
        assert!(ports.suit(LOCAL, RtcpMode::Mux) && !ports.suit(LOCAL, RtcpMode::Pair));
    }

    #[test]
    fn a_range_is_used_up_to_its_last_pair_and_then_named_in_the_error() {
        let range = free_range(6);
        let mut pool = PortPool::new(Some(range.clone()), None);
        let now = Instant::now();
        let mut held: Vec<Ports> = (0..3).map(|_| pool.bind(LOCAL, RtcpMode::Pair, now).unwrap()).collect();
        let mut ports: Vec<u16> = held.iter().map(|ports| ports.rtp_address.port()).collect();
        ports.sort_unstable();
        let first = *range.start();
        assert_eq!(ports, [first, first + 2, first + 4]);
        let error = pool.bind(LOCAL, RtcpMode::Pair, now).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1 in {}-{}", range.start(), range.end())), "{error}");
        pool.release(held.remove(1), now);
        assert!(pool.bind(LOCAL, RtcpMode::Pair, now).is_ok(), "a resting pair is better than none");
    }

    #[test]
    fn a_pair_that_somebody_else_holds_is_passed_over() {
        let range = free_range(4);
        let _taken = UdpSocket::bind((LOCAL, range.start() + 1)).unwrap();
        let mut pool = PortPool::new(Some(range.clone()), None);
        let ports = pool.bind(LOCAL, RtcpMode::Pair, Instant::now()).unwrap();
        assert_eq!(ports.rtp_address.port(), range.start() + 2);
    }

    #[test]
    fn a_released_pair_rests_while_another_is_free() {
        let range = free_range(6);
        let mut pool = PortPool::new(Some(range), None);
        let now = Instant::now();
        let first = pool.bind(LOCAL, RtcpMode::Pair, now).unwrap();
        let port = first.rtp_address.port();
        pool.release(first, now);
        let mut last = None;
        for _ in 0..2 {
            let next = pool.bind(LOCAL, RtcpMode::Pair, now).unwrap();
            assert_ne!(next.rtp_address.port(), port);
            last = Some(next);
        }
        pool.release(last.unwrap(), now);
        let rested = pool.bind(LOCAL, RtcpMode::Pair, now + REST).unwrap();
        assert_eq!(rested.rtp_address.port(), port, "the search goes round");
    }

    #[test]
    fn an_address_of_another_host_is_an_error_that_names_it() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        for range in [None, Some(20_000..=20_009)] {
            let error = PortPool::new(range, None)
                .bind(foreign, RtcpMode::Pair, Instant::now())
                .unwrap_err()
                .to_string();
            assert!(error.contains("192.0.2.1"), "{error}");
        }
    }

    #[test]
    fn the_code_point_is_set_on_both_families() {
        let mut pool = PortPool::new(None, Some(46));
        let ports = pool.bind(LOCAL, RtcpMode::Pair, Instant::now()).unwrap();
        assert_eq!(socket2::SockRef::from(&ports.rtp).tos_v4().unwrap(), 46 << 2);
        let ports = pool.bind(IpAddr::V6(Ipv6Addr::LOCALHOST), RtcpMode::Pair, Instant::now()).unwrap();
        assert_eq!(socket2::SockRef::from(ports.rtcp_socket()).tclass_v6().unwrap(), 46 << 2);
    }

    #[test]
    fn a_trunk_has_the_code_point_takes_a_port_of_the_range_and_hears_nothing() {
        let range = free_range(4);
        let mut pool = PortPool::new(Some(range.clone()), Some(46));
        let trunk = pool.bind_trunk(LOCAL, Instant::now()).unwrap();
        assert_eq!(socket2::SockRef::from(&trunk).tos_v4().unwrap(), 46 << 2);
        let address = trunk.local_addr().unwrap();
        assert!(range.contains(&address.port()));
        let ports = pool.bind(LOCAL, RtcpMode::Pair, Instant::now()).unwrap();
        assert!(ports.rtp_address != address && ports.rtcp_address != address);
        let sender = UdpSocket::bind((LOCAL, 0)).unwrap();
        sender.send_to(&[22, 1, 2], address).unwrap();
        assert_eq!(trunk.recv(&mut [0; 16]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_comes_to_the_rtp_port_is_dropped_by_the_kernel_unless_it_is_dtls() {
        let ports = PortPool::new(None, None).bind(LOCAL, RtcpMode::Pair, Instant::now()).unwrap();
        let sender = UdpSocket::bind((LOCAL, 0)).unwrap();
        for first in (0..=255_u8).filter(|first| !(20..=63).contains(first)) {
            sender.send_to(&[first, 1, 2], ports.rtp_address).unwrap();
        }
        sender.send_to(&[], ports.rtp_address).unwrap();
        sender.send_to(b"rtcp", ports.rtcp_address).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(ports.rtcp_socket().recv_from(&mut buffer).unwrap().0, 4);
        assert_eq!(ports.rtp.recv_from(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for first in [20, 22, 63] {
            sender.send_to(&[first, 7], ports.rtp_address).unwrap();
            assert_eq!(ports.rtp.recv_from(&mut buffer).unwrap().0, 2);
            assert_eq!(buffer[..2], [first, 7]);
        }
    }
}
