//! What is written down of dialogs is read as it was written, whatever became of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use siprec_model::{CallUuid, RecordingId, TlsProfile, TlsVersion};
use siprec_session::{DialogWay, Journal, JournalError, JournalHead, LeftDialog};
use siprec_sip::{Dialog, HeaderValue, NameAddr, Transport, Uri};

fn head() -> JournalHead {
    JournalHead { host: "pbx 1".to_owned(), process: 4711 }
}

fn address(text: &str) -> NameAddr {
    NameAddr::parse(text.as_bytes()).unwrap()
}

fn left(call_id: &str, cseq: u32) -> LeftDialog {
    LeftDialog {
        dialog: Dialog::left_behind(
            HeaderValue::from(call_id),
            address("<sip:siprec@192.0.2.1:5060>;tag=us"),
            address("\"Rec\u{e4}rder % 100\" <sip:record=1@192.0.2.7;dn=1001>;tag=peer"),
            cseq,
            Uri::parse("sip:recorder@192.0.2.8:5080").unwrap(),
            vec![address("<sip:192.0.2.9;lr>"), address("<sips:p.example;lr>")],
        ),
        way: DialogWay {
            hop: Uri::parse("sip:recorder.example;transport=tcp").unwrap(),
            tls: TlsProfile::default(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            transport: Transport::Tcp,
            fixed: true,
            proxied: false,
        },
        recording_id: RecordingId::new("R1"),
        call_uuid: CallUuid::new("00FA\t08\nK"),
    }
}

fn by_tls() -> LeftDialog {
    let mut left = left("tls", 1);
    left.way = DialogWay {
        hop: Uri::parse("sips:[2001:db8::7]:5061").unwrap(),
        tls: TlsProfile {
            server_name: Some("recorder.example".to_owned()),
            ca: Some("/etc/ssl/Zertifikate \u{fc}/ca.pem".into()),
            min_version: Some(TlsVersion::V1_3),
        },
        remote: "[2001:db8::7]:5061".parse().unwrap(),
        transport: Transport::Tls,
        fixed: false,
        proxied: true,
    };
    left
}

#[test]
fn what_is_written_is_read() {
    let mut bytes = head().to_line();
    for line in [left("a", 1).to_line(1), by_tls().to_line(2), left("b", 3).to_line(3)] {
        bytes.extend(line);
    }
    bytes.extend(Journal::over_line(1));
    bytes.extend(left("b", 600).to_line(3));
    let journal = Journal::read(&bytes).unwrap();
    assert_eq!(journal.head, head());
    assert_eq!(journal.dialogs, BTreeMap::from([(2, by_tls()), (3, left("b", 600))]));
    assert_eq!((journal.damaged, journal.length), (0, bytes.len()));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.bytes().all(|byte| matches!(byte, b'\t' | b'\n' | b' '..=b'~')), "{text}");
    assert_eq!(text.lines().count(), 6, "a value cannot end its line");
}

/// What stands in a file, once it has so many bytes.
type History = Vec<(usize, BTreeMap<u64, LeftDialog>)>;

/// A file of some lines, and what is in it after each of them.
fn file() -> (Vec<u8>, History) {
    let mut bytes = head().to_line();
    let mut now = BTreeMap::new();
    let mut history = vec![(bytes.len(), now.clone())];
    for number in 1..6 {
        let dialog = left(&format!("call-{number}"), 1);
        bytes.extend(dialog.to_line(number));
        now.insert(number, dialog);
        history.push((bytes.len(), now.clone()));
        if number % 2 == 0 {
            bytes.extend(Journal::over_line(number - 1));
            now.remove(&(number - 1));
            history.push((bytes.len(), now.clone()));
        }
    }
    (bytes, history)
}

#[test]
fn a_file_that_is_cut_anywhere_says_what_its_whole_lines_say() {
    let (bytes, history) = file();
    for length in 0..=bytes.len() {
        let read = Journal::read(&bytes[..length]);
        match history.iter().rev().find(|(end, _)| *end <= length) {
            None => assert_eq!(read, Err(JournalError::Empty), "{length}"),
            Some((end, dialogs)) => {
                let journal = read.unwrap();
                assert_eq!(journal.dialogs, *dialogs, "{length}");
                assert_eq!((journal.damaged, journal.length), (0, *end), "{length}");
            }
        }
    }
}

