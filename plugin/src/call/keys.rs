//! The keys of the call's streams: from caps, from parties' session descriptions, and from whoever answers `request-key`.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_media::srtp::CallKey;
use siprec_model::Medium;
use siprec_session::StreamSecurity;
use siprec_sip::SessionDescription;
use siprec_sip::sdp::Crypto;

use super::imp::Siprec;
use super::pad::SiprecSinkPad;
use super::recording::Fault;
use crate::complaints::Complaint;
use crate::keys::{self, CallKeys, CapsFault, REQUEST_KEY};
use crate::rollover::RolloverDoubt;
use crate::secrecy::{Wants, common_suite};

/// Their declarations.
pub(super) fn signals() -> [glib::subclass::Signal; 4] {
    [
        keys::request_key_signal(),
        keys::remove_key_action(|element, ssrc| {
            if let Some(element) = element.downcast_ref::<super::Siprec>() {
                element.imp().sink_pads().for_each(|pad| pad.feed().forget_key(ssrc));
            }
        }),
        keys::renew_keys_action(|element| {
            if let Some(element) = element.downcast_ref::<super::Siprec>() {
                element.imp().sink_pads().for_each(|pad| pad.feed().forget_keys());
            }
        }),
        keys::crypto_caps_action(),
    ]
}

/// The keys that a party sends under, by medium, as its session description says.
pub(super) type DescribedKeys = Vec<(Medium, CallKey)>;

/// Reads the `a=crypto` lines of a party's session description, and says in words which of them cannot be used, and which
/// tags stand twice.
///
/// Each tag stands in one line of its m-line (RFC 4568 §4.1), and answers choose by it. Who listens need not know what was chosen,
/// since each key is tried: where a tag stands in two lines with other keys, both are taken, lest the one that the party sends under
/// is lost.
pub(super) fn described(sdp: &SessionDescription) -> (DescribedKeys, Vec<String>) {
    let (mut found, mut faults) = (DescribedKeys::new(), Vec::new());
    for (index, media) in sdp.medias().enumerate().filter(|(_, media)| !media.is_off()) {
        let Some(medium) = media.stream_format().map(|format| format.medium) else { continue };
        if media.is_secured() && media.values("crypto").next().is_none() {
            let proto = media.proto();
            faults.push(format!(
                "m-line {} is encrypted ({proto}) and has no a=crypto: its key must come from caps or request-key",
                index + 1
            ));
        }
        let mut lines: Vec<Crypto> = Vec::new();
        for line in media.values("crypto") {
            match Crypto::parse(line) {
                Ok(crypto) if lines.contains(&crypto) => {}
                Ok(crypto) => {
                    let tag = crypto.tag();
                    if lines.iter().any(|line| line.tag() == tag) {
                        faults.push(format!(
                            "m-line {}: a=crypto:{tag} stands there twice; the keys of both lines are tried",
                            index + 1
                        ));
                    }
                    found.extend(crypto.keys().iter().map(|key| (medium, CallKey::from(key.clone()))));
                    lines.push(crypto);
                }
                Err(fault) => faults.push(format!("m-line {}: {fault}", index + 1)),
            }
        }
    }
    (found, faults)
}

impl Siprec {
    /// A stream is encrypted from here on.
    pub(super) fn secure(&self, pad: &SiprecSinkPad, caps: Result<Option<CallKeys>, CapsFault>) {
        match &caps {
            Err(fault) => {
                // What nobody has is told by that, too.
                pad.lacks_key_newly();
                self.complain(
                    pad,
                    Complaint::Caps(fault.clone()),
                    &format!("its key cannot be used: {fault}"),
                );
            }
            Ok(Some(found)) => self.complain_of_excess(pad, found),
            Ok(None) => {}
        }
        pad.feed().secure(caps.ok().flatten(), self.described_keys(pad));
    }

    /// A party's session description has given keys.
    pub(super) fn describe_keys(&self, dn: &str, keys: DescribedKeys) {
        self.parties().set_keys(dn, keys);
        for pad in self.sink_pads().filter(|pad| self.parties().dn(pad.index()).as_deref() == Some(dn)) {
            pad.feed().add_keys(self.described_keys(&pad));
        }
    }

    /// The keys of a pad's party for its medium.
    pub(super) fn described_keys(&self, pad: &SiprecSinkPad) -> Vec<CallKey> {
        let medium = pad.stated_medium();
        let keys = self.parties().keys(pad.index()).into_iter();
        keys.filter(|(of, _)| medium.is_none_or(|medium| medium == *of)).map(|(_, key)| key).collect()
    }

