//! The local port: one number for UDP and TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::{BindError, Protocol, TransportConfig, unreachable};

/// How often another ephemeral port is tried when the one got for TCP is taken for UDP.
const PORT_ATTEMPTS: u32 = 16;
/// Room for a burst of answers; the system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;
const BACKLOG: i32 = 256;

/// Both sockets of one local port.
pub(crate) struct Port {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) local: SocketAddr,
}

impl Port {
    /// Takes the configured port. Needs a tokio runtime.
    pub(crate) fn bind(config: &TransportConfig) -> Result<Self, BindError> {
        let Some(address) = config.local else {
            let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), config.port);
            return match Self::bind_address(both, config.dscp) {
                // A host without IPv6.
                Err(BindError::Refused { source, .. }) if is_family_missing(&source) => Self::bind_address(
                    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.port),
                    config.dscp,
                ),
                other => other,
            };
        };
        Self::bind_address(SocketAddr::new(address, config.port), config.dscp)
    }

    fn bind_address(address: SocketAddr, dscp: Option<u8>) -> Result<Self, BindError> {
        for _ in 0..PORT_ATTEMPTS {
            let tcp =
                bind_tcp(address, dscp).map_err(|error| BindError::new(Protocol::Tcp, address, error))?;
            let local = tcp.local_addr().map_err(|error| BindError::new(Protocol::Tcp, address, error))?;
            match bind_udp(local, dscp) {
                Ok(udp) => return Ok(Self { udp, tcp, local }),
                Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(BindError::new(Protocol::Udp, local, error)),
            }
        }
        Err(BindError::NoCommonPort { address })
    }
}

/// The listening socket of TLS, and its address. An IPv6 wildcard is that of IPv4 on a host without IPv6.
pub(crate) fn bind_tls(
    address: SocketAddr,
    dscp: Option<u8>,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let refused = |error| BindError::new(Protocol::Tls, address, error);
    let listener = match bind_tcp(address, dscp) {
        Err(error) if address.ip().is_unspecified() && is_family_missing(&error) => {
            bind_tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), dscp)
        }
        other => other,
    }
    .map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;
    Ok((listener, local))
}

/// A socket for a connection to `remote` from the local address `local`.
pub(crate) fn connecting_socket(
    local: SocketAddr,
    remote: SocketAddr,
    dscp: Option<u8>,
) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(IpProtocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    mark(&socket, remote.is_ipv6(), dscp)?;
    if !local.ip().is_unspecified() {
        socket.bind(&SocketAddr::new(local.ip(), 0).into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// The local address from which the system would send to `remote`.
pub(crate) fn route_to(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing: it asks the routing table.
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn bind_tcp(address: SocketAddr, dscp: Option<u8>) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, IpProtocol::TCP, dscp)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_udp(address: SocketAddr, dscp: Option<u8>) -> io::Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, IpProtocol::UDP, dscp)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    unreachable::listen(&socket, address.is_ipv6());
    UdpSocket::from_std(socket.into())
}

fn bound(address: SocketAddr, kind: Type, protocol: IpProtocol, dscp: Option<u8>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if kind == Type::STREAM {
        // Connections of an ended process in TIME_WAIT do not keep its port.
        socket.set_reuse_address(true)?;
    }
    mark(&socket, address.is_ipv6(), dscp)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// RFC 2474: the code point is the upper six bits of the octet.
fn mark(socket: &Socket, ipv6: bool, dscp: Option<u8>) -> io::Result<()> {
    let Some(dscp) = dscp else { return Ok(()) };
    let octet = u32::from(dscp & 0x3f) << 2;
    if ipv6 {
        socket.set_tclass_v6(octet)?;
        // Mapped IPv4 traffic of a dual-stack socket.
        return socket.set_tos_v4(octet).or(Ok(()));
    }
    socket.set_tos_v4(octet)
}

fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// "Address family not supported by protocol" on Linux; std has no kind for it.
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    /// Expedited forwarding (RFC 3246) in the upper six bits.
    const DSCP: u8 = 46;
    const OCTET: u32 = 184;

    #[tokio::test]
    async fn what_is_sent_carries_the_code_point() {
        let local = Some(Ipv4Addr::LOCALHOST.into());
        let config = TransportConfig { local, dscp: Some(DSCP), ..TransportConfig::default() };
        let port = Port::bind(&config).unwrap();
        assert_eq!(SockRef::from(&port.udp).tos_v4().unwrap(), OCTET);
        assert_eq!(SockRef::from(&port.tcp).tos_v4().unwrap(), OCTET, "connections take it over");
        let connecting = connecting_socket(port.local, port.local, config.dscp).unwrap();
        assert_eq!(SockRef::from(&connecting).tos_v4().unwrap(), OCTET);
    }

    #[test]
    fn the_route_to_a_host_begins_with_an_address_of_its_family() {
        assert_eq!(route_to(([127, 0, 0, 1], 5060).into()).unwrap(), Ipv4Addr::LOCALHOST);
        if let Ok(address) = route_to((Ipv6Addr::LOCALHOST, 5060).into()) {
            assert_eq!(address, Ipv6Addr::LOCALHOST);
        }
    }
}
