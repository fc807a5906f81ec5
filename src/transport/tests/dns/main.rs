//! RFC 3263 with a real DNS server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod dnsmasq;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dnsmasq::Dnsmasq;
use siprec_sip::Uri;
use siprec_transport::{Destination, Protocol, ResolveError, Target, Transport, TransportConfig};

const DEADLINE: Duration = Duration::from_secs(20);

const RECORDS: &str = "
host-record=plain.test,127.0.0.9
host-record=a.test,127.0.0.1
host-record=b.test,127.0.0.2,::1
host-record=c.test,127.0.0.3
host-record=tls.test,127.0.0.4
srv-host=_sip._udp.rec.test,b.test,5070,20,0
srv-host=_sip._udp.rec.test,a.test,5080,10,0
srv-host=_sip._tcp.rec.test,c.test,5090,10,0
srv-host=_sips._tcp.rec.test,tls.test,5443,10,0
srv-host=_sip._tcp.stream.test,c.test,5090,10,0
srv-host=_sip._tcp.half.test,missing.test,5090,10,0
srv-host=_sip._tcp.half.test,c.test,5090,20,0
srv-host=_sip._tcp.gone.test,missing.test,5090,10,0
srv-host=_sip._udp.silent.test
srv-host=_sip._udp.notudp.test
srv-host=_sip._tcp.notudp.test,c.test,5090,10,0
host-record=notudp.test,127.0.0.9
host-record=silent.test,127.0.0.9
naptr-record=choosy.test,20,10,s,SIP+D2U,,_sip._udp.rec.test
naptr-record=choosy.test,10,20,s,SIP+D2T,,_sip._tcp.rec.test
naptr-record=choosy.test,10,10,s,SIP+D2S,,_sip._sctp.rec.test
naptr-record=choosy.test,30,10,s,SIPS+D2T,,_sips._tcp.rec.test
";

struct Side {
    transport: Transport,
    _dnsmasq: Dnsmasq,
}

impl Side {
    fn new(local: std::net::IpAddr) -> Self {
        let dnsmasq = Dnsmasq::serving(RECORDS);
        let dns_server = Some(dnsmasq.address);
        let config = TransportConfig { local: Some(local), dns_server, ..TransportConfig::default() };
        let (transport, _) = Transport::bind(config).unwrap();
        Self { transport, _dnsmasq: dnsmasq }
    }

    async fn resolve(&self, uri: &str) -> Result<Vec<Destination>, ResolveError> {
        self.transport.resolve(&Uri::parse(uri).unwrap(), DEADLINE).await
    }

    /// The destinations as text, in order; what a certificate must be for stands behind those by TLS.
    async fn found(&self, uri: &str) -> Vec<String> {
        let shown = |destination: Destination| {
            let Destination { remote, protocol, fixed, tls } = destination;
            let fixed = if fixed { "" } else { "?" };
            let name = tls.map(|peer| format!(" {}", peer.name)).unwrap_or_default();
            format!("{remote}/{protocol}{fixed}{name}")
        };
        self.resolve(uri)
            .await
            .unwrap_or_else(|error| panic!("{uri}: {error}"))
            .into_iter()
            .map(shown)
            .collect()
    }
}

#[tokio::test]
async fn services_lead_to_their_servers_in_order_by_the_transport_that_they_are_for() {
    let side = Side::new(Ipv4Addr::LOCALHOST.into());
    // A URI, and where it leads.
    let table: &[(&str, &[&str])] = &[
        // A port or an address says enough: no service is looked for.
        ("sip:rec@plain.test:5099", &["127.0.0.9:5099/UDP?"]),
        ("sip:plain.test", &["127.0.0.9:5060/UDP?"]),
        ("sip:PLAIN.test.;transport=tcp", &["127.0.0.9:5060/TCP"]),
        ("sips:plain.test", &["127.0.0.9:5061/TLS plain.test"]),
        ("sips:plain.test:5070", &["127.0.0.9:5070/TLS plain.test"]),
        // Services: UDP where the URI does not say, the lower priority first.
        ("sip:rec.test", &["127.0.0.1:5080/UDP?", "127.0.0.2:5070/UDP?"]),
        ("sip:rec.test;transport=udp", &["127.0.0.1:5080/UDP", "127.0.0.2:5070/UDP"]),
        ("sip:rec.test;transport=tcp", &["127.0.0.3:5090/TCP"]),
        ("sip:stream.test", &["127.0.0.3:5090/TCP"]),
        // By TLS the certificate is for what the URI says, not for what DNS makes of it.
        ("sips:rec.test", &["127.0.0.4:5443/TLS rec.test"]),
        ("sip:rec.test;transport=tls", &["127.0.0.4:5443/TLS rec.test"]),
        // One server without an address does not hide the other.
        ("sip:half.test", &["127.0.0.3:5090/TCP"]),
        ("sip:notudp.test", &["127.0.0.3:5090/TCP"]),
        // NAPTR: the best that we speak.
        ("sip:choosy.test", &["127.0.0.3:5090/TCP"]),
        ("sips:choosy.test", &["127.0.0.4:5443/TLS choosy.test"]),
        ("sip:localhost", &["127.0.0.1:5060/UDP?"]),
        // Another host is asked (RFC 3263 §4), and the certificate is for what the URI says all the same.
        ("sip:plain.test;maddr=rec.test", &["127.0.0.1:5080/UDP?", "127.0.0.2:5070/UDP?"]),
        ("sip:nobody.test:5071;maddr=plain.test", &["127.0.0.9:5071/UDP?"]),
        ("sips:nobody.test;maddr=rec.test", &["127.0.0.4:5443/TLS nobody.test"]),
    ];
    for (uri, expected) in table {
        assert_eq!(side.found(uri).await, *expected, "{uri}");
    }
}

