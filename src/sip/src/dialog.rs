//! What both ends of a dialog keep about it (RFC 3261 §12).

use crate::{
    CSeq, Endpoint, HeaderName, HeaderValue, Headers, Method, NameAddr, Random, Request, Response, Uri,
};

/// The state of one dialog, early or confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Dialog {
    call_id: HeaderValue,
    /// From of our requests, with our tag.
    local: NameAddr,
    /// To of our requests, with the peer's tag if it gave one.
    remote: NameAddr,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    remote_target: Uri,
    /// Route of our requests, the first hop first.
    route_set: Vec<NameAddr>,
    /// How often target or route set have become others.
    moves: u32,
}

/// Why an INVITE cannot open a dialog: the peer broke RFC 3261 §8.1.1 or §12.1.1. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedInvite {
    /// From is missing or unreadable.
    #[error("no usable From")]
    From,
    /// To is missing or unreadable.
    #[error("no usable To")]
    To,
    /// Call-ID is missing.
    #[error("no Call-ID")]
    CallId,
    /// CSeq is missing, unreadable or of another method.
    #[error("no usable CSeq")]
    CSeq,
    /// There is no single Contact that is a SIP URI.
    #[error("no usable Contact")]
    Contact,
}

/// A request in the dialog came with the number of one before, or a lower one. The answer is 500 (RFC 3261 §12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfOrder;

impl Dialog {
    /// What the caller knows before anybody has answered. The INVITE itself is its first [`request`](Self::request).
    pub(crate) fn unanswered(
        call_id: String,
        local: NameAddr,
        remote: NameAddr,
        remote_target: Uri,
        route_set: Vec<NameAddr>,
    ) -> Dialog {
        Dialog {
            call_id: call_id.into(),
            local,
            remote,
            local_cseq: 0,
            remote_cseq: None,
            remote_target,
            route_set,
            moves: 0,
        }
    }

    /// A dialog out of what was written down of it, to be [ended](crate::DialogUa::bye_left_behind): From and To of its
    /// requests, the number of one of them, the peer's Contact, and Route with the first hop first. Nothing is known of
    /// the peer's requests.
    pub fn left_behind(
        call_id: HeaderValue,
        local: NameAddr,
        remote: NameAddr,
        local_cseq: u32,
        remote_target: Uri,
        route_set: Vec<NameAddr>,
    ) -> Dialog {
        Dialog { call_id, local, remote, local_cseq, remote_cseq: None, remote_target, route_set, moves: 0 }
    }

    /// The dialog at the caller, opened by a response to its INVITE (RFC 3261 §12.1.2).
    ///
    /// Lenient, since the session is worth more: without a To tag the remote tag is null, without a usable Contact the
    /// remote target stays the Request-URI.
    pub(crate) fn opened_by(&self, response: &Response) -> Dialog {
        let mut dialog = self.clone();
        if let Some(tag) = remote_tag(response) {
            dialog.remote = dialog.remote.with_tag(&tag);
        }
        dialog.confirm(response);
        dialog
    }

    /// The dialog at the callee (RFC 3261 §12.1.1).
    pub(crate) fn of_callee(invite: &Request, local_tag: &str) -> Result<Dialog, MalformedInvite> {
        let headers = &invite.headers;
        let local = headers.to().map_err(|_| MalformedInvite::To)?.with_tag(local_tag);
        let cseq = headers.cseq().map_err(|_| MalformedInvite::CSeq)?;
        if cseq.method != Method::Invite {
            return Err(MalformedInvite::CSeq);
        }
        Ok(Dialog {
            call_id: headers.get(&HeaderName::CallId).ok_or(MalformedInvite::CallId)?.clone(),
            local,
            remote: headers.from().map_err(|_| MalformedInvite::From)?,
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
            remote_target: target(headers).ok_or(MalformedInvite::Contact)?,
            route_set: record_routes(headers),
            moves: 0,
        })
    }

    /// The early dialog becomes, by a 2xx, a confirmed one: the route set is learnt again (RFC 3261 §13.2.2.4), the
    /// numbers go on.
    pub(crate) fn confirm(&mut self, response: &Response) {
        let mut routes = record_routes(&response.headers);
        routes.reverse();
        self.moves = self.moves.wrapping_add(u32::from(routes != self.route_set));
        self.route_set = routes;
        self.refresh_target(&response.headers);
    }

