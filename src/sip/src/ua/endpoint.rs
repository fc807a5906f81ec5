//! How this side presents itself in every message.

use crate::{
    CSeq, ContentType, Credentials, HeaderName, HeaderValue, Headers, Method, NameAddr, Random, Request,
    SyntaxError, Transport, Uri, Via,
};

/// How this side presents itself: the same in all of its dialogs.
#[derive(Debug, Clone)]
pub struct Endpoint {
    transport: Transport,
    /// Via of every request, as yet without its branch.
    via: Via,
    /// Contact of every request and answer that sets one: where requests of the peer are sent to.
    pub contact: NameAddr,
    /// User-Agent of requests, Server of responses.
    pub user_agent: Option<String>,
    /// Allow. A request of the peer with another method is refused with 405 or 501.
    pub allow: Vec<Method>,
    /// Supported: option tags. A request of the peer that requires another is refused with 420.
    pub supported: Vec<String>,
    /// Accept of answers to OPTIONS: media types.
    pub accept: Vec<String>,
    /// Who we are to servers and proxies that ask by 401 or 407 (RFC 3261 §22).
    pub credentials: Vec<Credentials>,
}

/// A message body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Content-Type, such as `application/sdp`.
    pub content_type: String,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

impl Body {
    /// A session description.
    pub fn sdp(bytes: impl Into<Vec<u8>>) -> Body {
        Body { content_type: "application/sdp".into(), bytes: bytes.into() }
    }

    /// Whether it is, or may hold, a session description.
    pub(super) fn is_offer(&self) -> bool {
        let kind = ContentType::new(&self.content_type);
        !self.bytes.is_empty() && kind.is_ok_and(|kind| kind.is("application/sdp") || kind.is_multipart())
    }
}

impl Endpoint {
    /// An endpoint that handles what [`DialogUa`](crate::DialogUa) handles, and supports no extension.
    ///
    /// `transport` leads to the next hop: retransmission depends on it. It stands in Via with `host` (an IPv6 address
    /// gets its brackets) and `port`, where responses are sent to.
    ///
    /// # Errors
    /// Where `host` is neither a host name nor an address.
    pub fn new(
        transport: Transport,
        host: &str,
        port: Option<u16>,
        contact: NameAddr,
    ) -> Result<Endpoint, SyntaxError> {
        let mut via = Via::new(transport.as_str(), host, port, "z9hG4bK")?;
        if transport == Transport::Udp {
            // RFC 3581 §3: the response is to come back to the port that the request came from.
            via.params.set_flag("rport")?;
        }
        Ok(Endpoint {
            transport,
            via,
            contact,
            user_agent: None,
            allow: vec![
                Method::Invite,
                Method::Ack,
                Method::Bye,
                Method::Cancel,
                Method::Options,
                Method::Update,
                Method::Info,
                Method::Notify,
            ],
            supported: Vec::new(),
            accept: vec!["application/sdp".into()],
            credentials: Vec::new(),
        })
    }

    /// The transport to the next hop.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// A request outside of any dialog (RFC 3261 §8.1.1), with a Call-ID and From tag of its own.
    pub fn request(
        &self,
        method: Method,
        uri: Uri,
        from: &NameAddr,
        to: &NameAddr,
        random: &mut Random,
    ) -> Request {
        let mut request = self.head(method.clone(), uri, random);
        request.headers.push(HeaderName::From, from.clone().with_tag(&random.tag()));
        request.headers.push(HeaderName::To, to);
        request.headers.push(HeaderName::CallId, random.token(24));
        request.headers.push(HeaderName::CSeq, CSeq::new(1, method.clone()));
        self.present(&method, &mut request.headers);
        request
    }

    /// A request with its Via, under a branch of its own (RFC 3261 §8.1.1.7), and Max-Forwards.
    pub(crate) fn head(&self, method: Method, uri: Uri, random: &mut Random) -> Request {
        let mut via = self.via.clone();
        // The name is a token, so this cannot fail.
        let _ = via.params.set("branch", &random.branch());
        let mut request = Request::new(method, uri);
        request.headers.push(HeaderName::Via, via);
        request.headers.push(HeaderName::MaxForwards, "70");
        request
    }

    /// Adds what a request of this method says about its sender, save what is there already.
    pub(crate) fn present(&self, method: &Method, headers: &mut Headers) {
        if matches!(method, Method::Invite | Method::Update | Method::Options) {
            add(headers, HeaderName::Contact, &self.contact);
        }
        if let Some(user_agent) = &self.user_agent {
            add(headers, HeaderName::UserAgent, user_agent.as_str());
        }
        if matches!(method, Method::Invite | Method::Update | Method::Options) {
            self.add_abilities(headers);
        }
    }

    /// Adds what a response to this method with this status says about its sender, save what is there already.
    pub(crate) fn present_in_response(&self, method: &Method, status: u16, headers: &mut Headers) {
        // RFC 3261 §12.1.1, §13.3.1; RFC 3311 §5.2.
        if matches!(method, Method::Invite | Method::Update) && (101..300).contains(&status) {
            add(headers, HeaderName::Contact, &self.contact);
        }
        if let Some(server) = &self.user_agent {
            add(headers, HeaderName::Server, server.as_str());
        }
        let tells_abilities = matches!(method, Method::Invite | Method::Update | Method::Options);
        if tells_abilities && (200..300).contains(&status) {
            self.add_abilities(headers);
            if !self.accept.is_empty() && *method != Method::Invite {
                add(headers, HeaderName::Accept, self.accept.join(", "));
            }
        } else if status == 405 {
            self.add_allow(headers);
        }
    }

    fn add_abilities(&self, headers: &mut Headers) {
        self.add_allow(headers);
        if !self.supported.is_empty() {
            add(headers, HeaderName::Supported, self.supported.join(", "));
        }
    }

    fn add_allow(&self, headers: &mut Headers) {
        let methods: Vec<String> = self.allow.iter().map(Method::to_string).collect();
        add(headers, HeaderName::Allow, methods.join(", "));
    }
}

/// Adds the user's headers, save those that are the dialog's own.
pub(super) fn add_user_headers(headers: &mut Headers, from_user: &Headers) {
    for (name, value) in from_user.iter() {
        if let Ok(name) = HeaderName::parse(name)
            && !is_protected(&name)
        {
            headers.push(name, value.clone());
        }
    }
}

fn is_protected(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::MaxForwards
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::Contact
            | HeaderName::ContentType
            | HeaderName::ContentLength
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
    )
}

fn add(headers: &mut Headers, name: HeaderName, value: impl Into<HeaderValue>) {
    if !headers.contains(&name) {
        headers.push(name, value);
    }
}
