//! A UDP socket that elements and the poll thread have together.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::glib;
use gst_net::gio;
use gst_net::gio::prelude::*;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Type};

use super::fault::OpenFault;
use crate::sys;

/// It is closed when the last of those that have it lets it go: the poll thread may still read from it after the element
/// was closed.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) udp: UdpSocket,
    /// Where it is bound to.
    pub(super) local: SocketAddr,
    /// A source reads from it.
    read: AtomicBool,
}

impl Socket {
    /// A new one at this address; `reuse` lets others have the same. With port 0 it gets a port that nobody has.
    ///
    /// # Errors
    /// The address is another's or no local one.
    pub(super) fn bind(local: SocketAddr, reuse: bool) -> Result<Self, OpenFault> {
        let bound = || -> io::Result<UdpSocket> {
            let socket = socket2::Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            // Sockets that let others have theirs get the ports of each other where the system chooses.
            socket.set_reuse_address(reuse && local.port() != 0)?;
            if local.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            socket.bind(&local.into())?;
            socket.set_reuse_address(reuse)?;
            Ok(socket.into())
        };
        bound().and_then(Self::of).map_err(|error| OpenFault::Bind { local, error })
    }

    /// The application's own, which remains the application's.
    ///
    /// # Errors
    /// It is none for datagrams of IP.
    fn of_application(given: &gio::Socket) -> Result<Self, OpenFault> {
        if given.socket_type() != gio::SocketType::Datagram || given.is_closed() {
            return Err(OpenFault::Given);
        }
        let taken = given.as_fd().try_clone_to_owned().map(UdpSocket::from).and_then(|udp| {
            udp.set_nonblocking(true)?;
            Self::of(udp)
        });
        taken.map_err(|_| OpenFault::Given)
    }

    fn of(udp: UdpSocket) -> io::Result<Self> {
        Ok(Self { local: udp.local_addr()?, udp, read: AtomicBool::new(false) })
    }

    /// The value of a property `socket`: `None` for no socket.
    ///
    /// # Errors
    /// As of [`Self::of_application`].
    pub(super) fn of_property(value: &glib::Value) -> Result<Option<Arc<Self>>, OpenFault> {
        let given: Option<gio::Socket> = value.get().unwrap_or_default();
        given.map(|given| Self::of_application(&given).map(Arc::new)).transpose()
    }

    /// The same socket for the application.
    pub(super) fn for_application(&self) -> Option<gio::Socket> {
        gio::Socket::from_fd(self.udp.as_fd().try_clone_to_owned().ok()?).ok()
    }

    /// Takes it for reading, unless somebody reads from it.
    pub(super) fn take_reading(&self) -> bool {
        !self.read.swap(true, Ordering::AcqRel)
    }

    /// Gives it back.
    pub(super) fn end_reading(&self) {
        self.read.store(false, Ordering::Release);
    }

    pub(super) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.udp)
    }

    /// Joins or leaves a group on these interfaces, separated by commas; on one that the system chooses when none is
    /// named.
    ///
    /// # Errors
    /// An interface is unknown, or the system refuses.
    pub(super) fn change_membership(
        &self,
        group: SocketAddr,
        interfaces: &str,
        joins: bool,
    ) -> Result<(), OpenFault> {
        let one = |name: &str| -> io::Result<()> {
            let index = if name.is_empty() { scope(&group) } else { interface(name)? };
            let options = self.options();
            match (group.ip(), joins) {
                (IpAddr::V4(ip), true) => {
                    options.join_multicast_v4_n(&ip, &InterfaceIndexOrAddress::Index(index))
                }
                (IpAddr::V4(ip), false) => {
                    options.leave_multicast_v4_n(&ip, &InterfaceIndexOrAddress::Index(index))
                }
                (IpAddr::V6(ip), true) => options.join_multicast_v6(&ip, index),
                (IpAddr::V6(ip), false) => options.leave_multicast_v6(&ip, index),
            }
        };
        for name in interfaces.split(',').map(str::trim) {
            let on = if name.is_empty() { String::new() } else { format!(" on {name}") };
            one(name).map_err(|error| OpenFault::Join { group, on, error })?;
        }
        Ok(())
    }

    /// By which interface packets to groups leave.
    ///
    /// # Errors
    /// It is unknown, or the system refuses.
    pub(super) fn set_multicast_interface(&self, name: &str) -> io::Result<()> {
        let index = interface(name)?;
        if self.local.is_ipv6() {
            self.options().set_multicast_if_v6(index)
        } else {
            sys::set_multicast_interface(&self.udp, index)
        }
    }
}

