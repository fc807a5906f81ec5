//! Sockets of the tests: loopback, ephemeral.

use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::wait_until;

/// A bound UDP socket on 127.0.0.1.
///
/// # Errors
/// When the system has no socket left.
pub fn udp() -> Result<UdpSocket> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// A UDP port of 127.0.0.1 that was free a moment ago, for programs that cannot say which port they took.
///
/// # Errors
/// When the system has no socket left.
pub fn free_udp_port() -> Result<u16> {
    Ok(udp()?.local_addr()?.port())
}

/// A TCP port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// When the system has no socket left.
pub fn free_tcp_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A port of 127.0.0.1 that is free for UDP and TCP, and that nobody is given who asks for any: one program after the other
/// can have it.
///
/// # Errors
/// When none is found in a hundred tries.
pub fn lasting_port() -> Result<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = range.split_whitespace().next().unwrap_or_default().parse()?;
    let chance = RandomState::new();
    for number in 0..100 {
        let port = u16::try_from(chance.hash_one(number) % 8000)? + first.saturating_sub(8500).max(1024);
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// Two bound sockets, on an even port and on its successor, as RTP wants them.
///
/// # Errors
/// When none is found in a hundred tries.
pub fn rtp_pair() -> Result<[UdpSocket; 2]> {
    for _ in 0..100 {
        let rtp = udp()?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && port < u16::MAX
            && let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1))
        {
            return Ok([rtp, rtcp]);
        }
    }
    anyhow::bail!("no free pair of ports")
}

/// An even port that was free a moment ago, like its successor.
///
/// # Errors
/// When none is found in a hundred tries.
pub fn free_rtp_port() -> Result<u16> {
    let [rtp, _] = rtp_pair()?;
    Ok(rtp.local_addr()?.port())
}

/// Ports for a program that takes them although another has them (`SO_REUSEADDR`), and by that takes its datagrams away.
pub struct OwnPorts {
    /// The first, even.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Whoever claims the same ports finds this one taken.
    _claim: UdpSocket,
}

impl OwnPorts {
    const NUMBER: u16 = 128;

    /// Claims some that the system gives to nobody who does not ask for them, where it has such.
    ///
    /// # Errors
    /// When all are claimed.
    pub fn claim() -> Result<Self> {
        let given = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let end: u16 = given.split_whitespace().next().context("no range of ports")?.parse()?;
        // Where everything is given out, chance has to do.
        let end = if end > 1024 + 4 * Self::NUMBER { end } else { u16::MAX };
        let spread = (std::process::id() % 64) as u16;
        (0..64)
            .filter_map(|index| end.checked_sub((1 + (index + spread) % 64) * Self::NUMBER))
            .filter(|first| *first >= 1024)
            .find_map(|first| {
                let first = first / 2 * 2;
                let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
                Some(Self { first: first + 2, last: first + Self::NUMBER - 3, _claim: claim })
            })
            .context("no ports are left")
    }
}

/// Hands every datagram and its sender to `take`, until `finishing` is set and 200 ms have passed in silence.
///
/// # Errors
/// When the socket fails, or what `take` says.
pub fn receive_until(
    socket: &UdpSocket,
    finishing: &AtomicBool,
    mut take: impl FnMut(&[u8], SocketAddr) -> Result<()>,
) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut buffer = vec![0; 65536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => take(&buffer[..length], from)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if finishing.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until some process of this machine listens on this UDP port of 127.0.0.1.
///
/// # Errors
/// When none does `within`.
pub fn wait_for_udp(port: u16, within: Duration) -> Result<()> {
    wait_until(&format!("something listens on UDP port {port}"), within, || {
        let sockets = std::fs::read_to_string("/proc/net/udp")?;
        // The second column is its own address; the third is that of whom it is connected with.
        let local = format!("0100007F:{port:04X}");
        let is_there = sockets.lines().any(|line| line.split_whitespace().nth(1) == Some(&local));
        Ok(is_there.then_some(()))
    })
}

/// Waits until some process of this machine listens on this TCP port of 127.0.0.1.
///
/// # Errors
/// When none does `within`.
pub fn wait_for_tcp(port: u16, within: Duration) -> Result<()> {
    // State 0A: it listens.
    let listens = format!("0100007F:{port:04X} 00000000:0000 0A");
    wait_until(&format!("something listens on TCP port {port}"), within, || {
        Ok(std::fs::read_to_string("/proc/net/tcp")?.contains(&listens).then_some(()))
    })
}

/// 127.0.0.1 with this port.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
