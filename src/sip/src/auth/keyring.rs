//! What a dialog knows about those who ask it for credentials.

use super::challenge::{Answering, Challenge, next_nonce};
use super::digest::{Inputs, count_text};
use super::{Asker, Credentials};
use crate::{HeaderValue, Headers, Random, Request, Response};

/// Most askers that one dialog remembers, and that one request may have: what comes back must fit a datagram.
const MAX_ASKERS: usize = 8;
/// Most challenges to one request, over all askers.
const MAX_ROUNDS: usize = 8;

/// The credentials of a dialog, and the latest challenge of each who asked for them.
#[derive(Debug)]
pub(crate) struct Keyring {
    credentials: Vec<Credentials>,
    /// In the order in which they asked.
    sessions: Vec<Session>,
}

/// Which challenges one request has met, over all of its transactions.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    rounds: usize,
    met: Vec<Met>,
}

#[derive(Debug)]
struct Met {
    asker: Asker,
    realm: Vec<u8>,
    nonce: Vec<u8>,
}

/// A protection space: one asker with one realm.
#[derive(Debug)]
struct Session {
    asker: Asker,
    realm: Vec<u8>,
    credentials: Credentials,
    answering: Answering,
    nonce: Vec<u8>,
    first_nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    /// Ours; kept with the nonce, so that a server that makes `-sess` keys anew each time comes to the same.
    cnonce: String,
    /// How often the nonce was used.
    count: u32,
}

/// Why a challenge is not answered, so that the refusal stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// 401 or 407 without a digest challenge that can be read.
    #[error("it asks for a password without a readable Digest challenge")]
    Unreadable,
    /// Nothing asked for is known here.
    #[error("realm \"{realm}\" asks for an algorithm or a quality of protection that is not known here")]
    Unsupported {
        /// Whose; bytes that are not UTF-8 are replaced.
        realm: String,
    },
    /// The user gave none for this realm.
    #[error("no user and password are configured for realm \"{realm}\"")]
    NoCredentials {
        /// Whose; bytes that are not UTF-8 are replaced.
        realm: String,
    },
    /// They were answered and not believed.
    #[error("realm \"{realm}\" refuses user \"{user}\" or its password")]
    Rejected {
        /// Whose; bytes that are not UTF-8 are replaced.
        realm: String,
        /// Who.
        user: String,
    },
    /// New challenges come without an end.
    #[error("it was answered {MAX_ROUNDS} times and still asks for a password")]
    Endless,
}

impl Keyring {
    pub(crate) fn new(credentials: Vec<Credentials>) -> Keyring {
        Keyring { credentials, sessions: Vec::new() }
    }

    /// Puts credentials for all who have asked into a request whose URI and body are final. Those that it had go.
    pub(crate) fn authorize(&mut self, request: &mut Request) {
        for asker in Asker::ALL {
            request.headers.remove(&asker.credentials());
        }
        for session in &mut self.sessions {
            let value = session.credentials_for(request);
            request.headers.push(session.asker.credentials(), value);
        }
    }

    /// Takes a 401 or 407 to a request. After `Ok` the request can be authorized and sent again.
    ///
    /// # Errors
    /// Why that would be in vain.
    pub(crate) fn challenged(
        &mut self,
        response: &Response,
        attempts: &mut Attempts,
        random: &mut Random,
    ) -> Result<(), ChallengeFault> {
        if attempts.rounds >= MAX_ROUNDS {
            return Err(ChallengeFault::Endless);
        }
        attempts.rounds += 1;
        let mut fault = ChallengeFault::Unreadable;
        let mut any = false;
        for (asker, challenge) in strongest(&response.headers) {
            match self.take(asker, challenge, attempts, random) {
                Ok(()) => any = true,
                // The request was refused; that of another asker would not help.
                Err(rejected @ ChallengeFault::Rejected { .. }) => return Err(rejected),
                // RFC 3261 §22.3: a fork may ask for more realms than one can answer.
                Err(other) => fault = other,
            }
        }
        if any { Ok(()) } else { Err(fault) }
    }

