//! What caps say of a call stream.

use siprec_model::{Medium, PayloadFormat, StreamFormat};

/// Why a stream with these caps is not recorded. The call's own way does not care.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unrecordable {
    /// The caps are of another kind than RTP.
    #[error("its caps are {0}, not application/x-rtp")]
    NotRtp(String),
    /// Neither audio nor video.
    #[error("its medium is \"{0}\", and recording takes audio and video only")]
    Medium(String),
    /// A field that the m-line needs is missing or out of range.
    #[error("its caps lack a usable field \"{0}\"")]
    Field(&'static str),
}

/// The media type of plain RTP.
pub(crate) const RTP: &str = "application/x-rtp";
/// The media type of encrypted RTP.
pub(crate) const SRTP: &str = "application/x-srtp";

/// Fields of RTP caps that are no format parameters: they stand in other lines of a session description, or
/// nowhere.
const NOT_FMTP: &[&str] = &[
    "media",
    "payload",
    "clock-rate",
    "encoding-name",
    "encoding-params",
    "channels",
    "ptime",
    "maxptime",
    "framerate",
    "framesize",
    "ssrc",
    "clock-base",
    "seqnum-base",
    "seqnum-offset",
    "timestamp-offset",
    "npt-start",
    "npt-stop",
    "play-speed",
    "play-scale",
    "onvif-mode",
];

/// Beginnings of field names that are attributes of the m-line and no format parameters.
const NOT_FMTP_PREFIXES: &[&str] = &["a-", "x-", "ssrc-", "rtcp-fb-", "extmap-", "srtp-", "srtcp-"];

/// Encoding names that are registered in another spelling than GStreamer's capitals.
const REGISTERED_SPELLING: &[&str] = &["opus", "telephone-event", "iLBC", "speex", "vorbis"];

/// Reads the format out of a stream's caps. Static payload types need no more than their number (RFC 3551 §6).
///
/// # Errors
/// Why such a stream is not recorded.
pub(crate) fn from_caps(caps: &gst::CapsRef) -> Result<StreamFormat, Unrecordable> {
    if !is_encrypted(caps) {
        plain_rtp(caps)?;
    }
    let structure = caps.structure(0).ok_or(Unrecordable::Field("media"))?;
    let number = structure.get::<i32>("payload").ok().and_then(|number| u8::try_from(number).ok());
    let medium = match structure.get::<&str>("media").ok() {
        Some(word) => medium(word).ok_or_else(|| Unrecordable::Medium(word.to_owned()))?,
        None if number.is_some_and(|number| static_type(|known| known.number == number).is_some()) => {
            Medium::Audio
        }
        None => return Err(Unrecordable::Field("media")),
    };
    // The table is of audio types.
    let static_type = |wanted: &dyn Fn(&StaticType) -> bool| {
        if medium == Medium::Audio { static_type(wanted) } else { None }
    };
    let numbered = number.and_then(|number| static_type(&|known| known.number == number));
    let encoding = structure
        .get::<&str>("encoding-name")
        .ok()
        .filter(|name| !name.is_empty())
        .map(registered_spelling)
        .or_else(|| numbered.map(|known| known.encoding))
        .ok_or(Unrecordable::Field("encoding-name"))?;
    let rate = structure.get::<i32>("clock-rate").ok();
    let named = static_type(&|known| {
        known.encoding.eq_ignore_ascii_case(encoding)
            && rate.is_none_or(|rate| i64::from(rate) == i64::from(known.clock_rate))
    });
    let payload_type = number
        .or_else(|| named.map(|known| known.number))
        .filter(|number| *number < 128)
        .ok_or(Unrecordable::Field("payload"))?;
    let clock_rate = match rate {
        Some(rate) => u32::try_from(rate).ok(),
        None => numbered.or(named).map(|known| known.clock_rate),
    };
    let clock_rate = clock_rate.filter(|rate| *rate > 0).ok_or(Unrecordable::Field("clock-rate"))?;
    let payload = PayloadFormat {
        payload_type,
        channels: channels(structure, encoding),
        fmtp: format_parameters(structure, encoding),
        encoding: encoding.to_owned(),
        clock_rate,
    };
    Ok(StreamFormat { medium, payloads: vec![payload], ptime_ms: ptime(structure) })
}

/// The medium that caps name, right or wrong; `None` where they name none.
pub(crate) fn stated_medium(caps: &gst::CapsRef) -> Option<Medium> {
    let word = caps.structure(0)?.get::<&str>("media").ok()?;
    Some(if word == Medium::Video.as_str() { Medium::Video } else { Medium::Audio })
}

fn medium(word: &str) -> Option<Medium> {
    [Medium::Audio, Medium::Video].into_iter().find(|medium| word == medium.as_str())
}

/// A negotiated list with the format that the caps speak of first.
pub(crate) fn main_first(mut format: StreamFormat, caps: &StreamFormat) -> StreamFormat {
    let number = caps.payloads.first().map(|main| main.payload_type);
    format.payloads.sort_by_key(|payload| Some(payload.payload_type) != number);
    format
}

