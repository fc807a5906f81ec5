//! What the user has set on an agent.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The properties of an agent, as texts and numbers that the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) local_address: Option<String>,
    pub(super) media_address: Option<String>,
    pub(super) advertised_address: Option<String>,
    pub(super) sip_port: u16,
    pub(super) rtp_port_range: Option<String>,
    pub(super) user: String,
    pub(super) user_agent: String,
    pub(super) qos_dscp_media: Option<u8>,
    pub(super) max_sessions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_address: None,
            media_address: None,
            advertised_address: None,
            sip_port: 0,
            rtp_port_range: None,
            user: "siprec".to_owned(),
            user_agent: concat!("gst-siprec/", env!("CARGO_PKG_VERSION")).to_owned(),
            qos_dscp_media: None,
            max_sessions: 0,
        }
    }
}

/// A property of an agent that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Not an address.
    #[error("agent property \"{property}\": \"{text}\" is no IP address")]
    Address {
        /// The property.
        property: &'static str,
        /// Its value.
        text: String,
    },
    /// Not a range of ports.
    #[error("agent property \"rtp-port-range\": \"{0}\" is no range of ports such as 20000-29999")]
    Range(String),
}

impl Settings {
    /// Where SIP is bound; every address when not set.
    pub(super) fn local_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        address("local-address", self.local_address.as_deref())
    }

    /// Where media is bound, when not where the system's route goes.
    pub(super) fn media_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        address("media-address", self.media_address.as_deref())
    }

    /// What the recorder is told, when not the local address.
    pub(super) fn advertised_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        address("advertised-address", self.advertised_address.as_deref())
    }

    /// The ports of media; any when not set.
    pub(super) fn rtp_ports(&self) -> Result<Option<RangeInclusive<u16>>, SettingsError> {
        let Some(text) = set(self.rtp_port_range.as_deref()) else { return Ok(None) };
        let wrong = || SettingsError::Range(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let range = port(first)?..=port(last)?;
        if range.is_empty() { Err(wrong()) } else { Ok(Some(range)) }
    }
}

fn set(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn address(property: &'static str, text: Option<&str>) -> Result<Option<IpAddr>, SettingsError> {
    let Some(text) = set(text) else { return Ok(None) };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map(Some).map_err(|_| SettingsError::Address { property, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn addresses_may_stand_in_brackets_and_empty_is_not_set() {
        let of = |text: &str| address("local-address", Some(text));
        assert_eq!(of("[::1]"), Ok(Some(Ipv6Addr::LOCALHOST.into())));
        assert_eq!(of(" 127.0.0.1 "), Ok(Some(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(of(""), Ok(None));
        assert!(of("recorder.example").is_err());
    }

    #[test]
    fn port_ranges_are_two_numbers() {
        let of = |text: &str| {
            Settings { rtp_port_range: Some(text.to_owned()), ..Settings::default() }.rtp_ports()
        };
        assert_eq!(of("20000-20999"), Ok(Some(20_000..=20_999)));
        assert_eq!(of(""), Ok(None));
        for wrong in ["20000", "a-b", "1-70000", "-", "9-1"] {
            assert_eq!(of(wrong), Err(SettingsError::Range(wrong.to_owned())));
        }
    }
}
