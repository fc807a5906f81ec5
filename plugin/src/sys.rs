//! The system calls that neither the standard library nor any crate here has. The only file of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use gst::prelude::*;

/// Has a function called when the process exits by `exit()` or by returning from `main` (POSIX `atexit()`). Where the
/// system has no room for another one, nothing is called.
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handler stays where it is, since GStreamer never unloads a plugin, and the system calls it once.
    let _no_room = unsafe { libc::atexit(handler) };
}

/// Has packets of an IPv4 socket for groups leave by the interface of this index (`IP_MULTICAST_IF`), whatever its
/// address.
///
/// # Errors
/// There is no such interface.
pub(crate) fn set_multicast_interface(socket: &UdpSocket, index: u32) -> io::Result<()> {
    let any = libc::in_addr { s_addr: libc::INADDR_ANY };
    let imr_ifindex = index.try_into().map_err(io::Error::other)?;
    let value = libc::ip_mreqn { imr_multiaddr: any, imr_address: any, imr_ifindex };
    set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &value)
}

/// How many datagrams the kernel has dropped because the socket's buffer was full (`SO_MEMINFO`, Linux 4.12).
pub(crate) fn dropped(socket: &UdpSocket) -> Option<u32> {
    /// `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
    const DROPS: usize = 8;
    let mut info = [0u32; DROPS + 1];
    let mut size = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: `info` and `size` are valid for writing, and `size` says how large `info` is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    let is_whole = result == 0 && usize::try_from(size) == Ok(size_of_val(&info));
    is_whole.then_some(info).and_then(|info| info.last().copied())
}

/// Has the processor fetch a line of memory into its cache, without waiting for it, where it knows how. Of an address where
/// nothing is, nothing comes.
pub(crate) fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint. It changes nothing that a program could see, and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Where that lies what a push needs of a pad, and how many bytes it is: the pad itself, the lock of its stream, and what
/// GStreamer has behind it.
pub(crate) fn memory_of_pad(pad: &gst::Pad) -> [(usize, usize); 3] {
    /// What GStreamer's pads have behind them is larger; a push needs its beginning.
    const PRIVATE: usize = 128;
    let pad: *const gst::ffi::GstPad = pad.as_ptr();
    // SAFETY: the pad lives, and neither pointer changes while it does. Nothing is read that they point at.
    let (lock, private) = unsafe { ((*pad).stream_rec_lock.p.addr(), (*pad).priv_.addr()) };
    [
        (pad.addr(), size_of::<gst::ffi::GstPad>()),
        (lock, size_of::<libc::pthread_mutex_t>()),
        (private, PRIVATE),
    ]
}

fn set<T>(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is valid for reading as many bytes as the call is told, and outlives it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