/// Whether caps are of SRTP.
pub(crate) fn is_encrypted(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|structure| structure.name() == SRTP)
}

/// Whether caps are plain RTP of any medium, which can be copied without knowing more.
///
/// # Errors
/// What they are instead.
pub(crate) fn plain_rtp(caps: &gst::CapsRef) -> Result<(), Unrecordable> {
    match caps.structure(0).map(|structure| structure.name().as_str()) {
        Some(RTP) => Ok(()),
        other => Err(Unrecordable::NotRtp(other.unwrap_or("empty").to_owned())),
    }
}

/// Medium and clock rate in Hz of RTP caps; audio at 8000 Hz where they do not say.
pub(crate) fn clock(caps: &gst::CapsRef) -> (Medium, u32) {
    let structure = caps.structure(0);
    let is_video = structure.is_some_and(|structure| structure.get::<&str>("media") == Ok("video"));
    let rate = structure.and_then(|structure| structure.get::<i32>("clock-rate").ok());
    let rate = rate.and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate > 0);
    (if is_video { Medium::Video } else { Medium::Audio }, rate.unwrap_or(8000))
}

fn registered_spelling(name: &str) -> &str {
    REGISTERED_SPELLING.iter().find(|known| known.eq_ignore_ascii_case(name)).copied().unwrap_or(name)
}

/// An audio payload type with a fixed number.
#[derive(Clone, Copy)]
struct StaticType {
    number: u8,
    encoding: &'static str,
    clock_rate: u32,
}

fn static_type(wanted: impl Fn(&StaticType) -> bool) -> Option<StaticType> {
    STATIC_TYPES.iter().copied().find(wanted)
}

/// RFC 3551 §6, table 4. The rate of G722 is 8000 by §4.5.2. L16 in stereo (10) is left out: its
/// caps say so themselves.
const STATIC_TYPES: &[StaticType] = &[
    StaticType { number: 0, encoding: "PCMU", clock_rate: 8000 },
    StaticType { number: 3, encoding: "GSM", clock_rate: 8000 },
    StaticType { number: 4, encoding: "G723", clock_rate: 8000 },
    StaticType { number: 5, encoding: "DVI4", clock_rate: 8000 },
    StaticType { number: 6, encoding: "DVI4", clock_rate: 16_000 },
    StaticType { number: 7, encoding: "LPC", clock_rate: 8000 },
    StaticType { number: 8, encoding: "PCMA", clock_rate: 8000 },
    StaticType { number: 9, encoding: "G722", clock_rate: 8000 },
    StaticType { number: 11, encoding: "L16", clock_rate: 44_100 },
    StaticType { number: 12, encoding: "QCELP", clock_rate: 8000 },
    StaticType { number: 13, encoding: "CN", clock_rate: 8000 },
    StaticType { number: 14, encoding: "MPA", clock_rate: 90_000 },
    StaticType { number: 15, encoding: "G728", clock_rate: 8000 },
    StaticType { number: 16, encoding: "DVI4", clock_rate: 11_025 },
    StaticType { number: 17, encoding: "DVI4", clock_rate: 22_050 },
    StaticType { number: 18, encoding: "G729", clock_rate: 8000 },
];

/// The channel count of `a=rtpmap`, written only where it is not 1. Opus always has 2 there (RFC 7587 §7).
fn channels(structure: &gst::StructureRef, encoding: &str) -> Option<u8> {
    if encoding == "opus" {
        return Some(2);
    }
    let given = structure.get::<&str>("encoding-params").ok().and_then(|text| text.parse().ok());
    let counted = || structure.get::<i32>("channels").ok().and_then(|count| u8::try_from(count).ok());
    given.or_else(counted).filter(|count| *count > 1)
}

