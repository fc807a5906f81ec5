//! What hosts and routers say of requests that nobody takes (RFC 3261 §18.4): Linux keeps it beside the socket
//! (`IP_RECVERR`), with the beginning of the datagram that it is about.
//!
//! Anybody can forge such a message. It counts only where it quotes a request of ours that waits for its answer, as far as
//! the branch, which nobody else knows.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use siprec_sip::{Message, Method};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::transport::{Shared, lock};
use crate::{SendError, udp, via};

/// Most requests that are remembered until they are answered.
const REMEMBERED: usize = 4096;
/// The start of a request that a message about it quotes at the most: IPv4 hosts quote 576 bytes, IPv6 hosts 1280.
const QUOTED: usize = 1280;

/// What the kernel says of where an error came from (`linux/errqueue.h`).
const FROM_ICMP: u8 = 2;
const FROM_ICMP6: u8 = 3;

/// Has the kernel keep what is said of the socket's datagrams. One that cannot leaves it to the timers of transactions.
pub(crate) fn listen(socket: &Socket, is_ipv6: bool) {
    // A socket for both families hears of both.
    let heard = is_ipv6.then(|| setsockopt(socket, Ipv6RecvErr, &true));
    for heard in heard.into_iter().chain([setsockopt(socket, Ipv4RecvErr, &true)]) {
        if let Err(error) = heard {
            tracing::debug!(%error, "closed ports of peers will not be noticed at once");
        }
    }
}

/// Tells of requests that nobody takes, until the last handle is gone.
pub(crate) async fn watch(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let closed = shared.ended();
    tokio::pin!(closed);
    loop {
        let refusal = tokio::select! {
            () = &mut closed => return,
            refusal = socket.async_io(Interest::ERROR, || next(&socket)) => refusal,
        };
        let Ok(refusal) = refusal else {
            tokio::task::yield_now().await;
            continue;
        };
        let Some(Refusal { remote, quote, reason }) = refusal else { continue };
        let refused = lock(&shared.unanswered).refuse(remote, &quote);
        if let Some(message) = refused {
            shared.counters.unreachable.increment();
            shared.report(message, remote, SendError::Unreachable { remote, reason }).await;
        }
    }
}

/// What somebody said of a datagram.
struct Refusal {
    /// Where it was to go.
    remote: SocketAddr,
    /// How it began.
    quote: Vec<u8>,
    reason: String,
}

/// Takes the next error from beside the socket; `None` where it is none that counts.
fn next(socket: &UdpSocket) -> io::Result<Option<Refusal>> {
    let mut quote = vec![0; QUOTED];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(&mut quote)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let (length, address) = (received.bytes, received.address);
    let error = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(error)
        }
        _ => None,
    });
    let Some((error, remote)) = error.zip(address.as_ref().and_then(socket_address)) else { return Ok(None) };
    if !is_final(error.ee_origin, error.ee_type, error.ee_code) {
        return Ok(None);
    }
    quote.truncate(length);
    let reason = i32::try_from(error.ee_errno).map(io::Error::from_raw_os_error);
    let reason = reason.map_or_else(|_| String::new(), |error| error.to_string());
    Ok(Some(Refusal { remote: udp::canonical(remote), quote, reason }))
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}

/// RFC 3261 §18.4: host, network, port or protocol unreachable, and parameter problem. That a datagram was too long for the
/// way or too long under way says nothing of who was to get it.
fn is_final(origin: u8, kind: u8, code: u8) -> bool {
    match (origin, kind, code) {
        // RFC 792: destination unreachable, but for "fragmentation needed"; parameter problem.
        (FROM_ICMP, 3, code) => code != 4,
        (FROM_ICMP, 12, _) => true,
        // RFC 4443 §3.1, §3.4
        (FROM_ICMP6, 1 | 4, _) => true,
        _ => false,
    }
}

/// Requests by UDP that wait for their first response, by method and branch; bounded.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    requests: HashMap<Key, Waiting>,
    order: VecDeque<Key>,
}

type Key = (Method, String);

#[derive(Debug)]
struct Waiting {
    remote: SocketAddr,
    bytes: Vec<u8>,
}

impl Unanswered {
    /// Takes note of a message that has left as these bytes: a request but ACK, which nobody answers.
    pub(crate) fn sent(&mut self, message: &Message, bytes: Vec<u8>, remote: SocketAddr) {
        let Message::Request(request) = message else { return };
        if request.method == Method::Ack {
            return;
        }
        let Some(branch) = via::branch(message) else { return };
        let key = (request.method.clone(), branch);
        if self.requests.insert(key.clone(), Waiting { remote, bytes }).is_none() {
            self.order.push_back(key);
        }
        while self.requests.len() > REMEMBERED || self.order.len() > 2 * REMEMBERED {
            let Some(oldest) = self.order.pop_front() else { return };
            self.requests.remove(&oldest);
        }
    }

    /// The request of a response is answered.
    pub(crate) fn answered(&mut self, message: &Message) {
        let Message::Response(response) = message else { return };
        if let (Some(branch), Ok(cseq)) = (via::branch(message), response.headers.cseq()) {
            // RFC 3261 §17.1.3
            self.requests.remove(&(cseq.method, branch));
        }
    }