    /// A success may say which nonce to use from now on (RFC 7616 §3.5). It does not name its realm, so that it counts
    /// only where it can mean one.
    pub(crate) fn accepted(&mut self, headers: &Headers) {
        for asker in Asker::ALL {
            let Some(nonce) = headers.get(&asker.info()).and_then(|info| next_nonce(info.as_bytes())) else {
                continue;
            };
            let mut of_asker = self.sessions.iter_mut().filter(|session| session.asker == asker);
            if let (Some(session), None) = (of_asker.next(), of_asker.next())
                && session.nonce != nonce
            {
                session.nonce = nonce;
                session.count = 0;
            }
        }
    }

    fn take(
        &mut self,
        asker: Asker,
        challenge: Challenge,
        attempts: &mut Attempts,
        random: &mut Random,
    ) -> Result<(), ChallengeFault> {
        let realm = || String::from_utf8_lossy(&challenge.realm).into_owned();
        let answering = challenge.method.ok_or_else(|| ChallengeFault::Unsupported { realm: realm() })?;
        let credentials = self
            .credentials
            .iter()
            .filter(|credentials| credentials.is_for(&challenge.realm))
            // Those for this very realm before those for whoever asks.
            .max_by_key(|credentials| credentials.realm().is_some())
            .ok_or_else(|| ChallengeFault::NoCredentials { realm: realm() })?
            .clone();
        if attempts.forbid(asker, &challenge) {
            return Err(ChallengeFault::Rejected { realm: realm(), user: credentials.user().to_owned() });
        }
        let known = |session: &Session| session.asker == asker && session.realm == challenge.realm;
        let index = self.sessions.iter().position(known);
        if index.is_none() && self.sessions.len() >= MAX_ASKERS {
            self.sessions.remove(0);
        }
        attempts.met.push(Met { asker, realm: challenge.realm.clone(), nonce: challenge.nonce.clone() });
        match index.and_then(|index| self.sessions.get_mut(index)) {
            // The count goes on where the nonce does.
            Some(session) if session.nonce == challenge.nonce && session.answering == answering => {
                session.opaque = challenge.opaque;
            }
            Some(session) => *session = Session::new(asker, challenge, answering, credentials, random),
            None => self.sessions.push(Session::new(asker, challenge, answering, credentials, random)),
        }
        Ok(())
    }
}

impl Attempts {
    /// Whether the answer to an earlier challenge to this request is what is refused now: it was judged, unless a new
    /// nonce comes because the old one was too old (RFC 7616 §3.3, `stale`).
    fn forbid(&self, asker: Asker, challenge: &Challenge) -> bool {
        let mut answered = self.met.iter().filter(|met| met.asker == asker && met.realm == challenge.realm);
        answered.any(|met| !challenge.stale || met.nonce == challenge.nonce)
    }
}

impl Session {
    fn new(
        asker: Asker,
        challenge: Challenge,
        answering: Answering,
        credentials: Credentials,
        random: &mut Random,
    ) -> Session {
        Session {
            asker,
            realm: challenge.realm,
            credentials,
            answering,
            first_nonce: challenge.nonce.clone(),
            nonce: challenge.nonce,
            opaque: challenge.opaque,
            // 160 bits.
            cnonce: random.token(32),
            count: 0,
        }
    }

