//! The system calls that the standard library does not have. The only file of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::{MaybeUninit, offset_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use socket2::SockAddr;

/// Most datagrams that one call to [`send`] hands to the kernel.
pub const MAX_MESSAGES: usize = 16;
/// Most datagrams that one call to [`send_gathered`] hands to the kernel.
pub(crate) const MAX_GATHERED: usize = 64;

/// Wakes a thread out of [`wait`].
#[derive(Debug)]
pub(crate) struct Waker {
    event: File,
}

impl Waker {
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event: File::from(fd) })
    }

    /// Never waits: a counter that is full has woken its thread already.
    pub(crate) fn wake(&self) {
        let _ = (&self.event).write(&1u64.to_ne_bytes());
    }
}

/// Which of many sockets have something to tell.
#[derive(Debug)]
pub(crate) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: `epoll_create1` takes no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches `socket` for errors, and for datagrams if `readable`. Closing the socket ends the watch.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub(crate) fn add(&self, socket: &UdpSocket, token: u64, readable: bool) -> io::Result<()> {
        let events = if readable { libc::EPOLLIN as u32 } else { 0 };
        let mut event = libc::epoll_event { events, u64: token };
        let (epoll, socket) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, and `event` outlives the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &mut event) }).map(drop)
    }

    /// The tokens of sockets that have something to tell now; at most 64 are added to `ready`.
    pub(crate) fn ready(&self, ready: &mut Vec<u64>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: `events` is valid for as many entries as the call is told.
        let count = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, 0)
        };
        ready.extend(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
    }
}

/// Waits until `waker` is woken, which it forgets, until a socket of `epoll` (where given) has something to tell, or
/// for `timeout` (`None`: for ever), rounded up to milliseconds. May return early.
pub(crate) fn wait(waker: &Waker, epoll: Option<&Epoll>, timeout: Option<Duration>) {
    let watch = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // A negative descriptor is skipped (POSIX poll()).
    let mut fds = [watch(waker.event.as_raw_fd()), watch(epoll.map_or(-1, |epoll| epoll.fd.as_raw_fd()))];
    let timeout = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: `fds` is valid for as many entries as the call is told.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    let [woken, _] = fds;
    if woken.revents != 0 {
        let _ = (&waker.event).read(&mut [0; 8]);
    }
}

/// One datagram to send, or several for one address.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Destination.
    pub to: &'a SockAddr,
    /// Payload.
    pub bytes: &'a [u8],
    /// Where given, the kernel cuts the payload into datagrams of this size, the last one being what is left
    /// (`UDP_SEGMENT`, Linux 4.18).
    pub segment: Option<u16>,
}

/// The same with a payload in several pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathered<'a> {
    /// Destination.
    pub(crate) to: &'a SockAddr,
    /// Payload, piece by piece.
    pub(crate) parts: &'a [IoSlice<'a>],
    /// As [`Message::segment`].
    pub(crate) segment: Option<u16>,
}

/// Sends up to [`MAX_MESSAGES`] messages in order by one system call; how many were taken. Never waits.
///
/// # Errors
/// Why the first message was not taken.
pub fn send(socket: &UdpSocket, messages: &[Message<'_>]) -> io::Result<usize> {
    let mut parts = [IoSlice::new(&[]); MAX_MESSAGES];
    for (part, message) in parts.iter_mut().zip(messages) {
        *part = IoSlice::new(message.bytes);
    }
    let gathered = messages.iter().zip(&parts).map(|(Message { to, segment, .. }, part)| Gathered {
        to,
        parts: std::slice::from_ref(part),
        segment: *segment,
    });
    send_gathered(socket, gathered)
}

/// Sends up to [`MAX_GATHERED`] messages in order by one system call; how many were taken. Never waits.
///
/// # Errors
/// Why the first message was not taken.
pub(crate) fn send_gathered<'a>(
    socket: &UdpSocket,
    messages: impl ExactSizeIterator<Item = Gathered<'a>> + Clone,
) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if messages.len() == 1
        && let Some(Gathered { to, parts: [part], segment: None }) = messages.clone().next()
    {
        // One packet is the rule, and `sendmmsg` takes longer for it.
        // SAFETY: payload and address outlive the call, each with its length; the kernel only reads them.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                part.as_ptr().cast(),
                part.len(),
                FLAGS,
                to.as_ptr().cast(),
                to.len(),
            )
        };
        return if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) };
    }
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_GATHERED];
    let mut controls = [const { MaybeUninit::<SegmentControl>::uninit() }; MAX_GATHERED];
    let mut count: libc::c_uint = 0;
    for ((message, header), control) in messages.zip(&mut headers).zip(&mut controls) {
        // SAFETY: zeroes are a valid value of this C structure.
        let header = header.write(unsafe { MaybeUninit::zeroed().assume_init() });
        let header = &mut header.msg_hdr;
        header.msg_name = message.to.as_ptr().cast_mut().cast();
        header.msg_namelen = message.to.len();
        // An `IoSlice` is laid out as an `iovec`.
        header.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = message.parts.len() as _;
        if let Some(size) = message.segment {
            // SAFETY: zeroes are a valid value of this C structure.
            let control = control.write(unsafe { MaybeUninit::zeroed().assume_init() });
            control.header.cmsg_len = (offset_of!(SegmentControl, size) + size_of::<u16>()) as _;
            control.header.cmsg_level = libc::SOL_UDP;
            control.header.cmsg_type = libc::UDP_SEGMENT;
            control.size = size;
            header.msg_control = std::ptr::from_mut(control).cast();
            header.msg_controllen = size_of::<SegmentControl>() as _;
        }
        count += 1;
    }
    // SAFETY: the first `count` headers are written, and point at addresses, payloads and controls that outlive the call,
    // each valid for the length given; the kernel only reads what `msg_name`, `msg_iov` and `msg_control` point at.
    let sent =
        check(unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count, FLAGS) })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

