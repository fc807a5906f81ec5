//! Where a sink's packets leave: its clients, its sockets, and what becomes of each packet.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use gst_net::gio;
use siprec_engine::datagrams::{MAX_MESSAGES, Message, send};
use socket2::SockAddr;

use super::super::fault::{OpenFault, SendFault};
use super::super::hub::Hub;
use super::super::socket::Socket;
use super::clients::{self, Found};
use super::settings::Local;
use crate::complaints::Complaints;
use crate::trail::Way;

/// Most datagrams that the kernel cuts one payload into (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;
/// Most bytes of one payload to be cut.
const MAX_SEGMENTED: usize = 65_000;

/// It never waits: what the system does not take at once is lost and counted.
#[derive(Debug)]
pub(super) struct Outlet {
    clients: Vec<Client>,
    sockets: Vec<Link>,
    local: Local,
    /// Packets of one size may go as one payload.
    segments: bool,
    ledger: Ledger,
}

/// A socket, of its family the only one.
#[derive(Debug)]
struct Link {
    socket: Arc<Socket>,
    /// Nobody else has it.
    is_own: bool,
    /// It is for one address alone: the kernel looks for the way only once, and says when nobody listens there.
    is_connected: bool,
    /// The application has it, too.
    is_shown: bool,
}

#[derive(Debug)]
struct Client {
    /// As it was set.
    host: String,
    address: SocketAddr,
    raw: SockAddr,
    /// Number of its socket.
    link: usize,
}

/// What became of packets, each for each client.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    faults: [u64; SendFault::ALL.len()],
}

/// A packet that did not leave, and how many like that have not been told.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) fault: SendFault,
    pub(super) client: SocketAddr,
    pub(super) more: String,
}

impl Counts {
    pub(super) fn lost(&self, fault: SendFault) -> u64 {
        self.faults.get(fault as usize).copied().unwrap_or(0)
    }
}

impl Outlet {
    /// With the sockets that these settings ask for.
    ///
    /// # Errors
    /// Which setting cannot be had.
    pub(super) fn open(
        local: Local,
        clients: &[clients::Client],
        found: &[Found],
        hub: &Hub,
        segments: bool,
    ) -> Result<Self, OpenFault> {
        let mut outlet =
            Self { clients: Vec::new(), sockets: Vec::new(), local, segments, ledger: Ledger::default() };
        if let Some((_, fault)) = outlet.set_clients(clients, found, hub).into_iter().next() {
            return Err(fault);
        }
        if outlet.sockets.is_empty() {
            // The application may ask for it before it knows a client.
            let like = outlet.local.address()?;
            outlet.link(hub, &like)?;
        }
        Ok(outlet)
    }

