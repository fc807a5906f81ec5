//! Traffic that a test saw, as a capture file for tshark. Sockets of the tests see every byte themselves, so no
//! privilege is needed to capture.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};

use crate::sandbox::Sandbox;

/// LINKTYPE_RAW: packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
/// Protocol numbers of IP.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One UDP datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// When it was seen.
    pub at: SystemTime,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who got it.
    pub to: SocketAddr,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What passed at once on a TCP connection, one way.
#[derive(Clone, Debug)]
pub struct Segment {
    /// When it was seen.
    pub at: SystemTime,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who got it.
    pub to: SocketAddr,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Writes segments (IPv4 only), which are in order, as a pcap file.
///
/// # Errors
/// When the file cannot be written, or an address is not IPv4.
pub fn write_tcp_pcap(path: &Path, segments: &[Segment]) -> Result<()> {
    // How much each side of each connection has sent.
    let mut sent: HashMap<(SocketAddr, SocketAddr), u32> = HashMap::new();
    let mut packets = Vec::new();
    for Segment { at, from, to, bytes } in segments {
        let length = u32::try_from(bytes.len())?;
        let acknowledged = 1 + sent.get(&(*to, *from)).copied().unwrap_or_default();
        let sequence = sent.entry((*from, *to)).or_default();
        let mut payload = Vec::new();
        payload.extend(from.port().to_be_bytes());
        payload.extend(to.port().to_be_bytes());
        payload.extend((1 + *sequence).to_be_bytes());
        payload.extend(acknowledged.to_be_bytes());
        // Five words of header, ACK and PSH, a full window, no checksum, nothing urgent.
        payload.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        payload.extend(bytes);
        *sequence += length;
        packets.push((*at, ip_packet(*from, *to, TCP, &payload)?));
    }
    write_packets(path, &packets)
}

/// Writes datagrams (IPv4 only) in the order of their times as a pcap file.
///
/// # Errors
/// When the file cannot be written, or an address is not IPv4.
pub fn write_pcap(path: &Path, datagrams: &[Datagram]) -> Result<()> {
    let mut sorted: Vec<_> = datagrams.iter().collect();
    sorted.sort_by_key(|datagram| datagram.at);
    let mut packets = Vec::new();
    for Datagram { at, from, to, bytes } in sorted {
        let mut payload = Vec::new();
        payload.extend(from.port().to_be_bytes());
        payload.extend(to.port().to_be_bytes());
        payload.extend(u16::try_from(8 + bytes.len())?.to_be_bytes());
        // No checksum (RFC 768): the loopback has none to copy.
        payload.extend([0, 0]);
        payload.extend(bytes);
        packets.push((*at, ip_packet(*from, *to, UDP, &payload)?));
    }
    write_packets(path, &packets)
}

fn write_packets(path: &Path, packets: &[(SystemTime, Vec<u8>)]) -> Result<()> {
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, LINKTYPE_RAW] {
        file.extend(field.to_le_bytes());
    }
    for (at, packet) in packets {
        let at = at.duration_since(UNIX_EPOCH)?;
        let length = u32::try_from(packet.len())?;
        for field in [u32::try_from(at.as_secs())?, at.subsec_micros(), length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(packet);
    }
    Ok(std::fs::File::create(path)?.write_all(&file)?)
}

fn ip_packet(from: SocketAddr, to: SocketAddr, protocol: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        bail!("not IPv4: {from} to {to}");
    };
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len())?.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let checksum = ip_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    Ok(packet)
}

fn ip_checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// What tshark prints for a capture file.
///
/// # Errors
/// When tshark fails.
pub fn tshark(sandbox: &Sandbox, pcap: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = sandbox.command("tshark");
    command.args(["-n", "-r"]).arg(pcap).args(arguments);
    let output = command.output()?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Insists that tshark decodes the whole file without an expert note of level warning or error, malformed packets
/// among them.
///
/// # Errors
/// With tshark's notes.
pub fn ensure_clean(sandbox: &Sandbox, pcap: &Path) -> Result<()> {
    let notes = tshark(
        sandbox,
        pcap,
        &[
            "-Y",
            "_ws.expert.severity >= 0x600000 || _ws.malformed",
            "-T",
            "fields",
            "-e",
            "frame.number",
            "-e",
            "_ws.col.Info",
            "-e",
            "_ws.expert.message",
        ],
    )?;
    ensure!(notes.trim().is_empty(), "tshark complains:\n{notes}");
    Ok(())
}
