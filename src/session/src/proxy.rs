//! Proxies that requests go through before there is a dialog.

use std::str::FromStr;

use siprec_sip::Uri;

use crate::recorder::{RecorderFault, parse_address, without_secrets};

/// The proxies that a recorder is reached through, the first hop first; none, where it is reached directly. They make
/// the Route of the INVITE (RFC 3261 §8.1.1.1), and give way to the Record-Route of its answer.
///
/// Read from SIP URIs separated by white space. Each is addressed as a loose router, whether or not it says `;lr`
/// (RFC 3261 §16.12): strict routers are known by their Record-Route only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundProxy(Vec<Uri>);

impl OutboundProxy {
    /// The first hop.
    pub fn first(&self) -> Option<&Uri> {
        self.0.first()
    }

    /// Every hop, the first one first.
    pub fn hops(&self) -> &[Uri] {
        &self.0
    }
}

/// Why a list of proxies cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outbound proxy {position} (\"{text}\") {fault}")]
pub struct OutboundProxyError {
    /// Which of the list, from 1.
    pub position: usize,
    /// The entry, without user, password and headers.
    pub text: String,
    /// What is wrong with it.
    pub fault: RecorderFault,
}

impl FromStr for OutboundProxy {
    type Err = OutboundProxyError;

    fn from_str(text: &str) -> Result<Self, OutboundProxyError> {
        let hop = |(index, entry): (usize, &str)| {
            parse_address(entry).and_then(loose).map_err(|fault| OutboundProxyError {
                position: index + 1,
                text: without_secrets(entry),
                fault,
            })
        };
        text.split_whitespace().enumerate().map(hop).collect::<Result<_, _>>().map(Self)
    }
}

fn loose(uri: Uri) -> Result<Uri, RecorderFault> {
    if uri.param("lr").is_some() {
        return Ok(uri);
    }
    uri.to_builder().flag("lr").build().map_err(|error| RecorderFault::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hop_is_a_loose_router_and_keeps_all_else() {
        let proxies: OutboundProxy =
            " sip:192.0.2.1;transport=tcp \n sips:[2001:db8::1]:5063;lr;x=1 ".parse().unwrap();
        let hops: Vec<_> = proxies.hops().iter().map(Uri::as_str).collect();
        assert_eq!(hops, ["sip:192.0.2.1;transport=tcp;lr", "sips:[2001:db8::1]:5063;lr;x=1"]);
        assert_eq!("".parse(), Ok(OutboundProxy::default()));
    }

    #[test]
    fn what_is_no_proxy_is_named_without_its_user() {
        for (text, position, shown, fault) in [
            ("proxy.example", 1, "proxy.example", "is no URI"),
            ("sip:a tel:+15550100", 2, "tel:+15550100", "begins with \"tel:\""),
            ("sip:me:secret@a?Route=b", 1, "sip:a?…", "has headers"),
            ("sip:a;method=BYE", 1, "sip:a;method=BYE", "has the parameter \"method\""),
        ] {
            let error = text.parse::<OutboundProxy>().unwrap_err();
            assert_eq!((error.position, error.text.as_str()), (position, shown));
            assert!(error.to_string().contains(fault), "{error}");
        }
    }
}