    /// Sends to those of these from now on whose address was found, now or before, and to nobody else. Answers with those
    /// that no socket is for.
    pub(super) fn set_clients<'a>(
        &mut self,
        wanted: &'a [clients::Client],
        found: &[Found],
        hub: &Hub,
    ) -> Vec<(&'a clients::Client, OpenFault)> {
        let known = std::mem::take(&mut self.clients);
        let mut faults = Vec::new();
        for client in wanted {
            let clients::Client::At { host, port } = client else { continue };
            let now = found.iter().find(|found| found.host == *host).map(|found| found.address);
            let before = || known.iter().find(|known| known.host == *host).map(|known| known.address);
            let Some(mut address) = now.or_else(before) else { continue };
            address.set_port(*port);
            match self.link(hub, &address) {
                Ok(link) => {
                    self.clients.push(Client { host: host.clone(), address, raw: address.into(), link });
                }
                Err(fault) => faults.push((client, fault)),
            }
        }
        self.connect();
        faults
    }

    /// Whether packets go to this host.
    pub(super) fn serves(&self, host: &str) -> bool {
        self.clients.iter().any(|client| client.host == host)
    }

    /// The number of the socket for this family.
    fn link(&mut self, hub: &Hub, like: &SocketAddr) -> Result<usize, OpenFault> {
        let is_fitting = |link: &Link| link.socket.local.is_ipv4() == like.is_ipv4();
        if let Some(known) = self.sockets.iter().position(is_fitting) {
            return Ok(known);
        }
        let socket = self.local.open(hub, like)?;
        let is_own = self.local.is_own();
        self.sockets.push(Link { socket, is_own, is_connected: false, is_shown: false });
        Ok(self.sockets.len() - 1)
    }

    /// Connects the socket that is one client's alone, and no other.
    fn connect(&mut self) {
        let client = match &*self.clients {
            [client] if !client.address.ip().is_multicast() => Some(client),
            _ => None,
        };
        for (number, link) in self.sockets.iter_mut().enumerate() {
            let client = client.filter(|client| client.link == number && link.is_own && !link.is_shown);
            if link.is_connected {
                let _ = rustix::net::connect_unspec(&link.socket.udp);
                link.is_connected = false;
            }
            link.is_connected = client.is_some_and(|client| link.socket.udp.connect(client.address).is_ok());
        }
    }

    /// The socket of the first client, for the application, which may receive from anybody with it.
    pub(super) fn for_application(&mut self) -> Option<gio::Socket> {
        let number = self.clients.first().map_or(0, |client| client.link);
        let link = self.sockets.get_mut(number)?;
        link.is_shown = true;
        let shown = link.socket.for_application();
        self.connect();
        shown
    }

    /// Sends one packet to each client. Answers with the loss that is to be told.
    pub(super) fn send(&mut self, packet: &[u8]) -> Option<Lost> {
        let mut told = None;
        for client in &self.clients {
            if let Some(link) = self.sockets.get(client.link) {
                self.ledger.send(link, client, packet, &mut told);
            }
        }
        told
    }

    /// Sends many packets to each client, with as few system calls as may be. Answers with the loss that is to be told.
    pub(super) fn send_all(&mut self, bytes: &[u8], packets: &[Range<usize>]) -> Option<Lost> {
        if let [packet] = packets {
            return self.send(bytes.get(packet.clone()).unwrap_or_default());
        }
        let mut told = None;
        for client in &self.clients {
            let Some(link) = self.sockets.get(client.link) else { continue };
            let mut left = packets;
            while !left.is_empty() {
                let round = Round::of(bytes, left, &client.raw, self.segments);
                let (taken, fails) = match send(&link.socket.udp, round.messages()) {
                    Ok(taken) => (round.packets(taken), false),
                    Err(error) => {
                        // Where it is not for want of room, the kernel or the way there does not cut.
                        let is_full =
                            matches!(SendFault::of(&error), SendFault::BufferFull | SendFault::NoBuffers);
                        self.segments &= is_full || !round.is_cut();
                        (round.packets(1), true)
                    }
                };
                let (done, rest) = left.split_at(taken.clamp(1, left.len()));
                left = rest;
                let packets = done.iter().map(|packet| bytes.get(packet.clone()).unwrap_or_default());
                if fails {
                    // One by one each has its own fault, or none: it may have been that of an earlier packet.
                    packets.for_each(|packet| self.ledger.send(link, client, packet, &mut told));
                } else {
                    self.ledger.sent(done.len(), packets.map(<[u8]>::len).sum());
                }
            }
        }
        told
    }

    /// What memory a packet needs besides the outlet itself.
    pub(super) fn show(&self, way: &mut Way) {
        way.value(&*self.clients);
        way.value(&*self.sockets);
        self.sockets.iter().for_each(|link| way.value(&*link.socket));
    }

    /// A packet that cannot be read is lost for each client.
    pub(super) fn lose(&mut self) -> Option<Lost> {
        let mut told = None;
        for client in &self.clients {
            self.ledger.lost(SendFault::Other, client, &mut told);
        }
        told
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.ledger.counts
    }
}

/// What became of packets, and what has been told of it.
#[derive(Debug, Default)]
struct Ledger {
    counts: Counts,
    complaints: Complaints<SendFault>,
}

impl Ledger {
    fn send(&mut self, link: &Link, client: &Client, packet: &[u8], told: &mut Option<Lost>) {
        let udp = &link.socket.udp;
        let once = || if link.is_connected { udp.send(packet) } else { udp.send_to(packet, client.address) };
        let mut sent = once();
        if let Err(error) = &sent
            && SendFault::of(error) == SendFault::Refused
        {
            // It is an earlier packet that was refused, which is told instead of sending this one.
            self.lost(SendFault::Refused, client, told);
            sent = once();
        }
        match sent {
            Ok(bytes) => self.sent(1, bytes),
            Err(error) => self.lost(SendFault::of(&error), client, told),
        }
    }

    fn sent(&mut self, packets: usize, bytes: usize) {
        self.counts.packets += packets as u64;
        self.counts.bytes += bytes as u64;
    }