    /// A 2xx, or a request of the peer, may say where it is from now on (RFC 3261 §12.2.1.2, §12.2.2).
    pub(crate) fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = target(headers) {
            self.moves = self.moves.wrapping_add(u32::from(target != self.remote_target));
            self.remote_target = target;
        }
    }

    /// The next request of ours in this dialog (RFC 3261 §12.2.1.1). An ACK has the number of its INVITE: see
    /// [`ack`](Self::ack).
    pub(crate) fn request(&mut self, method: Method, endpoint: &Endpoint, random: &mut Random) -> Request {
        let number = self.next_number();
        self.request_numbered(method, number, endpoint, random)
    }

    /// The CSeq number of our next request.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// The ACK of a 2xx to the INVITE with this number (RFC 3261 §13.2.2.4).
    pub(crate) fn ack(&self, cseq: u32, endpoint: &Endpoint, random: &mut Random) -> Request {
        self.request_numbered(Method::Ack, cseq, endpoint, random)
    }

    /// Whether a request of the peer comes in order; a gap is legal (RFC 3261 §12.2.2).
    ///
    /// The RFC speaks of lower numbers. The same number belongs to a request that was done and is forgotten, or that
    /// came by another way too (§8.2.2.2), since numbers rise strictly (§12.2.1.1): it must not be done twice either.
    pub(crate) fn accept_cseq(&mut self, number: u32) -> Result<(), OutOfOrder> {
        if self.remote_cseq.is_some_and(|seen| number <= seen) {
            return Err(OutOfOrder);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// Whether a request with these tags belongs to this dialog. A missing tag is null (RFC 3261 §12.1.2). A peer
    /// that gave none in its answer may well have one in its requests.
    pub(crate) fn is_match(&self, local_tag: Option<&str>, remote_tag: Option<&str>) -> bool {
        self.local.tag() == local_tag && (self.remote.tag().is_none() || self.remote.tag() == remote_tag)
    }

    /// Call-ID, as it stands on the wire.
    pub fn call_id(&self) -> &HeaderValue {
        &self.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        self.local.tag().unwrap_or_default()
    }

    /// The peer's tag; `None` when it gave none (RFC 3261 §12.1.1, §12.1.2).
    pub fn remote_tag(&self) -> Option<&str> {
        self.remote.tag()
    }

    /// From of our requests.
    pub fn local(&self) -> &NameAddr {
        &self.local
    }

    /// To of our requests.
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// The CSeq number of our latest request.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Skips numbers of our requests (RFC 3261 §8.1.1.5: they stay below 2^31).
    pub(crate) fn skip_numbers(&mut self, count: u32) {
        self.local_cseq = self.local_cseq.saturating_add(count).min((1 << 31) - 2);
    }

    /// How often target or route set have become others.
    pub(crate) fn moves(&self) -> u32 {
        self.moves
    }

    /// Where our requests are addressed to: the peer's Contact.
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The proxies that our requests go through, the first hop first.
    pub fn route_set(&self) -> &[NameAddr] {
        &self.route_set
    }

    /// Where our requests are sent to: the first proxy, else the remote target (RFC 3261 §8.1.2, §12.2.1.1).
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.remote_target, |proxy| &proxy.uri)
    }

    /// The first proxy, where it takes only requests that are addressed to itself (RFC 2543; no `lr`).
    pub(crate) fn strict_router(&self) -> Option<&Uri> {
        self.route_set.first().map(|first| &first.uri).filter(|uri| uri.param("lr").is_none())
    }

    fn request_numbered(
        &self,
        method: Method,
        number: u32,
        endpoint: &Endpoint,
        random: &mut Random,
    ) -> Request {
        let (uri, routes) = self.path();
        let mut request = endpoint.head(method.clone(), uri, random);
        for route in routes {
            request.headers.push(HeaderName::Route, route);
        }
        request.headers.push(HeaderName::From, &self.local);
        request.headers.push(HeaderName::To, &self.remote);
        request.headers.push(HeaderName::CallId, self.call_id.clone());
        request.headers.push(HeaderName::CSeq, CSeq::new(number, method));
        request
    }

    /// Request-URI and Route: a first hop without `lr` is a strict router, which wants to be addressed itself, with
    /// the target at the end of the route (RFC 3261 §12.2.1.1).
    fn path(&self) -> (Uri, Vec<NameAddr>) {
        match self.route_set.split_first() {
            Some((first, rest)) if first.uri.param("lr").is_none() => {
                let mut routes = rest.to_vec();
                routes.push(NameAddr::new(self.remote_target.clone()));
                (first.uri.clone(), routes)
            }
            _ => (self.remote_target.clone(), self.route_set.clone()),
        }
    }
}

/// The tag that the other side put on To.
pub(crate) fn remote_tag(response: &Response) -> Option<String> {
    response.headers.to().ok()?.tag().map(str::to_owned)
}

/// The URI of the Contact, if it is one that a request can be sent to.
fn target(headers: &Headers) -> Option<Uri> {
    let uri = headers.contact().ok()??.uri;
    uri.is_sip().then_some(uri)
}

/// The proxies that want to stay in the way. One that is unreadable is left out.
fn record_routes(headers: &Headers) -> Vec<NameAddr> {
    headers.values(&HeaderName::RecordRoute).filter_map(|value| NameAddr::parse(value).ok()).collect()
}