    /// The value of Authorization or Proxy-Authorization (RFC 3261 §25.1, RFC 7616 §3.4).
    fn credentials_for(&mut self, request: &Request) -> HeaderValue {
        self.count = self.count.saturating_add(1);
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let Answering { algorithm, named, protection } = self.answering;
        let response = algorithm.respond(
            protection,
            &Inputs {
                user: self.credentials.user(),
                password: self.credentials.password(),
                realm: &self.realm,
                nonce: &self.nonce,
                first_nonce: &self.first_nonce,
                cnonce: &self.cnonce,
                count: self.count,
                method: &method,
                uri: &uri,
                body: &request.body,
            },
        );
        let mut value = Vec::with_capacity(400);
        value.extend_from_slice(b"Digest username=\"");
        value.extend_from_slice(self.credentials.user().as_bytes());
        value.push(b'"');
        let mut add_quoted = |name: &str, text: &[u8]| {
            value.extend_from_slice(format!(", {name}=\"").as_bytes());
            value.extend_from_slice(text);
            value.push(b'"');
        };
        add_quoted("realm", &self.realm);
        add_quoted("nonce", &self.nonce);
        add_quoted("uri", uri.as_bytes());
        add_quoted("response", response.as_bytes());
        if let Some(opaque) = &self.opaque {
            add_quoted("opaque", opaque);
        }
        if protection.token().is_some() {
            add_quoted("cnonce", self.cnonce.as_bytes());
        }
        if named {
            value.extend_from_slice(format!(", algorithm={}", algorithm.as_str()).as_bytes());
        }
        if let Some(qop) = protection.token() {
            value.extend_from_slice(format!(", qop={qop}, nc={}", count_text(self.count)).as_bytes());
        }
        value.into()
    }
}

