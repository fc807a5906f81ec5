use super::super::report::{GapReport, OverlapReport};
use super::super::wav::WavSound;
use super::*;

const MS: i64 = 1_000_000;

/// One archive in a folder of its own.
struct Bench {
    archive: Archive,
    _output: tempfile::TempDir,
}

impl Bench {
    fn new(streams: usize) -> Self {
        gst::init().unwrap();
        let output = tempfile::tempdir().unwrap();
        let archive = Archive::create(output.path(), "ID", SystemTime::UNIX_EPOCH, false).unwrap();
        let mut bench = Self { archive, _output: output };
        let local = "127.0.0.1:5004".parse().unwrap();
        let formats = [(0, "PCMU"), (8, "PCMA"), (9, "G722"), (13, "CN"), (18, "G729")].map(format);
        for index in 0..streams {
            bench.archive.stream(index, "audio", local, &formats);
        }
        bench
    }

    fn store(&mut self, stream: usize, packets: &[Vec<u8>], arrival_ms: i64) {
        let datagrams: Vec<_> = packets
            .iter()
            .map(|bytes| {
                let rtcp = crate::media::rtp::is_rtcp(bytes);
                (stream, Datagram { bytes: bytes.clone(), arrival: arrival_ms * MS, rtcp })
            })
            .collect();
        self.archive.store(&datagrams);
    }

    fn wav(&self) -> WavSound {
        WavSound::read(&self.archive.folder().join("session.partial.wav")).unwrap()
    }

    fn finish(self) -> (WavSound, SessionReport, Vec<String>) {
        let folder = self.archive.folder().to_path_buf();
        let mut report = SessionReport { streams: vec![StreamReport::default(); 2], ..Default::default() };
        self.archive.finish(&mut report);
        let json = fs::read(folder.join("session.json")).unwrap();
        assert_eq!(serde_json::from_slice::<SessionReport>(&json).unwrap(), report);
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (WavSound::read(&folder.join("session.wav")).unwrap(), report, names)
    }
}

fn format((payload_type, encoding): (u8, &str)) -> PayloadFormat {
    PayloadFormat { payload_type, encoding: encoding.into(), clock_rate: 8000, channels: None, fmtp: None }
}

/// 160 different codes, `seed` tells packets apart.
fn codes(seed: u16) -> Vec<u8> {
    (0..160u16).map(|index| (index.wrapping_mul(7) ^ seed.wrapping_mul(13)) as u8).collect()
}

fn rtp(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// PCMU packets `range`, timestamps from `first` on.
fn pcmu(ssrc: u32, first: u32, range: std::ops::Range<u16>) -> Vec<Vec<u8>> {
    range.map(|n| rtp(0, ssrc, n, first.wrapping_add(u32::from(n) * 160), &codes(n))).collect()
}

fn sender_report(ssrc: u32, ntp_ms: u64, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((((ntp_ms / 1000) << 32) | ((ntp_ms % 1000) << 32).div_ceil(1000)).to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0; 8]);
    packet
}

/// ITU-T G.711 expansion, written from the standard's text.
fn expand(code: u8) -> i16 {
    let inverted = !code;
    let magnitude = ((i16::from(inverted & 0x0f) << 3) + 0x84) << ((inverted >> 4) & 7);
    if inverted & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

fn sound(range: std::ops::Range<u16>) -> Vec<i16> {
    range.flat_map(codes).map(expand).collect()
}

#[test]
fn g711_is_sample_exact() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, u32::MAX - 1000, 0..100), 0);
    let (wav, report, names) = bench.finish();
    assert_eq!((wav.rate, wav.channels), (8000, vec![sound(0..100)]));
    assert_eq!(names, ["ladder.txt", "session.json", "session.wav"]);
    assert_eq!(report.streams[0].channel, Some(Channel::Left));
    assert_eq!(report.streams[0].gaps, []);
}