    /// Gives the request to `remote` that begins so, if it is one that waits, and waits no more.
    fn refuse(&mut self, remote: SocketAddr, quote: &[u8]) -> Option<Message> {
        let key = quoted(quote)?;
        let waiting = self.requests.get(&key)?;
        if waiting.remote != remote || !waiting.bytes.starts_with(quote) {
            return None;
        }
        let waiting = self.requests.remove(&key)?;
        Message::parse(&waiting.bytes).ok()
    }
}

/// Method and branch of a request of ours of which this is the beginning, as far as both stand there whole.
fn quoted(quote: &[u8]) -> Option<Key> {
    let text = String::from_utf8_lossy(quote);
    let (line, headers) = text.split_once("\r\n")?;
    let method = Method::parse(line.split(' ').next()?).ok()?;
    let via = headers.split("\r\n").next().filter(|via| via.starts_with("Via: "))?;
    let (_, branch) = via.split_once(";branch=")?;
    // The value is whole where something follows it.
    let end = branch.find(';').or_else(|| (headers.len() > via.len()).then_some(branch.len()))?;
    Some((method, branch.get(..end)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKours;rport\r\n\
                           From: <sip:b>;tag=1\r\nTo: <sip:a>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
    const RESPONSE: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKours;rport\r\n\
                            From: <sip:b>;tag=1\r\nTo: <sip:a>;tag=2\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";

    fn remote() -> SocketAddr {
        ([192, 0, 2, 9], 5060).into()
    }

    fn waiting() -> Unanswered {
        let mut unanswered = Unanswered::default();
        let request = Message::parse(REQUEST.as_bytes()).unwrap();
        unanswered.sent(&request, REQUEST.as_bytes().to_vec(), remote());
        unanswered
    }

    #[test]
    fn a_quote_of_a_request_as_far_as_its_branch_is_of_that_request_and_counts_once() {
        let branch = REQUEST.find(";rport").unwrap();
        for length in 0..=REQUEST.len() {
            let (mut unanswered, quote) = (waiting(), &REQUEST.as_bytes()[..length]);
            let refused = unanswered.refuse(remote(), quote);
            assert_eq!(refused.is_some(), length > branch, "{length} bytes");
            assert_eq!(unanswered.refuse(remote(), quote), None, "{length} bytes once more");
        }
    }

    #[test]
    fn what_is_no_quote_or_of_another_request_harms_none() {
        let mut unanswered = waiting();
        for forged in [
            REQUEST.replace("ours", "theirs"),
            REQUEST.replace("OPTIONS", "INVITE"),
            REQUEST.replace("sip:a SIP", "sip:x SIP"),
            REQUEST.replace("Via", "via"),
            REQUEST.to_owned() + "more",
            String::new(),
            "\r\n".repeat(100),
            "\u{fffd}".repeat(100),
        ] {
            assert_eq!(unanswered.refuse(remote(), forged.as_bytes()), None, "{forged:?}");
        }
        let elsewhere = ([192, 0, 2, 8], 5060).into();
        assert_eq!(unanswered.refuse(elsewhere, REQUEST.as_bytes()), None);
        assert!(unanswered.refuse(remote(), REQUEST.as_bytes()).is_some());
    }

    #[test]
    fn what_is_answered_is_reached() {
        let mut unanswered = waiting();
        unanswered.answered(&Message::parse(RESPONSE.as_bytes()).unwrap());
        assert_eq!(unanswered.refuse(remote(), REQUEST.as_bytes()), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut unanswered = Unanswered::default();
        let numbered = |number: usize| REQUEST.replace("ours", &format!("ours{number}"));
        for number in 0..=REMEMBERED {
            let text = numbered(number);
            unanswered.sent(&Message::parse(text.as_bytes()).unwrap(), text.clone().into_bytes(), remote());
            if number % 2 == 0 {
                // A repetition takes no more.
                unanswered.sent(&Message::parse(text.as_bytes()).unwrap(), text.into_bytes(), remote());
            }
        }
        assert_eq!(unanswered.requests.len(), REMEMBERED);
        assert_eq!(unanswered.refuse(remote(), numbered(0).as_bytes()), None);
        assert!(unanswered.refuse(remote(), numbered(REMEMBERED).as_bytes()).is_some());
    }

    #[test]
    fn answered_requests_leave_no_memory_behind() {
        let mut unanswered = Unanswered::default();
        for number in 0..3 * REMEMBERED {
            let name = format!("ours{number}");
            let request = REQUEST.replace("ours", &name);
            let message = Message::parse(request.as_bytes()).unwrap();
            unanswered.sent(&message, request.into_bytes(), remote());
            unanswered.answered(&Message::parse(RESPONSE.replace("ours", &name).as_bytes()).unwrap());
        }
        assert!(unanswered.requests.is_empty() && unanswered.order.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn a_datagram_that_was_too_long_says_nothing_of_its_recipient() {
        for (origin, kind, code, counts) in [
            (FROM_ICMP, 3, 3, true),
            (FROM_ICMP, 3, 1, true),
            (FROM_ICMP, 3, 4, false),
            (FROM_ICMP, 11, 0, false),
            (FROM_ICMP, 12, 0, true),
            (FROM_ICMP6, 1, 4, true),
            (FROM_ICMP6, 2, 0, false),
            (FROM_ICMP6, 3, 0, false),
            (1, 3, 3, false),
        ] {
            assert_eq!(is_final(origin, kind, code), counts, "{origin} {kind} {code}");
        }
    }
}
