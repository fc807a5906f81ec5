//! Several packets of one branch, sent with as few system calls as the kernel allows.

use std::io;
use std::net::UdpSocket;
use std::ops::Range;

use socket2::SockAddr;

use crate::sys::{self, MAX_MESSAGES, Message};

/// Most packets of one burst: short enough that the send section stays some 100 µs long.
pub(crate) const MAX_BURST: usize = 64;
/// Most datagrams that the kernel cuts one payload into (`UDP_MAX_SEGMENTS`, 64 since Linux 4.18).
const MAX_SEGMENTS: usize = 64;
/// Most bytes of one payload to be cut.
const MAX_SEGMENTED: usize = 65_000;

/// Packets that leave together by one socket for one address, in one buffer. Its memory is kept from use to use.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// The packets, back to back.
    pub(crate) bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<usize>,
}

/// What became of a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Packets that the kernel did not take.
    pub(crate) failed: u64,
    /// Their bytes.
    pub(crate) failed_bytes: u64,
    /// The remote host was found to refuse, now or since the socket was last used.
    pub(crate) refused: bool,
}

impl Burst {
    /// The bytes after the last whole packet are one more packet.
    pub(crate) fn seal_packet(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Forgets everything, as not sent.
    pub(crate) fn fail_all(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.fail(0..self.ends.len(), &mut outcome);
        self.clear();
        outcome
    }

    /// Packets in it.
    pub(crate) fn packets(&self) -> usize {
        self.ends.len()
    }

    /// Sends everything and forgets it. With `segmentation`, packets of one size go to the kernel as one payload;
    /// where the kernel or the route refuses that, it is switched off and the packets go one by one.
    pub(crate) fn send(&mut self, socket: &UdpSocket, to: &SockAddr, segmentation: &mut bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut done = 0;
        // The error of an earlier datagram is told by the next send, which then sends nothing: so each may be
        // told once for each datagram that was sent. More than that is an error of this one.
        let mut told = 0;
        while done < self.ends.len() {
            let mut groups = [const { None }; MAX_MESSAGES];
            let mut count = 0;
            let mut next = done;
            for slot in &mut groups {
                let Some((group, message)) = self.group(next, to, *segmentation) else { break };
                next = group.end;
                *slot = Some((group, message));
                count += 1;
            }
            let messages = groups.each_ref().map(|slot| slot.as_ref().map(|(_, message)| *message));
            let filler = Message { to, bytes: &[], segment: None };
            let messages = messages.map(|message| message.unwrap_or(filler));
            match sys::send(socket, messages.get(..count).unwrap_or_default()) {
                Ok(taken) => {
                    let last = taken.checked_sub(1).and_then(|last| groups.get(last)?.as_ref());
                    done = last.map_or(self.ends.len(), |(group, _)| group.end);
                    told = 0;
                }
                Err(error) => match verdict(&error) {
                    Verdict::Again => {}
                    Verdict::Refused if told < 2 => {
                        told += 1;
                        outcome.refused = true;
                    }
                    Verdict::NotAsOne
                        if matches!(groups.first(), Some(Some((_, Message { segment: Some(_), .. })))) =>
                    {
                        *segmentation = false;
                    }
                    Verdict::NotAsOne => {
                        outcome.refused |= error.raw_os_error() != Some(libc::EMSGSIZE);
                        self.fail(done..done + 1, &mut outcome);
                        done += 1;
                    }
                    Verdict::Refused | Verdict::Hopeless => {
                        outcome.refused |= error.kind() != io::ErrorKind::WouldBlock;
                        self.fail(done..self.ends.len(), &mut outcome);
                        done = self.ends.len();
                    }
                },
            }
        }
        self.clear();
        outcome
    }

    /// The packets from `first` that may go as one message.
    fn group<'a>(
        &'a self,
        first: usize,
        to: &'a SockAddr,
        segmentation: bool,
    ) -> Option<(Range<usize>, Message<'a>)> {
        let whole = self.range(first..first + 1)?;
        let size = whole.len();
        let mut end = first + 1;
        if segmentation && size > 0 {
            while end - first < MAX_SEGMENTS
                && let Some(next) = self.range(end..end + 1)
                && next.len() <= size
                && !next.is_empty()
                && next.end - whole.start <= MAX_SEGMENTED
            {
                end += 1;
                // Only the last segment may be shorter.
                if next.len() < size {
                    break;
                }
            }
        }
        let bytes = self.bytes.get(self.range(first..end)?)?;
        let segment = if end - first > 1 { u16::try_from(size).ok() } else { None };
        Some((first..end, Message { to, bytes, segment }))
    }

