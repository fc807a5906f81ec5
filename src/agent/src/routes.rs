//! Where the requests of each attempt go.

use std::collections::HashMap;

use siprec_session::DialogWay;
use siprec_sip::{HeaderName, Request, Uri};
use siprec_transport::{Destination, Protocol, ResolveError, Target};

/// Most different next hops of one attempt that are remembered.
const HOPS: usize = 8;
/// Most requests of one attempt that wait for a name to be resolved.
const WAITING: usize = 32;

/// The number of the attempt where there is but one.
pub(crate) const ONLY: u32 = 0;

/// The ways of one recording's attempts.
#[derive(Debug, Default)]
pub(crate) struct Routes(HashMap<u32, Route>);

/// The way of one attempt: that of its first request, and those of the hops that the recorder named since.
#[derive(Debug)]
struct Route {
    target: Target,
    first: Destination,
    /// Where the recorder is to be found when it is not there (RFC 3263 §4.3).
    others: Vec<Destination>,
    /// Whether the first hop is a proxy before the recorder, as the Route of the first request says.
    proxied: Option<bool>,
    hops: Vec<Hop>,
    /// Requests that wait until the hop of the first of them is resolved; later ones stay behind, in order.
    waiting: Vec<(Request, Option<Box<Uri>>)>,
}

