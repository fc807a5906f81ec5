//! A flood of ICMP errors, each of which says that nobody listens where the client sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use siprec_system_tests::network::Network;
use socket2::{Domain, Protocol, Socket, Type};

/// At most so many in a millisecond.
const BURST: usize = 10;

pub(crate) struct Flood {
    socket: Socket,
}

impl Flood {
    pub(crate) fn open() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).context("a raw socket")?;
        Ok(Self { socket })
    }

    /// Sends errors for every flow of media and SIP through this network, as if from its host; gives how many.
    pub(crate) fn run(&self, network: &Network, length: Duration) -> Result<usize> {
        let mut errors = Vec::new();
        for (near, client) in network.flows() {
            errors.extend([unreachable(client, near), unreachable(client + 1, near + 1)]);
        }
        let (near, client) = network.signalling_flow().context("there was no SIP")?;
        errors.push(unreachable(client, near));
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < length {
            for error in errors.iter().cycle().skip(sent % errors.len()).take(BURST) {
                // What does not fit into the queue is one less.
                sent += usize::from(self.socket.send_to(error, &to).is_ok());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(sent)
    }
}

/// "Port unreachable" (RFC 792) about a datagram of 127.0.0.1 from one port to another.
fn unreachable(from: u16, to: u16) -> Vec<u8> {
    let local = Ipv4Addr::LOCALHOST.octets();
    let mut about = vec![0x45, 0, 0, 200, 0, 0, 0x40, 0, 64, 17, 0, 0];
    about.extend(local.iter().chain(&local));
    let checksum = checksum(&about).to_be_bytes();
    about[10..12].copy_from_slice(&checksum);
    about.extend(from.to_be_bytes());
    about.extend(to.to_be_bytes());
    about.extend([0, 180, 0, 0]);
    let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
    error.extend(about);
    let checksum = self::checksum(&error).to_be_bytes();
    error[2..4].copy_from_slice(&checksum);
    error
}

/// The sum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