    fn lost(&mut self, fault: SendFault, client: &Client, told: &mut Option<Lost>) {
        if let Some(count) = self.counts.faults.get_mut(fault as usize) {
            *count += 1;
        }
        if let Some(more) = self.complaints.admit(fault, Instant::now()) {
            *told = Some(Lost { fault, client: client.address, more });
        }
    }
}

/// What one system call sends.
struct Round<'a> {
    messages: [Message<'a>; MAX_MESSAGES],
    /// Packets in each message.
    packets: [usize; MAX_MESSAGES],
    count: usize,
}

impl<'a> Round<'a> {
    /// As many of the first packets as it takes. Those of one size become one message where the kernel cuts.
    fn of(bytes: &'a [u8], mut left: &[Range<usize>], to: &'a SockAddr, segments: bool) -> Self {
        let mut round = Self {
            messages: [Message { to, bytes: &[], segment: None }; MAX_MESSAGES],
            packets: [0; MAX_MESSAGES],
            count: 0,
        };
        for (message, packets) in round.messages.iter_mut().zip(&mut round.packets) {
            let Some(first) = left.first() else { break };
            let (number, end) = if segments { Self::alike(left) } else { (1, first.end) };
            message.bytes = bytes.get(first.start..end).unwrap_or_default();
            message.segment = (number > 1).then_some(first.len()).and_then(|size| u16::try_from(size).ok());
            *packets = number;
            round.count += 1;
            left = left.get(number..).unwrap_or_default();
        }
        round
    }

    /// How many of these packets, which lie one behind the other, have the size of the first, but for the last of them,
    /// which may be smaller; and where that one ends.
    fn alike(left: &[Range<usize>]) -> (usize, usize) {
        let Some(first) = left.first() else { return (0, 0) };
        let (mut number, mut end) = (1, first.end);
        for packet in left.iter().skip(1).take(MAX_SEGMENTS - 1) {
            let fits = (1..=first.len()).contains(&packet.len())
                && packet.start == end
                && packet.end - first.start <= MAX_SEGMENTED;
            if !fits {
                break;
            }
            (number, end) = (number + 1, packet.end);
            if packet.len() < first.len() {
                break;
            }
        }
        (number, end)
    }

    fn messages(&self) -> &[Message<'a>] {
        self.messages.get(..self.count).unwrap_or_default()
    }

    /// Packets in the first messages.
    fn packets(&self, messages: usize) -> usize {
        self.packets.iter().take(messages).sum()
    }

    /// Whether the kernel is to cut the first message.
    fn is_cut(&self) -> bool {
        self.messages.first().is_some_and(|first| first.segment.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of packets that lie one behind the other, as ranges.
    fn ranges(sizes: &[usize]) -> Vec<Range<usize>> {
        let mut end = 0;
        let range = |size: &usize| {
            end += size;
            end - size..end
        };
        sizes.iter().map(range).collect()
    }

    fn round(sizes: &[usize], segments: bool) -> Vec<(usize, Option<u16>, usize)> {
        let to = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 9)));
        let bytes = vec![0; sizes.iter().sum()];
        let packets = ranges(sizes);
        let round = Round::of(&bytes, &packets, &to, segments);
        let parts = round.messages().iter().zip(&round.packets);
        parts.map(|(message, packets)| (message.bytes.len(), message.segment, *packets)).collect()
    }

    #[test]
    fn packets_of_one_size_are_one_message_and_a_smaller_one_ends_it() {
        assert_eq!(round(&[10, 10, 10], true), [(30, Some(10), 3)]);
        assert_eq!(round(&[10, 10, 4, 10], true), [(24, Some(10), 3), (10, None, 1)]);
        assert_eq!(round(&[10, 11, 11], true), [(10, None, 1), (22, Some(11), 2)]);
        assert_eq!(round(&[10, 0, 0], true), [(10, None, 1), (0, None, 1), (0, None, 1)]);
        assert_eq!(round(&[10, 10], false), [(10, None, 1), (10, None, 1)]);
    }

    #[test]
    fn no_message_is_larger_than_the_kernel_takes() {
        assert_eq!(round(&[1; 70], true), [(64, Some(1), 64), (6, Some(1), 6)]);
        assert_eq!(round(&[1500; 50], true), [(64_500, Some(1500), 43), (10_500, Some(1500), 7)]);
        assert_eq!(round(&[40_000; 2], true), [(40_000, None, 1), (40_000, None, 1)]);
        assert_eq!(round(&[1; 20], false).len(), MAX_MESSAGES);
    }
}