#[derive(Debug)]
struct Hop {
    target: Target,
    /// `None` while it is being resolved.
    destination: Option<Destination>,
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Way {
    /// Send it there.
    Send(Box<Request>, Destination),
    /// It waits; resolve this.
    Resolve(Target),
    /// It waits for what is being resolved already.
    Wait,
    /// It cannot be sent.
    Lost(&'static str),
}

impl Routes {
    /// Begins an attempt.
    pub(crate) fn insert(
        &mut self,
        attempt: u32,
        target: Target,
        first: Destination,
        others: Vec<Destination>,
    ) {
        self.0.insert(
            attempt,
            Route { target, first, others, proxied: None, hops: Vec::new(), waiting: Vec::new() },
        );
    }

    /// The way of an attempt as it is written down.
    pub(crate) fn noted(&self, attempt: u32) -> Option<DialogWay> {
        let Route { target, first, proxied, .. } = self.0.get(&attempt)?;
        Some(DialogWay {
            hop: target.uri().ok()?,
            tls: target.tls().clone(),
            remote: first.remote,
            transport: sip_transport(first.protocol),
            fixed: first.fixed,
            proxied: *proxied == Some(true),
        })
    }

    /// A way that was written down, as that of the attempt [`ONLY`].
    ///
    /// # Errors
    /// It leads nowhere.
    pub(crate) fn found_before(way: &DialogWay) -> Result<Self, ResolveError> {
        let target = Target::of(&way.hop)?.with_tls(&way.tls);
        let protocol = match way.transport {
            siprec_sip::Transport::Udp => Protocol::Udp,
            siprec_sip::Transport::Tcp => Protocol::Tcp,
            siprec_sip::Transport::Tls => Protocol::Tls,
        };
        let first = target.found_at(way.remote, protocol, way.fixed);
        let (others, hops, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let route = Route { target, first, others, proxied: Some(way.proxied), hops, waiting };
        Ok(Self(HashMap::from([(ONLY, route)])))
    }

    /// What leads to the first hop of the attempt [`ONLY`].
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.0.get(&ONLY).map(|route| route.first.protocol)
    }

    /// The further destinations of an attempt that failed, with what they were found for.
    pub(crate) fn elsewhere(&mut self, attempt: u32) -> Option<(Target, Vec<Destination>)> {
        let route = self.0.get_mut(&attempt)?;
        Some((route.target.clone(), std::mem::take(&mut route.others)))
    }

    /// Finds the way of a request to its next hop.
    pub(crate) fn way(&mut self, attempt: u32, request: Request, next_hop: Option<Box<Uri>>) -> Way {
        match self.0.get_mut(&attempt) {
            Some(route) => route.way(request, next_hop),
            None => Way::Lost("the attempt has no resolved recorder"),
        }
    }

    /// Takes the outcome of [`Way::Resolve`], and gives the requests that can go now, in order. A hop that cannot be
    /// resolved is replaced by the attempt's first one: recorders put names into Contact that only they know.
    pub(crate) fn resolved(
        &mut self,
        attempt: u32,
        target: &Target,
        outcome: Result<Vec<Destination>, ResolveError>,
    ) -> Vec<Way> {
        let Some(route) = self.0.get_mut(&attempt) else { return Vec::new() };
        if let Err(error) = &outcome {
            tracing::warn!(%error, instead = %route.first.remote, "the recorder named a hop that cannot be found");
        }
        let found = outcome.ok().and_then(|found| found.into_iter().next());
        let destination = found.map_or(route.first.clone(), |found| route.under_way(target, found));
        if let Some(hop) = route.hops.iter_mut().find(|hop| hop.target == *target) {
            hop.destination = Some(destination);
        }
        std::mem::take(&mut route.waiting).into_iter().map(|(request, hop)| route.way(request, hop)).collect()
    }
}

/// What carries messages, as the dialog calls it.
pub(crate) fn sip_transport(protocol: Protocol) -> siprec_sip::Transport {
    match protocol {
        Protocol::Tcp => siprec_sip::Transport::Tcp,
        Protocol::Tls => siprec_sip::Transport::Tls,
        _ => siprec_sip::Transport::Udp,
    }
}

impl Route {
    fn way(&mut self, request: Request, next_hop: Option<Box<Uri>>) -> Way {
        self.proxied.get_or_insert_with(|| request.headers.contains(&HeaderName::Route));
        if !self.waiting.is_empty() {
            return self.wait(request, next_hop, Way::Wait);
        }
        // A hop without a usable URI (a tel: Contact) is where everything went so far.
        let next = next_hop.as_ref().and_then(|uri| self.target(uri));
        let Some(target) = next.filter(|target| *target != self.target) else {
            return Way::Send(Box::new(request), self.first.clone());
        };
        if let Some(literal) = target.literal() {
            return Way::Send(Box::new(request), self.under_way(&target, literal));
        }
        match self.hops.iter().find(|hop| hop.target == target).map(|hop| hop.destination.clone()) {
            Some(Some(destination)) => Way::Send(Box::new(request), destination),
            Some(None) => self.wait(request, next_hop, Way::Wait),
            None => {
                if self.hops.len() >= HOPS {
                    self.hops.remove(0);
                }
                self.hops.push(Hop { target: target.clone(), destination: None });
                self.wait(request, next_hop, Way::Resolve(target))
            }
        }
    }

    fn wait(&mut self, request: Request, next_hop: Option<Box<Uri>>, way: Way) -> Way {
        if self.waiting.len() >= WAITING {
            return Way::Lost("too many requests wait for the recorder's name to be resolved");
        }
        self.waiting.push((request, next_hop));
        way
    }

    /// A recorder whose transport is fixed keeps it in hops that name none; a proxy's is its own. The address that
    /// everything went to so far is reached as before: by TLS its certificate is not for whatever Contact calls it.
    fn under_way(&self, target: &Target, found: Destination) -> Destination {
        if found.protocol == self.first.protocol && found.remote == self.first.remote {
            return self.first.clone();
        }
        match target.protocol() {
            None if self.proxied == Some(true) && self.first.protocol != Protocol::Tls => found,
            Some(_) => found,
            None => Destination { protocol: self.first.protocol, fixed: self.first.fixed, ..found },
        }
    }

    /// A dialog that began by TLS goes on by TLS, or to where everything went so far.
    fn target(&self, uri: &Uri) -> Option<Target> {
        let target = Target::of(uri).ok()?.with_tls(self.target.tls());
        match self.first.protocol {
            Protocol::Tls => target.secured().ok(),
            _ => Some(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_sip::Method;

    fn routes(recorder: &str) -> Routes {
        let target = Target::of(&Uri::parse(recorder).unwrap()).unwrap();
        let first = target.literal().unwrap();
        let mut routes = Routes::default();
        routes.insert(1, target, first, Vec::new());
        routes
    }

    fn request(uri: &str) -> Request {
        Request::new(Method::Bye, Uri::parse(uri).unwrap())
    }

    /// The way of a request without Route.
    fn way(routes: &mut Routes, attempt: u32, uri: &str) -> Way {
        let request = request(uri);
        let hop = request.uri.clone();
        routes.way(attempt, request, Some(Box::new(hop)))
    }

    fn sent(way: Way) -> (String, Protocol, bool) {
        match way {
            Way::Send(_, destination) => {
                (destination.remote.to_string(), destination.protocol, destination.fixed)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_hop_is_the_recorder_then_what_contact_says_and_routes_before_it() {
        let mut routes = routes("sip:192.0.2.1");
        assert_eq!(sent(way(&mut routes, 1, "sip:record=1@192.0.2.1")).0, "192.0.2.1:5060");
        assert_eq!(sent(way(&mut routes, 1, "sip:x@192.0.2.7:5080")).0, "192.0.2.7:5080");
        let hop = Some(Box::new(Uri::parse("sip:192.0.2.9;lr").unwrap()));
        assert_eq!(sent(routes.way(1, request("sip:x@192.0.2.7:5080"), hop)).0, "192.0.2.9:5060");
        assert_eq!(sent(way(&mut routes, 1, "sip:x@rec.inside:5080;maddr=192.0.2.8")).0, "192.0.2.8:5080");
    }

    #[test]
    fn a_fixed_transport_is_kept_by_hops_that_name_none() {
        let mut routes = routes("sip:192.0.2.1;transport=tcp");
        assert_eq!(
            sent(way(&mut routes, 1, "sip:192.0.2.7")),
            ("192.0.2.7:5060".into(), Protocol::Tcp, true)
        );
        let udp = sent(way(&mut routes, 1, "sip:192.0.2.7;transport=udp"));
        assert_eq!(udp, ("192.0.2.7:5060".into(), Protocol::Udp, true));
    }

    #[test]
    fn the_transport_of_a_proxy_is_not_that_of_the_hops_behind_it() {
        let mut routes = routes("sip:192.0.2.1;transport=tcp");
        let mut invite = request("sip:record=1@192.0.2.7");
        invite.headers.push(HeaderName::Route, "<sip:192.0.2.1;transport=tcp;lr>");
        let proxy = Uri::parse("sip:192.0.2.1;transport=tcp;lr").unwrap();
        assert_eq!(sent(routes.way(1, invite, Some(Box::new(proxy)))).1, Protocol::Tcp);
        let recorder = sent(way(&mut routes, 1, "sip:192.0.2.7"));
        assert_eq!(recorder, ("192.0.2.7:5060".into(), Protocol::Udp, false));
    }

    #[test]
    fn a_dialog_that_began_by_tls_never_goes_on_without_it() {
        let mut routes = routes("sips:192.0.2.1");
        let mut way = |uri| match way(&mut routes, 1, uri) {
            Way::Send(_, destination) => destination,
            other => panic!("{other:?}"),
        };
        let first = way("sips:record=1@192.0.2.1");
        assert_eq!((first.remote.port(), first.protocol), (5061, Protocol::Tls));
        for same in ["sip:192.0.2.1:5061", "sip:192.0.2.1", "sips:x@192.0.2.1", "sip:192.0.2.7;transport=udp"]
        {
            assert_eq!(way(same), first, "{same}");
        }
        let other = way("sip:192.0.2.7");
        assert_eq!((other.remote.to_string().as_str(), other.protocol), ("192.0.2.7:5061", Protocol::Tls));
        assert_eq!(other.tls.unwrap().name, "192.0.2.7");
    }

    #[test]
    fn requests_to_a_name_wait_in_order_and_what_cannot_be_resolved_goes_to_the_recorder() {
        let mut routes = routes("sip:192.0.2.1");
        let Way::Resolve(target) = way(&mut routes, 1, "sip:node7.inside") else { panic!("not resolved") };
        assert!(matches!(way(&mut routes, 1, "sip:192.0.2.9"), Way::Wait));
        let failed = ResolveError::NotFound { host: "node7.inside".into(), reason: "unknown".into() };
        let ways = routes.resolved(1, &target, Err(failed));
        let hops: Vec<_> = ways.into_iter().map(|way| sent(way).0).collect();
        assert_eq!(hops, ["192.0.2.1:5060", "192.0.2.9:5060"]);
        assert_eq!(sent(way(&mut routes, 1, "sip:node7.inside")).0, "192.0.2.1:5060", "once is enough");
    }

    #[test]
    fn what_waits_is_bounded_and_what_has_no_way_is_lost() {
        let mut routes = routes("sip:192.0.2.1");
        assert!(matches!(way(&mut routes, 1, "sip:slow.example"), Way::Resolve(_)));
        for _ in 1..WAITING {
            assert!(matches!(way(&mut routes, 1, "sip:slow.example"), Way::Wait));
        }
        assert!(matches!(way(&mut routes, 1, "sip:slow.example"), Way::Lost(_)));
        assert!(matches!(way(&mut routes, 2, "sip:192.0.2.1"), Way::Lost(_)));
    }

    #[test]
    fn a_contact_that_is_no_sip_address_leaves_the_way_as_it_is() {
        assert_eq!(sent(way(&mut routes("sip:192.0.2.1"), 1, "tel:+15550100")).0, "192.0.2.1:5060");
    }
}
