//! What a description says of DTLS-SRTP (RFC 5763, RFC 8122, RFC 8842).

use std::fmt;
use std::str::FromStr;

use siprec_model::{Fingerprint, FingerprintFault};

use super::{MediaBuilder, MediaView};

/// The transport of an m-line whose keys come from DTLS (RFC 5764 §9).
pub const TLS_SAVP: &str = "UDP/TLS/RTP/SAVP";

/// Lengths of a `tls-id` (RFC 8842 §4).
const TLS_ID_LENGTHS: std::ops::RangeInclusive<usize> = 20..=255;

/// Who begins the handshake (RFC 4145 §4), from the view of who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// The writer: it is the client.
    Active,
    /// The other side: the writer is the server.
    Passive,
    /// Whichever the answer chooses; in offers only.
    ActPass,
    /// Nobody for the time being.
    HoldConn,
}

impl Setup {
    const ALL: [Self; 4] = [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn];

    /// The word in the attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a word of `a=setup`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a=setup:{0} says nothing that is known")]
pub struct UnknownSetup(String);

impl FromStr for Setup {
    type Err = UnknownSetup;

    fn from_str(text: &str) -> Result<Self, UnknownSetup> {
        Self::ALL
            .into_iter()
            .find(|setup| text.eq_ignore_ascii_case(setup.as_str()))
            .ok_or_else(|| UnknownSetup(text.chars().take(32).collect()))
    }
}

impl<'a> MediaView<'a> {
    /// Whether its keys come from DTLS: `UDP/TLS/RTP/SAVP` or `UDP/TLS/RTP/SAVPF`.
    pub fn is_dtls(&self) -> bool {
        [TLS_SAVP, "UDP/TLS/RTP/SAVPF"].iter().any(|dtls| self.proto().eq_ignore_ascii_case(dtls))
    }

    /// The fingerprints of the writer's certificate, each or why it cannot be used: the m-line's, or the session's where
    /// it has none (RFC 8122 §5).
    pub fn fingerprints(&self) -> impl Iterator<Item = Result<Fingerprint, FingerprintFault>> + use<'a> {
        let name = "fingerprint";
        let most = match self.own_values(name).count() {
            0 => usize::MAX,
            own => own,
        };
        self.values(name).take(most).map(str::parse)
    }

    /// Who begins the handshake, where it is said: by the m-line, or by the session.
    pub fn setup(&self) -> Option<Result<Setup, UnknownSetup>> {
        self.attribute("setup").map(str::parse)
    }

    /// What names the association, where it is well formed: another one asks for a new association (RFC 8842 §4).
    pub fn tls_id(&self) -> Option<&'a str> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        let is_whole = |id: &&str| TLS_ID_LENGTHS.contains(&id.len()) && id.bytes().all(is_part);
        self.own_values("tls-id").next().filter(is_whole)
    }
}

impl MediaBuilder {
    /// Adds what DTLS needs: who begins, by which certificate, and the name of the association.
    #[must_use]
    pub fn dtls(self, setup: Setup, fingerprint: &Fingerprint, tls_id: &str) -> Self {
        self.attribute("setup", setup.as_str())
            .attribute("fingerprint", &fingerprint.to_string())
            .attribute("tls-id", tls_id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use siprec_model::{CertificateHash, Medium};

    use super::*;
    use crate::sdp::{Origin, SdpBuilder, SessionDescription, static_format};

    const ID: &str = "abcdefghij0123456789";

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint::new(CertificateHash::Sha256, &[byte; 32]).unwrap()
    }

    fn parse(session: &str, media: &str) -> SessionDescription {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{session}m=audio 4000 UDP/TLS/RTP/SAVP 0\r\n{media}"
        );
        SessionDescription::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_offered_is_read_as_it_was_written() {
        let address = Ipv4Addr::LOCALHOST.into();
        let media = MediaBuilder::new(Medium::Audio, 4000, TLS_SAVP, &[static_format(0).unwrap()]);
        let media = media.dtls(Setup::ActPass, &fingerprint(7), ID);
        let origin = Origin { session_id: 1, version: 1, address };
        let text = SdpBuilder::new(origin, "-", address).media(media).build().unwrap().to_bytes();
        let again = SessionDescription::parse(&text).unwrap();
        let line = again.media(0).unwrap();
        assert!(line.is_dtls() && !line.is_secured());
        assert_eq!(line.setup(), Some(Ok(Setup::ActPass)));
        assert_eq!(line.fingerprints().collect::<Vec<_>>(), [Ok(fingerprint(7))]);
        assert_eq!(line.tls_id(), Some(ID));
    }

    #[test]
    fn an_m_lines_own_fingerprints_count_and_the_sessions_where_it_has_none() {
        let (of_session, of_media) = (
            format!("a=setup:passive\r\na=fingerprint:{}\r\n", fingerprint(1)),
            format!("a=fingerprint:{}\r\n", fingerprint(2)),
        );
        let read = |media: &str| {
            let sdp = parse(&of_session, media);
            let line = sdp.media(0).unwrap();
            (line.setup(), line.fingerprints().map(Result::unwrap).collect::<Vec<_>>())
        };
        assert_eq!(read(""), (Some(Ok(Setup::Passive)), vec![fingerprint(1)]));
        let both = of_media.clone() + &format!("a=fingerprint:{}\r\na=setup:active\r\n", fingerprint(3));
        assert_eq!(read(&both), (Some(Ok(Setup::Active)), vec![fingerprint(2), fingerprint(3)]));
        let unusable = parse(&of_session, "a=fingerprint:sha-1 AB\r\n");
        assert!(unusable.media(0).unwrap().fingerprints().all(|fingerprint| fingerprint.is_err()));
    }

    #[test]
    fn what_is_no_setup_or_name_is_none() {
        for (word, expected) in [("ACTIVE", true), ("holdconn", true), ("", false), ("both", false)] {
            let sdp = parse("", &format!("a=setup:{word}\r\n"));
            let setup = sdp.media(0).unwrap().setup();
            assert_eq!(setup.as_ref().is_some_and(Result::is_ok), expected, "{word}: {setup:?}");
        }
        assert_eq!(parse("", "").media(0).unwrap().setup(), None);
        for id in ["short", &"x".repeat(256), "abcdefghij0123456789;"] {
            assert_eq!(parse("", &format!("a=tls-id:{id}\r\n")).media(0).unwrap().tls_id(), None, "{id}");
        }
        // It names the association of one m-line.
        assert_eq!(parse(&format!("a=tls-id:{ID}\r\n"), "").media(0).unwrap().tls_id(), None);
    }
}