    /// How a pad's stream is protected in the call: as its caps say, or its party's session description, which may be there
    /// first, and counts too where the pipeline has decrypted the stream already (RFC 7866 §12: the call is encrypted).
    pub(super) fn security(&self, pad: &SiprecSinkPad) -> StreamSecurity {
        let by_caps = pad.feed().security();
        if by_caps.is_secured() || !self.is_described_secured(pad) {
            return by_caps;
        }
        StreamSecurity::Srtp(common_suite(&self.described_keys(pad)))
    }

    /// Whether the session description of a pad's party says that the call encrypts its stream.
    pub(super) fn is_described_secured(&self, pad: &SiprecSinkPad) -> bool {
        self.parties().is_secured(pad.index(), pad.stated_medium())
    }

    /// Whether a wrong rollover counter may be why a party's stream cannot be read; of any, where it is not known whose.
    pub(super) fn rollover_doubt(&self, dn: Option<&str>) -> RolloverDoubt {
        let is_of_party =
            |pad: &SiprecSinkPad| dn.is_none() || self.parties().dn(pad.index()).as_deref() == dn;
        let doubts = self.sink_pads().filter(is_of_party).map(|pad| pad.feed().rollover_doubt());
        doubts.max().unwrap_or_default()
    }

    /// Asks the application for the keys of these sources, on a thread of GStreamer's: their packets wait meanwhile, and
    /// the call does not.
    pub(super) fn ask_keys(&self, pad: &SiprecSinkPad, Wants { sources, put_off }: Wants) {
        static REQUEST: LazyLock<Option<glib::subclass::SignalId>> =
            LazyLock::new(|| glib::subclass::SignalId::lookup(REQUEST_KEY, super::Siprec::static_type()));
        let element = self.obj();
        if !REQUEST.is_some_and(|signal| has_handler(element.upcast_ref(), signal)) {
            sources.iter().for_each(|ssrc| pad.feed().settle(*ssrc, None));
            if !pad.feed().is_readable() && pad.lacks_key_newly() {
                self.complain(
                    pad,
                    Complaint::Keyless,
                    "nobody has its key: neither its caps (srtp-key) nor a handler of request-key nor the session \
                     description of its party (set-party-sdp). What comes waits for one as long as there is room",
                );
            }
            return;
        }
        if put_off {
            self.complain(
                pad,
                Complaint::PutOff,
                "more of its sources send than request-key is asked for at once (64, then one a second, and 20 a second \
                 that go on). What no key fits of those that wait for their turn is lost until it comes",
            );
        }
        if sources.is_empty() {
            return;
        }
        let pad = pad.clone();
        element.call_async(move |element| {
            for ssrc in sources {
                let caps = element.emit_by_name::<Option<gst::Caps>>(REQUEST_KEY, &[&pad, &ssrc]);
                element.imp().take_answer(&pad, ssrc, caps);
            }
        });
    }

    fn take_answer(&self, pad: &SiprecSinkPad, ssrc: u32, caps: Option<gst::Caps>) {
        let found = match caps.as_ref().map(|caps| (keys::from_caps(caps), caps)) {
            Some((Ok(Some(found)), _)) => {
                self.complain_of_excess(pad, &found);
                Some(found)
            }
            Some((Ok(None), caps)) => {
                let lack = keys::keyless(caps);
                let reason = format!("the caps that request-key gave for source {ssrc} {lack}");
                self.complain(pad, Complaint::KeylessAnswer(lack), &reason);
                None
            }
            Some((Err(fault), _)) => {
                let reason =
                    format!("the key that request-key gave for source {ssrc} cannot be used: {fault}");
                self.complain(pad, Complaint::Answer(fault), &reason);
                None
            }
            None => {
                let reason = format!("request-key gave no key for source {ssrc}");
                self.complain(pad, Complaint::Unanswered, &reason);
                None
            }
        };
        // A counter in the answer is that of the source that was asked for.
        let found = found.map(|found| CallKeys { ssrc: Some(ssrc), ..found });
        pad.feed().settle(ssrc, found.into_iter().flat_map(CallKeys::into_keys));
        self.with_live(|live| self.refresh(live));
    }

    /// Says which keys are too many.
    fn complain_of_excess(&self, pad: &SiprecSinkPad, found: &CallKeys) {
        if let Some(excess) = found.excess_in_words() {
            self.complain(pad, Complaint::TooManyKeys, &excess);
        }
    }

