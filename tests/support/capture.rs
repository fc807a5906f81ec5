//! Traffic that a test saw, as a capture file for tshark. Sockets of the tests see every byte themselves, so no
//! privilege is needed to capture.

use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};

use crate::sandbox::Sandbox;

/// LINKTYPE_RAW: packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;

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

/// Writes datagrams (IPv4 only) in the order of their times as a pcap file.
///
/// # Errors
/// When the file cannot be written, or an address is not IPv4.
pub fn write_pcap(path: &Path, datagrams: &[Datagram]) -> Result<()> {
    let mut sorted: Vec<_> = datagrams.iter().collect();
    sorted.sort_by_key(|datagram| datagram.at);
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, LINKTYPE_RAW] {
        file.extend(field.to_le_bytes());
    }
    for datagram in sorted {
        let packet = ip_packet(datagram)?;
        let at = datagram.at.duration_since(UNIX_EPOCH)?;
        let length = u32::try_from(packet.len())?;
        for field in [u32::try_from(at.as_secs())?, at.subsec_micros(), length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(packet);
    }
    Ok(std::fs::File::create(path)?.write_all(&file)?)
}

fn ip_packet(datagram: &Datagram) -> Result<Vec<u8>> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (datagram.from, datagram.to) else {
        bail!("not IPv4: {datagram:?}");
    };
    let udp_length = u16::try_from(8 + datagram.bytes.len())?;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_length).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let checksum = ip_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let port = |address: SocketAddrV4| address.port().to_be_bytes();
    packet.extend(port(from));
    packet.extend(port(to));
    packet.extend(udp_length.to_be_bytes());
    // No checksum (RFC 768): the loopback has none to copy.
    packet.extend([0, 0]);
    packet.extend(&datagram.bytes);
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