#[tokio::test]
async fn what_leads_nowhere_says_why() {
    let side = Side::new(Ipv4Addr::LOCALHOST.into());
    for (uri, reason) in [
        ("sip:nobody.test", "\"nobody.test\" has no usable address: no such name in DNS"),
        ("sip:gone.test", "\"gone.test\" has no usable address: its server missing.test. has no address"),
        ("sip:plain.test;maddr=nobody.test", "\"nobody.test\" has no usable address: no such name in DNS"),
        ("sip:silent.test", "\"silent.test\" has no usable address: its domain offers no SIP by UDP"),
    ] {
        let error = side.resolve(uri).await.unwrap_err().to_string();
        assert!(error.starts_with(reason), "{uri}: {error}");
    }
}

#[tokio::test]
async fn only_addresses_that_the_local_one_reaches_are_tried() {
    let both = Side::new(Ipv6Addr::UNSPECIFIED.into());
    assert_eq!(both.found("sip:b.test:5060").await, ["[::1]:5060/UDP?", "127.0.0.2:5060/UDP?"]);
    let six = Side::new(Ipv6Addr::LOCALHOST.into());
    assert_eq!(six.found("sip:b.test:5060").await, ["[::1]:5060/UDP?"]);
    let error = six.resolve("sip:a.test:5060").await.unwrap_err().to_string();
    assert!(error.contains("no address of a family that the local address reaches"), "{error}");
}

#[tokio::test]
async fn a_secured_target_is_looked_for_by_tls_only() {
    let side = Side::new(Ipv4Addr::LOCALHOST.into());
    let target = |uri| Target::of(&Uri::parse(uri).unwrap()).unwrap().secured();
    let found = side.transport.resolve_target(&target("sip:rec.test").unwrap(), DEADLINE).await.unwrap();
    assert_eq!(found[0].remote, SocketAddr::from(([127, 0, 0, 4], 5443)));
    assert_eq!(target("sip:rec.test;transport=udp"), Err(ResolveError::Insecure(Protocol::Udp)));
}

#[tokio::test]
async fn servers_of_equal_priority_share_by_weight() {
    let records = "host-record=a.test,127.0.0.1\nhost-record=b.test,127.0.0.2\n\
                   srv-host=_sip._udp.rec.test,a.test,5060,1,90\nsrv-host=_sip._udp.rec.test,b.test,5060,1,10";
    let dnsmasq = Dnsmasq::serving(records);
    let config = TransportConfig { dns_server: Some(dnsmasq.address), ..TransportConfig::default() };
    let (transport, _) = Transport::bind(config).unwrap();
    let mut first = 0;
    for _ in 0..300 {
        let found = transport.resolve(&Uri::parse("sip:rec.test").unwrap(), DEADLINE).await.unwrap();
        assert_eq!(found.len(), 2);
        first += u32::from(found[0].remote.ip() == Ipv4Addr::LOCALHOST);
    }
    // 270 are expected; less than 220 or more than 299 happen once in some 10^13 runs.
    assert!((220..300).contains(&first), "{first} of 300");
}

#[tokio::test]
async fn a_dns_server_that_is_silent_costs_no_more_than_the_deadline() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dns_server = Some(silent.local_addr().unwrap());
    let (transport, _) =
        Transport::bind(TransportConfig { dns_server, ..TransportConfig::default() }).unwrap();
    let (started, deadline) = (Instant::now(), Duration::from_secs(1));
    let error = transport.resolve(&Uri::parse("sip:rec.test").unwrap(), deadline).await.unwrap_err();
    assert!(matches!(error, ResolveError::Timeout { .. } | ResolveError::NotFound { .. }), "{error:?}");
    assert!(started.elapsed() < DEADLINE);
}