#[test]
fn two_parties_stand_where_their_sender_reports_say_although_these_come_last() {
    let mut bench = Bench::new(2);
    bench.store(0, &pcmu(1, 4000, 0..50), 3_000);
    bench.store(1, &pcmu(2, 70_000, 0..50), 0);
    bench.archive.render(10_000 * MS);
    assert_eq!(bench.wav().channels[0].len(), 24_000 + 8000, "by arrival as long as nothing else is known");
    bench.store(0, &[sender_report(1, 1_000_000, 4000)], 3_000);
    bench.store(1, &[sender_report(2, 1_000_125, 70_000)], 3_000);
    bench.archive.render(10_000 * MS);
    assert_eq!(bench.wav().channels[0].len(), 9000, "the running file is aligned anew");
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.channels[0], [sound(0..50), vec![0; 1000]].concat());
    assert_eq!(wav.channels[1], [vec![0; 1000], sound(0..50)].concat());
    assert_eq!(report.streams[1].alignment, Some(Alignment::SenderReports));
    assert_eq!(report.streams[1].channel, Some(Channel::Right));
}

#[test]
fn a_party_that_falls_behind_and_catches_up_loses_nothing() {
    for delay in [500, 1200, 2000, 3000, 10_000] {
        let mut bench = Bench::new(2);
        let late = |n: u16| if (50..150).contains(&n) { delay * i64::from(n - 50) / 100 } else { 0 };
        // (when, packet); the backlog comes at once, two and two in the wrong order.
        let mut due = 0;
        let mut packets: Vec<(i64, u16)> = Vec::new();
        for n in 0..700u16 {
            due = due.max(i64::from(n) * 20 + late(n));
            let waits = n >= 150 && due > i64::from(n | 1) * 20;
            packets.push((due, if waits { n ^ 1 } else { n }));
        }
        let mut reported = -500;
        for (index, (at, n)) in packets.into_iter().enumerate() {
            bench.store(0, &pcmu(1, 4000, n..n + 1), at);
            let (other, own) = (index as u16, index as i64 * 20);
            bench.store(1, &pcmu(2, 70_000, other..other + 1), own);
            if at >= reported + 500 {
                reported = at;
                bench.store(0, &[sender_report(1, 1_000_000 + at as u64, 4000 + u32::from(n) * 160)], at);
                let report = sender_report(2, 1_000_000 + own as u64, 70_000 + u32::from(other) * 160);
                bench.store(1, &[report], own);
                bench.archive.render(at * MS);
            }
        }
        let (wav, report, _) = bench.finish();
        let expected = sound(0..700);
        for (channel, heard) in wav.channels.iter().enumerate() {
            let at = heard.windows(expected.len()).position(|window| window == expected);
            assert!(at.is_some_and(|at| at <= 4000), "{delay} ms, channel {channel}: {at:?}");
        }
        assert_eq!(report.streams[0].gaps, [], "{delay} ms");
    }
}

/// Two sources whose packets take turns on one stream; the second has numbers and timestamps of its own.
fn take_turns(bench: &mut Bench, packets: std::ops::Range<u16>) {
    for number in packets {
        let at = i64::from(number) * 20;
        bench.store(0, &pcmu(1, 500, number..number + 1), at);
        let theirs = rtp(0, 2, number + 40_000, 7_000_000 + u32::from(number) * 160, &codes(500));
        bench.store(0, &[theirs], at);
        bench.archive.render(at * MS);
    }
}

#[test]
fn sound_of_two_sources_that_take_turns_is_no_gap_and_where_it_overlaps_is_told() {
    let mut bench = Bench::new(1);
    bench.store(0, &[sender_report(1, 5_000, 500), sender_report(2, 5_200, 7_000_000)], 0);
    take_turns(&mut bench, 0..50);
    let (wav, report, _) = bench.finish();
    let stream = &report.streams[0];
    assert_eq!(stream.gaps, [], "each source has numbers of its own");
    let told = OverlapReport {
        start: 0.2,
        duration: 0.8,
        heard: "00000002".to_owned(),
        covered: "00000001".to_owned(),
    };
    assert_eq!(stream.overlaps, [told]);
    let second: Vec<i16> = codes(500).into_iter().map(expand).collect();
    assert_eq!(wav.channels[0], [sound(0..10), second.repeat(50)].concat(), "the later one is heard");
}

