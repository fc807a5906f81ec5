//! The answer to an offer of streams to record (RFC 3264 §6), and offers of the recorder's own (§8).

use std::net::{IpAddr, SocketAddr};

use siprec_model::{Medium, PayloadFormat};
use siprec_sip::SessionDescription;
use siprec_sip::sdp::{Address, Direction, MediaBuilder, MediaView, Origin, SdpBuilder, SdpError};

use crate::security::{self, Keys, Terms};

/// What the recorder does with one m-line of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Takes it.
    Taken(TakenLine),
    /// Refuses it, or the offer switched it off.
    Off(Why),
}

/// Why an m-line is off, where that is worth telling.
pub(crate) type Why = Option<String>;

/// An m-line that is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenLine {
    pub(crate) medium: Medium,
    pub(crate) formats: Vec<PayloadFormat>,
    /// What the client wants, from our view: `recvonly` or `inactive`.
    pub(crate) direction: Direction,
    /// Values of `a=rtcp-fb` that are taken, whatever the profile (RFC 4585 §4.2): `* nack pli`.
    pub(crate) feedback: Vec<String>,
    /// What has not come may be asked for: the client says `a=rtcp-fb:* nack`, whatever the profile (RFC 4585 §4.2).
    pub(crate) nack: bool,
    pub(crate) mux: bool,
    pub(crate) label: Option<String>,
    /// Where the client receives, which by RFC 4568 is where it sends from.
    pub(crate) source: Option<SocketAddr>,
    /// Where reports on it go.
    pub(crate) rtcp: Option<SocketAddr>,
    /// Its keys, where it is secured.
    pub(crate) keys: Option<Box<Keys>>,
}

/// Decides on every m-line of an offer, in order.
pub(crate) fn lines(offer: &SessionDescription, terms: Terms<'_>) -> Vec<Line> {
    let line = |(index, media)| taken(index, &media, terms).map_or_else(Line::Off, Line::Taken);
    offer.medias().enumerate().map(line).collect()
}

fn taken(index: usize, media: &MediaView<'_>, terms: Terms<'_>) -> Result<TakenLine, Why> {
    if media.is_off() {
        return Err(None);
    }
    if media.is_dtls() {
        return Err(Some("keys by DTLS are not taken, only those of a=crypto".to_owned()));
    }
    let is_plain = ["RTP/AVP", "RTP/AVPF"].iter().any(|plain| plain.eq_ignore_ascii_case(media.proto()));
    if !(is_plain || media.is_secured()) {
        return Err(Some("the transport is none of RTP/AVP, RTP/AVPF, RTP/SAVP and RTP/SAVPF".to_owned()));
    }
    let stream = media.stream_format().ok_or(None)?;
    let keys = terms.agree(index, media).map_err(|why| Some(format!("{} {why}", stream.medium)))?;
    let is_video = stream.medium == Medium::Video;
    let feedback = media.values("rtcp-fb").filter(|value| is_video && is_keyframe_request(value));
    Ok(TakenLine {
        medium: stream.medium,
        formats: stream.payloads,
        direction: direction(media),
        feedback: feedback.map(str::to_owned).collect(),
        nack: media.values("rtcp-fb").any(is_generic_nack),
        mux: media.rtcp_mux(),
        label: media.label().map(str::to_owned),
        source: address(media.rtp()),
        rtcp: address(media.rtcp()),
        keys: keys.map(Box::new),
    })
}

/// Our direction for a line of the client: `c=0.0.0.0` is the hold of RFC 2543.
fn direction(media: &MediaView<'_>) -> Direction {
    let held = media.connection().is_some_and(|address| address.is_unspecified());
    if media.direction().sends() && !held { Direction::RecvOnly } else { Direction::Inactive }
}

/// An address that can be reached.
fn address(described: Option<(Address, u16)>) -> Option<SocketAddr> {
    let known = described.and_then(|(address, port)| Some(SocketAddr::new(address.ip()?, port)));
    known.filter(|address| !address.ip().is_unspecified())
}

/// `* nack`, `0 nack`
fn is_generic_nack(value: &str) -> bool {
    value.split_ascii_whitespace().skip(1).eq(["nack"])
}

/// `* nack pli`, `96 ccm fir`
fn is_keyframe_request(value: &str) -> bool {
    let words: Vec<_> = value.split_ascii_whitespace().skip(1).collect();
    words == ["nack", "pli"] || words == ["ccm", "fir"]
}

