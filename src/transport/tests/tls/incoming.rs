//! Connections that come to us.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use siprec_model::TlsVersion;
use siprec_sip::Response;
use siprec_transport::{BindError, TlsConfig, TlsIdentity, Transport, TransportConfig};

use crate::openssl::OpenSsl;
use crate::pki::{Pki, Wanted, text};
use crate::{LOCALHOST, Side};

const OPTIONS: &str = "OPTIONS sips:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS client.example;branch=z9hG4bK1\r\n\
                       From: <sip:b@c>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\n\
                       Content-Length: 0\r\n\r\n";

fn serving(identity: TlsIdentity) -> TlsConfig {
    let listen = Some(SocketAddr::new(LOCALHOST, 0));
    TlsConfig { identity: Some(identity), listen, ..TlsConfig::default() }
}

fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn openssl_is_answered_on_the_connection_that_it_made() {
    let pki = Pki::new();
    let ca = path(&pki.ca());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut side = Side::new(serving(pki.host("rec.example")));
        let address = side.transport.local_tls().unwrap();
        let verified = [version, "-CAfile", &ca, "-verify_return_error", "-verify_hostname", "rec.example"];
        let mut client = OpenSsl::client(address, &verified);
        client.line_with("Verify return code: 0 (ok)").await;
        client.send(OPTIONS).await;
        let request = side.request().await;
        side.transport.respond(Response::to_request(&request, 200)).unwrap();
        client.line_with("SIP/2.0 200 OK").await;
        assert_eq!(side.transport.counters().accepted, 1, "{version}");
    }
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_demanded_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let config = TlsConfig { client_ca: Some(pki.ca()), ..serving(pki.host("rec.example")) };
    let mut side = Side::new(config);
    let address = side.transport.local_tls().unwrap();
    let mut anonymous = OpenSsl::client(address, &["-msg"]);
    anonymous.line_with("fatal certificate_required").await;
    let stranger = other.host("client.example");
    let shown = ["-msg", "-cert", &path(&stranger.certificate), "-key", &path(&stranger.key)];
    let mut stranger = OpenSsl::client(address, &shown);
    stranger.line_with("fatal unknown_ca").await;
    let known = pki.host("client.example");
    let mut known =
        OpenSsl::client(address, &["-cert", &path(&known.certificate), "-key", &path(&known.key)]);
    known.send(OPTIONS).await;
    assert_eq!(side.request().await.headers.call_id().unwrap(), "one");
}

#[tokio::test]
async fn a_client_of_too_low_a_version_is_refused() {
    let pki = Pki::new();
    let side = Side::new(serving(pki.host("rec.example")));
    let address = side.transport.local_tls().unwrap();
    let mut client = OpenSsl::client(address, &["-msg", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    client.line_with(", fatal ").await;
    let strict = TlsConfig { min_version: TlsVersion::V1_3, ..serving(pki.issued("rec.example")) };
    let side = Side::new(strict);
    let mut client = OpenSsl::client(side.transport.local_tls().unwrap(), &["-msg", "-tls1_2"]);
    client.line_with("fatal protocol_version").await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let pki = Pki::new();
    let issue = |name: &str| {
        pki.issue("rec", &Wanted { dns: &["rec.example"], common_name: name, ..Wanted::default() })
    };
    let identity = issue("first");
    let side = Side::new(serving(identity.clone()));
    let address = side.transport.local_tls().unwrap();
    let shown = async || OpenSsl::client(address, &[]).line_with("subject=").await;
    assert!(shown().await.contains("first"));
    issue("second");
    assert!(shown().await.contains("second"));
    fs::write(&identity.certificate, "rubbish").unwrap();
    assert!(shown().await.contains("second"));
    issue("third");
    assert!(shown().await.contains("third"));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let pki = Pki::new();
    let (good, other) = (pki.host("rec.example"), pki.host("other.example"));
    let file = |name: &str, content: &str| -> PathBuf {
        fs::write(pki.path(name), content).unwrap();
        pki.path(name)
    };
    let certificate = |certificate: PathBuf| serving(TlsIdentity { certificate, ..good.clone() });
    let key = |key: PathBuf| serving(TlsIdentity { key, ..good.clone() });
    let broken = text(&good.certificate).replacen("\nMI", "\n*I", 1);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let table = [
        (certificate(pki.path("none.pem")), "none.pem: No such file"),
        (certificate(good.key.clone()), "rec.example.key has no certificate in PEM: it has a private key"),
        (certificate(file("empty.pem", "")), "empty.pem has no certificate in PEM"),
        (certificate(file("broken.pem", &broken)), "broken.pem, line 1: this section is no base64"),
        (
            certificate(file("cut.pem", "\n-----BEGIN CERTIFICATE-----\nAA\n")),
            "cut.pem, line 2: this section has no END",
        ),
        (key(good.certificate.clone()), "rec.example.pem has no private key in PEM: it has a certificate"),
        (key(other.key.clone()), "other.example.key is not that of the certificate in"),
        (key(file("encrypted.key", encrypted)), "encrypted.key has no private key in PEM: it is encrypted"),
        (
            TlsConfig { client_ca: Some(file("ca.txt", "x")), ..serving(good.clone()) },
            "ca.txt has no certificate",
        ),
        (TlsConfig { ca: Some(pki.path("gone.pem")), ..TlsConfig::default() }, "gone.pem: No such file"),
        (TlsConfig { identity: None, ..serving(good.clone()) }, "without a certificate and its key"),
    ];
    for (tls, wanted) in table {
        let config = TransportConfig { local: Some(LOCALHOST), tls, ..TransportConfig::default() };
        let error = Transport::bind(config).err().unwrap_or_else(|| panic!("bound in spite of: {wanted}"));
        assert!(error.to_string().contains(wanted), "{error}, not {wanted}");
        assert!(matches!(error, BindError::Tls(_)), "{error:?}");
    }
}

#[tokio::test]
async fn no_key_is_shown_by_debug() {
    let pki = Pki::new();
    let identity = pki.host("rec.example");
    let side = Side::new(serving(identity.clone()));
    let shown = format!("{:?}", side.transport);
    let pem = text(&identity.key);
    let encoded: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = rustls_der(&pem);
    // The last bytes of PKCS #8 here are the public key; the private one stands before it.
    let secret = &der[36..68];
    let listed = format!("{secret:?}");
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for wrong in [&encoded[..40], listed.trim_matches(['[', ']']), hexadecimal.as_str()] {
        assert!(!shown.contains(wrong), "a key in {shown}");
    }
}

fn rustls_der(pem: &str) -> Vec<u8> {
    rcgen::KeyPair::from_pem(pem).unwrap().serialize_der()
}