    /// Tells the application what is wrong with the keys of a stream, on a thread of GStreamer's: the call does not wait.
    /// What it has heard a moment ago it hears again only later, with how often it was.
    fn complain(&self, pad: &SiprecSinkPad, complaint: Complaint, what: &str) {
        let reason = format!("the stream of {} is encrypted (application/x-srtp), and {what}", pad.name());
        let Some(more) = pad.admit(complaint) else {
            gst::debug!(crate::CAT, obj = pad, "told a moment ago: {reason}");
            return;
        };
        let reason = reason + &more;
        self.obj().call_async(move |element| {
            element.imp().with_live(|live| live.faults.push(Fault::Command(reason)));
        });
    }
}

fn has_handler(object: &glib::Object, signal: glib::subclass::SignalId) -> bool {
    glib::signal::signal_has_handler_pending(object, signal, None, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who listens does not judge: the party sends under its key for as long as it does, and that is recorded.
    #[test]
    fn what_a_party_says_of_its_keys_is_followed_and_what_changes_packets_makes_the_line_unusable() {
        let key = "B".repeat(40);
        let line = |behind: &str| {
            let text = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
                 a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}{behind}\r\n"
            );
            described(&SessionDescription::parse(text.as_bytes()).unwrap())
        };
        let plain = line("");
        assert_eq!(plain.0.len(), 1);
        for behind in ["|2^20", "|1", "|2^48 WSH=64", " -KDR=3 wsh=1024"] {
            assert_eq!(line(behind), plain, "{behind}");
        }
        let (found, faults) = line("|2^20|5:2");
        assert!(faults.is_empty() && found[0].1.key.mki() == Some(&[0, 5]));
        for behind in [
            "|2^49",
            "|1:129",
            " KDR=1",
            " UNENCRYPTED_SRTP",
            " UNENCRYPTED_SRTCP",
            " UNAUTHENTICATED_SRTP",
            " FEC_ORDER=SRTP_FEC",
            " FEC_KEY=inline:x",
            " WSH=1",
            " OTHER",
        ] {
            let (found, faults) = line(behind);
            assert!(
                found.is_empty() && faults.len() == 1 && !faults[0].contains(&key),
                "{behind}: {faults:?}"
            );
        }
    }

    /// RFC 4568 §4.1 wants each tag once in an m-line.
    #[test]
    fn a_tag_that_stands_twice_loses_no_key_and_is_told_where_the_keys_differ() {
        let [one, two] = ["B", "C"].map(|letter| letter.repeat(40));
        let read = |lines: &[(u32, &str)]| {
            let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                        m=audio 4000 RTP/SAVP 0\r\n";
            let lines = lines.iter();
            let lines =
                lines.map(|(tag, key)| format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"));
            let text = head.to_owned() + &lines.collect::<String>();
            described(&SessionDescription::parse(text.as_bytes()).unwrap())
        };
        let (both, faults) = read(&[(1, &one), (2, &two)]);
        assert_eq!((both.len(), faults.len()), (2, 0));
        let (keys, faults) = read(&[(1, &one), (1, &two)]);
        assert_eq!(keys, both, "whichever the party sends under");
        assert_eq!(faults, ["m-line 1: a=crypto:1 stands there twice; the keys of both lines are tried"]);
        // The same line once more says nothing else.
        let (keys, faults) = read(&[(1, &one), (1, &one)]);
        assert_eq!((keys.as_slice(), faults.len()), (&both[..1], 0));
    }

    #[test]
    fn the_keys_of_a_description_are_those_of_each_medium_and_what_is_wrong_is_named_without_a_key() {
        let inline = |length: usize| "B".repeat(length);
        let (short, long) = (inline(12), inline(40));
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{long}\r\n\
             a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{long}\r\n\
             a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{short}\r\nm=video 0 RTP/SAVP 97\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{long}\r\nm=video 4002 RTP/SAVP 97\r\na=rtpmap:97 H264/90000\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{long}\r\n"
        );
        let (found, faults) = described(&SessionDescription::parse(text.as_bytes()).unwrap());
        let media: Vec<_> = found.iter().map(|(medium, _)| *medium).collect();
        assert_eq!(media, [Medium::Audio, Medium::Audio, Medium::Video]);
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert!(fault.starts_with("m-line 1: a=crypto:3: ") && !fault.contains(&short), "{fault}");
    }
}
