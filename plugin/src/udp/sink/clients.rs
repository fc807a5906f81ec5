//! Whom a sink sends to, as the user says it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use gst::glib;

use super::super::fault::OpenFault;
use super::super::socket::{addresses, bare};

const HOST: &str = "localhost";
const PORT: u16 = 5004;

/// A client as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A host by name or number, and a port.
    At {
        /// An IPv6 address may have brackets.
        host: String,
        /// Port there.
        port: u16,
    },
    /// An entry that is not `HOST:PORT`. It is kept, so that it can be told, read and removed.
    Faulty(String),
}

/// An address that a host was found to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As it was set.
    pub(super) host: String,
    /// With any port.
    pub(super) address: SocketAddr,
}

/// All of them. The first is `host` and `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients(Vec<Client>);

impl Client {
    /// By the arguments of `add` and `remove`.
    pub(super) fn of(host: &str, port: i32) -> Self {
        match u16::try_from(port) {
            Ok(port) => Self::At { host: host.to_owned(), port },
            Err(_) => Self::Faulty(format!("{host}:{port}")),
        }
    }

    fn parse(entry: &str) -> Self {
        let parted = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let client = parted.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        client.map_or_else(|| Self::Faulty(entry.to_owned()), |(host, port)| Self::At { host, port })
    }

    /// The host, unless the entry is faulty.
    ///
    /// # Errors
    /// It is.
    pub(super) fn host(&self) -> Result<&str, OpenFault> {
        match self {
            Self::At { host, .. } => Ok(host),
            Self::Faulty(entry) => Err(OpenFault::Client { entry: entry.clone() }),
        }
    }

    /// Its address, where that is known without asking anybody.
    pub(super) fn numeric(&self) -> Option<Found> {
        let host = self.host().ok()?;
        let ip: IpAddr = bare(host).parse().ok()?;
        Some(Found { host: host.to_owned(), address: SocketAddr::new(ip, 0) })
    }

    /// Its address. This may take as long as the resolver waits for an answer.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn look_up(&self) -> Result<Found, OpenFault> {
        let host = self.host()?;
        let none = |error| OpenFault::Destination { host: host.to_owned(), error };
        let found = addresses(host, 0).map_err(none)?;
        // Of both families it is the one that nearly everybody listens on.
        let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
        let address = address.ok_or_else(|| none(std::io::ErrorKind::NotFound.into()))?;
        Ok(Found { host: host.to_owned(), address })
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::At { host, port }, Self::At { host: other, port: other_port }) => {
                bare(host) == bare(other) && port == other_port
            }
            (this, other) => this == other,
        }
    }
}

impl fmt::Display for Client {
    /// As in `clients`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { host, port } => write!(formatter, "{host}:{port}"),
            Self::Faulty(entry) => formatter.write_str(entry),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self(vec![Client::At { host: HOST.to_owned(), port: PORT }])
    }
}

impl Clients {
    /// A list as `udpsink` has it: `HOST:PORT,HOST:PORT`. An IPv6 address may have brackets.
    fn parse(list: &str) -> Self {
        Self(list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Client::parse).collect())
    }

    pub(super) fn as_slice(&self) -> &[Client] {
        &self.0
    }

    /// `host` and `port`.
    pub(super) fn first(&self) -> (&str, u16) {
        match self.0.first() {
            Some(Client::At { host, port }) => (host, *port),
            Some(Client::Faulty(entry)) => (entry, PORT),
            None => (HOST, PORT),
        }
    }

    /// Whether one is at the host of this one.
    pub(super) fn has_host_of(&self, client: &Client) -> bool {
        self.0.iter().any(|known| match (known, client) {
            (Client::At { host, .. }, Client::At { host: other, .. }) => host == other,
            (known, client) => known == client,
        })
    }

    /// Sets `host`, `port` or `clients`. Answers with those whose host was named by it.
    pub(super) fn set(&mut self, property: &str, value: &glib::Value) -> Vec<Client> {
        let text = || value.get::<Option<String>>().unwrap_or_default();
        let (host, port) = self.first();
        let first = match property {
            "host" => Client::At { host: text().unwrap_or_else(|| HOST.to_owned()), port },
            "port" => {
                let port: i32 = value.get().unwrap_or_default();
                Client::At { host: host.to_owned(), port: u16::try_from(port).unwrap_or_default() }
            }
            _ => {
                *self = Self::parse(&text().unwrap_or_default());
                return self.0.clone();
            }
        };
        match self.0.first_mut() {
            Some(known) => {
                let is_known = property == "port" && matches!(known, Client::At { .. });
                *known = first.clone();
                if is_known { Vec::new() } else { vec![first] }
            }
            None => {
                self.0.push(first.clone());
                vec![first]
            }
        }
    }

    /// Answers with the same.
    pub(super) fn add(&mut self, client: Client) -> Vec<Client> {
        self.0.push(client.clone());
        vec![client]
    }

    /// Takes one away, if it is there.
    pub(super) fn remove(&mut self, client: &Client) {
        match self.0.iter().position(|known| known.is_same(client)) {
            Some(place) => drop(self.0.remove(place)),
            None => gst::warning!(super::super::CAT, "{client} is to be removed, and is no client"),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, client) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(formatter, "{comma}{client}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    fn at(host: &str, port: u16) -> Client {
        Client::At { host: host.to_owned(), port }
    }

    #[test]
    fn a_list_of_clients_is_hosts_and_ports() {
        let found = Clients::parse(" a:1, [::1]:2,::1:3 ,,10.0.0.1:65535");
        assert_eq!(found.0, [at("a", 1), at("[::1]", 2), at("::1", 3), at("10.0.0.1", 65535)]);
        assert_eq!(found.to_string(), "a:1,[::1]:2,::1:3,10.0.0.1:65535");
        assert_eq!(Clients::parse("").0, []);
    }

    #[test]
    fn an_entry_that_is_no_client_is_kept_by_itself() {
        for bad in ["a", "a:", ":1", "a:65536", "a:-1"] {
            let found = Clients::parse(&format!("good:1,{bad}"));
            assert_eq!(found.0, [at("good", 1), Client::Faulty(bad.to_owned())]);
            assert!(found.0[1].look_up().is_err(), "{bad}");
        }
        let mut clients = Clients::parse("a:65536");
        clients.remove(&Client::of("a", 65536));
        assert_eq!(clients.0, []);
    }

    #[test]
    fn host_and_port_are_those_of_the_first_client() {
        let mut clients = Clients::parse("foo,b:2");
        assert_eq!(clients.first(), ("foo", PORT));
        assert_eq!(clients.set("host", &"c".to_value()), [at("c", PORT)]);
        assert_eq!(clients.set("port", &7.to_value()), []);
        assert_eq!(clients.to_string(), "c:7,b:2");
        clients.clear();
        assert_eq!(clients.first(), (HOST, PORT));
        assert_eq!(clients.set("port", &7.to_value()), [at(HOST, 7)]);
    }

    #[test]
    fn a_client_is_removed_with_and_without_brackets_and_once_for_each_time_that_it_was_added() {
        let mut clients = Clients::parse("[::1]:5,::1:5,::1:6");
        clients.remove(&at("::1", 5));
        clients.remove(&at("[::1]", 5));
        assert_eq!(clients.to_string(), "::1:6");
        clients.remove(&at("[::1]", 5));
        assert_eq!(clients.to_string(), "::1:6");
    }
}
