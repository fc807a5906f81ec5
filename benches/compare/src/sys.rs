//! What the standard library has no name for.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most datagrams of one system call.
pub const BATCH: usize = 32;
/// Longest datagram that is taken whole.
pub const LONGEST: usize = 2048;
/// Times of a stream's latest packets that are remembered: 20 s.
const REMEMBERED: usize = 1024;

/// When each packet was sent, in memory that sender and receiver share.
#[derive(Debug)]
pub struct Stamps {
    times: NonNull<AtomicU64>,
    streams: usize,
}

// SAFETY: what it points at are atomics, which live as long as it does.
unsafe impl Send for Stamps {}

impl Stamps {
    /// Over a file, which is made as long as it must be.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn over(file: &File, streams: usize) -> io::Result<Self> {
        let bytes = (streams * REMEMBERED * size_of::<u64>()).max(1);
        file.set_len(bytes as u64)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a file of that length, wherever the kernel likes.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let times = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { times, streams })
    }

    fn of(&self, stream: usize, sequence: u16) -> Option<&AtomicU64> {
        let place =
            (stream < self.streams).then_some(stream * REMEMBERED + usize::from(sequence) % REMEMBERED)?;
        // SAFETY: within the mapping, which is aligned like a page and unmapped only when `self` goes.
        Some(unsafe { self.times.add(place).as_ref() })
    }

    /// Notes when a packet leaves, in ns since 1970.
    pub fn note(&self, stream: usize, sequence: u16, time: u64) {
        if let Some(slot) = self.of(stream, sequence) {
            slot.store(time, Ordering::Relaxed);
        }
    }

    /// When a packet left, if it is not long ago.
    pub fn sent(&self, stream: usize, sequence: u16) -> Option<u64> {
        self.of(stream, sequence).map(|slot| slot.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        let bytes = (self.streams * REMEMBERED * size_of::<u64>()).max(1);
        // SAFETY: the mapping that `over` made; nothing else refers to it.
        unsafe { libc::munmap(self.times.as_ptr().cast(), bytes) };
    }
}

/// Which of many sockets have something to read.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

impl Poller {
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: `epoll_create1` takes no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches a socket under this name.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn add(&self, socket: &UdpSocket, name: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: name };
        let (poller, socket) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, and `event` outlives the call.
        check(unsafe { libc::epoll_ctl(poller, libc::EPOLL_CTL_ADD, socket, &mut event) }).map(drop)
    }

    /// Waits, at most so long, and gives the names of sockets that can be read to `readable`.
    pub fn wait(&self, readable: &mut Vec<u64>, longest: Duration) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        let longest = libc::c_int::try_from(longest.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `events` is valid for as many entries as the call is told.
        let count = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, longest)
        };
        readable.clear();
        readable.extend(events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
    }
}

/// Room for what is received by one call.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<[u8; LONGEST]>,
    lengths: [usize; BATCH],
    times: [u64; BATCH],
    count: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: vec![[0; LONGEST]; BATCH], lengths: [0; BATCH], times: [0; BATCH], count: 0 }
    }
}

impl Inbox {
    /// What came, each with the time at which the kernel had it, in ns since 1970; 0 where the socket tells no times.
    pub fn packets(&mut self) -> impl Iterator<Item = (&mut [u8], u64)> {
        let facts = self.lengths.into_iter().zip(self.times);
        let packets = self.bytes.iter_mut().zip(facts).take(self.count);
        packets.filter_map(|(bytes, (length, time))| Some((bytes.get_mut(..length)?, time)))
    }

