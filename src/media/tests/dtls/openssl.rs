//! Handshakes with OpenSSL's `s_server` and `s_client`, while somebody else sends in its name.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use siprec_media::dtls::{Association, AssociationEvent};
use siprec_model::{CertificateHash, DtlsAssociation, DtlsRole, Fingerprint, SrtpKeys, SrtpSuite};

use crate::forged::{foreign, forgeries, records};
use crate::pair::identities;

const PATIENCE: Duration = Duration::from_secs(30);
/// Forged datagrams before each genuine one.
const BETWEEN: usize = 20;

/// A running `openssl`, and what it says.
struct Openssl {
    child: Child,
    lines: Receiver<String>,
}

impl Openssl {
    fn start(arguments: &[&str], folder: &Path) -> (Self, Fingerprint) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.der());
        let (certificate_file, key_file) = (folder.join("certificate"), folder.join("key"));
        std::fs::write(&certificate_file, certificate.der()).unwrap();
        std::fs::write(&key_file, key.serialize_der()).unwrap();
        let mut command = Command::new("openssl");
        command.args(arguments).args(["-dtls1_2", "-certform", "DER", "-keyform", "DER"]);
        command.arg("-cert").arg(&certificate_file).arg("-key").arg(&key_file);
        command.args(["-use_srtp", "SRTP_AES128_CM_SHA1_80", "-keymatexport", "EXTRACTOR-dtls_srtp"]);
        command.args(["-keymatexportlen", "60"]);
        // It ends where its input does.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is there");
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        (Self { child, lines }, Fingerprint::new(CertificateHash::Sha256, digest.as_ref()).unwrap())
    }

    /// What follows `start` in the line that begins with it.
    fn line(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap();
            if let Some(rest) = line.trim().strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the handshake on a socket; each datagram comes between those that somebody makes up who knows both certificates.
fn shake(mut association: Association, socket: &UdpSocket, mut peer: Option<SocketAddr>) -> SrtpKeys {
    let is_client = association.terms().role == DtlsRole::Client;
    let foreign = foreign(true);
    let for_us = foreign.iter().filter(|(by_client, _)| *by_client != is_client);
    let all: Vec<_> = for_us
        .flat_map(|(_, datagram)| records(datagram))
        .filter(|record| !(record[0] == 22 && record[13] == 1))
        .flat_map(forgeries)
        .collect();
    // Of each record and kind some, in turn.
    let mut forged = all.iter().cycle().step_by(7);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        while let Some(datagram) = association.poll_transmit() {
            socket.send_to(&datagram, peer.unwrap()).unwrap();
        }
        match association.poll_event() {
            Some(AssociationEvent::Secured(keys)) => return *keys,
            Some(AssociationEvent::Failed(fault)) => panic!("{fault}"),
            None => {}
        }
        let mut room = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let Ok((length, from)) = socket.recv_from(&mut room) else {
            association.handle_timeout(Instant::now());
            continue;
        };
        peer = Some(from);
        // OpenSSL sends a flight in several datagrams; so many forged ones between two are not too many.
        for forged in forged.by_ref().take(BETWEEN) {
            association.handle_datagram(forged, Instant::now());
        }
        association.handle_datagram(&room[..length], Instant::now());
    }
    panic!("the handshake did not end");
}

fn association(role: DtlsRole, peer: Fingerprint) -> Association {
    let terms = DtlsAssociation {
        role,
        fingerprints: vec![peer],
        suites: SrtpSuite::ALL.to_vec(),
        own_id: String::new(),
        recorder_id: None,
        session: 1,
    };
    Association::new(Arc::clone(&identities()[0]), terms, Instant::now())
}

/// What OpenSSL exports: the client's key, the server's, the client's salt, the server's.
fn exported(client: &[u8], server: &[u8]) -> String {
    let ((client_key, client_salt), (server_key, server_salt)) = (client.split_at(16), server.split_at(16));
    let all = [client_key, server_key, client_salt, server_salt].concat();
    all.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn openssl_as_a_server_ends_with_our_keys_whatever_others_send_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["s_server", "-accept", "127.0.0.1:0", "-Verify", "1"];
    let (server, fingerprint) = Openssl::start(&arguments, folder.path());
    let address = server.line("ACCEPT").parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let keys = shake(association(DtlsRole::Client, fingerprint), &socket, Some(address));
    let told = exported(keys.own.master(), keys.recorder[0].master());
    assert_eq!(server.line("Keying material: "), told);
}

#[test]
fn openssl_as_a_client_ends_with_our_keys_whatever_others_send_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (client, fingerprint) = Openssl::start(&["s_client", "-connect", &address], folder.path());
    let keys = shake(association(DtlsRole::Server, fingerprint), &socket, None);
    let told = exported(keys.recorder[0].master(), keys.own.master());
    assert_eq!(client.line("Keying material: "), told);
}
