//! `session.json`: everything that the recorder knows of a session, except the sound.

use serde::{Deserialize, Serialize};

/// The account of one recording session. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The recording's id; empty when the INVITE had none.
    pub recording_id: String,
    /// The controller's id of the call.
    pub call_uuid: Option<String>,
    /// Call-ID of the SIP dialog.
    pub call_id: String,
    /// The INVITE's Request-URI as it came.
    pub request_uri: String,
    /// `From` of the INVITE.
    pub from: String,
    /// `To` of the INVITE.
    pub to: String,
    /// Address that the INVITE came from.
    pub client: String,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// The parties, in the order of their m-lines.
    pub parties: Vec<PartyReport>,
    /// All parameters of the INVITE's Request-URI, then those of `To` that it has not or has otherwise.
    pub parameters: Vec<ParameterReport>,
    /// The INVITE's headers in their order. Values that are secrets are left out.
    pub headers: Vec<ParameterReport>,
    /// When the INVITE came.
    pub invited: String,
    /// When the session was accepted.
    pub answered: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// From answer to end, in seconds.
    pub duration: f64,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// Why files are missing or incomplete.
    pub error: Option<String>,
    /// What happened to the session, in order.
    pub states: Vec<StateReport>,
    /// One entry for each m-line, in order.
    pub streams: Vec<StreamReport>,
    /// The sound, where any could be decoded.
    pub wav: Option<WavReport>,
}

/// A party of the recorded call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartyReport {
    /// The party's directory number.
    pub dn: String,
    /// Index of the party's stream, where it has one.
    pub stream: Option<usize>,
}

/// A name and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterReport {
    /// Name as it was written.
    pub name: String,
    /// Value with escapes resolved.
    pub value: String,
}

/// A change of a session's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport {
    /// When.
    pub at: String,
    /// `invited`, `recording`, `paused`, `ended`, `cancelled`, `refused`, `failed`.
    pub state: String,
    /// Why, for people.
    pub reason: String,
}

/// One m-line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Index of the m-line, from 0.
    pub index: usize,
    /// `audio`, `video`…
    pub medium: String,
    /// The party that it carries, where known.
    pub dn: Option<String>,
    /// `a=label` of the m-line (RFC 4574).
    pub label: Option<String>,
    /// Channel of the WAV.
    pub channel: Option<Channel>,
    /// Where it was received.
    pub local: Option<String>,
    /// Offered formats, e.g. `0 PCMU/8000`.
    pub formats: Vec<String>,
    /// Formats that packets came in.
    pub received_formats: Vec<String>,
    /// Synchronisation sources, in the order of their first packets.
    pub sources: Vec<SourceReport>,
    /// When the first packet arrived.
    pub first_packet: Option<String>,
    /// When the last packet arrived.
    pub last_packet: Option<String>,
    /// Packets of all sources, duplicates included.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
    /// Packets that are missing by their sequence numbers.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came behind a younger one.
    pub reordered: u64,
    /// Packets that had not come, and have since they were asked for (generic NACK).
    pub repaired: u64,
    /// Datagrams on the stream's ports that were neither RTP nor RTCP.
    pub malformed: u64,
    /// Datagrams that the disk was too slow for.
    pub overrun: u64,
    /// Packets whose payload type was not offered.
    pub unknown_payload_type: u64,
    /// Packets that were sent while the stream was inactive or off: that came more than 200 ms after it had become so.
    #[serde(default)]
    pub unwanted: u64,
    /// When the stream was inactive or off after the session's answer.
    #[serde(default)]
    pub inactive: Vec<InactiveReport>,
    /// Packets by payload type.
    #[serde(default)]
    pub payload_types: Vec<PayloadTypeReport>,
    /// Packets by the address that they came to: more than one when the recorder has moved.
    #[serde(default)]
    pub addresses: Vec<AddressReport>,
    /// How it was secured, where it was.
    #[serde(default)]
    pub srtp: Option<SrtpReport>,
    /// RTCP sender reports.
    pub sender_reports: u64,
    /// What its sound is placed by.
    pub alignment: Option<Alignment>,
    /// Holes in its sound: at most the first 1000.
    pub gaps: Vec<GapReport>,
    /// Where the sound of two of its sources, or of one that began anew, stands in the same place: at most the first 1000.
    #[serde(default)]
    pub overlaps: Vec<OverlapReport>,
    /// Why its sound is not in the WAV.
    pub not_decoded: Option<String>,
    /// File with its packets, relative to the session's folder, where they are kept.
    pub rtp_file: Option<String>,
}

