//! The agent's properties: what each is, and where its value lives.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use siprec_agent::Password;

use super::enums::SiprecMediaSource;
use super::settings::Settings;
use crate::value::{take, take_time};

/// Every property of `GstSiprecAgent`. All are read when the agent starts.
pub(super) fn all() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let defaults = Settings::default();
        vec![
            text(
                "local-address",
                "Local address",
                "IP address that SIP is bound to; every address when not set",
            ),
            text(
                "media-address",
                "Media address",
                "IP address that RTP and RTCP are sent from; where SIP leaves towards the recorder when not set",
            ),
            text(
                "advertised-address",
                "Advertised address",
                "IP address that SIP names as ours, for a host behind address translation; the local one when not set",
            ),
            glib::ParamSpecUInt::builder("sip-port")
                .nick("SIP port")
                .blurb("Local port of SIP over UDP and TCP, and with tls-certificate the next one over TLS; 0 takes free ones")
                .maximum(u32::from(u16::MAX))
                .default_value(u32::from(defaults.sip_port))
                .build(),
            text(
                "rtp-port-range",
                "RTP ports",
                "Local ports of RTP and RTCP, such as 20000-29999; any free ones when not set",
            ),
            text(
                "tls-certificate",
                "TLS certificate",
                "PEM file of our certificate and those that lead to its authority, for recorders that ask for one; with \
                 it recorders may also connect to us by TLS. Read again when it changes",
            ),
            text(
                "tls-key",
                "TLS key",
                "PEM file of the certificate's private key, not encrypted; the same file when not set. Read again when \
                 it changes",
            ),
            text(
                "tls-ca",
                "TLS authorities",
                "PEM file of the authorities that may have signed a recorder's certificate; those of the system when \
                 not set. Read again when it changes",
            ),
            glib::ParamSpecString::builder("tls-min-version")
                .nick("Oldest TLS")
                .blurb("The oldest version of TLS that is spoken: 1.2 or 1.3")
                .default_value(defaults.tls_min_version.as_str())
                .build(),
            text(
                "dns-server",
                "DNS server",
                "IP address, with or without a port, of the DNS server that is asked for recorders; as the system does \
                 when not set",
            ),
            glib::ParamSpecString::builder("user")
                .nick("User")
                .blurb("User part of From and Contact")
                .default_value(defaults.user.as_str())
                .build(),
            glib::ParamSpecString::builder("user-agent")
                .nick("User agent")
                .blurb("What the header User-Agent says")
                .default_value(defaults.user_agent.as_str())
                .build(),
            glib::ParamSpecInt::builder("qos-dscp-sip")
                .nick("DSCP of SIP")
                .blurb("Differentiated services code point of SIP; -1 leaves the system's")
                .minimum(-1)
                .maximum(63)
                .default_value(-1)
                .build(),
            glib::ParamSpecInt::builder("qos-dscp-media")
                .nick("DSCP of media")
                .blurb("Differentiated services code point of RTP and RTCP; -1 leaves the system's")
                .minimum(-1)
                .maximum(63)
                .default_value(-1)
                .build(),
            glib::ParamSpecEnum::builder_with_default("media-source", SiprecMediaSource::default())
                .nick("Source of media")
                .blurb("By which ports RTP leaves towards recorders")
                .build(),
            glib::ParamSpecUInt64::builder("send-interval")
                .nick("Send interval")
                .blurb(
                    "How often in ns the packets of a stream that have come meanwhile leave together, in steps of 2 ms; \
                     the longer, the less a packet costs",
                )
                .minimum(10_000_000)
                .maximum(1_000_000_000)
                .default_value(defaults.send_interval.nseconds())
                .build(),
            glib::ParamSpecUInt64::builder("dtls-timeout")
                .nick("Time for DTLS")
                .blurb("Longest time in ns that a handshake of DTLS with a recorder may take, from its answer on")
                .minimum(1_000_000_000)
                .maximum(60_000_000_000)
                .default_value(defaults.dtls_timeout.nseconds())
                .build(),
            glib::ParamSpecUInt::builder("max-sessions")
                .nick("Most recordings")
                .blurb("Most recordings at once; 0 for no limit")
                .default_value(defaults.max_sessions)
                .build(),
            text(
                "auth-user",
                "User for authentication",
                "User that recorders and proxies are told when they ask (401, 407)",
            ),
            glib::ParamSpecString::builder("auth-password")
                .nick("Password")
                .blurb("Password of auth-user; can be set, but not read")
                .write_only()
                .build(),
            text(
                "auth-realm",
                "Realm",
                "The only realm that auth-user and auth-password are for; whoever asks when not set",
            ),
            text(
                "outbound-proxy",
                "Outbound proxy",
                "SIP URIs of the proxies that recorders are reached through, the first hop first, separated by white space",
            ),
            text(
                "config",
                "Pools of recorders",
                "TOML file of the pools that elements name by recorder=pool:NAME. Setting it while the agent runs, and \
                 the action reload-config, have it read again: a file with a fault leaves the pools as they are",
            ),
            text(
                "state-dir",
                "State folder",
                "Folder in which open dialogs are written down, so that those of a process that crashes are ended by the \
                 next one with the same folder; nowhere when not set",
            ),
            glib::ParamSpecBoxed::builder::<gst::Structure>("pools")
                .nick("State of the pools")
                .blurb("A structure for each pool: strategy, location-policy, and its recorders, each with its state")
                .read_only()
                .build(),
        ]
    });
    &PROPERTIES
}

