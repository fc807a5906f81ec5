//! A stretch of network between a recording client and a recorder, for SIP by UDP and for RTP, whose weather can be bad: it
//! loses, delays, repeats and reorders, or lets nothing through. Either side takes it for the other one.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::{local, rtp_pair, udp};
use crate::post::Post;
use crate::weather::{Sky, Weather};

/// How soon a thread sees that its socket is no longer wanted.
const LOOK: Duration = Duration::from_millis(50);
const DATAGRAM: usize = 65_536;

/// The stretch. It ends with the value.
pub struct Network {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    recorder: SocketAddr,
    /// Where the client finds the recorder, and from where the recorder hears of the client.
    near: UdpSocket,
    far: UdpSocket,
    client: Mutex<Option<SocketAddr>>,
    signalling: Mutex<Sky>,
    media: Mutex<Sky>,
    post: Post,
    /// By Call-ID and m-line; none any more where the recorder's media is refused.
    streams: Mutex<Option<Streams>>,
    /// The packets of RTP towards the recorder that were lost here.
    lost: Mutex<Vec<Vec<u8>>>,
}

type Streams = HashMap<(String, usize), Arc<Stream>>;

/// The sockets of an m-line, RTP and RTCP, at both ends.
struct Stream {
    near: [UdpSocket; 2],
    far: [UdpSocket; 2],
    client: AtomicU16,
    recorder: AtomicU16,
    closed: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Client,
    Recorder,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A stretch in fine weather before the recorder that listens here.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn before(recorder: &str) -> Result<Self> {
        let inner = Arc::new(Inner {
            recorder: recorder.parse().with_context(|| recorder.to_owned())?,
            near: udp()?,
            far: udp()?,
            client: Mutex::default(),
            signalling: Mutex::new(Sky::fine()),
            media: Mutex::new(Sky::fine()),
            post: Post::open(),
            streams: Mutex::new(Some(HashMap::new())),
            lost: Mutex::default(),
        });
        for (socket, towards) in [(&inner.near, Towards::Recorder), (&inner.far, Towards::Client)] {
            let (socket, inner) = (socket.try_clone()?, Arc::downgrade(&inner));
            socket.set_read_timeout(Some(LOOK))?;
            thread::spawn(move || signal(&socket, &inner, towards));
        }
        Ok(Self { address: inner.near.local_addr()?, inner })
    }

    /// The recorder's URI on this side.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    /// From now on SIP has this weather.
    pub fn signalling(&self, weather: Weather) {
        lock(&self.inner.signalling).weather = weather;
    }

    /// From now on RTP and RTCP have this weather.
    pub fn media(&self, weather: Weather) {
        lock(&self.inner.media).weather = weather;
    }

    /// From now on nobody listens where the media of any session goes: the host of the ports says so by ICMP.
    pub fn refuse_media(&self) {
        let streams = lock(&self.inner.streams).take();
        streams
            .iter()
            .flat_map(HashMap::values)
            .for_each(|stream| stream.closed.store(true, Ordering::Relaxed));
    }

    /// The ports of this side to which the client sends RTP, and the client's own ones.
    pub fn flows(&self) -> Vec<(u16, u16)> {
        let streams = lock(&self.inner.streams);
        let ports = |stream: &Arc<Stream>| {
            let near = stream.near[0].local_addr().map_or(0, |address| address.port());
            (near, stream.client.load(Ordering::Relaxed))
        };
        streams.iter().flat_map(HashMap::values).map(ports).collect()
    }

    /// The port of this side to which the client sends SIP, and the client's own one, once it has sent something.
    pub fn signalling_flow(&self) -> Option<(u16, u16)> {
        lock(&self.inner.client).map(|client| (self.address.port(), client.port()))
    }

    /// The payloads of the RTP packets towards the recorder that were lost here.
    pub fn lost(&self) -> Vec<Vec<u8>> {
        lock(&self.inner.lost).clone()
    }
}

/// Carries SIP in one direction.
fn signal(socket: &UdpSocket, inner: &Weak<Inner>, towards: Towards) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = socket.recv_from(&mut buffer);
        let Some(inner) = inner.upgrade() else { return };
        let Ok((length, from)) = received else { continue };
        let message = String::from_utf8_lossy(&buffer[..length]);
        let (target, out) = match towards {
            Towards::Recorder => {
                *lock(&inner.client) = Some(from);
                (Some(inner.recorder), &inner.far)
            }
            Towards::Client => (*lock(&inner.client), &inner.near),
        };
        let (Some(target), Ok(out)) = (target, out.try_clone()) else { continue };
        // A message that cannot be carried is lost, as on any network.
        let Ok(message) = inner.rewritten(&message, towards, target) else { continue };
        let fates = lock(&inner.signalling).fates(towards as usize);
        inner.post.send(&fates, out, target, message.as_bytes());
    }
}

