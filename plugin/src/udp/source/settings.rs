//! What the user has set on a source, and the socket that it asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::super::fault::OpenFault;
use super::super::hub::Hub;
use super::super::socket::{Socket, own_address, place};
use crate::value::take;

/// A socket that is none for datagrams of IP.
#[derive(Clone, Copy, Debug)]
struct Useless;

/// The element's properties.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) caps: Option<gst::Caps>,
    buffer_size: u32,
    reuse: bool,
    auto_multicast: bool,
    multicast_iface: Option<String>,
    /// The application's; `Err` for one that cannot be used.
    socket: Result<Option<Arc<Socket>>, Useless>,
    pub(super) timeout: u64,
    pub(super) retrieve_sender_address: bool,
    pub(super) do_timestamp: bool,
    num_buffers: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".to_owned(),
            port: 5004,
            caps: None,
            buffer_size: 0,
            reuse: true,
            auto_multicast: true,
            multicast_iface: None,
            socket: Ok(None),
            timeout: 0,
            retrieve_sender_address: false,
            do_timestamp: true,
            num_buffers: -1,
        }
    }
}

impl Settings {
    /// Sets a property.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "address" => {
                let address: Option<String> = value.get().unwrap_or_default();
                self.address = address.unwrap_or_else(|| Self::default().address);
            }
            "port" => {
                let port: i32 = value.get().unwrap_or_default();
                self.port = u16::try_from(port).unwrap_or_default();
            }
            "caps" => take(&mut self.caps, value),
            "buffer-size" => take(&mut self.buffer_size, value),
            "reuse" => take(&mut self.reuse, value),
            "auto-multicast" => take(&mut self.auto_multicast, value),
            "multicast-iface" => take(&mut self.multicast_iface, value),
            "socket" => self.socket = Socket::of_property(value).map_err(|_| Useless),
            "timeout" => take(&mut self.timeout, value),
            "retrieve-sender-address" => take(&mut self.retrieve_sender_address, value),
            "do-timestamp" => take(&mut self.do_timestamp, value),
            "num-buffers" => take(&mut self.num_buffers, value),
            _ => {}
        }
    }

    /// The value of a property that is only a setting.
    pub(super) fn value(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "address" => self.address.to_value(),
            "port" => i32::from(self.port).to_value(),
            "caps" => self.caps.to_value(),
            "buffer-size" => self.buffer_size.to_value(),
            "reuse" => self.reuse.to_value(),
            "auto-multicast" => self.auto_multicast.to_value(),
            "multicast-iface" => self.multicast_iface.to_value(),
            "socket" => self.given().and_then(|socket| socket.for_application()).to_value(),
            "timeout" => self.timeout.to_value(),
            "retrieve-sender-address" => self.retrieve_sender_address.to_value(),
            "do-timestamp" => self.do_timestamp.to_value(),
            "num-buffers" => self.num_buffers.to_value(),
            _ => return None,
        })
    }

    fn given(&self) -> Option<&Arc<Socket>> {
        self.socket.as_ref().ok()?.as_ref()
    }

    fn interfaces(&self) -> &str {
        self.multicast_iface.as_deref().unwrap_or_default()
    }

    /// After how long silence is told.
    pub(super) fn silence(&self) -> Option<Duration> {
        (self.timeout > 0).then(|| Duration::from_nanos(self.timeout))
    }

    /// How many packets there are before EOS.
    pub(super) fn packets(&self) -> Option<u64> {
        u64::try_from(self.num_buffers).ok()
    }

    /// The socket that these ask for, and the group that was joined with it.
    ///
    /// # Errors
    /// Which setting cannot be had.
    pub(super) fn open(&self, hub: &Hub) -> Result<(Arc<Socket>, Option<Membership>), OpenFault> {
        let address = own_address(&self.address, self.port)?;
        let socket = match self.socket.as_ref().map_err(|Useless| OpenFault::Given)? {
            Some(given) => {
                given.take_reading();
                given.clone()
            }
            None => {
                let local = place(address, self.interfaces());
                hub.socket(local, Socket::take_reading, || {
                    let socket = Socket::bind(local, self.reuse)?;
                    socket.take_reading();
                    Ok(socket)
                })?
            }
        };
        match self.prepare(&socket, address) {
            Ok(joined) => Ok((socket, joined)),
            Err(fault) => {
                socket.end_reading();
                Err(fault)
            }
        }
    }

    fn prepare(&self, socket: &Socket, address: SocketAddr) -> Result<Option<Membership>, OpenFault> {
        if self.buffer_size > 0 {
            let size = usize::try_from(self.buffer_size).unwrap_or(usize::MAX);
            let set = socket.options().set_recv_buffer_size(size);
            set.map_err(|error| OpenFault::Option { option: "buffer-size", error })?;
        }
        self.join(socket, address)
    }

    fn join(&self, socket: &Socket, group: SocketAddr) -> Result<Option<Membership>, OpenFault> {
        if !self.auto_multicast || !group.ip().is_multicast() {
            return Ok(None);
        }
        let membership = Membership { group, interfaces: self.interfaces().to_owned() };
        socket.change_membership(membership.group, &membership.interfaces, true)?;
        Ok(Some(membership))
    }
}

/// A group that a socket is a member of.
#[derive(Debug)]
pub(super) struct Membership {
    group: SocketAddr,
    interfaces: String,
}

impl Membership {
    /// Ends it. The socket may be others', too, and stay open.
    pub(super) fn leave(&self, socket: &Socket) {
        if let Err(error) = socket.change_membership(self.group, &self.interfaces, false) {
            gst::debug!(super::super::CAT, "leaving: {error}");
        }
    }
}