#[test]
fn a_source_that_follows_another_overlaps_nothing() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..10), 0);
    bench.store(0, &pcmu(2, 70_000, 10..20), 200);
    let reports = [sender_report(1, 5_000, 0), sender_report(2, 5_200, 71_600)];
    bench.store(0, &reports, 400);
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.channels[0], sound(0..20));
    assert_eq!((report.streams[0].overlaps.len(), report.streams[0].gaps.len()), (0, 0));
}

#[test]
fn lost_packets_are_silence_of_exact_length() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..10), 0);
    bench.store(0, &pcmu(1, 0, 13..20), 0);
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.channels[0], [sound(0..10), vec![0; 480], sound(13..20)].concat());
    assert_eq!(report.streams[0].gaps, [GapReport { start: 0.2, duration: 0.06, lost: 3 }]);
}

#[test]
fn a_pause_is_silence_without_loss() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..10), 0);
    bench.store(0, &pcmu(1, 8000, 10..20), 1200);
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.channels[0], [sound(0..10), vec![0; 8000], sound(10..20)].concat());
    assert_eq!(report.streams[0].gaps, [GapReport { start: 0.2, duration: 1.0, lost: 0 }]);
}

#[test]
fn packets_too_late_for_the_running_file_are_in_the_final_one() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..5), 0);
    bench.store(0, &pcmu(1, 0, 7..20), 0);
    bench.archive.render(2_000 * MS);
    assert_eq!(bench.wav().channels[0].len(), 3200);
    bench.store(0, &[pcmu(1, 0, 6..7), pcmu(1, 0, 5..6)].concat(), 2_100);
    let (wav, _, _) = bench.finish();
    assert_eq!(wav.channels[0], sound(0..20));
}

#[test]
fn duplicates_change_nothing() {
    let mut bench = Bench::new(1);
    bench.store(0, &[pcmu(1, 0, 0..5), pcmu(1, 0, 3..8)].concat(), 0);
    let (wav, _, _) = bench.finish();
    assert_eq!(wav.channels[0], sound(0..8));
}

#[test]
fn a_packet_before_the_first_one_begins_the_file() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 16_000, 1..5), 0);
    bench.archive.render(2_000 * MS);
    bench.store(0, &pcmu(1, 16_000, 0..1), 2_000);
    let (wav, _, _) = bench.finish();
    assert_eq!(wav.channels[0], sound(0..5));
}

#[test]
fn a_second_source_in_a_stream_follows_where_its_reports_say() {
    let mut bench = Bench::new(1);
    bench.store(0, &[pcmu(1, 0, 0..10), vec![sender_report(1, 500_000, 0)]].concat(), 0);
    bench.store(0, &[pcmu(9, 123_456, 0..10), vec![sender_report(9, 500_500, 123_456)]].concat(), 0);
    let (wav, _, _) = bench.finish();
    assert_eq!(wav.channels[0], [sound(0..10), vec![0; 2400], sound(0..10)].concat());
}

#[test]
fn comfort_noise_is_silence_and_no_loss() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..5), 0);
    bench.store(0, &[rtp(13, 1, 5, 800, &[40])], 0);
    bench.store(0, &pcmu(1, 0, 6..10), 0);
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.channels[0], [sound(0..5), vec![0; 160], sound(6..10)].concat());
    assert_eq!(report.streams[0].gaps, []);
}