/// Takes the client's answer to an offer of ours that had `lines`: what it left out or answered by port 0, or by keys
/// that cannot be, is off, and what it does not send is inactive until it says otherwise.
pub(crate) fn heed(lines: &mut [Line], answer: &SessionDescription, offered: &[Line]) {
    for (index, line) in lines.iter_mut().enumerate() {
        let Line::Taken(taken) = line else { continue };
        match answer.media(index) {
            Some(media) if !media.is_off() => {
                if matches!(offered.get(index), Some(Line::Taken(ours)) if ours.direction == Direction::RecvOnly)
                {
                    taken.direction = direction(&media);
                }
                taken.source = address(media.rtp()).or(taken.source);
                taken.rtcp = address(media.rtcp()).or(taken.rtcp);
                taken.nack &= media.values("rtcp-fb").any(is_generic_nack);
                if let Err(why) = security::heed(&mut taken.keys, offered.get(index), &media) {
                    *line = Line::Off(Some(format!("{} {why}", taken.medium)));
                }
            }
            _ => *line = Line::Off(None),
        }
    }
}

/// The same lines, with nothing to be sent on them.
pub(crate) fn silenced(lines: &[Line]) -> Vec<Line> {
    let silence = |line: &Line| match line {
        Line::Taken(line) => Line::Taken(TakenLine { direction: Direction::Inactive, ..line.clone() }),
        Line::Off(why) => Line::Off(why.clone()),
    };
    lines.iter().map(silence).collect()
}

