//! The crates depend on each other as `docs/architecture.md` draws them, and on nothing that their layer forbids.

use std::collections::{BTreeMap, BTreeSet};

use siprec_system_tests::metadata::Metadata;
use siprec_system_tests::sources::rust_files;

/// Workspace crate -> the workspace crates it may name in `[dependencies]`.
const ARROWS: &[(&str, &[&str])] = &[
    ("siprec-model", &[]),
    ("siprec-sip", &["siprec-model"]),
    ("siprec-session", &["siprec-model", "siprec-sip"]),
    ("siprec-media", &["siprec-model"]),
    ("siprec-engine", &["siprec-model", "siprec-media"]),
    ("siprec-transport", &["siprec-model", "siprec-sip"]),
    ("siprec-agent", &["siprec-model", "siprec-sip", "siprec-session", "siprec-transport"]),
    ("siprec-recorder", &["siprec-model", "siprec-sip", "siprec-transport"]),
    (
        "gst-plugin-siprec",
        &["siprec-model", "siprec-sip", "siprec-session", "siprec-media", "siprec-engine", "siprec-agent"],
    ),
    ("siprec", &["siprec-recorder"]),
    ("siprec-compare", &["siprec-model", "siprec-media"]),
    (
        "siprec-fuzz-targets",
        &["siprec-model", "siprec-sip", "siprec-session", "siprec-media", "siprec-agent"],
    ),
    ("siprec-counts", &["siprec-model", "siprec-sip", "siprec-session", "siprec-media"]),
    ("siprec-signalling", &["siprec-model", "siprec-session", "siprec-agent"]),
];

/// Crates that do no input or output of their own: no GStreamer, no runtime, directly or through others.
const SANS_IO: &[&str] = &["siprec-model", "siprec-sip", "siprec-session", "siprec-media"];

/// No source file is longer than this, tests in `mod tests` excepted.
const LONGEST_FILE: usize = 700;

#[test]
fn crates_name_only_the_crates_below_them() {
    let metadata = Metadata::read().unwrap();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ARROWS.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    for member in metadata.members().filter(|name| *name != "siprec-system-tests") {
        let allowed = allowed.get(member).unwrap_or_else(|| panic!("{member} has no arrows in this test"));
        for dependency in metadata.normal_dependencies(member) {
            if metadata.is_member(dependency) {
                assert!(
                    allowed.contains(dependency),
                    "{member} -> {dependency} is not an arrow of the design"
                );
            }
        }
    }
    for (name, _) in ARROWS {
        assert!(metadata.is_member(name), "{name} is no longer a crate: this test is out of date");
    }
}

#[test]
fn cores_reach_no_runtime_and_no_gstreamer() {
    let metadata = Metadata::read().unwrap();
    let forbidden = |name: &str| name == "tokio" || name == "glib" || name.starts_with("gstreamer");
    for core in SANS_IO.iter().chain(&["siprec-engine"]) {
        let reached: Vec<_> = metadata.reachable(core).into_iter().filter(|name| forbidden(name)).collect();
        assert!(reached.is_empty(), "{core} reaches {reached:?}");
    }
    let agent = metadata.reachable("siprec-agent");
    assert!(agent.contains("tokio"), "the walk through the dependencies finds nothing");
    assert!(!agent.iter().any(|name| name.starts_with("gstreamer") || *name == "glib"));
    assert!(!agent.contains("siprec-media") && !agent.contains("siprec-engine"));
    assert!(!metadata.reachable("siprec-media").contains("socket2"));
}

#[test]
fn the_recorder_shares_no_media_code_with_the_client() {
    let metadata = Metadata::read().unwrap();
    let reached = metadata.reachable("siprec-recorder");
    for own in ["siprec-media", "siprec-engine", "siprec-session", "siprec-agent"] {
        assert!(!reached.contains(own), "siprec-recorder reaches {own}: it must judge it from outside");
    }
}

#[test]
fn source_files_stay_short() {
    let files = rust_files(&["src", "plugin", "tests", "benches"]).unwrap();
    assert!(files.len() > 20, "found only {} source files", files.len());
    let long: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, text.lines().take_while(|line| !line.starts_with("mod tests")).count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines without tests: {long:?}");
}
