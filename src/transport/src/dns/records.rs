//! What DNS records say of SIP services, as values: no lookup here.

use std::cmp::Reverse;

use crate::Protocol;

/// One server of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The lowest is tried first.
    pub(crate) priority: u16,
    /// Its share of those with the same priority.
    pub(crate) weight: u16,
    pub(crate) port: u16,
    /// Fully qualified, with the dot at its end.
    pub(crate) host: String,
}

/// One transport that a domain prefers (RFC 3263 §4.1, RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preference {
    /// The lowest is taken first.
    pub(crate) order: u16,
    /// The lowest of the same order is taken first.
    pub(crate) preference: u16,
    /// `s` where the replacement is the name of a service.
    pub(crate) flags: String,
    /// Such as `SIP+D2U`.
    pub(crate) services: String,
    /// What to look up next.
    pub(crate) replacement: String,
}

/// A service: what to look up for its servers, and what carries SIP there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
}

impl Service {
    /// The service of a domain by one transport (RFC 3263 §4.1). TLS has a name of its own.
    pub(crate) fn of(host: &str, protocol: Protocol) -> Self {
        let prefix = match protocol {
            Protocol::Udp => "_sip._udp",
            Protocol::Tcp => "_sip._tcp",
            Protocol::Tls => "_sips._tcp",
        };
        Self { name: format!("{prefix}.{}.", host.trim_end_matches('.')), protocol }
    }
}

/// The services that a domain prefers, best first (RFC 3263 §4.1). What is of no use is passed over: transports that we
/// do not speak, all but TLS where it must be `secure`, and records that lead on by a regular expression.
pub(crate) fn preferred(mut preferences: Vec<Preference>, secure: bool) -> Vec<Service> {
    preferences.sort_by_key(|preference| (preference.order, preference.preference));
    let service = |preference: Preference| {
        let is = |services: &str| preference.services.eq_ignore_ascii_case(services);
        let protocol = match () {
            () if is("SIP+D2U") => Protocol::Udp,
            () if is("SIP+D2T") => Protocol::Tcp,
            () if is("SIPS+D2T") => Protocol::Tls,
            () => return None,
        };
        let usable = preference.flags.eq_ignore_ascii_case("s") && (!secure || protocol == Protocol::Tls);
        usable.then_some(Service { name: preference.replacement, protocol })
    };
    preferences.into_iter().filter_map(service).collect()
}

/// Puts servers into the order in which they are tried (RFC 2782): by priority, and by chance among those of one
/// priority, each with its weight. `draw` gives a number from 0 to its argument.
pub(crate) fn ordered(mut servers: Vec<Server>, mut draw: impl FnMut(u32) -> u32) -> Vec<Server> {
    // Last comes what is taken first; those without weight are looked at first, so that they have a small chance.
    servers.sort_by_key(|server| (Reverse(server.priority), server.weight));
    let mut order = Vec::with_capacity(servers.len());
    while let Some(priority) = servers.last().map(|server| server.priority) {
        let from = servers.partition_point(|server| server.priority > priority);
        let mut group = servers.split_off(from);
        while !group.is_empty() {
            let total = group.iter().map(|server| u32::from(server.weight)).sum();
            let drawn = draw(total);
            let mut sum = 0;
            let chosen = group.iter().position(|server| {
                sum += u32::from(server.weight);
                sum >= drawn
            });
            order.push(group.remove(chosen.unwrap_or(0)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(priority: u16, weight: u16, host: &str) -> Server {
        Server { priority, weight, port: 5060, host: host.to_owned() }
    }

    fn hosts(servers: &[Server]) -> Vec<&str> {
        servers.iter().map(|server| server.host.as_str()).collect()
    }

    #[test]
    fn servers_go_by_priority_and_then_by_weight_and_chance() {
        let servers =
            vec![server(20, 0, "spare"), server(10, 0, "idle"), server(10, 30, "a"), server(10, 70, "b")];
        let with = |numbers: [u32; 4]| {
            let mut numbers = numbers.into_iter();
            ordered(servers.clone(), |most| numbers.next().unwrap().min(most))
        };
        assert_eq!(hosts(&with([100, 30, 0, 0])), ["b", "a", "idle", "spare"]);
        assert_eq!(hosts(&with([30, 70, 0, 0])), ["a", "b", "idle", "spare"]);
        assert_eq!(hosts(&with([0, 31, 0, 0])), ["idle", "b", "a", "spare"]);
        assert!(ordered(Vec::new(), |_| 0).is_empty());
    }

    #[test]
    fn each_server_of_a_priority_comes_first_as_often_as_its_weight_says() {
        let mut first = 0;
        for drawn in 0..=100 {
            let order = ordered(vec![server(1, 25, "a"), server(1, 75, "b")], |most| drawn.min(most));
            first += u32::from(hosts(&order)[0] == "a");
        }
        assert!((24..=27).contains(&first), "{first} of 101");
    }

    #[test]
    fn preferences_are_followed_as_far_as_they_are_spoken() {
        let preference = |order, preference, flags: &str, services: &str, replacement: &str| Preference {
            order,
            preference,
            flags: flags.to_owned(),
            services: services.to_owned(),
            replacement: replacement.to_owned(),
        };
        let all = vec![
            preference(50, 50, "s", "SIP+D2S", "_sip._sctp.a."),
            preference(90, 50, "s", "sip+d2t", "_sip._tcp.a."),
            preference(90, 10, "S", "SIPS+D2T", "_sips._tcp.a."),
            preference(40, 10, "u", "SIP+D2U", "."),
            preference(100, 50, "s", "SIP+D2U", "_sip._udp.a."),
            preference(10, 50, "s", "E2U+sip", "x."),
        ];
        let names = |secure| -> Vec<(Protocol, String)> {
            let services = preferred(all.clone(), secure);
            services.into_iter().map(|service| (service.protocol, service.name)).collect()
        };
        let tls = (Protocol::Tls, "_sips._tcp.a.".to_owned());
        let (tcp, udp) =
            ((Protocol::Tcp, "_sip._tcp.a.".to_owned()), (Protocol::Udp, "_sip._udp.a.".to_owned()));
        assert_eq!(names(false), [tls.clone(), tcp, udp]);
        assert_eq!(names(true), [tls]);
    }

    #[test]
    fn services_are_named_as_rfc_3263_says() {
        let name = |protocol| Service::of("rec.example.", protocol).name;
        assert_eq!(name(Protocol::Udp), "_sip._udp.rec.example.");
        assert_eq!(name(Protocol::Tcp), "_sip._tcp.rec.example.");
        assert_eq!(name(Protocol::Tls), "_sips._tcp.rec.example.");
    }
}