/// For each asker and realm the challenge with the strongest algorithm that is known here; of equal ones the first
/// (RFC 8760 §2.4 lets the server order them, RFC 7616 §3.7 lets the client choose).
fn strongest(headers: &Headers) -> Vec<(Asker, Challenge)> {
    let mut best: Vec<(Asker, Challenge)> = Vec::new();
    for asker in Asker::ALL {
        for line in headers.all(&asker.challenge()) {
            for challenge in Challenge::parse_all(line.as_bytes()) {
                let same = |held: &(Asker, Challenge)| held.0 == asker && held.1.realm == challenge.realm;
                match best.iter().position(same).and_then(|index| best.get_mut(index)) {
                    Some((_, held)) if held.rank() >= challenge.rank() => {}
                    Some((_, held)) => *held = challenge,
                    None => best.push((asker, challenge)),
                }
            }
        }
    }
    best.truncate(MAX_ASKERS);
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Password;
    use crate::{Body, HeaderName, Method, Uri};

    fn credentials(user: &str, realm: Option<&str>) -> Credentials {
        Credentials::new(user, Password::new("secret"), realm).unwrap()
    }

    fn keyring() -> (Keyring, Attempts, Random) {
        (Keyring::new(vec![credentials("ada", None)]), Attempts::default(), Random::from_seed([1; 32]))
    }

    fn refusal(challenges: &[(Asker, &str)]) -> Response {
        let mut response = Response::new(401);
        for (asker, challenge) in challenges {
            response.headers.push(asker.challenge(), *challenge);
        }
        response
    }

    fn invite() -> Request {
        let mut request = Request::new(Method::Invite, Uri::parse("sip:record=1@192.0.2.2;dn=1").unwrap());
        request.body = Body::sdp("v=0\r\n").bytes;
        request
    }

    fn authorized(keyring: &mut Keyring) -> Request {
        let mut request = invite();
        keyring.authorize(&mut request);
        request
    }

    fn values(request: &Request, asker: Asker) -> Vec<String> {
        request.headers.all(&asker.credentials()).map(|value| value.to_string()).collect()
    }

    fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
        let fields = value.strip_prefix("Digest ")?.split(", ");
        fields.filter_map(|field| field.split_once('=')).find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    use Asker::{Proxy, Server};

    #[test]
    fn each_use_of_a_nonce_counts_and_the_rest_comes_back_as_it_came() {
        let (mut keyring, mut attempts, mut random) = keyring();
        let challenge =
            r#"Digest realm="a \"b\"", nonce="n", opaque="o", algorithm=SHA-256, qop="auth-int,auth""#;
        keyring.challenged(&refusal(&[(Server, challenge)]), &mut attempts, &mut random).unwrap();
        let first = values(&authorized(&mut keyring), Server);
        let second = values(&authorized(&mut keyring), Server);
        let of = |name| parameter(&first[0], name).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(of("username"), "\"ada\"");
        assert_eq!(of("realm"), r#""a \"b\"""#);
        assert_eq!((of("nonce"), of("opaque")), ("\"n\"", "\"o\""));
        assert_eq!(of("uri"), "\"sip:record=1@192.0.2.2;dn=1\"");
        assert_eq!((of("algorithm"), of("qop"), of("nc")), ("SHA-256", "auth", "00000001"));
        assert_eq!(parameter(&second[0], "nc"), Some("00000002"));
        assert_ne!(parameter(&second[0], "response"), parameter(&first[0], "response"));
    }

    #[test]
    fn the_old_way_has_neither_count_nor_nonce_of_ours() {
        let (mut keyring, mut attempts, mut random) = keyring();
        let old = refusal(&[(Proxy, "Digest realm=\"r\",nonce=\"n\"")]);
        keyring.challenged(&old, &mut attempts, &mut random).unwrap();
        let request = authorized(&mut keyring);
        assert!(values(&request, Server).is_empty());
        let value = &values(&request, Proxy)[0];
        for absent in ["qop", "nc", "cnonce", "algorithm", "opaque"] {
            assert_eq!(parameter(value, absent), None, "{absent}");
        }
    }

    #[test]
    fn of_several_algorithms_the_strongest_known_is_taken_and_a_session_only_where_nothing_else_is_asked() {
        for (asked, taken) in [
            (&["MD5", "SHA-256", "SHA-512-256"][..], "SHA-512-256"),
            (&["SHA-256", "MD5"], "SHA-256"),
            (&["AKAv1-MD5", "MD5"], "MD5"),
            (&["MD5-sess", "MD5"], "MD5"),
            (&["MD5", "SHA-256-sess"], "SHA-256-sess"),
            (&["SHA-256-sess", "SHA-256"], "SHA-256"),
            (&["MD5-sess"], "MD5-sess"),
        ] {
            let (mut keyring, mut attempts, mut random) = keyring();
            let lines: Vec<String> = asked
                .iter()
                .map(|name| format!("Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm={name}"))
                .collect();
            let lines: Vec<_> = lines.iter().map(|line| (Server, line.as_str())).collect();
            keyring.challenged(&refusal(&lines), &mut attempts, &mut random).unwrap();
            let sent = values(&authorized(&mut keyring), Server);
            assert_eq!(sent.len(), 1);
            assert_eq!(parameter(&sent[0], "algorithm"), Some(taken), "{asked:?}");
        }
    }

    #[test]
    fn a_refused_answer_is_not_repeated_unless_its_nonce_was_too_old() {
        let (mut keyring, mut attempts, mut random) = keyring();
        let challenge = |nonce: &str, more: &str| {
            refusal(&[(
                Server,
                format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"{more}").as_str(),
            )])
        };
        let rejected = Err(ChallengeFault::Rejected { realm: "r".into(), user: "ada".into() });
        let mut meet = |response: &Response| keyring.challenged(response, &mut attempts, &mut random);
        assert_eq!(meet(&challenge("1", "")), Ok(()));
        assert_eq!(meet(&challenge("1", "")), rejected, "the same nonce");
        assert_eq!(meet(&challenge("2", "")), rejected, "the answer was judged");
        assert_eq!(meet(&challenge("1", ", stale=true")), rejected, "it cannot be old and new at once");
        assert_eq!(meet(&challenge("2", ", stale=true")), Ok(()));
        assert_eq!(meet(&challenge("2", "")), rejected);
    }

    #[test]
    fn a_server_that_never_has_enough_is_given_up() {
        let (mut keyring, mut attempts, mut random) = keyring();
        let fault = (0..).find_map(|nonce| {
            let line = format!("Digest realm=\"r\", nonce=\"{nonce}\", stale=true");
            keyring.challenged(&refusal(&[(Server, &line)]), &mut attempts, &mut random).err()
        });
        assert_eq!(fault, Some(ChallengeFault::Endless));
        assert_eq!(keyring.sessions.len(), 1);
    }

    #[test]
    fn every_realm_of_server_and_proxies_gets_its_own_credentials() {
        let mut keyring = Keyring::new(vec![credentials("any", None), credentials("of-b", Some("b"))]);
        let (mut attempts, mut random) = (Attempts::default(), Random::from_seed([1; 32]));
        let all = [
            (Proxy, "Digest realm=\"a\", nonce=\"1\""),
            (Proxy, "Digest realm=\"b\", nonce=\"2\""),
            (Server, "Digest realm=\"a\", nonce=\"3\""),
        ];
        keyring.challenged(&refusal(&all), &mut attempts, &mut random).unwrap();
        let request = authorized(&mut keyring);
        let who = |asker| {
            let values = values(&request, asker);
            let who = |value: &String| {
                let of = |name| parameter(value, name).unwrap().trim_matches('"').to_owned();
                (of("username"), of("nonce"))
            };
            values.iter().map(who).collect::<Vec<_>>()
        };
        let pair = |user: &str, nonce: &str| (user.to_owned(), nonce.to_owned());
        assert_eq!(who(Proxy), [pair("any", "1"), pair("of-b", "2")]);
        assert_eq!(who(Server), [pair("any", "3")]);
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let of = |credentials: Vec<Credentials>, challenges: &[(Asker, &str)]| {
            let mut keyring = Keyring::new(credentials);
            let mut random = Random::from_seed([1; 32]);
            keyring.challenged(&refusal(challenges), &mut Attempts::default(), &mut random)
        };
        let good = (Server, "Digest realm=\"r\", nonce=\"n\"");
        let realm = || "r".to_owned();
        assert_eq!(of(vec![], &[]), Err(ChallengeFault::Unreadable));
        assert_eq!(of(vec![], &[(Server, "Digest \u{1}\"")]), Err(ChallengeFault::Unreadable));
        assert_eq!(of(vec![], &[(Server, "Basic realm=\"r\"")]), Err(ChallengeFault::Unreadable));
        assert_eq!(of(vec![], &[good]), Err(ChallengeFault::NoCredentials { realm: realm() }));
        let elsewhere = vec![credentials("ada", Some("s"))];
        assert_eq!(of(elsewhere, &[good]), Err(ChallengeFault::NoCredentials { realm: realm() }));
        let odd = (Server, "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1");
        let anyone = vec![credentials("ada", None)];
        assert_eq!(of(anyone.clone(), &[odd]), Err(ChallengeFault::Unsupported { realm: realm() }));
        assert_eq!(of(anyone, &[odd, (Proxy, "Digest realm=\"p\", nonce=\"n\"")]), Ok(()));
    }

    #[test]
    fn the_next_nonce_of_a_success_is_used_from_its_first_count_on() {
        let (mut keyring, mut attempts, mut random) = keyring();
        let challenge = "Digest realm=\"r\", nonce=\"old\", qop=\"auth\"";
        keyring.challenged(&refusal(&[(Server, challenge)]), &mut attempts, &mut random).unwrap();
        authorized(&mut keyring);
        let mut headers = Headers::new();
        headers.push(HeaderName::AuthenticationInfo, "nextnonce=\"new\"");
        keyring.accepted(&headers);
        let sent = values(&authorized(&mut keyring), Server);
        assert_eq!(parameter(&sent[0], "nonce"), Some("\"new\""));
        assert_eq!(parameter(&sent[0], "nc"), Some("00000001"));
    }
}
