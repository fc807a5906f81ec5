//! Which secured streams the recorder takes, and under which keys (RFC 4568).

use siprec_model::{SrtpKey, SrtpSuite};
use siprec_sip::sdp::{Crypto, MediaView};
use zeroize::Zeroizing;

use crate::answer::Line;

/// Whether streams are to be secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpMode {
    /// Plain and secured ones are taken.
    #[default]
    Accept,
    /// Plain ones are refused by port 0.
    Require,
    /// Secured ones are refused by port 0.
    Refuse,
}

/// The keys of a secured m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The line that was picked: what the client sends under.
    pub(crate) theirs: Crypto,
    /// What we send under.
    pub(crate) ours: SrtpKey,
}

impl Keys {
    /// Our line: the tag and suite of the client's.
    pub(crate) fn line(&self) -> Crypto {
        Crypto::new(self.theirs.tag(), self.ours.clone())
    }

    /// Takes the client's answer to our line.
    fn heed(&mut self, media: &MediaView<'_>) -> Result<(), String> {
        if !media.is_secured() {
            return Err(format!("answered by {}", media.proto()));
        }
        let mut lines = media.cryptos();
        match (lines.next(), lines.next()) {
            (Some(Ok(line)), None)
                if (line.tag(), line.suite()) == (self.theirs.tag(), self.theirs.suite()) =>
            {
                self.theirs = line;
                Ok(())
            }
            (Some(Ok(line)), None) => Err(format!("answered by a=crypto:{line}, not {}", self.theirs)),
            (Some(Err(fault)), None) => Err(fault.to_string()),
            (Some(_), Some(_)) => Err("answered by several lines a=crypto".into()),
            (None, _) => Err("answered without a=crypto".into()),
        }
    }
}

/// What the recorder agrees to.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) mode: SrtpMode,
    /// The best first.
    pub(crate) suites: &'a [SrtpSuite],
    /// The m-lines so far, whose keys stay ours.
    pub(crate) before: &'a [Line],
}