#[test]
fn a_damaged_line_loses_nothing_but_itself() {
    let (bytes, history) = file();
    let whole = &history.last().unwrap().1;
    let first = history[0].0;
    for at in first..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let journal = Journal::read(&damaged).unwrap();
        for (number, dialog) in &journal.dialogs {
            let known = left(&format!("call-{number}"), 1);
            assert_eq!(*dialog, known, "byte {at}: nothing is read that was not written");
        }
        let lost = whole.keys().filter(|number| !journal.dialogs.contains_key(number)).count();
        assert!(lost <= 2, "byte {at}: {lost} dialogs are lost");
        assert!(journal.damaged > 0 || journal.length < bytes.len(), "byte {at} is told");
    }
}

#[test]
fn what_is_no_journal_of_ours_is_told_apart() {
    let read = |bytes: &[u8]| Journal::read(bytes).map(|_| ()).unwrap_err();
    assert_eq!(read(b""), JournalError::Empty);
    assert_eq!(read(b"#!/bin/sh\n"), JournalError::Foreign);
    assert_eq!(read(b"some text without an end"), JournalError::Foreign);
    assert_eq!(read(b"\n\n"), JournalError::Foreign);
    // Its first line is whole, but its checksum is wrong.
    assert_eq!(read(b"00000000 dialogs 1\thost=a\tprocess=1\n"), JournalError::Foreign);
    // The checksums here are those of zlib.
    assert_eq!(read(b"9edeb057 dialogs 2\twhatever\n"), JournalError::Version(2));
}

#[test]
fn a_line_that_says_too_little_is_damaged_though_its_checksum_is_right() {
    let over = String::from_utf8(Journal::over_line(77)).unwrap();
    for (line, damaged) in [
        ("f35c924e +9\tcall-id=x", 1),
        ("68ac679e +9", 1),
        ("7c37e731 +\tcall-id=x", 1),
        ("c21a9af8 -9\tx=y", 1),
        ("71b756df *9", 1),
        ("76afac5a +9\tnothing", 1),
        ("6d340824 +9\tcall-id=%4", 1),
        // The end of what never was is nothing.
        (over.trim_end(), 0),
        ("e76e099a -77", 0),
    ] {
        let (mut bytes, history) = file();
        bytes.extend(format!("{line}\n").bytes());
        let journal = Journal::read(&bytes).unwrap();
        assert_eq!(journal.damaged, damaged, "{line}");
        let told = if damaged == 1 { format!("{line}\n") } else { String::new() };
        assert_eq!(journal.damaged_lines, told.into_bytes(), "{line}");
        assert_eq!(journal.dialogs, history.last().unwrap().1, "{line}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Journal::read(&bytes);
        let mut after = head().to_line();
        after.extend(&bytes);
        let journal = Journal::read(&after).unwrap();
        prop_assert!(journal.dialogs.is_empty());
    }

    #[test]
    fn any_text_survives(
        recording in any::<String>(), call in any::<String>(), call_id in "[!-~]{1,40}", user in any::<String>(),
        display in any::<String>(), cseq in any::<u32>(), number in any::<u64>(),
    ) {
        let mut dialog = left(&call_id, cseq);
        let uri = siprec_sip::UriBuilder::sip("192.0.2.1").user(&format!("u{user}")).build().unwrap();
        dialog.recording_id = RecordingId::new(recording);
        dialog.call_uuid = CallUuid::new(call);
        let local = NameAddr::new(uri.clone()).with_display(&display).with_tag("us");
        let local = NameAddr::parse(HeaderValue::from(&local).as_bytes()).unwrap();
        dialog.dialog = Dialog::left_behind(
            HeaderValue::from(call_id), local.clone(), local, cseq, uri, Vec::new(),
        );
        let mut bytes = head().to_line();
        bytes.extend(dialog.to_line(number));
        let journal = Journal::read(&bytes).unwrap();
        prop_assert_eq!(journal.dialogs, BTreeMap::from([(number, dialog)]));
    }
}
