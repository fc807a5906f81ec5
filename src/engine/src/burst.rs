//! Packets of branches that leave by one socket, sent with as few system calls as the kernel allows.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;

use siprec_model::BranchId;
use socket2::SockAddr;

use crate::sys::{self, Gathered, MAX_GATHERED};

/// Most packets of one burst: short enough that the send section stays some 100 µs long.
pub(crate) const MAX_BURST: usize = 64;
/// Most datagrams that the kernel cuts one payload into (`UDP_MAX_SEGMENTS`, 64 since Linux 4.18).
const MAX_SEGMENTS: usize = 64;
/// Most bytes of one payload to be cut.
const MAX_SEGMENTED: usize = 65_000;

/// Packets that leave together by one socket, in one buffer: of one branch, or of many. Its memory is kept from use to use.
///
/// Packets are written behind [`Burst::bytes`] and [sealed](Burst::seal_packet) one by one; then their branch takes those that
/// nobody has taken as [its own](Burst::assign).
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// The packets, back to back.
    pub(crate) bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<usize>,
    runs: Vec<Run>,
    /// In which order they leave: by address, those for one address as they came.
    queue: Vec<Queued>,
    /// Where the messages of one system call go.
    addresses: Vec<SockAddr>,
}

/// Whose packets these are, and where they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The branch.
    pub(crate) branch: BranchId,
    /// The recorder's address.
    pub(crate) to: SocketAddr,
    /// Packets of one size may go to the kernel as one payload.
    pub(crate) segmentation: bool,
    /// They have left before: what the kernel does not take of them is not told as failed.
    pub(crate) again: bool,
}

/// What became of a branch's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Packets that the kernel did not take.
    pub(crate) failed: u64,
    /// Their bytes.
    pub(crate) failed_bytes: u64,
    /// The remote host was found to refuse, now or since the socket was last used.
    pub(crate) refused: bool,
    /// The kernel or the route does not cut a payload into packets of that size.
    pub(crate) indivisible: bool,
}

/// Whom the error of an earlier datagram concerns, which the next send tells instead of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errors {
    /// The branch whose packets these are: nobody else sends by this socket.
    Own,
    /// Whoever sends by this socket: its error queue tells whom.
    Anyone,
}

/// Packets of one branch, one behind the other.
#[derive(Debug)]
struct Run {
    packets: Range<usize>,
    way: Way,
    outcome: Outcome,
}

/// A packet in the order in which they leave.
#[derive(Clone, Copy, Debug)]
struct Queued {
    /// See [`number_of`].
    address: u64,
    packet: usize,
    run: usize,
}

/// What came of a system call.
struct Attempt {
    /// The packets of its first message, by their place in the queue.
    first: Range<usize>,
    /// The place behind the last packet that the kernel took.
    taken: io::Result<usize>,
}

