//! What a process writes down of its dialogs, so that the next one can end those that it leaves behind: lines of text, each
//! with a checksum, of which only the last can be torn.
//!
//! ```text
//! 5d1c0a3e dialogs 1⇥host=pbx⇥process=4711
//! 77c3a1f0 +1⇥call-id=…⇥from=…⇥to=…⇥cseq=1⇥target=…⇥route=…⇥hop=…⇥transport=UDP⇥remote=192.0.2.7:5060⇥…
//! 0b9e77d2 -1
//! ```
//!
//! A line with a number that was there replaces that one. In values `%` and what is no printable ASCII is escaped as in a
//! URI. There are no keys in it and no passwords, but who was called, and the names of the recordings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use siprec_model::{CallUuid, RecordingId, TlsProfile};
use siprec_sip::{Dialog, HeaderValue, NameAddr, Transport, Uri};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Longest line that is read: more than any dialog has whose messages are of legal size.
const LONGEST_LINE: usize = 512 * 1024;

/// Whose a journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHead {
    /// Name of the host, whose locks tell whether the process lives.
    pub host: String,
    /// Number of the process, for people.
    pub process: u32,
}

/// A dialog as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftDialog {
    /// Its state at the time; later requests of ours may have higher numbers ([`siprec_sip::LEFT_BEHIND_STEP`]).
    pub dialog: Dialog,
    /// How its requests leave.
    pub way: DialogWay,
    /// What was recorded, for people.
    pub recording_id: RecordingId,
    /// Which call, for people.
    pub call_uuid: CallUuid,
}

/// The way to the peer of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogWay {
    /// The recorder, or the proxy before it, as it was looked for.
    pub hop: Uri,
    /// TLS there.
    pub tls: TlsProfile,
    /// Where it was found.
    pub remote: SocketAddr,
    /// What leads there.
    pub transport: Transport,
    /// Whether nothing else may.
    pub fixed: bool,
    /// Whether that is a proxy before the recorder.
    pub proxied: bool,
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// Whose it is.
    pub head: JournalHead,
    /// The dialogs that had not ended, by their numbers.
    pub dialogs: BTreeMap<u64, LeftDialog>,
    /// Lines that are damaged, the last one aside. What they said is lost.
    pub damaged: usize,
    /// These lines as they stand, for people.
    pub damaged_lines: Vec<u8>,
    /// Length in bytes up to the end of the last whole line.
    pub length: usize,
}

/// Why a journal cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Its process came to an end before it wrote its first line: there is nothing in it.
    #[error("nothing was written")]
    Empty,
    /// Something else, or its first line is damaged.
    #[error("it is no list of dialogs")]
    Foreign,
    /// Another version has written it.
    #[error("its format is version {0}, which is not known here")]
    Version(u32),
}

impl JournalHead {
    /// The first line of a journal.
    pub fn to_line(&self) -> Vec<u8> {
        let mut body = format!("dialogs {VERSION}");
        field(&mut body, "host", self.host.as_bytes());
        field(&mut body, "process", self.process.to_string().as_bytes());
        line(&body)
    }

    fn parse(body: &[u8]) -> Result<Self, JournalError> {
        let (title, fields) = split(body, b'\t');
        let version = title.strip_prefix(b"dialogs ").and_then(number).ok_or(JournalError::Foreign)?;
        if version != VERSION {
            return Err(JournalError::Version(version));
        }
        let fields = Fields::parse(fields).ok_or(JournalError::Foreign)?;
        let host = fields.text("host").ok_or(JournalError::Foreign)?;
        let process = fields.get("process").and_then(number).ok_or(JournalError::Foreign)?;
        Ok(Self { host, process })
    }
}

impl LeftDialog {
    /// The line that says that the dialog with this number stands.
    pub fn to_line(&self, number: u64) -> Vec<u8> {
        let Self { dialog, way, recording_id, call_uuid } = self;
        let mut body = format!("+{number}");
        field(&mut body, "recording", recording_id.as_str().as_bytes());
        field(&mut body, "call", call_uuid.as_str().as_bytes());
        field(&mut body, "call-id", dialog.call_id().as_bytes());
        field(&mut body, "from", HeaderValue::from(dialog.local()).as_bytes());
        field(&mut body, "to", HeaderValue::from(dialog.remote()).as_bytes());
        field(&mut body, "cseq", dialog.local_cseq().to_string().as_bytes());
        field(&mut body, "target", dialog.remote_target().as_str().as_bytes());
        for route in dialog.route_set() {
            field(&mut body, "route", HeaderValue::from(route).as_bytes());
        }
        field(&mut body, "hop", way.hop.as_str().as_bytes());
        field(&mut body, "transport", way.transport.as_str().as_bytes());
        field(&mut body, "remote", way.remote.to_string().as_bytes());
        for (name, _) in [("fixed", way.fixed), ("proxied", way.proxied)].iter().filter(|(_, is)| *is) {
            field(&mut body, name, b"yes");
        }
        if let Some(name) = &way.tls.server_name {
            field(&mut body, "tls-name", name.as_bytes());
        }
        // Paths come from texts.
        if let Some(ca) = way.tls.ca.as_ref().and_then(|ca| ca.to_str()) {
            field(&mut body, "tls-ca", ca.as_bytes());
        }
        if let Some(version) = way.tls.min_version {
            field(&mut body, "tls-min-version", version.as_str().as_bytes());
        }
        line(&body)
    }

