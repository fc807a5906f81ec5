//! The corpus, replayed: every input that once showed something new, and every one that once showed a fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use siprec_fuzz_targets::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut inputs = 0;
    for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
        let path = entry.unwrap().path();
        // The name of the file that breaks a rule is the first thing one wants to know.
        println!("{}", path.display());
        (target.run)(&fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 1, "the corpus of {name} is gone");
}

macro_rules! replays {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            replay($name);
        })*

        #[test]
        fn every_target_is_replayed_has_a_corpus_and_is_one_of_the_fuzzers() {
            let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
            assert_eq!(BTreeSet::from([$($name.to_owned()),*]), targets);
            assert_eq!(names("corpus"), targets);
            assert_eq!(names("fuzz_targets"), targets);
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
            for name in targets {
                assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name} is no program");
            }
        }
    };
}

replays! {
    no_datagram_of_the_corpus_breaks_the_message_reader = "sip_message",
    no_stream_of_the_corpus_breaks_the_framer = "sip_stream",
    no_value_of_the_corpus_breaks_a_header_reader = "sip_header",
    no_text_of_the_corpus_breaks_the_uri_reader = "sip_uri",
    no_body_of_the_corpus_breaks_the_multipart_reader = "multipart",
    no_description_of_the_corpus_breaks_the_sdp_reader = "sdp",
    no_party_of_the_corpus_breaks_the_reader_of_parties = "party_sdp",
    no_script_of_the_corpus_breaks_a_dialog = "dialog",
    no_script_of_the_corpus_breaks_a_recording = "recording",
    no_file_of_the_corpus_breaks_the_reader_of_dialogs = "journal",
    no_file_of_the_corpus_breaks_the_reader_of_pools = "pools",
    no_packets_of_the_corpus_break_a_branch = "rtp",
    no_datagram_of_the_corpus_breaks_the_rtcp_reader = "rtcp",
    no_packets_of_the_corpus_break_srtp = "srtp",
    no_packets_of_the_corpus_break_srtcp = "srtcp",
    no_datagrams_of_the_corpus_break_a_handshake = "dtls",
}

#[test]
fn the_corpus_stays_small() {
    let files =
        names("corpus").into_iter().flat_map(|name| fs::read_dir(fuzz().join("corpus").join(name)).unwrap());
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 300 * 1024, "{bytes} bytes: minimise it (cargo fuzz cmin)");
}
