//! Which recorder an address means, however it is written.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use siprec_model::RecorderKey;
use siprec_sip::Uri;
use siprec_sip::uri::unescape;

/// Where requests to a recorder go, and what of its address they carry. Two addresses of one place are one recorder, with one
/// health and one capacity.
///
/// URIs compare more strictly (RFC 3261 §19.1.4: what is left out matches nothing that is written). Here a port and a
/// transport that are left out are those that the request goes to, where no DNS decides that (RFC 3263 §4: the host is an
/// address, or the port is given), and the user does not count, since the recording's name stands in its place. Case, escapes and the order of parameters
/// never count. Schemes do, since whoever is asked by `sips:` instead is asked for another thing (RFC 3261 §26.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecorderPlace(String);

impl RecorderPlace {
    /// The place of an address. What is no SIP URI is its own text.
    pub fn of(uri: &Uri) -> Self {
        let Some(host) = uri.host() else { return Self(uri.as_str().to_ascii_lowercase()) };
        let sought = uri.param_unescaped("maddr").unwrap_or(Cow::Borrowed(host));
        let is_found_without_dns = uri.port().is_some() || address(&sought).is_some();
        let named = uri.param_unescaped("transport").map(|name| name.to_ascii_lowercase());
        let transport = match named.as_deref() {
            // In a sips: URI, TCP is what TLS runs over (RFC 3261 §26.2.2).
            None | Some("tcp") if uri.is_sips() => Some("tls"),
            None => is_found_without_dns.then_some("udp"),
            named => named,
        };
        let usual = if transport == Some("tls") { 5061 } else { 5060 };
        let port = uri.port().or_else(|| is_found_without_dns.then_some(usual));
        let host = address(host).map_or_else(|| host.to_ascii_lowercase(), |address| address.to_string());
        let mut params: Vec<String> = uri
            .params()
            .map(|(name, value)| (unescape(name).to_ascii_lowercase(), value.unwrap_or_default()))
            .filter(|(name, _)| name != "transport")
            .map(|(name, value)| format!(";{name}={}", unescape(value).to_ascii_lowercase()))
            .collect();
        params.sort_unstable();
        let scheme = if uri.is_sips() { "sips" } else { "sip" };
        let port = port.map_or_else(String::new, |port| format!(" port {port}"));
        let transport = transport.map_or_else(String::new, |name| format!(" by {name}"));
        Self(format!("{scheme}:{host}{port}{transport}{}", params.concat()))
    }

    /// What the media engine knows it by: the same for all sessions with it, of whatever recording.
    pub(crate) fn key(&self) -> RecorderKey {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        RecorderKey::from_raw(hasher.finish())
    }
}

/// A host that is an address, with or without brackets.
fn address(host: &str) -> Option<IpAddr> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> RecorderPlace {
        RecorderPlace::of(&Uri::parse(text).unwrap())
    }

    #[test]
    fn what_an_address_leaves_out_is_its_default_where_no_dns_decides() {
        for (one, other) in [
            ("sip:192.0.2.7", "sip:192.0.2.7;transport=udp"),
            ("sip:192.0.2.7", "SIP:192.0.2.7:5060;Transport=UDP"),
            ("sip:192.0.2.7;transport=tcp", "sip:192.0.2.7:5060;transport=TCP"),
            ("sip:192.0.2.7;transport=tls", "sip:192.0.2.7:5061;transport=tls"),
            ("sips:192.0.2.7", "sips:192.0.2.7:5061;transport=tls"),
            ("sips:192.0.2.7;transport=tcp", "sips:192.0.2.7"),
            ("sip:[::1]", "sip:[0:0::1]:5060"),
            ("sip:rec.example:5070", "sip:REC.example:5070;transport=udp"),
            ("sip:rec.example;maddr=192.0.2.7", "sip:rec.example:5060;transport=udp;maddr=192.0.2.7"),
        ] {
            assert_eq!(place(one), place(other), "{one} {other}");
        }
    }

    #[test]
    fn neither_user_nor_order_nor_escapes_make_another_recorder() {
        for (one, other) in [
            ("sip:me:secret@192.0.2.7", "sip:192.0.2.7"),
            ("sip:one@rec.example", "sip:two@rec.example"),
            ("sip:rec.example;a=1;b", "sip:rec.example;B;%61=1"),
        ] {
            assert_eq!(place(one), place(other), "{one} {other}");
        }
        assert!(!format!("{:?}", place("sip:me:secret@192.0.2.7")).contains("secret"));
    }

    #[test]
    fn what_may_lead_elsewhere_is_another_recorder() {
        for (one, other) in [
            ("sip:192.0.2.7", "sip:192.0.2.8"),
            ("sip:192.0.2.7", "sip:192.0.2.7:5070"),
            ("sip:192.0.2.7", "sip:192.0.2.7;transport=tcp"),
            ("sip:192.0.2.7;transport=tls", "sips:192.0.2.7"),
            ("sip:192.0.2.7", "sip:192.0.2.7;tenant=2"),
            ("sip:rec.example;maddr=192.0.2.7", "sip:rec.example;maddr=192.0.2.8"),
            // DNS names transport and port of a name that says neither (RFC 3263 §4.1-4.2).
            ("sip:rec.example", "sip:rec.example;transport=udp"),
            ("sip:rec.example", "sip:rec.example:5060"),
        ] {
            assert_ne!(place(one), place(other), "{one} {other}");
        }
    }
}
