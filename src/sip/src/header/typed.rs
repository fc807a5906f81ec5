//! Typed views of the headers that dialogs need.

use super::timer::parse_seconds;
use super::{CSeq, ContentType, HeaderError, HeaderName, Headers, NameAddr, SessionExpires, Via};
use crate::message::Method;
use crate::syntax::{self, SyntaxError};

/// Typed views. A mandatory header that is missing is an error, an optional one is `None`; a header that may stand
/// once and stands twice is an error.
///
/// # Errors
/// Each says which header is missing, repeated or malformed, and where in its value.
impl Headers {
    /// The topmost Via: the last hop's.
    pub fn via(&self) -> Result<Via, HeaderError> {
        let name = HeaderName::Via;
        let value = self.values(&HeaderName::Via).next().ok_or(HeaderError::Missing(HeaderName::Via))?;
        Via::parse(value).map_err(|error| HeaderError::Malformed { name, error })
    }

    /// Every Via, the topmost first.
    pub fn vias(&self) -> Result<Vec<Via>, HeaderError> {
        self.list(&HeaderName::Via, Via::parse)
    }

    /// Who sent the request of this transaction.
    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        self.mandatory(&HeaderName::From, NameAddr::parse)
    }

    /// Whom the request was sent to.
    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        self.mandatory(&HeaderName::To, NameAddr::parse)
    }

    /// The call's identifier, as written.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let name = HeaderName::CallId;
        let value = self.only(&HeaderName::CallId)?.ok_or(HeaderError::Missing(HeaderName::CallId))?;
        std::str::from_utf8(value)
            .ok()
            .filter(|id| !id.is_empty() && !id.contains(char::is_whitespace))
            .ok_or(HeaderError::Malformed { name, error: SyntaxError::new(0, "a word") })
    }

    /// Sequence number and method.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.mandatory(&HeaderName::CSeq, CSeq::parse)
    }

    /// The first Contact that is an address (`*` is none).
    pub fn contact(&self) -> Result<Option<NameAddr>, HeaderError> {
        Ok(self.contacts()?.into_iter().next())
    }

    /// Every Contact that is an address, in order.
    pub fn contacts(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.values(&HeaderName::Contact)
            .filter(|value| *value != b"*")
            .map(NameAddr::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| HeaderError::Malformed { name: HeaderName::Contact, error })
    }

    /// Every Record-Route, in order.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::RecordRoute, NameAddr::parse)
    }

    /// Every Route, in order.
    pub fn routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.list(&HeaderName::Route, NameAddr::parse)
    }

    /// The type of the body.
    pub fn content_type(&self) -> Result<Option<ContentType>, HeaderError> {
        self.optional(&HeaderName::ContentType, ContentType::parse)
    }

    /// The length of the body in bytes as declared. Several equal declarations count as one.
    pub fn content_length(&self) -> Result<Option<usize>, HeaderError> {
        let name = || HeaderName::ContentLength;
        let mut length = None;
        for value in self.all(&HeaderName::ContentLength) {
            let this = syntax::decimal::<usize>(value.as_bytes()).ok_or(HeaderError::Malformed {
                name: name(),
                error: SyntaxError::new(0, "a number of bytes"),
            })?;
            if length.is_some_and(|length| length != this) {
                return Err(HeaderError::Repeated(name()));
            }
            length = Some(this);
        }
        Ok(length)
    }

    /// Session interval and refresher (RFC 4028 §4).
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        self.optional(&HeaderName::SessionExpires, SessionExpires::parse)
    }

    /// Smallest session interval in seconds (RFC 4028 §5).
    pub fn min_se(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(&HeaderName::MinSe)
    }

    /// When to come back, in seconds (RFC 3261 §20.33).
    pub fn retry_after(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(&HeaderName::RetryAfter)
    }

    /// Remaining hops, 0-255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        self.optional(&HeaderName::MaxForwards, |value| {
            syntax::decimal(value).ok_or(SyntaxError::new(0, "a number from 0 to 255"))
        })
    }

    /// Option tags that the receiver must understand.
    pub fn require(&self) -> Vec<String> {
        self.tokens(&HeaderName::Require)
    }

    /// Option tags that the sender understands.
    pub fn supported(&self) -> Vec<String> {
        self.tokens(&HeaderName::Supported)
    }

    /// Methods that the sender takes. What is no method is left out.
    pub fn allow(&self) -> Vec<Method> {
        self.tokens(&HeaderName::Allow).iter().filter_map(|text| Method::parse(text).ok()).collect()
    }

    /// Whether the list of this name has `token`, in any case.
    pub fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    fn tokens(&self, name: &HeaderName) -> Vec<String> {
        self.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn seconds(&self, name: &HeaderName) -> Result<Option<u32>, HeaderError> {
        self.optional(name, |value| parse_seconds(value).map(|(seconds, _)| seconds))
    }

    /// The one line of this name.
    fn only(&self, name: &HeaderName) -> Result<Option<&[u8]>, HeaderError> {
        let mut lines = self.0.iter().filter(|field| field.name == *name);
        let first = lines.next().map(|field| field.value.as_bytes());
        match lines.next() {
            Some(_) => Err(HeaderError::Repeated(name.clone())),
            None => Ok(first),
        }
    }

    fn optional<T>(
        &self,
        name: &HeaderName,
        parse: impl Fn(&[u8]) -> Result<T, SyntaxError>,
    ) -> Result<Option<T>, HeaderError> {
        self.only(name)?
            .map(parse)
            .transpose()
            .map_err(|error| HeaderError::Malformed { name: name.clone(), error })
    }

    fn mandatory<T>(
        &self,
        name: &HeaderName,
        parse: impl Fn(&[u8]) -> Result<T, SyntaxError>,
    ) -> Result<T, HeaderError> {
        self.optional(name, parse)?.ok_or_else(|| HeaderError::Missing(name.clone()))
    }

    fn list<T>(
        &self,
        name: &HeaderName,
        parse: impl Fn(&[u8]) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, HeaderError> {
        self.values(name)
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|error| HeaderError::Malformed { name: name.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push_written(name, value.as_bytes()).unwrap();
        }
        headers
    }

    #[test]
    fn several_vias_in_one_line_and_in_many_are_one_list() {
        let headers =
            headers(&[("v", "SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b;branch=2"), ("Via", "SIP/2.0/TLS c")]);
        assert_eq!(headers.via().unwrap().branch(), Some("1"));
        let hosts: Vec<_> = headers.vias().unwrap().iter().map(|via| via.host().to_owned()).collect();
        assert_eq!(hosts, ["a", "b", "c"]);
    }

    #[test]
    fn a_missing_a_repeated_and_a_malformed_header_are_told_apart() {
        let headers =
            headers(&[("To", "<sip:a@b>"), ("t", "<sip:c@d>"), ("From", "\"x"), ("Call-ID", "a b")]);
        assert_eq!(headers.cseq(), Err(HeaderError::Missing(HeaderName::CSeq)));
        assert_eq!(headers.to(), Err(HeaderError::Repeated(HeaderName::To)));
        assert!(matches!(headers.from(), Err(HeaderError::Malformed { name: HeaderName::From, .. })));
        assert!(matches!(headers.call_id(), Err(HeaderError::Malformed { .. })));
        assert_eq!(headers.contact(), Ok(None));
    }

    #[test]
    fn lists_are_read_over_lines_and_commas() {
        let headers =
            headers(&[("k", "timer, 100rel"), ("Supported", "siprec"), ("Allow", "INVITE,ACK, FOO")]);
        assert_eq!(headers.supported(), ["timer", "100rel", "siprec"]);
        assert!(headers.lists(&HeaderName::Supported, "TIMER"));
        assert!(!headers.lists(&HeaderName::Supported, "time"));
        let allow: Vec<_> = headers.allow().iter().map(ToString::to_string).collect();
        assert_eq!(allow, ["INVITE", "ACK", "FOO"]);
        assert!(headers.require().is_empty());
    }

    #[test]
    fn equal_lengths_are_one_and_different_ones_an_error() {
        assert_eq!(headers(&[("l", "5"), ("Content-Length", "5")]).content_length(), Ok(Some(5)));
        assert!(headers(&[("l", "5"), ("Content-Length", "6")]).content_length().is_err());
        assert!(headers(&[("l", "-999")]).content_length().is_err());
        assert!(headers(&[("l", "99999999999999999999999999")]).content_length().is_err());
    }

    #[test]
    fn seconds_and_hops_are_read() {
        let headers =
            headers(&[("Retry-After", "18000;duration=3600"), ("Min-SE", "90"), ("Max-Forwards", "300")]);
        assert_eq!(headers.retry_after(), Ok(Some(18000)));
        assert_eq!(headers.min_se(), Ok(Some(90)));
        assert!(headers.max_forwards().is_err());
    }

    #[test]
    fn a_star_is_no_contact() {
        assert_eq!(headers(&[("m", "*")]).contact(), Ok(None));
        let contacts = headers(&[("m", "<sip:a,b@c>, \"x, y\" <sip:d@e>;q=0.1")]).contacts().unwrap();
        assert_eq!(contacts.len(), 2);
    }
}
