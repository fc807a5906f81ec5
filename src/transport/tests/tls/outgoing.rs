//! Connections that we make.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use siprec_model::{TlsProfile, TlsVersion};
use siprec_transport::{SendError, TlsConfig, TlsError, TransportConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::openssl::OpenSsl;
use crate::pki::{Pki, Wanted, text};
use crate::{Side, answer, by_tls, options, with_profile};

fn trusting(ca: PathBuf) -> TlsConfig {
    TlsConfig { ca: Some(ca), ..TlsConfig::default() }
}

#[tokio::test]
async fn a_request_reaches_openssl_by_either_version_and_its_answer_comes_back() {
    let pki = Pki::new();
    let identity = pki.host("rec.example");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut server = OpenSsl::server(&identity, &[version]).await;
        let mut client = Side::new(trusting(pki.ca()));
        client.transport.send(options(&client, "a"), by_tls(server.address, "REC.example.")).unwrap();
        server.line_with("Via: SIP/2.0/TLS 127.0.0.1").await;
        server.send(&answer(&client, "a")).await;
        assert_eq!(client.status().await, 200, "{version}");
    }
}

#[tokio::test]
async fn names_are_judged_as_rfc_5922_says() {
    let pki = Pki::new();
    let wanted = |dns: &'static [&'static str], uris: &'static [&'static str]| Wanted {
        dns,
        uris,
        ..Wanted::default()
    };
    // What the certificate is for, the name that is wanted, and what the refusal says.
    let table: &[(Wanted<'_>, &str, Option<&str>)] = &[
        (wanted(&["other.example", "rec.example"], &[]), "rec.example", None),
        (wanted(&["ReC.example"], &[]), "rec.example", None),
        (wanted(&[], &["sip:rec.example"]), "rec.example", None),
        (wanted(&[], &["sips:rec.example"]), "rec.example", Some("not for rec.example")),
        (wanted(&[], &["sip:someone@rec.example"]), "rec.example", Some("not for rec.example")),
        (wanted(&["*.example"], &[]), "rec.example", Some("no name that counts, not for rec.example")),
        (
            wanted(&["other.example"], &[]),
            "rec.example",
            Some("it is for other.example, not for rec.example"),
        ),
        (wanted(&["example"], &[]), "rec.example", Some("not for rec.example")),
        (
            Wanted { common_name: "rec.example", ..wanted(&[], &[]) },
            "rec.example",
            Some("no name that counts"),
        ),
        (Wanted { addresses: &["127.0.0.1"], ..wanted(&[], &[]) }, "127.0.0.1", None),
        (Wanted { addresses: &["127.0.0.2"], ..wanted(&[], &[]) }, "127.0.0.1", Some("not for 127.0.0.1")),
        (wanted(&[], &["sip:127.0.0.1"]), "127.0.0.1", None),
        (Wanted { sip_only: true, ..wanted(&["rec.example"], &[]) }, "rec.example", None),
        (
            Wanted { years: Some((2001, 2002)), ..wanted(&["rec.example"], &[]) },
            "rec.example",
            Some("has expired"),
        ),
        (
            Wanted { years: Some((2900, 2901)), ..wanted(&["rec.example"], &[]) },
            "rec.example",
            Some("not valid yet"),
        ),
    ];
    for (index, (certificate, name, refusal)) in table.iter().enumerate() {
        let mut server = OpenSsl::server(&pki.issue("server", certificate), &[]).await;
        let mut client = Side::new(trusting(pki.ca()));
        let destination = by_tls(server.address, name);
        match refusal {
            Some(refusal) => {
                let reason = client.refused(destination).await;
                assert!(reason.contains(refusal), "row {index}: {reason}");
            }
            None => {
                client.transport.send(options(&client, "a"), destination).unwrap();
                server.line_with("OPTIONS sips:recorder").await;
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_a_recorder_may_have_its_own() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut server = OpenSsl::server(&pki.host("rec.example"), &[]).await;
    let mut client = Side::new(trusting(other.ca()));
    let reason = client.refused(by_tls(server.address, "rec.example")).await;
    assert!(reason.contains("none of the authorities that we trust has signed it"), "{reason}");
    let profile = TlsProfile { ca: Some(pki.ca()), ..TlsProfile::default() };
    client
        .transport
        .send(options(&client, "a"), with_profile(server.address, "rec.example", &profile))
        .unwrap();
    server.line_with("OPTIONS sips:recorder").await;
    let named = TlsProfile { server_name: Some("rec.example".into()), ..profile };
    let mut second = OpenSsl::server(&pki.issued("rec.example"), &[]).await;
    client.transport.send(options(&client, "c"), with_profile(second.address, "127.0.0.1", &named)).unwrap();
    second.line_with("OPTIONS sips:recorder").await;
    let missing = TlsProfile { ca: Some(pki.path("missing.pem")), ..TlsProfile::default() };
    let reason = client.refused(with_profile(second.address, "rec.example", &missing)).await;
    assert!(reason.contains("missing.pem: No such file"), "{reason}");
}

#[tokio::test]
async fn a_version_that_is_too_low_is_refused() {
    let pki = Pki::new();
    let identity = pki.host("rec.example");
    let old = OpenSsl::server(&identity, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).await;
    let mut client = Side::new(trusting(pki.ca()));
    let reason = client.refused(by_tls(old.address, "rec.example")).await;
    assert!(reason.contains("no version of TLS that we allow"), "{reason}");
    let middle = OpenSsl::server(&identity, &["-tls1_2"]).await;
    let profile = TlsProfile { min_version: Some(TlsVersion::V1_3), ..TlsProfile::default() };
    let reason = client.refused(with_profile(middle.address, "rec.example", &profile)).await;
    assert!(reason.contains("no version of TLS that we allow"), "{reason}");
    let mut strict = Side::new(TlsConfig { min_version: TlsVersion::V1_3, ..trusting(pki.ca()) });
    let reason = strict.refused(by_tls(middle.address, "rec.example")).await;
    assert!(reason.contains("no version of TLS that we allow"), "{reason}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_whoever_demands_it() {
    let pki = Pki::new();
    let (server, ours) = (pki.host("rec.example"), pki.host("client.example"));
    let ca = pki.ca().display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let demand = [version, "-Verify", "2", "-verify_return_error", "-CAfile", ca.as_str()];
        let demanding = OpenSsl::server(&server, &demand).await;
        let mut anonymous = Side::new(trusting(pki.ca()));
        let reason = anonymous.refused(by_tls(demanding.address, "rec.example")).await;
        assert!(reason.contains("asks for a certificate of ours"), "{version}: {reason}");
        let mut demanding = OpenSsl::server(&server, &demand).await;
        let known = Side::new(TlsConfig { identity: Some(ours.clone()), ..trusting(pki.ca()) });
        known.transport.send(options(&known, "a"), by_tls(demanding.address, "rec.example")).unwrap();
        demanding.line_with("OPTIONS sips:recorder").await;
    }
}

#[tokio::test]
async fn a_peer_that_hangs_in_the_handshake_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pki = Pki::new();
    let (client, mut arrivals) = {
        let mut config = TransportConfig { tls: trusting(pki.ca()), ..TransportConfig::default() };
        config.local = Some(crate::LOCALHOST);
        config.limits.handshake_timeout = Duration::from_millis(200);
        siprec_transport::Transport::bind(config).unwrap()
    };
    let side = Side::new(TlsConfig::default());
    let remote = listener.local_addr().unwrap();
    client.send(options(&side, "a"), by_tls(remote, "rec.example")).unwrap();
    let failure = tokio::time::timeout(crate::DEADLINE, arrivals.recv()).await.unwrap().unwrap();
    let siprec_transport::Incoming::Failed(failure) = failure else { panic!("{failure:?}") };
    assert!(matches!(failure.error, SendError::HandshakeTimeout { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_from_one_that_does() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").await.unwrap();
        // Dropped when the test ends.
        std::future::pending::<()>().await;
    });
    let reason = Side::new(trusting(pki.ca())).refused(by_tls(remote, "rec.example")).await;
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn many_messages_at_once_make_one_connection() {
    let pki = Pki::new();
    let listen = Some(([127, 0, 0, 1], 0).into());
    let identity = Some(pki.host("rec.example"));
    let mut server = Side::new(TlsConfig { identity, listen, ..TlsConfig::default() });
    let client = Side::new(trusting(pki.ca()));
    let destination = by_tls(server.transport.local_tls().unwrap(), "rec.example");
    for number in 0..50 {
        client.transport.send(options(&client, &number.to_string()), destination.clone()).unwrap();
    }
    for _ in 0..50 {
        server.request().await;
    }
    assert_eq!(server.transport.counters().accepted, 1);
}

#[tokio::test]
async fn authorities_and_our_certificate_are_read_again_when_they_change() {
    let (pki, later) = (Pki::new(), Pki::new());
    let ours =
        pki.issue("client", &Wanted { dns: &["client.example"], common_name: "first", ..Wanted::default() });
    let mut client = Side::new(TlsConfig { identity: Some(ours), ..trusting(pki.ca()) });
    let ask = ["-verify", "2"];
    let mut before = OpenSsl::server(&pki.host("rec.example"), &ask).await;
    client.transport.send(options(&client, "a"), by_tls(before.address, "rec.example")).unwrap();
    before.line_with("CN = first").await;
    before.line_with("OPTIONS sips:recorder").await;

    fs::write(pki.ca(), text(&later.ca())).unwrap();
    pki.issue("client", &Wanted { dns: &["client.example"], common_name: "second", ..Wanted::default() });
    let mut after = OpenSsl::server(&later.host("rec.example"), &ask).await;
    client.transport.send(options(&client, "b"), by_tls(after.address, "rec.example")).unwrap();
    after.line_with("CN = second").await;
    after.line_with("OPTIONS sips:recorder").await;
    let old = OpenSsl::server(&pki.host("rec.example"), &ask).await;
    let reason = client.refused(by_tls(old.address, "rec.example")).await;
    assert!(reason.contains("none of the authorities"), "{reason}");

    fs::write(pki.ca(), "rubbish").unwrap();
    let mut kept = OpenSsl::server(&later.host("rec.example"), &ask).await;
    client.transport.send(options(&client, "c"), by_tls(kept.address, "rec.example")).unwrap();
    kept.line_with("OPTIONS sips:recorder").await;
}

#[tokio::test]
async fn a_name_that_no_certificate_can_be_for_is_refused() {
    let pki = Pki::new();
    let mut client = Side::new(trusting(pki.ca()));
    let remote = ([127, 0, 0, 1], 9).into();
    client.transport.send(options(&client, "a"), by_tls(remote, "no name")).unwrap();
    // Nothing listens there, which comes first.
    assert!(matches!(client.failure().await, SendError::NotConnected { .. }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    client.transport.send(options(&client, "b"), by_tls(listener.local_addr().unwrap(), "no name")).unwrap();
    let error = client.failure().await;
    assert!(
        matches!(&error, SendError::Tls { error: TlsError::Name(name), .. } if name == "no name"),
        "{error}"
    );
}
