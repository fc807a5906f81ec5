//! Everything that is linked has a licence that the project accepts.

use siprec_system_tests::metadata::Metadata;

const ACCEPTED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// Crates whose manifest names a licence file, with what that file says.
const BY_HAND: &[(&str, &str)] = &[("rsip", "MIT"), ("rsip-derives", "MIT"), ("sdp-rs", "MIT")];

#[test]
fn every_dependency_has_an_accepted_licence() {
    let metadata = Metadata::read().unwrap();
    let mut refused = Vec::new();
    let mut seen = 0;
    for (name, licence) in metadata.licences() {
        seen += 1;
        let licence = licence
            .or_else(|| BY_HAND.iter().find(|(by_hand, _)| *by_hand == name).map(|(_, licence)| *licence))
            .unwrap_or("none");
        if !accepted(licence) {
            refused.push(format!("{name}: {licence}"));
        }
    }
    assert!(seen > 50, "found only {seen} crates");
    assert!(refused.is_empty(), "licences that are not accepted: {refused:#?}");
}

/// SPDX expressions without nesting deeper than one level: every `AND` part must have an accepted `OR` choice.
fn accepted(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        part.trim_matches(['(', ')'])
            .split(" OR ")
            .flat_map(|choice| choice.split('/'))
            .any(|choice| ACCEPTED.contains(&choice.trim().trim_matches(['(', ')'])))
    })
}

#[test]
fn expressions_are_judged_part_by_part() {
    assert!(accepted("MIT OR Apache-2.0"));
    assert!(accepted("GPL-3.0 OR MIT"));
    assert!(accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(accepted("Unlicense/MIT"));
    assert!(!accepted("GPL-3.0"));
    assert!(!accepted("MIT AND GPL-3.0"));
    assert!(!accepted("none"));
}
