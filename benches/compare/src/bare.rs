//! The limit: one thread that waits, receives, and sends what came by one system call.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use siprec_media::srtp::{Protector, Unprotector};

use crate::orders::{Orders, say};
use crate::pipelines::Targets;
use crate::row::Row;
use crate::sys::{self, Inbox, Poller};
use crate::traffic::{self, Mode, Path};

/// Relays until it is told `end`.
///
/// # Errors
/// When the system has no socket left.
pub fn run(row: Row, mode: Mode, streams: usize, targets: &Targets, orders: &Orders) -> Result<()> {
    let poller = Poller::new()?;
    let mut copies = Vec::new();
    let mut sockets = Vec::new();
    for stream in 0..streams {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        poller.add(&socket, stream as u64)?;
        sockets.push(socket);
        copies.push(Copier::new(mode, stream)?);
    }
    let out = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ports: Result<Vec<_>> =
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port().to_string())).collect();
    say(&format!("in {}", ports?.join(" ")))?;
    let (mut readable, mut inbox) = (Vec::new(), Inbox::default());
    let mut packets: Vec<(SocketAddrV4, Vec<u8>)> = Vec::new();
    while orders.waiting().is_none_or(|order| order.name() != "end") {
        poller.wait(&mut readable, Duration::from_millis(50));
        for stream in readable.drain(..).map(|name| name as usize) {
            let (Some(socket), Some(copier)) = (sockets.get(stream), copies.get_mut(stream)) else {
                continue;
            };
            inbox.receive(socket);
            for (packet, _) in inbox.packets() {
                packets.push((target(&targets.call, stream), packet.to_vec()));
                if row.records()
                    && let Some(copy) = copier.copy(stream, packet)
                {
                    packets.push((target(&targets.recording, stream), copy));
                }
            }
        }
        let all: Vec<_> = packets.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
        sys::send_all(&out, &all);
        packets.clear();
    }
    Ok(())
}

fn target(ports: &[u16], stream: usize) -> SocketAddrV4 {
    let port = ports.get(stream).or(ports.first()).copied().unwrap_or(9);
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// What decrypts a stream and encrypts it anew.
struct Copier {
    unprotector: Option<Unprotector>,
    protector: Option<Protector>,
}

impl Copier {
    fn new(mode: Mode, stream: usize) -> Result<Self> {
        let unprotector = if mode.secures_call() {
            let mut unprotector = Unprotector::new();
            unprotector.add_key(&traffic::key(Path::Call, stream)?)?;
            Some(unprotector)
        } else {
            None
        };
        let protector = if mode.secures_recording() {
            Some(Protector::new(&traffic::key(Path::Recording, stream)?)?)
        } else {
            None
        };
        Ok(Self { unprotector, protector })
    }

    fn copy(&mut self, stream: usize, packet: &[u8]) -> Option<Vec<u8>> {
        let mut copy = packet.to_vec();
        if let Some(unprotector) = &mut self.unprotector {
            let length = unprotector.unprotect_rtp(&mut copy).ok()?;
            copy.truncate(length);
        }
        if let Some(protector) = &mut self.protector {
            let (length, sequence) = (copy.len(), traffic::sequence_of(&copy)?);
            protector.protect_rtp(&mut copy, length, traffic::ssrc(stream), sequence.into()).ok()?;
        }
        Some(copy)
    }
}