    /// Where the packets lie in the buffer; `None` when there are not so many.
    fn range(&self, packets: Range<usize>) -> Option<Range<usize>> {
        let start = match packets.start.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Some(start..*self.ends.get(packets.end.checked_sub(1)?)?)
    }

    fn fail(&self, packets: Range<usize>, outcome: &mut Outcome) {
        outcome.failed += packets.len() as u64;
        outcome.failed_bytes += self.range(packets).map_or(0, |range| range.len() as u64);
    }
}

/// What an error of a send means for the rest of the burst.
enum Verdict {
    /// Nothing.
    Again,
    /// The remote host answered an earlier datagram, or there is no way to it.
    Refused,
    /// This payload is too large in one piece, or the route cannot cut it.
    NotAsOne,
    /// Nothing more goes now.
    Hopeless,
}

fn verdict(error: &io::Error) -> Verdict {
    match error.raw_os_error() {
        Some(libc::EINTR) => Verdict::Again,
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
        ) => Verdict::Refused,
        Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO | libc::EOPNOTSUPP) => Verdict::NotAsOne,
        _ => Verdict::Hopeless,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn sockets() -> (UdpSocket, UdpSocket, SockAddr) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = receiver.local_addr().unwrap().into();
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), receiver, to)
    }

    fn burst(sizes: &[usize]) -> Burst {
        let mut burst = Burst::default();
        for (index, size) in sizes.iter().enumerate() {
            burst.bytes.extend(std::iter::repeat_n(index as u8, *size));
            burst.seal_packet();
        }
        burst
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
            let mut burst = burst(&sizes);
            let mut on = segmentation;
            assert_eq!(burst.send(&sender, &to, &mut on), Outcome::default());
            assert_eq!(on, segmentation && sys::has_segmentation_offload());
            assert_eq!(received(&receiver, sizes.len()), expected, "segmentation {segmentation}");
            assert_eq!(burst.packets(), 0);
        }
    }

    #[test]
    fn equal_packets_go_as_one_message_and_a_shorter_one_ends_it() {
        let (_, _, to) = sockets();
        let burst = burst(&[100, 100, 60, 60, 61, 100]);
        let mut groups = Vec::new();
        let mut next = 0;
        while let Some((group, message)) = burst.group(next, &to, true) {
            next = group.end;
            groups.push((group, message.segment));
        }
        assert_eq!(groups, [(0..3, Some(100)), (3..4, None), (4..5, None), (5..6, None)]);
        assert_eq!(burst.group(0, &to, false).unwrap().0, 0..1);
    }

    #[test]
    fn a_datagram_that_is_too_large_fails_alone() {
        let (sender, receiver, to) = sockets();
        let mut burst = burst(&[10, 66_000, 20]);
        let outcome = burst.send(&sender, &to, &mut false);
        assert_eq!(outcome, Outcome { failed: 1, failed_bytes: 66_000, refused: false });
        assert_eq!(received(&receiver, 2), [vec![0; 10], vec![2; 20]]);
    }

    #[test]
    fn an_address_of_the_other_family_fails_the_burst() {
        let (sender, _receiver, _) = sockets();
        let to: SockAddr = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9)).into();
        let outcome = burst(&[10, 10]).send(&sender, &to, &mut false);
        assert_eq!((outcome.failed, outcome.failed_bytes), (2, 20));
    }
}