    fn parse(fields: &[u8]) -> Option<Self> {
        let fields = Fields::parse(fields)?;
        let address = |name: &str| NameAddr::parse(fields.get(name)?).ok();
        let uri = |name: &str| Uri::parse(&fields.text(name)?).ok();
        let routes = fields.all("route").map(|route| NameAddr::parse(route).ok()).collect::<Option<_>>()?;
        let dialog = Dialog::left_behind(
            HeaderValue::from(fields.get("call-id").filter(|id| !id.is_empty())?.to_vec()),
            address("from")?,
            address("to")?,
            fields.get("cseq").and_then(number)?,
            uri("target").filter(Uri::is_sip)?,
            routes,
        );
        let transport = fields.text("transport")?;
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|known| known.as_str() == transport)?;
        let min_version = match fields.text("tls-min-version") {
            Some(version) => Some(version.parse().ok()?),
            None => None,
        };
        let tls = TlsProfile {
            server_name: fields.text("tls-name"),
            ca: fields.text("tls-ca").map(PathBuf::from),
            min_version,
        };
        Some(Self {
            dialog,
            way: DialogWay {
                hop: uri("hop").filter(Uri::is_sip)?,
                tls,
                remote: fields.text("remote")?.parse().ok()?,
                transport,
                fixed: fields.get("fixed").is_some(),
                proxied: fields.get("proxied").is_some(),
            },
            recording_id: RecordingId::new(fields.text("recording")?),
            call_uuid: CallUuid::new(fields.text("call")?),
        })
    }
}

impl Journal {
    /// The line that says that the dialog with this number is over.
    pub fn over_line(number: u64) -> Vec<u8> {
        line(&format!("-{number}"))
    }

    /// Reads a journal. A last line without an end is left out: its process came to an end while it wrote.
    ///
    /// # Errors
    /// Where the first line does not say whose it is.
    pub fn read(bytes: &[u8]) -> Result<Self, JournalError> {
        let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (first, mut rest) = split(bytes.get(..length).unwrap_or_default(), b'\n');
        let head = match body(first) {
            Some(first) => JournalHead::parse(first)?,
            None if length == 0 && is_torn_head(bytes) => return Err(JournalError::Empty),
            None => return Err(JournalError::Foreign),
        };
        let mut journal =
            Self { head, dialogs: BTreeMap::new(), damaged: 0, damaged_lines: Vec::new(), length };
        while !rest.is_empty() {
            let (line, after) = split(rest, b'\n');
            rest = after;
            if body(line).and_then(|body| journal.take(body)).is_none() {
                journal.damaged += 1;
                journal.damaged_lines.extend_from_slice(line);
                journal.damaged_lines.push(b'\n');
            }
        }
        Ok(journal)
    }

    fn take(&mut self, body: &[u8]) -> Option<()> {
        let (title, fields) = split(body, b'\t');
        let (sign, digits) = title.split_first()?;
        let number = number(digits)?;
        match sign {
            b'+' => drop(self.dialogs.insert(number, LeftDialog::parse(fields)?)),
            b'-' if fields.is_empty() => drop(self.dialogs.remove(&number)),
            _ => return None,
        }
        Some(())
    }
}

/// The fields of a line, unescaped.
struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn parse(mut rest: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (field, after) = split(rest, b'\t');
            let (name, value) = field.split_at_checked(field.iter().position(|byte| *byte == b'=')?)?;
            fields.push((String::from_utf8(name.to_vec()).ok()?, unescape(value.get(1..)?)?));
            rest = after;
        }
        Some(Self(fields))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |field| field.0 == name).map(|field| field.1.as_slice())
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    fn text(&self, name: &str) -> Option<String> {
        String::from_utf8(self.get(name)?.to_vec()).ok()
    }
}

fn field(body: &mut String, name: &str, value: &[u8]) {
    let _ = write!(body, "\t{name}=");
    for byte in value {
        let _ = match byte {
            b'%' => write!(body, "%25"),
            b' '..=b'~' => body.write_char(char::from(*byte)),
            _ => write!(body, "%{byte:02X}"),
        };
    }
}

fn unescape(value: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                plain.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b' '..=b'~' => plain.push(*byte),
            _ => return None,
        }
    }
    Some(plain)
}

/// A whole line with its checksum.
fn line(body: &str) -> Vec<u8> {
    format!("{:08x} {body}\n", checksum(body.as_bytes())).into_bytes()
}

/// What stands in a line that is undamaged.
fn body(line: &[u8]) -> Option<&[u8]> {
    let (sum, body) = line.split_at_checked(9).filter(|_| line.len() <= LONGEST_LINE)?;
    (sum == format!("{:08x} ", checksum(body)).as_bytes()).then_some(body)
}

/// Whether these bytes can be the beginning of a first line: a checksum, then what every version has.
fn is_torn_head(bytes: &[u8]) -> bool {
    let (sum, body) = bytes.split_at_checked(9).unwrap_or((bytes, &[]));
    let digits = sum.get(..8).unwrap_or(sum);
    digits.iter().all(u8::is_ascii_hexdigit)
        && sum.get(8).is_none_or(|byte| *byte == b' ')
        && body.iter().zip(b"dialogs ").all(|(own, known)| own == known)
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(index) => (bytes.get(..index).unwrap_or_default(), bytes.get(index + 1..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// CRC-32 as Ethernet and `crc32` of everything else have it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ ((sum & 1) * 0xedb8_8320))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }
}