impl Terms<'_> {
    /// The keys of an m-line that is offered; `None` where it is plain.
    ///
    /// # Errors
    /// Why the m-line is refused.
    pub(crate) fn agree(&self, index: usize, media: &MediaView<'_>) -> Result<Option<Keys>, String> {
        match (media.is_secured(), self.mode) {
            (false, SrtpMode::Require) => Err("is not secured".into()),
            (true, SrtpMode::Refuse) => Err("is secured".into()),
            (false, _) => Ok(None),
            (true, _) => {
                let theirs = self.pick(media)?;
                let ours = match self.before.get(index) {
                    Some(Line::Taken(line)) => line.keys.as_ref().map(|keys| &keys.ours),
                    _ => None,
                };
                let ours = match ours.filter(|key| key.suite() == theirs.suite()) {
                    Some(key) => key.clone(),
                    None => fresh(theirs.suite()).ok_or("there are no random numbers")?,
                };
                Ok(Some(Keys { theirs, ours }))
            }
        }
    }

    /// The line of the suite that we like best.
    fn pick(&self, media: &MediaView<'_>) -> Result<Crypto, String> {
        let (mut lines, mut faults) = (Vec::new(), Vec::new());
        for line in media.cryptos() {
            match line {
                Ok(line) => lines.push(line),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        // RFC 4568 §5.1.1: a tag is one line's. Which one an answer meant could not be told.
        let tags: Vec<_> = lines.iter().map(Crypto::tag).collect();
        lines.retain(|line| {
            let unique = tags.iter().filter(|tag| **tag == line.tag()).count() == 1;
            if !unique {
                faults.push(format!("a=crypto:{}: the tag stands twice", line.tag()));
            }
            unique
        });
        let found = self.suites.iter().find_map(|suite| lines.iter().find(|line| line.suite() == *suite));
        found.cloned().ok_or_else(|| {
            let unwanted = lines.iter().map(|line| format!("a=crypto:{line}: the suite is not accepted"));
            faults.extend(unwanted);
            if faults.is_empty() { "has no line a=crypto".into() } else { faults.join("; ") }
        })
    }
}

/// Gives every secured line a key of ours that is new, to be offered.
pub(crate) fn renew(lines: &mut [Line]) {
    for line in lines {
        if let Line::Taken(line) = line
            && let Some(keys) = &mut line.keys
            && let Some(key) = fresh(keys.ours.suite())
        {
            keys.ours = key;
        }
    }
}

/// Takes what the client's answer says of the keys of `line`, which we `offered`.
///
/// # Errors
/// Why the stream cannot go on.
pub(crate) fn heed(
    line: &mut Option<Box<Keys>>,
    offered: Option<&Line>,
    media: &MediaView<'_>,
) -> Result<(), String> {
    if let (Some(keys), Some(Line::Taken(offered))) = (&mut *line, offered)
        && let Some(offered) = &offered.keys
    {
        keys.ours = offered.ours.clone();
    }
    match line {
        Some(keys) => keys.heed(media),
        None if media.is_secured() => Err(format!("answered by {}", media.proto())),
        None => Ok(()),
    }
}

/// A random key and salt; `None` where the system has no random numbers.
pub(crate) fn fresh(suite: SrtpSuite) -> Option<SrtpKey> {
    let mut master = Zeroizing::new(vec![0; suite.master_length()]);
    getrandom::fill(&mut master).ok()?;
    SrtpKey::new(suite, &master).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_sip::SessionDescription;

    const KEY_30: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
    const KEY_28: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaQ==";

    fn offer(lines: &str) -> SessionDescription {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio 5000 RTP/SAVP 0\r\n{lines}"
        );
        SessionDescription::parse(text.as_bytes()).unwrap()
    }

    fn agreed(lines: &str, suites: &[SrtpSuite], before: &[Line]) -> Result<Option<Keys>, String> {
        let offer = offer(lines);
        Terms { mode: SrtpMode::Accept, suites, before }.agree(0, &offer.media(0).unwrap())
    }

    #[test]
    fn the_suite_that_the_recorder_likes_best_is_picked_wherever_it_stands() {
        let two = format!(
            "a=crypto:7 AES_CM_128_HMAC_SHA1_80 {KEY_30}\r\na=crypto:3 AEAD_AES_128_GCM {KEY_28}\r\n"
        );
        let picked = |suites: &[SrtpSuite]| {
            let keys = agreed(&two, suites, &[]).unwrap().unwrap();
            (keys.line().tag(), keys.line().suite())
        };
        let (gcm, counter) = (SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80);
        assert_eq!(picked(&SrtpSuite::ALL), (3, gcm));
        assert_eq!(picked(&[counter, gcm]), (7, counter));
        let refused = agreed(&two, &[SrtpSuite::AeadAes256Gcm], &[]).unwrap_err();
        assert_eq!(
            refused,
            "a=crypto:7 AES_CM_128_HMAC_SHA1_80: the suite is not accepted; \
             a=crypto:3 AEAD_AES_128_GCM: the suite is not accepted"
        );
    }

    #[test]
    fn our_key_is_random_and_stays_as_long_as_the_suite() {
        let line = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY_30}\r\n");
        let first = agreed(&line, &SrtpSuite::ALL, &[]).unwrap().unwrap();
        let other = agreed(&line, &SrtpSuite::ALL, &[]).unwrap().unwrap();
        assert_ne!(first.ours, other.ours);
        assert_ne!(first.ours, first.theirs.keys()[0]);
        let offer = offer(&line);
        let before = crate::answer::lines(
            &offer,
            Terms { mode: SrtpMode::Accept, suites: &SrtpSuite::ALL, before: &[] },
        );
        let Some(Line::Taken(taken)) = before.first() else { panic!("off") };
        let again = agreed(&line, &SrtpSuite::ALL, &before).unwrap().unwrap();
        assert_eq!(Some(&again), taken.keys.as_deref());
        let gcm = format!("a=crypto:1 AEAD_AES_128_GCM {KEY_28}\r\n");
        let again = agreed(&gcm, &SrtpSuite::ALL, &before).unwrap().unwrap();
        assert_eq!(again.ours.suite(), SrtpSuite::AeadAes128Gcm);
        let mut renewed = before.clone();
        renew(&mut renewed);
        assert_ne!(renewed, before);
    }

    #[test]
    fn lines_that_cannot_be_used_are_told_and_passed_over() {
        let good = format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 {KEY_30}\r\n");
        let odd = format!(
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY_30} UNENCRYPTED_SRTP\r\na=crypto:4 X inline:a\r\n"
        );
        assert_eq!(agreed(&format!("{odd}{good}"), &SrtpSuite::ALL, &[]).unwrap().unwrap().theirs.tag(), 2);
        let told = agreed(&odd, &SrtpSuite::ALL, &[]).unwrap_err();
        assert!(told.contains("UNENCRYPTED_SRTP") && told.contains("\"X\" is not known"), "{told}");
        let told = agreed(&format!("{good}{good}"), &SrtpSuite::ALL, &[]).unwrap_err();
        assert!(told.contains("stands twice") && !told.contains("PS1uQC"), "{told}");
        assert_eq!(agreed("", &SrtpSuite::ALL, &[]).unwrap_err(), "has no line a=crypto");
    }

    #[test]
    fn an_answer_to_our_line_has_one_line_with_its_tag_and_suite() {
        let line = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY_30}\r\n");
        let keys = agreed(&line, &SrtpSuite::ALL, &[]).unwrap().map(Box::new);
        let heeded = |lines: &str| {
            let (offer, mut keys) = (offer(lines), keys.clone());
            heed(&mut keys, None, &offer.media(0).unwrap()).map(|()| keys.unwrap().theirs)
        };
        let other = line.replace("PS1uQC", "AS1uQC");
        assert_ne!(heeded(&other).unwrap(), keys.as_ref().unwrap().theirs);
        assert!(heeded("").unwrap_err().contains("without"));
        assert!(heeded(&format!("{line}{other}")).unwrap_err().contains("several"));
        assert!(heeded(&line.replace(":1 ", ":2 ")).unwrap_err().contains("a=crypto:2"));
        assert!(heeded(&line.replace("_80", "_32")).unwrap_err().contains("_32"));
        let plain = offer(&line).to_bytes();
        let plain = String::from_utf8(plain).unwrap().replace("SAVP", "AVP");
        let plain = SessionDescription::parse(plain.as_bytes()).unwrap();
        let told = heed(&mut keys.clone(), None, &plain.media(0).unwrap()).unwrap_err();
        assert_eq!(told, "answered by RTP/AVP");
        assert!(heed(&mut None, None, &offer(&line).media(0).unwrap()).is_err(), "and the other way round");
    }
}