/// Writes our side: taken lines with the local ports of `ports`, the others with port 0. What media and transports the
/// lines have is taken from `other`: the offer that is answered, or, for an offer, the last description.
///
/// # Errors
/// [`SdpError`] when `other` holds a word that must not be repeated.
pub(crate) fn describe(
    other: &SessionDescription,
    lines: &[Line],
    ports: impl Fn(usize) -> Option<u16>,
    origin: Origin,
    address: IpAddr,
) -> Result<SessionDescription, SdpError> {
    let mut answer = SdpBuilder::new(origin, "siprec recorder", address);
    for (index, media) in other.medias().enumerate() {
        let line = match (lines.get(index), ports(index)) {
            (Some(Line::Taken(line)), Some(port)) => {
                let taken = MediaBuilder::new(line.medium, port, media.proto(), &line.formats)
                    .direction(line.direction);
                let taken = if line.mux { taken.rtcp_mux() } else { taken };
                let taken =
                    line.feedback.iter().fold(taken, |taken, value| taken.attribute("rtcp-fb", value));
                let taken = if line.nack { taken.attribute("rtcp-fb", "* nack") } else { taken };
                let taken = match &line.keys {
                    Some(keys) => taken.crypto(&keys.line()),
                    None => taken,
                };
                match &line.label {
                    Some(label) => taken.label(label),
                    None => taken,
                }
            }
            _ => MediaBuilder::refusal(&media),
        };
        answer = answer.media(line);
    }
    answer.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SrtpMode;
    use siprec_model::SrtpSuite;

    fn offer(lines: &str) -> SessionDescription {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=phone-call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}\r\n",
            lines.replace('\n', "\r\n")
        );
        SessionDescription::parse(text.as_bytes()).unwrap()
    }

    fn lines(offer: &SessionDescription) -> Vec<Line> {
        let terms = Terms { mode: SrtpMode::Accept, suites: &SrtpSuite::ALL, before: &[] };
        super::lines(offer, terms)
    }

    fn answered(lines_of_offer: &str) -> Vec<(u16, Direction, Vec<u8>)> {
        let offer = offer(lines_of_offer);
        let lines = lines(&offer);
        let address = "127.0.0.1".parse().unwrap();
        let origin = Origin { session_id: 1, version: 1, address };
        let answer =
            describe(&offer, &lines, |index| Some(4000 + 2 * index as u16), origin, address).unwrap();
        let answer = SessionDescription::parse(&answer.to_bytes()).unwrap();
        answer
            .medias()
            .map(|media| (media.port(), media.direction(), media.payload_types().collect()))
            .collect()
    }

    #[test]
    fn every_stream_is_taken_with_all_its_formats() {
        assert_eq!(
            answered(
                "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\na=sendonly\n\
                 m=audio 5002 RTP/AVP 8\na=sendrecv"
            ),
            [(4000, Direction::RecvOnly, vec![0, 101]), (4002, Direction::RecvOnly, vec![8])]
        );
    }

    #[test]
    fn pauses_in_every_spelling_are_answered_inactive() {
        for hold in ["a=inactive", "a=recvonly", "c=IN IP4 0.0.0.0\na=sendonly"] {
            let answer = answered(&format!("m=audio 5000 RTP/AVP 0\n{hold}"));
            assert_eq!(answer, [(4000, Direction::Inactive, vec![0])], "{hold}");
        }
    }

    #[test]
    fn what_cannot_be_received_has_port_0() {
        assert_eq!(
            answered(
                "m=audio 0 RTP/AVP 0\nm=audio 5000 RTP/SAVP 0\nm=image 5002 udptl t38\nm=audio 5004 RTP/AVP 96\n\
                 m=video 5006 RTP/AVP 97\na=rtpmap:97 H264/90000\na=sendonly"
            )
            .iter()
            .map(|line| line.0)
            .collect::<Vec<_>>(),
            [0, 0, 0, 0, 4008]
        );
    }

    #[test]
    fn reports_go_where_the_offer_says() {
        let line = |text: &str| match lines(&offer(text)).remove(0) {
            Line::Taken(line) => (line.rtcp.map(|address| address.to_string()), line.mux),
            Line::Off(_) => panic!("off"),
        };
        assert_eq!(line("m=audio 5000 RTP/AVP 0"), (Some("127.0.0.1:5001".into()), false));
        assert_eq!(line("m=audio 5000 RTP/AVP 0\na=rtcp:7777"), (Some("127.0.0.1:7777".into()), false));
        assert_eq!(line("m=audio 5000 RTP/AVP 0\na=rtcp-mux"), (Some("127.0.0.1:5000".into()), true));
        assert_eq!(line("m=audio 5000 RTP/AVP 0\nc=IN IP4 0.0.0.0"), (None, false));
    }

    #[test]
    fn feedback_that_asks_for_key_frames_is_taken_where_it_is_offered() {
        let feedback = |text: &str| match lines(&offer(text)).remove(0) {
            Line::Taken(line) => line.feedback,
            Line::Off(_) => panic!("off"),
        };
        let attributes =
            "a=rtcp-fb:* nack pli\na=rtcp-fb:* nack\na=rtcp-fb:31 ccm fir\na=rtcp-fb:* goog-remb";
        for profile in ["RTP/AVPF", "RTP/AVP"] {
            let offered = feedback(&format!("m=video 5000 {profile} 31\n{attributes}"));
            assert_eq!(offered, ["* nack pli", "31 ccm fir"], "{profile}");
        }
        assert_eq!(feedback("m=video 5000 RTP/AVPF 31"), [""; 0]);
    }

    #[test]
    fn that_packets_may_be_asked_for_is_answered_where_it_is_offered() {
        for (attribute, count) in [("* nack", 1), ("0 nack", 1), ("* nack pli", 0), ("* ccm fir", 0)] {
            let offer = offer(&format!("m=audio 5000 RTP/AVP 0\na=rtcp-fb:{attribute}"));
            let lines = lines(&offer);
            let address = "127.0.0.1".parse().unwrap();
            let origin = Origin { session_id: 1, version: 1, address };
            let answer = describe(&offer, &lines, |_| Some(4000), origin, address).unwrap();
            let answer = String::from_utf8(answer.to_bytes()).unwrap();
            assert_eq!(answer.matches("a=rtcp-fb:* nack\r\n").count(), count, "{attribute}");
            assert_eq!(answer.matches("rtcp-fb").count(), count, "{attribute}");
        }
    }

    #[test]
    fn an_answer_to_our_offer_changes_what_it_may() {
        let first =
            offer("m=audio 5000 RTP/AVP 0\na=sendonly\nm=audio 5002 RTP/AVP 0\nm=audio 5004 RTP/AVP 0");
        let offered = lines(&first);
        let told = |text: &str, offered: &[Line]| {
            let mut lines = offered.to_vec();
            for (line, original) in lines.iter_mut().zip(self::lines(&first)) {
                *line = original;
            }
            heed(&mut lines, &offer(text), offered);
            lines
                .iter()
                .map(|line| match line {
                    Line::Taken(line) => line.direction.to_string(),
                    Line::Off(_) => "off".into(),
                })
                .collect::<Vec<_>>()
        };
        let answer = "m=audio 6000 RTP/AVP 0\na=inactive\nm=audio 0 RTP/AVP 0";
        assert_eq!(told(answer, &offered), ["inactive", "off", "off"]);
        let answer = "m=audio 1 RTP/AVP 0\nm=audio 1 RTP/AVP 0\nm=audio 1 RTP/AVP 0\na=inactive";
        assert_eq!(
            told(answer, &silenced(&offered)),
            ["recvonly"; 3],
            "it had to be inactive: no wish of the client"
        );
    }
}