impl Burst {
    /// The bytes after the last whole packet are one more packet.
    pub(crate) fn seal_packet(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Packets in it.
    pub(crate) fn packets(&self) -> usize {
        self.ends.len()
    }

    /// Those that no branch has taken as its own.
    pub(crate) fn unassigned(&self) -> usize {
        self.ends.len() - self.assigned()
    }

    /// Those that no branch has taken as its own are this branch's.
    pub(crate) fn assign(&mut self, way: Way) {
        let packets = self.assigned()..self.ends.len();
        if !packets.is_empty() {
            self.runs.push(Run { packets, way, outcome: Outcome::default() });
        }
    }

    /// Forgets what no branch has taken as its own, as not sent.
    pub(crate) fn fail_unassigned(&mut self) -> Outcome {
        let packets = self.assigned()..self.ends.len();
        let failed_bytes = packets.clone().map(|packet| self.range(packet).len() as u64).sum();
        self.abandon_unassigned();
        Outcome { failed: packets.len() as u64, failed_bytes, ..Outcome::default() }
    }

    /// Forgets what no branch has taken as its own.
    pub(crate) fn abandon_unassigned(&mut self) {
        self.ends.truncate(self.assigned());
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Sends everything that is some branch's and forgets it. Each branch for which not all went well is told of to `tell`, perhaps
    /// several times. Packets of one size for one address go to the kernel as one payload where they may; where the kernel
    /// or the route refuses that, they go one by one. What fails for one address does not keep others from leaving.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        errors: Errors,
        mut tell: impl FnMut(BranchId, Outcome),
    ) {
        self.line_up();
        let mut done = 0;
        let mut told = 0;
        while let Some(left) = self.queue.len().checked_sub(done).filter(|left| *left > 0) {
            let Attempt { first, taken } = match left {
                1 => self.attempt::<1>(socket, done),
                _ => self.attempt::<MAX_GATHERED>(socket, done),
            };
            let error = match taken {
                Ok(taken) => {
                    (done, told) = (taken, 0);
                    continue;
                }
                Err(error) => error,
            };
            let verdict = Verdict::of(&error);
            if verdict.is_of_an_earlier_one(told, errors) {
                told += 1;
                if errors == Errors::Own && verdict == Verdict::Refused {
                    self.each_run(first, |run| run.outcome.refused = true);
                }
                continue;
            }
            let end = match verdict {
                Verdict::Again => continue,
                Verdict::NotAsOne if first.len() > 1 => {
                    self.each_run(first, |run| {
                        run.way.segmentation = false;
                        run.outcome.indivisible = true;
                    });
                    continue;
                }
                Verdict::NotAsOne => first.end,
                Verdict::Full => self.queue.len(),
                Verdict::Refused | Verdict::Impossible => self.end_of_address(done),
            };
            let refused = !matches!(
                error.raw_os_error(),
                Some(libc::EMSGSIZE | libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
            );
            self.fail(done..end, refused);
            (done, told) = (end, 0);
        }
        for run in self.runs.drain(..).filter(|run| run.outcome != Outcome::default()) {
            tell(run.way.branch, run.outcome);
        }
        self.bytes.clear();
        self.ends.clear();
        self.queue.clear();
    }

    /// How many packets branches have taken as their own.
    fn assigned(&self) -> usize {
        self.runs.last().map_or(0, |run| run.packets.end)
    }

    /// Brings the packets into the order in which they leave.
    fn line_up(&mut self) {
        self.queue.clear();
        for (number, run) in self.runs.iter().enumerate() {
            let address = number_of(run.way.to);
            self.queue.extend(run.packets.clone().map(|packet| Queued { address, packet, run: number }));
        }
        self.queue.sort_unstable_by_key(|queued| (queued.address, queued.packet));
    }

    /// Hands the packets from the `done`th on to the kernel, in at most `N` messages.
    fn attempt<const N: usize>(&mut self, socket: &UdpSocket, done: usize) -> Attempt {
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.clear();
        let mut parts = [IoSlice::new(&[]); N];
        let mut messages = [const { (0..0, 0..0, None) }; N];
        let (mut next, mut used) = (done, 0);
        for message in &mut messages {
            let Some(way) = self.way(next).filter(|_| used < N) else { break };
            addresses.push(way.to.into());
            let packets = next..self.end_of_message(next, N - used);
            let before = used;
            let mut place: Option<Range<usize>> = None;
            for bytes in packets.clone().map(|packet| self.queued_range(packet)) {
                place = match place {
                    // Packets that lie one behind the other are one part.
                    Some(place) if place.end == bytes.start => Some(place.start..bytes.end),
                    _ => {
                        used += 1;
                        Some(bytes)
                    }
                };
                if let (Some(part), Some(place)) = (parts.get_mut(used - 1), place.clone()) {
                    *part = IoSlice::new(self.bytes.get(place).unwrap_or_default());
                }
            }
            let size = self.queued_range(next).len();
            let segment = if packets.len() > 1 { u16::try_from(size).ok() } else { None };
            next = packets.end;
            *message = (packets, before..used, segment);
        }
        let gathered = addresses.iter().zip(&messages).map(|(to, (_, places, segment))| {
            let parts = parts.get(places.clone()).unwrap_or_default();
            Gathered { to, parts, segment: *segment }
        });
        let taken = sys::send_gathered(socket, gathered).map(|sent| {
            let last = sent.checked_sub(1).and_then(|last| messages.get(last));
            last.map_or(self.queue.len(), |(packets, ..)| packets.end)
        });
        let first = messages.first().map_or(done..done + 1, |(packets, ..)| packets.clone());
        self.addresses = addresses;
        Attempt { first, taken }
    }

    /// Where the packets end, in the queue, that may go as one message with the one at `first`: at most so many.
    fn end_of_message(&self, first: usize, most: usize) -> usize {
        let size = self.queued_range(first).len();
        let mut end = first + 1;
        let Some(way) = self.way(first).filter(|way| way.segmentation && size > 0) else { return end };
        let mut bytes = size;
        while end - first < MAX_SEGMENTS.min(most)
            && self.way(end).is_some_and(|next| next.segmentation && next.to == way.to)
        {
            let next = self.queued_range(end).len();
            bytes += next;
            if next == 0 || next > size || bytes > MAX_SEGMENTED {
                break;
            }
            end += 1;
            // Only the last segment may be shorter.
            if next < size {
                break;
            }
        }
        end
    }

    /// Where the packets end, in the queue, that go to the same address as the one at `first`.
    fn end_of_address(&self, first: usize) -> usize {
        let to = self.way(first).map(|way| way.to);
        let mut end = first + 1;
        while self.way(end).is_some_and(|way| Some(way.to) == to) {
            end += 1;
        }
        end
    }

    /// Where the packet goes that has this place in the queue.
    fn way(&self, place: usize) -> Option<Way> {
        Some(self.runs.get(self.queue.get(place)?.run)?.way)
    }

    /// Where it lies in the buffer.
    fn queued_range(&self, place: usize) -> Range<usize> {
        self.queue.get(place).map_or(0..0, |queued| self.range(queued.packet))
    }

    /// Where a packet lies in the buffer.
    fn range(&self, packet: usize) -> Range<usize> {
        let start = packet.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        start..self.ends.get(packet).copied().unwrap_or(start)
    }

    /// Does something to the run of each of these packets, by their places in the queue.
    fn each_run(&mut self, places: Range<usize>, mut act: impl FnMut(&mut Run)) {
        for queued in self.queue.get(places).unwrap_or_default() {
            self.runs.get_mut(queued.run).map(&mut act);
        }
    }

    fn fail(&mut self, places: Range<usize>, refused: bool) {
        for place in places {
            let bytes = self.queued_range(place).len() as u64;
            let failed = Outcome { failed: 1, failed_bytes: bytes, refused, indivisible: false };
            let again = Outcome { refused, ..Outcome::default() };
            self.each_run(place..place + 1, |run| {
                run.outcome.join(if run.way.again { again } else { failed });
            });
        }
    }
}

impl Outcome {
    /// Both.
    pub(crate) fn join(&mut self, more: Self) {
        self.failed += more.failed;
        self.failed_bytes += more.failed_bytes;
        self.refused |= more.refused;
        self.indivisible |= more.indivisible;
    }
}

/// A number by which packets for one address come together.
fn number_of(address: SocketAddr) -> u64 {
    let host = match address.ip() {
        IpAddr::V4(host) => u64::from(host.to_bits()),
        IpAddr::V6(host) => {
            let bits = host.to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(8)
        }
    };
    host.rotate_left(16) ^ u64::from(address.port())
}

/// What an error of a send means for what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Again,
    /// The remote host answered an earlier datagram, or there is no way to it.
    Refused,
    /// This payload is too large in one piece, or the route cannot cut it.
    NotAsOne,
    /// Nothing can be sent to this address.
    Impossible,
    /// Nothing more goes now.
    Full,
}

impl Verdict {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR) => Self::Again,
            Some(
                libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EPROTO
                | libc::EACCES
                | libc::EPERM,
            ) => Self::Refused,
            Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO | libc::EOPNOTSUPP) => Self::NotAsOne,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            _ => Self::Impossible,
        }
    }

    /// Whether this may be the error of an earlier datagram, after it was taken for one so many times in a row: each is told
    /// by the next send, which then sends nothing. What is told again and again is an error of what is sent now.
    fn is_of_an_earlier_one(self, told: u32, errors: Errors) -> bool {
        let most = match (self, errors) {
            (Self::Refused, Errors::Own) => 2,
            (Self::Refused, Errors::Anyone) => 8,
            // What routers say of sizes.
            (Self::NotAsOne, _) => 1,
            _ => 0,
        };
        told < most
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use siprec_model::RecordingKey;

    use super::*;

    fn sockets() -> (UdpSocket, UdpSocket, SocketAddr) {
        let (receiver, to) = receiver(Ipv4Addr::LOCALHOST.into());
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), receiver, to)
    }

    fn receiver(local: IpAddr) -> (UdpSocket, SocketAddr) {
        let receiver = UdpSocket::bind((local, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let to = receiver.local_addr().unwrap();
        (receiver, to)
    }

    /// A branch of a recording of its own, and its way.
    fn way(to: SocketAddr, segmentation: bool) -> Way {
        Way {
            branch: BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 },
            to,
            segmentation,
            again: false,
        }
    }

    /// Packets of these sizes, each full of its number.
    fn write(burst: &mut Burst, sizes: &[usize], way: Way) {
        for size in sizes {
            let number = burst.packets() as u8;
            burst.bytes.extend(std::iter::repeat_n(number, *size));
            burst.seal_packet();
        }
        burst.assign(way);
    }

    fn burst(sizes: &[usize], way: Way) -> Burst {
        let mut burst = Burst::default();
        write(&mut burst, sizes, way);
        burst
    }

    /// What is told of each branch.
    fn send(burst: &mut Burst, socket: &UdpSocket, errors: Errors) -> HashMap<BranchId, Outcome> {
        let mut told: HashMap<BranchId, Outcome> = HashMap::new();
        burst.send(socket, errors, |branch, outcome| told.entry(branch).or_default().join(outcome));
        told
    }

    fn received(receiver: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                let mut buffer = vec![0; 65_536];
                let size = receiver.recv(&mut buffer).unwrap();
                buffer.truncate(size);
                buffer
            })
            .collect()
    }

    #[test]
    fn packets_arrive_alike_with_and_without_segmentation() {
        let (sender, receiver, to) = sockets();
        let sizes: Vec<usize> =
            [172; 40].into_iter().chain([60, 172, 172, 13, 1400, 1400, 0, 5]).chain([9; 16]).collect();
        let expected: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(index, size)| vec![index as u8; *size]).collect();
        for segmentation in [false, true] {
            let mut burst = burst(&sizes, way(to, segmentation && sys::has_segmentation_offload()));
            assert_eq!(send(&mut burst, &sender, Errors::Own), HashMap::new());
            assert_eq!(received(&receiver, sizes.len()), expected, "segmentation {segmentation}");
            assert_eq!(burst.packets(), 0);
        }
    }

    #[test]
    fn equal_packets_go_as_one_message_and_a_shorter_one_ends_it() {
        let (_, _, to) = sockets();
        let mut burst = burst(&[100, 100, 60, 60, 61, 100], way(to, true));
        burst.line_up();
        let ends: Vec<_> = (0..6).map(|first| burst.end_of_message(first, 64)).collect();
        assert_eq!(ends, [3, 3, 4, 4, 5, 6]);
        assert_eq!(burst.end_of_message(0, 2), 2);
        burst.runs[0].way.segmentation = false;
        assert_eq!(burst.end_of_message(0, 64), 1);
    }

    #[test]
    fn packets_of_many_branches_for_one_address_go_as_one_message() {
        let (sender, receiver, to) = sockets();
        let (_other, elsewhere) = self::receiver(Ipv4Addr::LOCALHOST.into());
        let mut burst = Burst::default();
        for _ in 0..3 {
            write(&mut burst, &[100, 100], way(to, true));
            write(&mut burst, &[100], way(elsewhere, true));
        }
        burst.line_up();
        let first = usize::from(burst.way(0).map(|way| way.to) == Some(elsewhere)) * 3;
        assert_eq!(burst.end_of_message(first, 64), first + 6);
        assert_eq!(send(&mut burst, &sender, Errors::Anyone), HashMap::new());
        let expected: Vec<_> = [0, 1, 3, 4, 6, 7].map(|number| vec![number; 100]).into();
        assert_eq!(received(&receiver, 6), expected);
    }

    #[test]
    fn a_branch_whose_packets_must_not_be_cut_keeps_them_apart_from_those_of_others() {
        let (sender, receiver, to) = sockets();
        let mut burst = Burst::default();
        for segmentation in [true, true, false, true, true] {
            write(&mut burst, &[50], way(to, segmentation));
        }
        burst.line_up();
        let ends: Vec<_> = (0..5).map(|first| burst.end_of_message(first, 64)).collect();
        assert_eq!(ends, [2, 2, 3, 5, 5]);
        assert_eq!(send(&mut burst, &sender, Errors::Anyone), HashMap::new());
        assert_eq!(received(&receiver, 5), [0, 1, 2, 3, 4].map(|number| vec![number; 50]));
    }

    #[test]
    fn a_datagram_that_is_too_large_fails_alone() {
        let (sender, receiver, to) = sockets();
        for errors in [Errors::Own, Errors::Anyone] {
            let (large, small) = (way(to, false), way(to, false));
            let mut burst = burst(&[10, 66_000], large);
            write(&mut burst, &[20], small);
            let outcome = Outcome { failed: 1, failed_bytes: 66_000, ..Outcome::default() };
            assert_eq!(send(&mut burst, &sender, errors), HashMap::from([(large.branch, outcome)]));
            assert_eq!(received(&receiver, 2), [vec![0; 10], vec![2; 20]]);
        }
    }

    #[test]
    fn what_the_kernel_does_not_cut_goes_one_by_one_and_is_told() {
        let (sender, receiver, to) = sockets();
        // The kernel cuts nothing that it has no checksum of.
        sys::set_int(&sender, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        for errors in [Errors::Own, Errors::Anyone] {
            let (cut, whole) = (way(to, true), way(to, false));
            let mut burst = burst(&[100, 100, 60], cut);
            write(&mut burst, &[100, 100], whole);
            let outcome = Outcome { indivisible: true, ..Outcome::default() };
            assert_eq!(send(&mut burst, &sender, errors), HashMap::from([(cut.branch, outcome)]));
            let sizes: Vec<_> = received(&receiver, 5).into_iter().map(|packet| packet.len()).collect();
            assert_eq!(sizes, [100, 100, 60, 100, 100]);
        }
    }

    #[test]
    fn an_address_of_the_other_family_fails_and_others_do_not() {
        let (sender, receiver, to) = sockets();
        let foreign = way((std::net::Ipv6Addr::LOCALHOST, 9).into(), false);
        for errors in [Errors::Own, Errors::Anyone] {
            let mut burst = burst(&[10, 10], foreign);
            write(&mut burst, &[30], way(to, false));
            let told = send(&mut burst, &sender, errors);
            let outcome = told.get(&foreign.branch).map(|outcome| (outcome.failed, outcome.failed_bytes));
            assert_eq!((told.len(), outcome), (1, Some((2, 20))));
            assert_eq!(received(&receiver, 1), [vec![2; 30]]);
        }
    }

    #[test]
    fn a_host_that_refuses_keeps_no_packet_of_others_from_leaving() {
        for local in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let sender = UdpSocket::bind((local, 0)).unwrap();
            sys::report_errors(&sender, local).unwrap();
            let (receiver, to) = self::receiver(local);
            // Its port is taken, but for what comes from elsewhere.
            let (deaf, dead) = self::receiver(local);
            deaf.connect((local, 9)).unwrap();
            let mut burst = Burst::default();
            for _ in 0..16 {
                write(&mut burst, &[40], way(to, true));
                write(&mut burst, &[40], way(dead, true));
            }
            assert_eq!(send(&mut burst, &sender, Errors::Anyone), HashMap::new(), "the error queue tells");
            let expected: Vec<_> = (0..32).step_by(2).map(|number| vec![number; 40]).collect();
            assert_eq!(received(&receiver, 16), expected);
            assert_eq!(sys::receive_error(&sender).unwrap().destination, Some(dead));
        }
    }

    #[test]
    fn what_no_branch_has_taken_is_forgotten_and_the_rest_leaves() {
        let (sender, receiver, to) = sockets();
        let mut burst = burst(&[10, 20], way(to, false));
        burst.bytes.extend([9; 30]);
        burst.seal_packet();
        burst.bytes.extend([9; 5]);
        assert_eq!((burst.packets(), burst.unassigned()), (3, 1));
        let failed = Outcome { failed: 1, failed_bytes: 30, ..Outcome::default() };
        assert_eq!(burst.fail_unassigned(), failed);
        write(&mut burst, &[7], way(to, false));
        assert_eq!(send(&mut burst, &sender, Errors::Own), HashMap::new());
        assert_eq!(received(&receiver, 3), [vec![0; 10], vec![1; 20], vec![2; 7]]);
    }
}
