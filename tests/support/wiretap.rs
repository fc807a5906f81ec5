//! Somebody who listens in on TCP connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use anyhow::Result;

use crate::capture::Segment;

/// Passes every connection to its port on to another one, and keeps what passes.
pub struct Wiretap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Segment>>>,
}

impl Wiretap {
    /// Listens at an ephemeral port of 127.0.0.1, to pass on to `behind`. Its threads end with the connections, and the
    /// one that accepts with the process.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn before(behind: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&heard);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // Without the other side the connection ends, which its user sees.
                let Ok(far) = TcpStream::connect(behind) else { continue };
                let Ok(client) = near.peer_addr() else { continue };
                for (from, to, source, target) in [
                    (near.try_clone(), far.try_clone(), client, address),
                    (far.try_clone(), near.try_clone(), address, client),
                ] {
                    let (Ok(from), Ok(to), keeps) = (from, to, Arc::clone(&keeps)) else { continue };
                    thread::spawn(move || pass(from, to, source, target, &keeps));
                }
            }
        });
        Ok(Self { address, heard })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed so far, in order.
    pub fn heard(&self) -> Vec<Segment> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    source: SocketAddr,
    target: SocketAddr,
    keeps: &Mutex<Vec<Segment>>,
) {
    // Fits into one IP packet.
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = buffer[..length].to_vec();
        let segment = Segment { at: SystemTime::now(), from: source, to: target, bytes };
        keeps.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
