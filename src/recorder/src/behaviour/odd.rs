//! Answers as the oddest recorders write them (`protocol` 1.2): nothing in them is usable but ports, addresses and
//! directions.

use siprec_model::SrtpSuite;
use siprec_sip::SessionDescription;
use siprec_sip::sdp::Crypto;

use super::OddCrypto;
use crate::security;

/// The answer with an address at each m-line only, its direction before the m-lines where all have the same, other
/// payload types than were offered, and lines that nobody asked for.
pub(crate) fn rewrite(answer: &SessionDescription) -> Vec<u8> {
    let text = String::from_utf8_lossy(&answer.to_bytes()).into_owned();
    let directions: Vec<_> =
        answer.medias().filter(|media| !media.is_off()).map(|media| media.direction()).collect();
    let common = directions.first().filter(|first| directions.iter().all(|direction| direction == *first));
    let connection =
        text.lines().find(|line| line.starts_with("c=")).unwrap_or("c=IN IP4 127.0.0.1").to_owned();
    let mut odd = String::new();
    let mut line = |text: &str| {
        odd.push_str(text);
        odd.push_str("\r\n");
    };
    let mut in_media = false;
    for original in text.lines() {
        let attribute = original.strip_prefix("a=");
        let is_direction = |name| matches!(name, "sendrecv" | "sendonly" | "recvonly" | "inactive");
        match original {
            "t=0 0" => {
                line(original);
                line("a=X-nonsense:before any media");
                line("a=rtpmap:0 PCMU/8000");
                if let Some(direction) = common {
                    line(&format!("a={direction}"));
                }
            }
            _ if original.starts_with("m=") => {
                in_media = true;
                let mut words: Vec<_> = original.split(' ').take(3).collect();
                words.extend(["8", "111"]);
                line(&words.join(" "));
                line(&connection);
                line("b=AS:64");
                line("a=rtpmap:111 X-odd/16000");
            }
            _ if original.starts_with("c=") => {}
            _ if attribute.is_some_and(is_direction) => {
                if common.is_none() {
                    line(original);
                }
            }
            _ if in_media && attribute.is_some_and(|name| !counts(name)) => {}
            _ => line(original),
        }
    }
    odd.into_bytes()
}

/// Whether an attribute of an m-line says where the stream goes, or how it is secured.
fn counts(attribute: &str) -> bool {
    attribute.starts_with("rtcp") || attribute.starts_with("crypto:")
}

/// The answer to `offer` with other keys, or others than were offered.
pub(crate) fn bend_keys(answer: &[u8], offer: &SessionDescription, how: OddCrypto) -> Vec<u8> {
    let mut bent = String::new();
    let mut line = |text: &str| {
        bent.push_str(text);
        bent.push_str("\r\n");
    };
    let mut offered = Vec::new();
    let mut next = 0;
    for original in String::from_utf8_lossy(answer).lines() {
        if original.starts_with("m=") {
            offered = offer.media(next).map(|media| media.cryptos().flatten().collect()).unwrap_or_default();
            next += 1;
        }
        let Some(crypto) = original.strip_prefix("a=crypto:").and_then(|value| Crypto::parse(value).ok())
        else {
            let is_plain = how == OddCrypto::Plain && original.starts_with("m=");
            line(&if is_plain { original.replace(" RTP/SAVP", " RTP/AVP") } else { original.to_owned() });
            continue;
        };
        let tag = offered.iter().map(Crypto::tag).max().unwrap_or_default() + 1;
        let is_new = |suite: &SrtpSuite| !offered.iter().any(|line| line.suite() == *suite);
        let suite = SrtpSuite::ALL.into_iter().find(is_new).unwrap_or(crypto.suite());
        let fresh = |tag, suite| security::fresh(suite).map(|key| Crypto::new(tag, key));
        let bent: Vec<_> = match how {
            OddCrypto::Plain | OddCrypto::None => vec![],
            OddCrypto::Two => vec![Some(crypto.clone()), fresh(tag, crypto.suite())],
            OddCrypto::Suite => vec![fresh(crypto.tag(), suite)],
            OddCrypto::Tag => vec![fresh(tag, crypto.suite())],
            OddCrypto::Key => vec![fresh(crypto.tag(), crypto.suite())],
        };
        for crypto in bent.iter().flatten() {
            line(&format!("a=crypto:{}", *crypto.to_value()));
        }
    }
    bent.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_sip::sdp::Direction;

    fn odd(media: &str) -> SessionDescription {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}\r\n",
            media.replace('\n', "\r\n")
        );
        SessionDescription::parse(&rewrite(&SessionDescription::parse(text.as_bytes()).unwrap())).unwrap()
    }

    #[test]
    fn an_odd_answer_keeps_ports_addresses_and_directions_and_nothing_else() {
        let answer =
            odd("m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\na=ptime:20\na=recvonly\n\
                          m=video 0 RTP/AVP 96\nm=audio 4002 RTP/AVP 9\na=inactive\na=rtcp-mux");
        let told: Vec<_> = answer.medias().map(|media| (media.port(), media.direction())).collect();
        assert_eq!(told[0], (4000, Direction::RecvOnly));
        assert_eq!((told[1].0, told[2]), (0, (4002, Direction::Inactive)));
        let first = answer.media(0).unwrap();
        assert_eq!(first.payload_types().collect::<Vec<_>>(), [8, 111]);
        assert_eq!((first.ptime_ms(), first.fmtp(101)), (None, None));
        assert!(answer.media(2).unwrap().rtcp_mux());
        assert!(!String::from_utf8(answer.to_bytes()).unwrap().split("m=").next().unwrap().contains("c="));
    }

    #[test]
    fn a_direction_that_all_share_stands_before_the_media() {
        let answer = odd("m=audio 4000 RTP/AVP 0\na=recvonly\nm=audio 4002 RTP/AVP 0\na=recvonly");
        assert_eq!(answer.attribute("recvonly"), Some(""));
        assert!(answer.medias().all(|media| media.direction() == Direction::RecvOnly));
    }
}
