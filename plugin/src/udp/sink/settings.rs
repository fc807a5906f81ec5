//! What the user has set on a sink, and the sockets that it asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use gst::glib;
use gst::prelude::*;

use super::super::fault::OpenFault;
use super::super::hub::Hub;
use super::super::socket::{Socket, any, own_addresses};
use super::clients::Clients;
use crate::value::take;

/// A socket that is none for datagrams of IP.
#[derive(Clone, Copy, Debug)]
struct Useless;

/// The element's properties.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Where packets go to.
    pub(super) clients: Clients,
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

/// Where packets leave from, as it was set when the element was opened.
#[derive(Debug)]
pub(super) struct Local {
    settings: Settings,
    /// The addresses of `bind-address`; none when it is not set.
    bound: Vec<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients: Clients::default(),
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
    /// Sets a property that is not about clients.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
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
    }

    /// The value of a property that is only a setting.
    pub(super) fn value(&self, name: &str) -> Option<glib::Value> {
        let (host, port) = self.clients.first();
        Some(match name {
            "host" => host.to_value(),
            "port" => i32::from(port).to_value(),
            "clients" => self.clients.to_string().to_value(),
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

    /// The application's socket.
    ///
    /// # Errors
    /// It cannot be used.
    fn given(&self) -> Result<Option<&Arc<Socket>>, OpenFault> {
        Ok(self.socket.as_ref().map_err(|Useless| OpenFault::Given)?.as_ref())
    }

    /// What sockets are opened with from now on.
    ///
    /// # Errors
    /// `bind-address` has no address.
    pub(super) fn into_local(self) -> Result<Local, OpenFault> {
        let bound = match &self.bind_address {
            Some(host) => own_addresses(host, self.bind_port)?,
            None => Vec::new(),
        };
        Ok(Local { settings: self, bound })
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

impl Local {
    /// Whether nobody else has its sockets.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.settings.socket, Ok(None)) && self.settings.bind_port == 0
    }

    /// An address of the family that is asked for, or of the one that is usual.
    ///
    /// # Errors
    /// The socket that was given cannot be used.
    pub(super) fn address(&self) -> Result<SocketAddr, OpenFault> {
        let given = self.settings.given()?.map(|given| given.local);
        Ok(given.or(self.bound.first().copied()).unwrap_or_else(|| SocketAddr::from(([0; 4], 0))))
    }

    /// A socket for packets to addresses of the family of this one.
    ///
    /// # Errors
    /// Which setting cannot be had.
    pub(super) fn open(&self, hub: &Hub, client: &SocketAddr) -> Result<Arc<Socket>, OpenFault> {
        let is_alike = |local: &SocketAddr| local.is_ipv4() == client.is_ipv4();
        let settings = &self.settings;
        let socket = match settings.given()? {
            Some(given) if is_alike(&given.local) => given.clone(),
            Some(given) => return Err(OpenFault::Family { client: *client, local: given.local }),
            None => {
                let bound = self.bound.iter().find(|local| is_alike(local)).copied();
                let local = match (bound, self.bound.first()) {
                    (Some(bound), _) => bound,
                    (None, Some(other)) if !other.ip().is_unspecified() => {
                        return Err(OpenFault::Family { client: *client, local: *other });
                    }
                    (None, _) => any(client, settings.bind_port),
                };
                if settings.bind_port == 0 {
                    Arc::new(Socket::bind(local, false)?)
                } else {
                    hub.socket(local, |_| true, || Socket::bind(local, true))?
                }
            }
        };
        settings.prepare(&socket)?;
        Ok(socket)
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