impl Inner {
    /// A message with this stretch in the place of its sender.
    fn rewritten(self: &Arc<Self>, message: &str, towards: Towards, target: SocketAddr) -> Result<String> {
        let (near, far) = (self.near.local_addr()?.to_string(), self.far.local_addr()?.to_string());
        let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        let call = head.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap_or_default();
        let body = self.described(call, body, towards)?;
        let client = lock(&self.client).map(|client| client.to_string()).unwrap_or_default();
        let mut rewritten = String::new();
        for line in head.lines() {
            let line = match (towards, line.split_once(':').map_or("", |(name, _)| name)) {
                (_, "Content-Length") => format!("Content-Length: {}", body.len()),
                (Towards::Recorder, "Contact") => line.replace(&client, &far),
                (Towards::Recorder, _) => line.replace(&near, &target.to_string()),
                (Towards::Client, _) => {
                    line.replace(&self.recorder.to_string(), &near).replace(&far, &target.to_string())
                }
            };
            rewritten += &format!("{line}\r\n");
        }
        Ok(rewritten + "\r\n" + &body)
    }

    /// A session description with this stretch's ports.
    fn described(self: &Arc<Self>, call: &str, body: &str, towards: Towards) -> Result<String> {
        let mut described = String::new();
        let mut index = 0;
        for line in body.lines() {
            let line = match line.split_once(' ') {
                Some((medium, rest)) if medium.starts_with("m=") => {
                    let (port, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                    let port = self.port(call, index, port.parse()?, towards)?;
                    index += 1;
                    format!("{medium} {port} {rest}")
                }
                _ => line.to_owned(),
            };
            described += &format!("{line}\r\n");
        }
        Ok(described)
    }

    /// The port here that stands for a port there.
    fn port(self: &Arc<Self>, call: &str, index: usize, port: u16, towards: Towards) -> Result<u16> {
        let mut streams = lock(&self.streams);
        let Some(streams) = streams.as_mut().filter(|_| port != 0) else {
            // Of a stretch that refuses media, any port that is not open will do.
            return Ok(if port == 0 { 0 } else { rtp_pair()?[0].local_addr()?.port() });
        };
        let key = (call.to_owned(), index);
        let stream = match streams.get(&key) {
            Some(stream) => stream,
            None => streams.entry(key).or_insert(Stream::open(self)?),
        };
        let (theirs, ours) = match towards {
            Towards::Recorder => (&stream.client, &stream.far),
            Towards::Client => (&stream.recorder, &stream.near),
        };
        theirs.store(port, Ordering::Relaxed);
        Ok(ours[0].local_addr()?.port())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.refuse_media();
    }
}

impl Stream {
    fn open(inner: &Arc<Inner>) -> Result<Arc<Self>> {
        let (client, closed) = (AtomicU16::new(0), AtomicBool::new(false));
        let stream = Arc::new(Self {
            near: rtp_pair()?,
            far: rtp_pair()?,
            client,
            closed,
            recorder: AtomicU16::new(0),
        });
        for (sockets, towards) in [(&stream.near, Towards::Recorder), (&stream.far, Towards::Client)] {
            for (index, socket) in sockets.iter().enumerate() {
                socket.set_read_timeout(Some(LOOK))?;
                let (stream, inner) = (Arc::downgrade(&stream), Arc::downgrade(inner));
                thread::spawn(move || carry(&stream, &inner, towards, index));
            }
        }
        Ok(stream)
    }

    fn socket(&self, towards: Towards, index: usize) -> (&UdpSocket, &UdpSocket, &AtomicU16) {
        match towards {
            Towards::Recorder => (&self.near[index], &self.far[index], &self.recorder),
            Towards::Client => (&self.far[index], &self.near[index], &self.client),
        }
    }
}

/// Carries RTP or RTCP (`index` 1) in one direction, until the stream is closed or dropped: its sockets close with the last who
/// carries.
fn carry(stream: &Weak<Stream>, inner: &Weak<Inner>, towards: Towards, index: usize) {
    let mut buffer = vec![0; DATAGRAM];
    while let (Some(stream), Some(inner)) = (stream.upgrade(), inner.upgrade()) {
        if stream.closed.load(Ordering::Relaxed) {
            return;
        }
        let (from, to, port) = stream.socket(towards, index);
        let Ok(length) = from.recv(&mut buffer) else { continue };
        let (port, Ok(out)) = (port.load(Ordering::Relaxed), to.try_clone()) else { continue };
        let Some(port) = port.checked_add(index as u16).filter(|_| port != 0) else { continue };
        let fates = lock(&inner.media).fates(towards as usize);
        if fates.is_empty() && towards == Towards::Recorder && index == 0 {
            lock(&inner.lost).push(buffer.get(12..length).unwrap_or_default().to_vec());
        }
        inner.post.send(&fates, out, local(port), &buffer[..length]);
    }
}