#[test]
fn the_faster_codec_sets_the_rate_and_the_other_is_resampled() {
    let mut bench = Bench::new(2);
    bench.store(0, &pcmu(1, 0, 0..50), 0);
    let g722 = |n: u16| rtp(9, 2, n, u32::from(n) * 160, &[0xff; 160]);
    bench.store(1, &(0..50).map(g722).collect::<Vec<_>>(), 0);
    let (wav, report, _) = bench.finish();
    assert_eq!(wav.rate, 16_000);
    assert_eq!(report.wav.unwrap().channels, 2);
    assert_eq!(report.streams[1].received_formats, ["9 G722/8000"]);
    assert!(wav.channels[0].len().abs_diff(16_000) <= 64, "{}", wav.channels[0].len());
    let loud = |range: std::ops::Range<usize>| wav.channels[0][range].iter().any(|sample| *sample != 0);
    assert!(loud(0..320) && loud(15_600..15_900));
}

#[test]
fn a_codec_that_is_not_decoded_is_kept_as_rtp() {
    let mut bench = Bench::new(2);
    bench.store(0, &pcmu(1, 0, 0..5), 0);
    bench.store(1, &(0..5).map(|n| rtp(18, 2, n, u32::from(n) * 160, &[1; 20])).collect::<Vec<_>>(), 0);
    let folder = bench.archive.folder().to_path_buf();
    let dumped = |name: &str| fs::read(folder.join(name)).map(|bytes| bytes.len());
    assert_eq!(dumped("audio-1.partial.rtpdump").unwrap(), 28 + 16 + 5 * (8 + 32));
    let wait = bench._output.path().to_path_buf();
    let mut report = SessionReport { streams: vec![StreamReport::default(); 2], ..Default::default() };
    bench.archive.finish(&mut report);
    assert_eq!(report.streams[1].rtp_file.as_deref(), Some("audio-1.rtpdump"));
    assert_eq!(report.streams[1].not_decoded.as_deref(), Some("18 G729/8000 is not decoded"));
    assert_eq!(report.streams[0].rtp_file, None);
    assert_eq!(dumped("audio-1.rtpdump").unwrap(), 28 + 16 + 5 * (8 + 32));
    assert!(dumped("audio-0.rtpdump").is_err());
    assert!(wait.exists());
}

#[test]
fn a_crash_leaves_a_playable_file() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..100), 0);
    bench.archive.render(10_000 * MS);
    bench.store(0, &pcmu(1, 0, 100..200), 0);
    let wav = bench.wav();
    std::mem::forget(bench.archive);
    assert_eq!(wav.channels[0], sound(0..100));
}

#[test]
fn an_id_cannot_leave_the_output_folder_and_folders_are_unique() {
    let output = tempfile::tempdir().unwrap();
    let made = |id: &str| {
        let archive = Archive::create(output.path(), id, SystemTime::UNIX_EPOCH, false).unwrap();
        let folder = archive.folder().to_path_buf();
        assert_eq!(folder.parent(), Some(output.path()));
        folder.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(made("../../etc/passwd"), "_.._etc_passwd");
    assert_eq!(made(".."), "session");
    assert_eq!(made(""), "session.2");
    assert_eq!(made("a\0b\r\n\u{1f600}"), "a_b___");
    assert_eq!(made("00FA08K"), "00FA08K");
    assert_eq!(made("00FA08K"), "00FA08K.2");
    assert_eq!(made(&"x".repeat(5000)).len(), 100);
}

#[test]
fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let output = tempfile::tempdir().unwrap();
    let file = output.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Archive::create(&file, "ID", SystemTime::UNIX_EPOCH, false).err().unwrap();
    assert!(error.to_string().starts_with("cannot create folder "), "{error}");
}

#[test]
fn a_write_error_ends_the_files_and_is_told() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..10), 0);
    bench.archive.render(10_000 * MS);
    // A folder in the way of the next file stands for a disk without room.
    fs::create_dir(bench.archive.folder().join("session.next.wav")).unwrap();
    bench.store(0, &[sender_report(1, 1000, 0), rtp(9, 1, 10, 1600, &[0; 160])], 20);
    bench.archive.render(10_000 * MS);
    assert!(bench.archive.error().unwrap().starts_with("cannot write "));
    let folder = bench.archive.folder().to_path_buf();
    let mut report = SessionReport { streams: vec![StreamReport::default()], ..Default::default() };
    bench.archive.finish(&mut report);
    assert!(report.error.unwrap().contains("session.next.wav"));
    assert_eq!(report.wav.unwrap().file, "session.partial.wav");
    assert_eq!(WavSound::read(&folder.join("session.partial.wav")).unwrap().channels, [sound(0..10)]);
    assert!(folder.join("session.json").exists());
}