/// Where a socket is bound to that receives at this address, which may be a group to be joined on these interfaces. Groups
/// of one link can be bound to on one interface only (`ipv6(7)`), and where none or several are named, at any address.
pub(super) fn place(address: SocketAddr, interfaces: &str) -> SocketAddr {
    let SocketAddr::V6(mut place) = address else { return address };
    let [kind, flags_and_scope, ..] = place.ip().octets();
    // RFC 4291 §2.7: of the interface, or of the link.
    let is_of_link = kind == 0xff && matches!(flags_and_scope & 0x0f, 1 | 2);
    if !is_of_link || place.scope_id() != 0 {
        return address;
    }
    // One that is unknown is told where the group is joined.
    match interface(interfaces.trim()) {
        Ok(index) => {
            place.set_scope_id(index);
            place.into()
        }
        Err(_) => any(&address, place.port()),
    }
}

/// Number of the interface that an address is of; 0 for any.
fn scope(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

fn interface(name: &str) -> io::Result<u32> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// The addresses of a host by name or number, one at least. It may take as long as the resolver waits for an answer.
///
/// # Errors
/// There is none.
pub(super) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = (bare(host), port).to_socket_addrs()?.collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

/// A host without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The addresses of this host by name or number, one at least.
///
/// # Errors
/// There is none.
pub(super) fn own_addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, OpenFault> {
    addresses(host, port).map_err(|_| OpenFault::Host { host: host.to_owned() })
}

/// The address of this host by name or number.
///
/// # Errors
/// There is none.
pub(super) fn own_address(host: &str, port: u16) -> Result<SocketAddr, OpenFault> {
    let found = own_addresses(host, port)?;
    // Of both families it is the one that nearly everybody sends to.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    address.ok_or_else(|| OpenFault::Host { host: host.to_owned() })
}

/// Any address of the family of this one.
pub(super) fn any(like: &SocketAddr, port: u16) -> SocketAddr {
    if like.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn groups_of_a_link_are_bound_to_on_their_interface_and_all_others_as_they_are() {
        let at = |address: &str, interfaces| {
            let found = place(address.parse().unwrap(), interfaces);
            (found.ip().to_string(), found.port(), scope(&found))
        };
        let lo = interface("lo").unwrap();
        for group in ["ff02::99", "ff12::99", "ff01::99"] {
            assert_eq!(at(&format!("[{group}]:5"), " lo "), (group.to_owned(), 5, lo));
            assert_eq!(at(&format!("[{group}%7]:5"), "lo"), (group.to_owned(), 5, 7));
            for others in ["", "lo,lo", "no such interface"] {
                assert_eq!(at(&format!("[{group}]:5"), others), ("::".to_owned(), 5, 0));
            }
        }
        for other in ["ff05::99", "ff1e::99", "::", "fe80::1"] {
            assert_eq!(at(&format!("[{other}]:5"), "lo"), (other.to_owned(), 5, 0));
        }
        assert_eq!(at("239.1.2.3:5", "lo"), ("239.1.2.3".to_owned(), 5, 0));
    }

    #[test]
    fn a_port_that_the_system_chooses_is_nobody_elses_although_others_may_have_it() {
        // Among so many, two would nearly always have the same if the system were asked with reuse.
        let sockets: Vec<_> = (0..500).map(|_| Socket::bind(ANY_PORT, true).unwrap()).collect();
        let ports: HashSet<u16> = sockets.iter().map(|socket| socket.local.port()).collect();
        assert_eq!(ports.len(), sockets.len());
        let first = sockets[0].local;
        assert_eq!(Socket::bind(first, true).unwrap().local, first);
        assert!(Socket::bind(first, false).is_err());
        let alone = Socket::bind(ANY_PORT, false).unwrap();
        assert!(Socket::bind(alone.local, true).is_err());
    }
}
