//! What the user has set on a sink, and the sockets that it asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use gst::glib;
use gst::prelude::*;

use super::super::fault::OpenFault;
use super::super::hub::Hub;
use super::super::socket::{Socket, any, resolve};
use crate::value::take;

/// A host by name or number, and a port.
pub(super) type HostPort = (String, u16);

/// A socket that is none for datagrams of IP.
#[derive(Clone, Copy, Debug)]
struct Useless;

/// The element's properties.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Where packets go to: host and port. The first is `host` and `port`.
    pub(super) clients: Vec<HostPort>,
    bind_address: Option<String>,
    bind_port: u16,
    buffer_size: u32,
    /// The application's; `Err` for one that cannot be used.
    socket: Result<Option<Arc<Socket>>, Useless>,
    multicast_iface: Option<String>,
    ttl: u8,
    ttl_mc: u8,
    is_looped: bool,
    qos_dscp: i32,
    pub(super) sync: bool,
}

const HOST: &str = "localhost";
const PORT: u16 = 5004;

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients: vec![(HOST.to_owned(), PORT)],
            bind_address: None,
            bind_port: 0,
            buffer_size: 0,
            socket: Ok(None),
            multicast_iface: None,
            ttl: 64,
            ttl_mc: 1,
            is_looped: true,
            qos_dscp: -1,
            sync: false,
        }
    }
}