    /// Whether the last call may have left something behind.
    pub fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Takes what a socket has, at most [`BATCH`] datagrams. Never waits.
    pub fn receive(&mut self, socket: &UdpSocket) {
        // SAFETY: zeroes are a valid value of all of these C structures.
        let (mut headers, mut vectors, mut controls) = unsafe {
            (
                MaybeUninit::<[libc::mmsghdr; BATCH]>::zeroed().assume_init(),
                MaybeUninit::<[libc::iovec; BATCH]>::zeroed().assume_init(),
                MaybeUninit::<[[u64; 8]; BATCH]>::zeroed().assume_init(),
            )
        };
        let slots = headers.iter_mut().zip(&mut vectors).zip(&mut controls).zip(&mut self.bytes);
        for (((header, vector), control), bytes) in slots {
            vector.iov_base = bytes.as_mut_ptr().cast();
            vector.iov_len = bytes.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<[u64; 8]>() as _;
        }
        // SAFETY: every header points at room that outlives the call, with its size.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).unwrap_or(0);
        let facts = self.lengths.iter_mut().zip(&mut self.times);
        for (header, (length, time)) in headers.iter().zip(facts).take(self.count) {
            *length = header.msg_len as usize;
            // SAFETY: the kernel has filled the controls with whole messages.
            *time = unsafe { kernel_time(&header.msg_hdr) };
        }
    }
}

/// # Safety
/// `header` must have been filled by the kernel.
unsafe fn kernel_time(header: &libc::msghdr) -> u64 {
    // SAFETY: the macros walk within what the kernel has filled, and the data of this message is a `timespec`, read without
    // regard to alignment.
    unsafe {
        let Some(message) = libc::CMSG_FIRSTHDR(header).as_ref() else { return 0 };
        if (message.cmsg_level, message.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            return 0;
        }
        let time = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Sends datagrams by as few system calls as possible; how many the kernel took.
pub fn send_all(socket: &UdpSocket, packets: &[(SocketAddrV4, &[u8])]) -> usize {
    let mut taken = 0;
    for some in packets.chunks(64) {
        let mut addresses: Vec<libc::sockaddr_in> = some.iter().map(|(to, _)| address(*to)).collect();
        let mut vectors: Vec<libc::iovec> = some
            .iter()
            .map(|(_, bytes)| libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = addresses
            .iter_mut()
            .zip(&mut vectors)
            .map(|(address, vector)| {
                // SAFETY: zeroes are a valid value of it.
                let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
                header.msg_hdr.msg_name = ptr::from_mut(address).cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        // SAFETY: every header points at an address and a payload that outlive the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, 0)
        };
        taken += usize::try_from(sent).unwrap_or(0);
    }
    taken
}

fn address(of: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: of.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*of.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

/// Has the kernel tell when it got each datagram.
///
/// # Errors
/// When it does not know how.
pub fn tell_times(socket: &UdpSocket) -> io::Result<()> {
    set_int(socket, libc::SO_TIMESTAMPNS, 1)
}

/// Gives a socket this much room, or as much as the system allows.
pub fn make_room(socket: &UdpSocket, bytes: libc::c_int) {
    if set_int(socket, libc::SO_RCVBUFFORCE, bytes).is_err() {
        let _ = set_int(socket, libc::SO_RCVBUF, bytes);
    }
}

/// Lets the process, and those that it starts, have as many descriptors as it may.
pub fn allow_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

fn set_int(socket: &UdpSocket, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option value is an int that outlives the call, with its size.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, ptr::from_ref(&value).cast(), length)
    })
    .map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_with_a_time_and_a_stamp_is_found_again() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        tell_times(&socket).unwrap();
        let std::net::SocketAddr::V4(to) = socket.local_addr().unwrap() else { panic!() };
        assert_eq!(send_all(&socket, &[(to, b"one"), (to, b"two")]), 2);
        let poller = Poller::new().unwrap();
        poller.add(&socket, 7).unwrap();
        let mut readable = Vec::new();
        poller.wait(&mut readable, Duration::from_secs(10));
        assert_eq!(readable, [7]);
        let mut inbox = Inbox::default();
        inbox.receive(&socket);
        let packets: Vec<_> = inbox.packets().map(|(bytes, time)| (bytes.to_vec(), time > 0)).collect();
        assert_eq!(packets, [(b"one".to_vec(), true), (b"two".to_vec(), true)]);

        let file = tempfile::tempfile().unwrap();
        let (ours, theirs) = (Stamps::over(&file, 2).unwrap(), Stamps::over(&file, 2).unwrap());
        ours.note(1, 5, 99);
        assert_eq!((theirs.sent(1, 5), theirs.sent(0, 5), theirs.sent(2, 5)), (Some(99), None, None));
    }
}