fn text(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).build()
}

impl Settings {
    /// Takes the value of a property.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "local-address" => take(&mut self.local_address, value),
            "media-address" => take(&mut self.media_address, value),
            "advertised-address" => take(&mut self.advertised_address, value),
            "sip-port" => {
                self.sip_port = value.get::<u32>().ok().and_then(|port| port.try_into().ok()).unwrap_or(0)
            }
            "rtp-port-range" => take(&mut self.rtp_port_range, value),
            "tls-certificate" => take(&mut self.tls_certificate, value),
            "tls-key" => take(&mut self.tls_key, value),
            "tls-ca" => take(&mut self.tls_ca, value),
            "tls-min-version" => self.tls_min_version = text_or(value, Self::default().tls_min_version),
            "dns-server" => take(&mut self.dns_server, value),
            "user" => self.user = text_or(value, Self::default().user),
            "user-agent" => self.user_agent = text_or(value, Self::default().user_agent),
            "qos-dscp-sip" => self.qos_dscp_sip = code_point(value),
            "qos-dscp-media" => self.qos_dscp_media = code_point(value),
            "media-source" => take(&mut self.media_source, value),
            "send-interval" => take_time(&mut self.send_interval, value),
            "dtls-timeout" => take_time(&mut self.dtls_timeout, value),
            "max-sessions" => take(&mut self.max_sessions, value),
            "auth-user" => take(&mut self.auth_user, value),
            "auth-password" => {
                self.auth_password = value.get::<Option<String>>().ok().flatten().map(Password::new);
            }
            "auth-realm" => take(&mut self.auth_realm, value),
            "config" => take(&mut self.config, value),
            "state-dir" => take(&mut self.state_dir, value),
            "outbound-proxy" => take(&mut self.outbound_proxy, value),
            _ => {}
        }
    }

    /// The value of a property.
    pub(super) fn value(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "local-address" => self.local_address.to_value(),
            "media-address" => self.media_address.to_value(),
            "advertised-address" => self.advertised_address.to_value(),
            "sip-port" => u32::from(self.sip_port).to_value(),
            "rtp-port-range" => self.rtp_port_range.to_value(),
            "tls-certificate" => self.tls_certificate.to_value(),
            "tls-key" => self.tls_key.to_value(),
            "tls-ca" => self.tls_ca.to_value(),
            "tls-min-version" => self.tls_min_version.to_value(),
            "dns-server" => self.dns_server.to_value(),
            "user" => self.user.to_value(),
            "user-agent" => self.user_agent.to_value(),
            "qos-dscp-sip" => self.qos_dscp_sip.map_or(-1, i32::from).to_value(),
            "qos-dscp-media" => self.qos_dscp_media.map_or(-1, i32::from).to_value(),
            "media-source" => self.media_source.to_value(),
            "send-interval" => self.send_interval.nseconds().to_value(),
            "dtls-timeout" => self.dtls_timeout.nseconds().to_value(),
            "max-sessions" => self.max_sessions.to_value(),
            "auth-user" => self.auth_user.to_value(),
            "auth-realm" => self.auth_realm.to_value(),
            "config" => self.config.to_value(),
            "state-dir" => self.state_dir.to_value(),
            "outbound-proxy" => self.outbound_proxy.to_value(),
            _ => return None,
        })
    }
}

/// None leaves the system's.
fn code_point(value: &glib::Value) -> Option<u8> {
    value.get::<i32>().ok().and_then(|dscp| dscp.try_into().ok())
}

fn text_or(value: &glib::Value, default: String) -> String {
    value.get::<Option<String>>().ok().flatten().unwrap_or(default)
}