impl Settings {
    /// Sets a property.
    ///
    /// # Errors
    /// An entry of `clients` is none.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), OpenFault> {
        match name {
            "host" => {
                let host: Option<String> = value.get().unwrap_or_default();
                self.first().0 = host.unwrap_or_else(|| HOST.to_owned());
            }
            "port" => self.first().1 = port(value),
            "clients" => {
                let list: Option<String> = value.get().unwrap_or_default();
                self.clients = clients(&list.unwrap_or_default())?;
            }
            "bind-address" => take(&mut self.bind_address, value),
            "bind-port" => self.bind_port = port(value),
            "buffer-size" => take(&mut self.buffer_size, value),
            "socket" => self.socket = Socket::of_property(value).map_err(|_| Useless),
            "multicast-iface" => take(&mut self.multicast_iface, value),
            "ttl" => self.ttl = byte(value),
            "ttl-mc" => self.ttl_mc = byte(value),
            "loop" => take(&mut self.is_looped, value),
            "qos-dscp" => take(&mut self.qos_dscp, value),
            "sync" => take(&mut self.sync, value),
            _ => {}
        }
        Ok(())
    }

    /// The value of a property that is only a setting.
    pub(super) fn value(&self, name: &str) -> Option<glib::Value> {
        let first = self.clients.first();
        Some(match name {
            "host" => first.map_or(HOST, |(host, _)| host).to_value(),
            "port" => i32::from(first.map_or(PORT, |(_, port)| *port)).to_value(),
            "clients" => {
                let listed = self.clients.iter().map(|(host, port)| format!("{host}:{port}"));
                listed.collect::<Vec<_>>().join(",").to_value()
            }
            "bind-address" => self.bind_address.to_value(),
            "bind-port" => i32::from(self.bind_port).to_value(),
            "buffer-size" => self.buffer_size.to_value(),
            "socket" => self.given().ok().flatten().and_then(|socket| socket.for_application()).to_value(),
            "multicast-iface" => self.multicast_iface.to_value(),
            "ttl" => i32::from(self.ttl).to_value(),
            "ttl-mc" => i32::from(self.ttl_mc).to_value(),
            "loop" => self.is_looped.to_value(),
            "qos-dscp" => self.qos_dscp.to_value(),
            "sync" => self.sync.to_value(),
            _ => return None,
        })
    }

    fn first(&mut self) -> &mut HostPort {
        if self.clients.is_empty() {
            self.clients.push((HOST.to_owned(), PORT));
        }
        // There is one.
        #[expect(clippy::indexing_slicing)]
        &mut self.clients[0]
    }

    /// The addresses of the clients.
    ///
    /// # Errors
    /// A name has none.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, OpenFault> {
        self.clients.iter().map(|(host, port)| resolve(host, *port)).collect()
    }

    /// The application's socket.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn given(&self) -> Result<Option<&Arc<Socket>>, OpenFault> {
        Ok(self.socket.as_ref().map_err(|Useless| OpenFault::Given)?.as_ref())
    }

    /// Whether nobody else has the sockets of these settings.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.socket, Ok(None)) && self.bind_port == 0
    }

    /// A socket for packets to addresses of the family of this one.
    ///
    /// # Errors
    /// Which setting cannot be had.
    pub(super) fn open(&self, hub: &Hub, like: &SocketAddr) -> Result<Arc<Socket>, OpenFault> {
        let socket = match self.given()?.filter(|given| given.local.is_ipv4() == like.is_ipv4()) {
            Some(given) => given.clone(),
            None => {
                let bound =
                    self.bind_address.as_deref().map(|host| resolve(host, self.bind_port)).transpose()?;
                let bound = bound.filter(|bound| bound.is_ipv4() == like.is_ipv4());
                let local = bound.unwrap_or_else(|| any(like, self.bind_port));
                if self.bind_port == 0 {
                    Arc::new(Socket::bind(local, false)?)
                } else {
                    hub.socket(local, |_| true, || Socket::bind(local, true))?
                }
            }
        };
        self.prepare(&socket)?;
        Ok(socket)
    }

    fn prepare(&self, socket: &Socket) -> Result<(), OpenFault> {
        let fault = |option| move |error| OpenFault::Option { option, error };
        let options = socket.options();
        if self.buffer_size > 0 {
            let size = usize::try_from(self.buffer_size).unwrap_or(usize::MAX);
            options.set_send_buffer_size(size).map_err(fault("buffer-size"))?;
        }
        let is_ipv6 = socket.local.is_ipv6();
        let (ttl, ttl_mc) = (u32::from(self.ttl), u32::from(self.ttl_mc));
        if is_ipv6 {
            options.set_unicast_hops_v6(ttl).map_err(fault("ttl"))?;
            options.set_multicast_hops_v6(ttl_mc).map_err(fault("ttl-mc"))?;
            options.set_multicast_loop_v6(self.is_looped).map_err(fault("loop"))?;
        } else {
            // 0 is none that the kernel takes.
            options.set_ttl_v4(ttl.max(1)).map_err(fault("ttl"))?;
            options.set_multicast_ttl_v4(ttl_mc).map_err(fault("ttl-mc"))?;
            options.set_multicast_loop_v4(self.is_looped).map_err(fault("loop"))?;
        }
        if let Some(name) = self.multicast_iface.as_deref().filter(|name| !name.is_empty()) {
            socket.set_multicast_interface(name).map_err(fault("multicast-iface"))?;
        }
        if let Ok(dscp) = u32::try_from(self.qos_dscp) {
            // The six upper bits of the field (RFC 2474 §3).
            let field = dscp << 2;
            let set = if is_ipv6 { options.set_tclass_v6(field) } else { options.set_tos_v4(field) };
            set.map_err(fault("qos-dscp"))?;
        }
        Ok(())
    }
}

fn port(value: &glib::Value) -> u16 {
    let port: i32 = value.get().unwrap_or_default();
    u16::try_from(port).unwrap_or_default()
}

fn byte(value: &glib::Value) -> u8 {
    let number: i32 = value.get().unwrap_or_default();
    u8::try_from(number).unwrap_or_default()
}

/// A list as `udpsink` has it: `HOST:PORT,HOST:PORT`. An IPv6 address may have brackets.
fn clients(list: &str) -> Result<Vec<HostPort>, OpenFault> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let parted = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let client = parted.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
            client.ok_or_else(|| OpenFault::Client { entry: entry.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_clients_is_hosts_and_ports() {
        let found = clients(" a:1, [::1]:2,::1:3 ,,10.0.0.1:65535").unwrap();
        let found: Vec<_> = found.iter().map(|(host, port)| (host.as_str(), *port)).collect();
        assert_eq!(found, [("a", 1), ("[::1]", 2), ("::1", 3), ("10.0.0.1", 65535)]);
        assert_eq!(clients("").unwrap(), []);
        for bad in ["a", "a:", ":1", "a:65536", "a:-1", "a:1,b"] {
            assert!(clients(bad).is_err(), "{bad}");
        }
    }
}