/// What is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn without_room_for_a_file_the_running_account_says_why_in_its_place() {
    let mut bench = Bench::new(1);
    bench.store(0, &pcmu(1, 0, 0..10), 0);
    let mut report = SessionReport { recording_id: "ID".into(), ..Default::default() };
    report.streams = vec![StreamReport::default()];
    bench.archive.report(&report);
    let folder = bench.archive.folder().to_path_buf();
    let path = folder.join("session.partial.json");
    let before = fs::metadata(&path).unwrap().len();
    // A folder in the way of each next file stands for a disk without room.
    for next in ["session.next.json", "session.next.wav"] {
        fs::create_dir(folder.join(next)).unwrap();
        fs::write(folder.join(next).join("here"), "").unwrap();
    }
    bench.archive.render(10_000 * MS);
    bench.archive.finish(&mut report);
    assert_eq!(fs::metadata(&path).unwrap().len(), before, "no more room is taken");
    let told: SessionReport = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(told, report);
    assert!(told.error.unwrap().contains("session.next.wav"));
    assert_eq!(told.states.last().unwrap().state, "failed");
    assert!(!folder.join("session.json").exists());
}

#[test]
fn what_does_not_fit_into_the_running_account_is_left_out() {
    let bench = Bench::new(1);
    let account = Account::new(bench.archive.folder());
    let mut report = SessionReport { streams: vec![StreamReport::default()], ..Default::default() };
    account.run(&report).unwrap();
    report.error = Some("no room".into());
    report.streams[0].gaps = vec![Default::default(); 1000];
    account.end_in_place(&report).unwrap();
    let path = bench.archive.folder().join("session.partial.json");
    let told: SessionReport = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!((told.error.as_deref(), told.streams[0].gaps.len()), (Some("no room"), 0));
}

#[test]
fn a_file_that_cannot_be_made_leaves_no_beginning_of_it() {
    let mut bench = Bench::new(1);
    let folder = bench.archive.folder().to_path_buf();
    // A folder in the place of the account: the next one is written, and cannot take it.
    fs::create_dir(folder.join("session.partial.json")).unwrap();
    bench.archive.report(&SessionReport::default());
    assert!(bench.archive.error().unwrap().contains("session.next.json"));
    assert!(!names(&folder).contains(&"session.next.json".to_owned()), "{:?}", names(&folder));
}

#[test]
fn a_folder_that_is_removed_or_moved_while_the_session_runs_fails_it() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("removed", |folder| fs::remove_dir_all(folder).unwrap()),
        ("moved", |folder| fs::rename(folder, folder.with_extension("moved")).unwrap()),
        ("another", |folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("ladder.partial.txt"), "").unwrap();
        }),
    ];
    for (what, harm) in harms {
        for early in [true, false] {
            let mut bench = Bench::new(1);
            bench.store(0, &pcmu(1, 0, 0..10), 0);
            bench.archive.render(10_000 * MS);
            harm(bench.archive.folder());
            bench.store(0, &pcmu(1, 0, 10..20), 20);
            if early {
                bench.archive.render(10_000 * MS);
                assert!(bench.archive.error().is_some(), "{what}: nobody has noticed");
            }
            let ended = StateReport { state: "ended".into(), ..Default::default() };
            let mut report = SessionReport { states: vec![ended], ..Default::default() };
            bench.archive.finish(&mut report);
            assert_eq!(report.states.last().unwrap().state, "failed", "{what}");
            assert!(report.error.unwrap().starts_with("cannot find "), "{what}");
        }
    }
}