/// The value of `a=fmtp`: every field of the caps that is a text and has no other meaning, as GStreamer itself
/// writes session descriptions.
fn format_parameters(structure: &gst::StructureRef, encoding: &str) -> Option<String> {
    let parameters: Vec<String> = structure
        .iter()
        .filter(|(name, _)| {
            !NOT_FMTP.contains(&name.as_str())
                && !NOT_FMTP_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
        .filter_map(|(name, value)| Some((name.as_str(), value.get::<&str>().ok()?)))
        .map(|(name, value)| match (encoding, name) {
            // The events of RFC 4733 §2.5.1.1 are a bare list, which caps hold as name or as value.
            ("telephone-event", "events") => value.to_owned(),
            ("telephone-event", list) if is_event_list(list) => list.to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    (!parameters.is_empty()).then(|| parameters.join(";"))
}

fn is_event_list(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_digit() || matches!(character, '-' | ','))
}

/// `a=ptime` in whole milliseconds, above 0.
fn ptime(structure: &gst::StructureRef) -> Option<u32> {
    ["a-ptime", "ptime"]
        .into_iter()
        .find_map(|name| {
            let text = structure.get::<&str>(name).ok().and_then(|text| text.parse().ok());
            text.or_else(|| structure.get::<u32>(name).ok())
        })
        .filter(|milliseconds| *milliseconds > 0)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn format(caps: &str) -> Result<StreamFormat, Unrecordable> {
        gst::init().unwrap();
        from_caps(&gst::Caps::from_str(caps).unwrap())
    }

    fn payload(caps: &str) -> PayloadFormat {
        format(caps).unwrap().payloads.remove(0)
    }

    #[test]
    fn full_caps_name_the_format() {
        let opus = format(
            "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=96,encoding-params=(string)2,\
             a-ptime=(string)20,minptime=(string)10,useinbandfec=(string)1,ssrc=(uint)7",
        )
        .unwrap();
        assert_eq!(opus.ptime_ms, Some(20));
        assert_eq!(
            opus.payloads,
            [PayloadFormat {
                payload_type: 96,
                encoding: "opus".to_owned(),
                clock_rate: 48_000,
                channels: Some(2),
                fmtp: Some("minptime=10;useinbandfec=1".to_owned()),
            }]
        );
    }

    #[test]
    fn a_static_payload_type_needs_its_number_only() {
        let pcma = payload("application/x-rtp,payload=8");
        assert_eq!((pcma.encoding.as_str(), pcma.clock_rate), ("PCMA", 8000));
        let g722 = payload("application/x-rtp,media=audio,payload=9");
        assert_eq!((g722.encoding.as_str(), g722.clock_rate), ("G722", 8000));
    }

    #[test]
    fn encrypted_streams_carry_what_their_caps_say_and_keys_are_no_parameters() {
        let caps =
            "application/x-srtp,media=audio,payload=0,srtp-cipher=aes-128-icm,mki=(buffer)01,roc=(uint)0";
        assert_eq!(payload(caps), payload("application/x-rtp,media=audio,payload=0"));
    }

    #[test]
    fn a_static_encoding_name_needs_no_number() {
        assert_eq!(payload("application/x-rtp,media=audio,encoding-name=PCMU").payload_type, 0);
    }

    #[test]
    fn mono_is_not_written_and_stereo_is() {
        let caps = "application/x-rtp,media=audio,encoding-name=L16,clock-rate=16000,payload=97";
        assert_eq!(payload(&format!("{caps},channels=1")).channels, None);
        assert_eq!(payload(&format!("{caps},channels=2")).channels, Some(2));
    }

    #[test]
    fn telephone_events_are_a_bare_list() {
        let caps = "application/x-rtp,media=audio,encoding-name=TELEPHONE-EVENT,clock-rate=8000,payload=101";
        let event = payload(&format!("{caps},events=(string)\"0-15\""));
        assert_eq!((event.encoding.as_str(), event.fmtp.as_deref()), ("telephone-event", Some("0-15")));
    }

    #[test]
    fn what_cannot_be_recorded_says_why() {
        let of = |caps: &str| format(caps).unwrap_err();
        assert_eq!(of("audio/x-raw,rate=8000"), Unrecordable::NotRtp("audio/x-raw".to_owned()));
        assert_eq!(of("application/x-srtp"), Unrecordable::Field("media"));
        assert_eq!(of("application/x-rtp"), Unrecordable::Field("media"));
        assert_eq!(of("application/x-rtp,media=audio"), Unrecordable::Field("encoding-name"));
        assert_eq!(of("application/x-rtp,media=audio,payload=200"), Unrecordable::Field("encoding-name"));
        let dynamic = "application/x-rtp,media=audio,encoding-name=OPUS";
        assert_eq!(of(dynamic), Unrecordable::Field("payload"));
        assert_eq!(of(&format!("{dynamic},payload=96")), Unrecordable::Field("clock-rate"));
        assert_eq!(of(&format!("{dynamic},payload=96,clock-rate=-1")), Unrecordable::Field("clock-rate"));
        assert_eq!(of("application/x-rtp,media=video,payload=96"), Unrecordable::Field("encoding-name"));
        assert_eq!(of("application/x-rtp,media=text,payload=96"), Unrecordable::Medium("text".to_owned()));
    }

    #[test]
    fn video_says_what_its_decoder_needs() {
        let h264 = format(
            "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=97,\
             packetization-mode=(string)1,profile-level-id=(string)42e01f,a-framerate=(string)30",
        )
        .unwrap();
        assert_eq!(h264.medium, Medium::Video);
        let payload = &h264.payloads[0];
        assert_eq!((payload.payload_type, payload.encoding.as_str()), (97, "H264"));
        assert_eq!(payload.fmtp.as_deref(), Some("packetization-mode=1;profile-level-id=42e01f"));
    }

    #[test]
    fn the_codec_of_the_caps_comes_first() {
        let numbers =
            |format: StreamFormat| format.payloads.iter().map(|p| p.payload_type).collect::<Vec<_>>();
        let caps = format("application/x-rtp,payload=8").unwrap();
        let mut list = format("application/x-rtp,payload=0").unwrap();
        list.payloads.extend(caps.payloads.clone());
        assert_eq!(numbers(main_first(list.clone(), &caps)), [8, 0]);
        let unlisted = format("application/x-rtp,payload=9").unwrap();
        assert_eq!(numbers(main_first(list, &unlisted)), [0, 8]);
    }
}
