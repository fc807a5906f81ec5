//! The file in which a process has written down its dialogs.

use std::time::Instant;

use siprec_session::{Journal, LeftDialog};
use siprec_sip::{DialogUa, Endpoint, Message, Method, NameAddr, Random, Transport, Uri};

/// The bytes as a file, and each of their lines behind the checksum that it should have.
pub fn journal(data: &[u8]) {
    check(data);
    let mut file = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        file.extend(format!("{:08x} ", checksum(body)).bytes());
        file.extend(line);
    }
    check(&file);
}

fn check(file: &[u8]) {
    let Ok(journal) = Journal::read(file) else { return };
    assert!(journal.length <= file.len());
    let mut again = journal.head.to_line();
    for (number, left) in &journal.dialogs {
        again.extend(left.to_line(*number));
        end(left);
    }
    let read = Journal::read(&again).unwrap();
    assert_eq!((&read.head, &read.dialogs), (&journal.head, &journal.dialogs));
    assert_eq!((read.damaged, read.length), (0, again.len()));
}

/// The BYE is a message that others can read, and no value has become a header of its own.
fn end(left: &LeftDialog) {
    let own = NameAddr::new(Uri::parse("sip:us@192.0.2.1").unwrap());
    let endpoint = Endpoint::new(Transport::Udp, "192.0.2.1", Some(5060), own).unwrap();
    let mut random = Random::from_seed([0; 32]);
    let mut ua = DialogUa::bye_left_behind(endpoint, left.dialog.clone(), &mut random, Instant::now());
    let Some(Message::Request(bye)) = ua.poll_transmit() else { panic!("no BYE") };
    let Message::Request(read) = Message::parse(&bye.to_bytes()).unwrap() else { panic!("no request") };
    assert_eq!((&read.method, &read.uri), (&Method::Bye, &bye.uri));
    // Content-Length is put in.
    assert_eq!(read.headers.iter().count(), bye.headers.iter().count() + 1);
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
