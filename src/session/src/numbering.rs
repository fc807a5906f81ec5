//! Payload type numbers within one m-line.

use siprec_model::PayloadFormat;
use siprec_sip::sdp::static_format;

/// Dynamic payload types (RFC 3551 §6).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// A format of the call and its number towards the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberedFormat {
    /// Payload type in the call's packets.
    pub(crate) from: u8,
    /// The format with its payload type towards the recorder.
    pub(crate) format: PayloadFormat,
    /// The stream has it no more: only what is kept may.
    pub(crate) is_former: bool,
}

/// Which codec each payload type number of an m-line has meant. A number keeps its codec for the life of the session
/// (RFC 3264 §8.3.2); a call that gives a number another meaning gets another number towards the recorder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbering {
    known: Vec<PayloadFormat>,
}

impl Numbering {
    /// The call's formats, and those that it had before, with their numbers towards the recorder. A format for which no number is left
    /// is missing.
    pub(crate) fn assign(
        &mut self,
        formats: &[PayloadFormat],
        former: &[PayloadFormat],
    ) -> Vec<NumberedFormat> {
        let mut numbered: Vec<NumberedFormat> = Vec::with_capacity(formats.len() + former.len());
        let present = formats.iter().map(|format| (format, false));
        for (format, is_former) in present.chain(former.iter().map(|format| (format, true))) {
            let taken = |number: u8| numbered.iter().any(|other| other.format.payload_type == number);
            if let Some(number) = self.number(format, taken) {
                let towards = PayloadFormat { payload_type: number, ..format.clone() };
                if !self.known.iter().any(|known| known.payload_type == number) {
                    self.known.push(towards.clone());
                }
                numbered.push(NumberedFormat { from: format.payload_type, format: towards, is_former });
            }
        }
        numbered
    }

    /// The call's own number where it is free, else one that meant this codec before, else the highest unused one.
    fn number(&self, format: &PayloadFormat, taken: impl Fn(u8) -> bool) -> Option<u8> {
        let fits = |number: &u8| {
            let meant = self.known.iter().find(|known| known.payload_type == *number);
            !taken(*number) && meant.is_none_or(|meant| same_codec(meant, format))
        };
        let same =
            self.known.iter().filter(|known| same_codec(known, format)).map(|known| known.payload_type);
        std::iter::once(format.payload_type).chain(same).chain(DYNAMIC.rev()).find(fits)
    }
}

/// Whether two formats are the same codec with the same parameters of `a=rtpmap` (encoding names compare without
/// regard to case, RFC 4855 §3; a missing channel count is 1).
pub(crate) fn same_codec(left: &PayloadFormat, right: &PayloadFormat) -> bool {
    left.encoding.eq_ignore_ascii_case(&right.encoding)
        && left.clock_rate == right.clock_rate
        && left.channels.unwrap_or(1) == right.channels.unwrap_or(1)
}

/// Whether a format only accompanies others, and is nothing that could be recorded by itself (RFC 4733, RFC 3389, RFC 4588,
/// RFC 5109).
pub(crate) fn is_companion(encoding: &str) -> bool {
    ["telephone-event", "CN", "rtx", "ulpfec"].iter().any(|name| encoding.eq_ignore_ascii_case(name))
}

/// Whether a format can stand in a session description.
pub(crate) fn is_describable(format: &PayloadFormat) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~#$&^{|}".contains(&byte);
    let fmtp = format.fmtp.as_deref().unwrap_or_default();
    format.payload_type < 128
        && format.clock_rate > 0
        && !format.encoding.is_empty()
        && format.encoding.bytes().all(is_token)
        && !fmtp.contains(char::is_control)
}

/// The audio format that a static payload type means without any signalling, of those that a call may begin with
/// (RFC 3551 §6, table 4).
pub(crate) fn static_audio(payload_type: u8) -> Option<PayloadFormat> {
    static_format(payload_type).filter(|_| matches!(payload_type, 0 | 3 | 4 | 8..=11 | 15 | 18))
}

/// Comfort noise, where the payload type is the one that RFC 3389 §4 gives it at 8 kHz. It never stands alone.
pub(crate) fn comfort_noise(payload_type: u8) -> Option<PayloadFormat> {
    static_format(payload_type).filter(|_| payload_type == 13)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(payload_type: u8, encoding: &str) -> PayloadFormat {
        PayloadFormat {
            payload_type,
            encoding: encoding.into(),
            clock_rate: 8000,
            channels: None,
            fmtp: None,
        }
    }

    fn numbers(numbered: &[NumberedFormat]) -> Vec<(u8, u8)> {
        numbered.iter().map(|format| (format.from, format.format.payload_type)).collect()
    }

    #[test]
    fn the_calls_own_numbers_are_kept() {
        let mut numbering = Numbering::default();
        let assigned = numbering.assign(&[format(0, "PCMU"), format(101, "telephone-event")], &[]);
        assert_eq!(numbers(&assigned), [(0, 0), (101, 101)]);
    }

    #[test]
    fn a_number_never_changes_its_codec_within_an_m_line() {
        let mut numbering = Numbering::default();
        numbering.assign(&[format(96, "opus")], &[]);
        assert_eq!(numbers(&numbering.assign(&[format(96, "speex")], &[])), [(96, 127)]);
        assert_eq!(
            numbers(&numbering.assign(&[format(96, "speex")], &[])),
            [(96, 127)],
            "and stays where it went"
        );
        assert_eq!(numbers(&numbering.assign(&[format(97, "OPUS")], &[])), [(97, 97)]);
        assert_eq!(
            numbers(&numbering.assign(&[format(127, "opus")], &[])),
            [(127, 96)],
            "its own number is taken"
        );
    }

    #[test]
    fn two_formats_of_one_offer_never_share_a_number() {
        let mut numbering = Numbering::default();
        assert_eq!(
            numbers(&numbering.assign(&[format(96, "a"), format(96, "b")], &[])),
            [(96, 96), (96, 127)]
        );
    }

    #[test]
    fn a_format_without_a_free_number_is_left_out() {
        let mut numbering = Numbering::default();
        for number in DYNAMIC {
            numbering.assign(&[format(number, &format!("codec{number}"))], &[]);
        }
        assert!(numbering.assign(&[format(96, "other")], &[]).is_empty());
    }

    #[test]
    fn static_types_need_no_signalling() {
        assert_eq!(static_audio(8).map(|format| format.encoding), Some("PCMA".to_owned()));
        assert_eq!(static_audio(96), None);
        let known =
            |of: fn(u8) -> Option<PayloadFormat>| (0..=u8::MAX).filter(move |number| of(*number).is_some());
        assert!(known(static_audio).eq([0, 3, 4, 8, 9, 10, 11, 15, 18]));
        assert!(known(comfort_noise).eq([13]));
    }
}
