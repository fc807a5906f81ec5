//! The `rtpdump` format of rtptools: received packets as they came, with their arrival times. Wireshark reads it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

const LENGTH: u64 = 8;

/// A file that packets are appended to.
#[derive(Debug)]
pub(crate) struct RtpDump {
    file: File,
    pending: Vec<u8>,
    /// Bytes in the file and pending.
    end: u64,
}

impl RtpDump {
    /// Creates the file; times in it count from `start`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn create(path: &Path, local: SocketAddr, start: SystemTime) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let since_epoch = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The address of the header has room for IPv4 only, and "0.0.0.0" is what tools write when it is unknown.
        let address = match local {
            SocketAddr::V4(local) => *local.ip(),
            SocketAddr::V6(_) => std::net::Ipv4Addr::UNSPECIFIED,
        };
        let mut pending = format!("#!rtpplay1.0 {address}/{}\n", local.port()).into_bytes();
        pending.extend((since_epoch.as_secs() as u32).to_be_bytes());
        pending.extend(since_epoch.subsec_micros().to_be_bytes());
        pending.extend(address.octets());
        pending.extend(local.port().to_be_bytes());
        pending.extend([0, 0]);
        let end = pending.len() as u64;
        Ok(Self { file, pending, end })
    }

    /// Appends a packet that came `elapsed` after the start; returns where its bytes stand in the file. It is in the
    /// file after [`RtpDump::flush`]. A packet over 65527 bytes, which UDP cannot carry, is cut.
    pub(crate) fn append(&mut self, packet: &[u8], rtcp: bool, elapsed: Duration) -> u64 {
        let length = packet.len().min(usize::from(u16::MAX) - LENGTH as usize);
        let packet = packet.get(..length).unwrap_or(packet);
        self.pending.extend((length as u16 + LENGTH as u16).to_be_bytes());
        self.pending.extend(if rtcp { 0u16 } else { length as u16 }.to_be_bytes());
        self.pending.extend((elapsed.as_millis() as u32).to_be_bytes());
        self.pending.extend(packet);
        let at = self.end + LENGTH;
        self.end = at + length as u64;
        at
    }

    /// Writes what was appended.
    ///
    /// # Errors
    /// Those of the file system; the packets appended since the last flush are lost then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.file.write_all(&pending)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// The bytes that [`RtpDump::append`] said stand at `at`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; length];
        std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut packet, at)?;
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_layout_of_rtptools_and_gives_packets_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rtpdump");
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let mut dump = RtpDump::create(&path, "127.0.0.1:5004".parse().unwrap(), start).unwrap();
        let at = dump.append(b"\x80rtp", false, Duration::from_millis(20));
        dump.append(b"\x80rtcp", true, Duration::from_millis(30));
        dump.flush().unwrap();
        assert_eq!(dump.read(at, 4).unwrap(), b"\x80rtp");
        let mut expected = b"#!rtpplay1.0 127.0.0.1/5004\n".to_vec();
        expected.extend([0, 0, 0, 1, 0, 7, 0xa1, 0x20, 127, 0, 0, 1, 0x13, 0x8c, 0, 0]);
        expected.extend([0, 12, 0, 4, 0, 0, 0, 20]);
        expected.extend(b"\x80rtp");
        expected.extend([0, 13, 0, 0, 0, 0, 0, 30]);
        expected.extend(b"\x80rtcp");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}