/// A channel of the stereo WAV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The first audio stream, in the order of the m-lines; those that begin later come behind.
    Left,
    /// The second.
    Right,
}

/// What the sound of a stream is placed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// RTCP sender reports.
    SenderReports,
    /// No sender report came: the arrival of its least delayed packet.
    Arrival,
    /// Both, for different sources.
    Mixed,
}

/// A synchronisation source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The SSRC, in hexadecimal.
    pub ssrc: String,
    /// Its canonical name.
    pub cname: Option<String>,
    /// Packets from it.
    pub packets: u64,
    /// Whether it said goodbye.
    pub left: bool,
}

/// A time in which nothing should come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InactiveReport {
    /// When it began.
    pub at: String,
    /// When it began, in seconds after the session's answer.
    pub start: f64,
    /// How long it was, in seconds.
    pub duration: f64,
    /// The m-line had port 0.
    pub off: bool,
}

/// How many packets had a payload type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadTypeReport {
    /// 0-127
    pub payload_type: u8,
    /// Packets with it.
    pub packets: u64,
}

/// How many packets came to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReport {
    /// Address and port of the recorder.
    pub local: String,
    /// Packets that came to it.
    pub packets: u64,
}

/// How a stream was secured (RFC 3711). Keys stand nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpReport {
    /// The suite, as `a=crypto` names it; the last one, where it has changed.
    pub suite: String,
    /// Keys, or sets of keys, that the client has sent under, one after the other.
    pub keys: u64,
    /// RTP packets that were decrypted. More in the stream were plain, while the m-line was.
    pub packets: u64,
    /// Packets of RTP and RTCP that were not genuine: forged, damaged, plain, made with another key, or at a place in
    /// the sequence that cannot be. None is recorded.
    pub not_authentic: u64,
    /// Packets of RTP and RTCP that had come before. None is recorded twice.
    pub replayed: u64,
}

/// A hole in a stream's sound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GapReport {
    /// Where it begins in the WAV, in seconds.
    pub start: f64,
    /// Its length in seconds.
    pub duration: f64,
    /// Packets lost in it; 0 is silence that the sender meant (a pause, discontinuous transmission).
    pub lost: u64,
}

/// Sound of a stream that another source of it speaks over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverlapReport {
    /// Where it begins in the WAV, in seconds.
    pub start: f64,
    /// Its length in seconds.
    pub duration: f64,
    /// The SSRC that is heard there, in hexadecimal: the one that came later.
    pub heard: String,
    /// The SSRC that is not.
    pub covered: String,
}

/// The sound file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WavReport {
    /// Its name, relative to the session's folder.
    pub file: String,
    /// Frames per second.
    pub rate: u32,
    /// 1, or 2: left and right.
    pub channels: u16,
    /// Its length in frames.
    pub frames: u64,
    /// Its length in seconds.
    pub duration: f64,
    /// Samples that found no room, because a WAV ends at 4 GiB.
    pub refused: u64,
    /// What was cut out of the time line, on which gaps are told: empty unless the recorder cuts pauses.
    #[serde(default)]
    pub cut: Vec<CutReport>,
}

/// A pause that is not in the sound file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CutReport {
    /// Where it was on the time line, in seconds.
    pub start: f64,
    /// Its length in seconds.
    pub duration: f64,
}
