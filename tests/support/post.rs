//! Datagrams that leave later.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Sends datagrams when they are due. What is not due yet when it is dropped is lost.
pub struct Post(Arc<Desk>);

#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    letters: BTreeMap<(Instant, u64), Letter>,
    numbered: u64,
    closed: bool,
}

struct Letter {
    socket: UdpSocket,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Post {
    /// With a thread that ends with it.
    pub fn open() -> Self {
        let desk = Arc::new(Desk::default());
        let works = Arc::clone(&desk);
        thread::spawn(move || deliver(&works));
        Self(desk)
    }

    /// A copy leaves after each of these times, at once where that is zero.
    pub fn send(&self, after: &[Duration], socket: UdpSocket, to: SocketAddr, bytes: &[u8]) {
        for after in after {
            if after.is_zero() {
                // What the other end refuses is lost, as on any network.
                let _ = socket.send_to(bytes, to);
                continue;
            }
            let Ok(socket) = socket.try_clone() else { continue };
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.numbered += 1;
            let key = (Instant::now() + *after, waiting.numbered);
            waiting.letters.insert(key, Letter { socket, to, bytes: bytes.to_vec() });
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.changed.notify_one();
    }
}

fn deliver(desk: &Desk) {
    let mut waiting = desk.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while !waiting.closed {
        let now = Instant::now();
        let due = waiting.letters.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now));
        match due {
            Some(Duration::ZERO) => {
                if let Some((_, letter)) = waiting.letters.pop_first() {
                    let _ = letter.socket.send_to(&letter.bytes, letter.to);
                }
            }
            _ => {
                let longest = due.unwrap_or(Duration::from_secs(1));
                waiting =
                    desk.changed.wait_timeout(waiting, longest).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