/// The control message of `UDP_SEGMENT`, laid out as `CMSG_DATA` and `CMSG_SPACE` have it on Linux: the data
/// follows the header, and the whole is aligned like a pointer.
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentControl {
    header: libc::cmsghdr,
    size: u16,
}

/// Whether the kernel segments UDP payloads.
pub fn has_segmentation_offload() -> bool {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { return false };
    set_int(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 1200).is_ok()
}

/// Makes the kernel keep ICMP errors of this socket for [`receive_error`] (`IP_RECVERR`).
///
/// # Errors
/// When the kernel does not know the option.
pub(crate) fn report_errors(socket: &UdpSocket, local: IpAddr) -> io::Result<()> {
    match local {
        IpAddr::V4(_) => set_int(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        IpAddr::V6(_) => set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// A datagram that came to grief on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// Where it was going to, where that is known.
    pub(crate) destination: Option<SocketAddr>,
    /// What the error would be called if a system call gave it; 0 when it is not known.
    pub(crate) errno: i32,
    /// A router has looked for its destination on the link: host unreachable (RFC 792), address unreachable (RFC 4443 §3.1).
    pub(crate) is_of_a_search: bool,
    /// Source and sequence number, if it is RTP.
    pub(crate) rtp: Option<(u32, u16)>,
}

impl Undelivered {
    /// Whether its destination does not take it. What a router says of sizes is no refusal.
    pub(crate) fn is_refused(&self) -> bool {
        self.errno != libc::EMSGSIZE
    }

    /// The packet, if it may have waited for seconds at a router, which has found nobody on the link to give it to.
    pub(crate) fn waited(&self) -> Option<(u32, u16)> {
        self.rtp.filter(|_| matches!(self.errno, libc::EHOSTUNREACH | libc::ENETUNREACH))
    }
}

/// The oldest datagram of `socket` that is known not to have arrived.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when there is none.
pub(crate) fn receive_error(socket: &UdpSocket) -> io::Result<Undelivered> {
    let mut payload = [0u8; 64];
    // Of `u64`s, so that it is aligned like a control message.
    let mut control = [0u64; 32];
    // SAFETY: zeroes are a valid value of both structures.
    let (mut address, mut header) = unsafe {
        (
            MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init(),
            MaybeUninit::<libc::msghdr>::zeroed().assume_init(),
        )
    };
    let mut vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    header.msg_name = std::ptr::from_mut(&mut address).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: `header` points at an address and buffers that outlive the call, with their sizes.
    let size =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if size < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the family says which address the storage holds; both are smaller than it and aligned weaker.
    let destination = unsafe {
        match libc::c_int::from(address.ss_family) {
            libc::AF_INET => {
                let address = &*std::ptr::from_ref(&address).cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(address.sin_port))))
            }
            libc::AF_INET6 => {
                let address = &*std::ptr::from_ref(&address).cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                Some(SocketAddr::from((ip, u16::from_be(address.sin6_port))))
            }
            _ => None,
        }
    };
    // SAFETY: the kernel has filled `control` with whole messages and `msg_controllen` with their size, and the
    // macros walk within it. The data of this message is a `sock_extended_err`, which begins with the number and has origin, type and
    // code behind it, a byte each; it is read without regard to alignment.
    let [errno, kind] = unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&header);
        loop {
            let Some(current) = message.as_ref() else { break [[0; 4]; 2] };
            if matches!(
                (current.cmsg_level, current.cmsg_type),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            ) {
                break libc::CMSG_DATA(message).cast::<[[u8; 4]; 2]>().read_unaligned();
            }
            message = libc::CMSG_NXTHDR(&header, message);
        }
    };
    let rtp = match payload.get(..usize::try_from(size).unwrap_or(0)) {
        Some([0x80..=0xBF, _, high, low, _, _, _, _, a, b, c, d, ..]) => {
            Some((u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    };
    let is_of_a_search =
        matches!(kind, [libc::SO_EE_ORIGIN_ICMP, 3, 1, _] | [libc::SO_EE_ORIGIN_ICMP6, 1, 3, _]);
    Ok(Undelivered { destination, errno: i32::from_ne_bytes(errno), is_of_a_search, rtp })
}

/// Gives the calling thread `nice` steps less priority than it has, where that is permitted.
pub(crate) fn lower_priority(nice: i32) {
    // SAFETY: neither call takes a pointer. On Linux, 0 means the calling thread.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now.saturating_add(nice));
    }
}

/// Sets an option of a socket whose value is a number.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_int(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option value is an int that outlives the call, with its size.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
