//! The program `dnsmasq` as a DNS server of the loopback interface.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// How often another port is tried when somebody takes it in the meantime.
const ATTEMPTS: u32 = 10;

/// A server of the domain `test`, ended when dropped.
pub(crate) struct Dnsmasq {
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Dnsmasq {
    /// Serves records, each a line of dnsmasq's configuration.
    pub(crate) fn serving(records: &str) -> Self {
        (0..ATTEMPTS).find_map(|_| Self::try_serving(records)).expect("dnsmasq does not start")
    }

    fn try_serving(records: &str) -> Option<Self> {
        let address = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dnsmasq.conf");
        let port = address.port();
        let settings = format!(
            "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/test/\n{records}\n"
        );
        fs::write(&file, settings).unwrap();
        let mut child = Command::new("dnsmasq")
            // Where Debian has it, which is not on everybody's path.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["--keep-in-foreground", "--log-facility=-", "--pid-file="])
            .arg(format!("--conf-file={}", file.display()))
            .stderr(Stdio::piped())
            .spawn()
            .expect("dnsmasq is not installed: pipelines/bootstrap.sh test");
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        let mut seen = Vec::new();
        let started = lines.by_ref().any(|line| {
            let started = line.contains("started, version");
            seen.push(line);
            started
        });
        if !started {
            child.wait().unwrap();
            assert!(seen.iter().any(|line| line.contains("in use")), "dnsmasq: {seen:#?}");
            return None;
        }
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { address, child, _folder: folder })
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for UDP and TCP just now.
fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
