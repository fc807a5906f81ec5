//! Sockets of the tests: loopback, ephemeral.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;

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

/// An even port whose successor was free too, as RTP wants it.
///
/// # Errors
/// When none is found in a hundred tries.
pub fn free_rtp_port() -> Result<u16> {
    for _ in 0..100 {
        let port = free_udp_port()?;
        let even = port & !1;
        let pair = [even, even + 1].map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
        if pair.iter().all(Result::is_ok) {
            return Ok(even);
        }
    }
    anyhow::bail!("no free pair of ports")
}

/// Waits until some process of this machine listens on this UDP port of 127.0.0.1.
///
/// # Errors
/// When none does `within`.
pub fn wait_for_udp(port: u16, within: Duration) -> Result<()> {
    wait_until(&format!("something listens on UDP port {port}"), within, || {
        let sockets = std::fs::read_to_string("/proc/net/udp")?;
        Ok(sockets.contains(&format!("0100007F:{port:04X}")).then_some(()))
    })
}

/// 127.0.0.1 with this port.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
