//! Each test that `docs/rules.md` names exists where it says, and is a test.

use std::fs;

use siprec_system_tests::sources::root;

/// Each rule of the page with its tests: the file and the name of each.
fn rules(page: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    rows.filter(|(rule, _)| *rule != "rule")
        .map(|(rule, cell)| {
            let mut file = "";
            let mut tests = Vec::new();
            for word in cell.split('`').skip(1).step_by(2) {
                match word.ends_with(".rs") {
                    true => file = word,
                    false => tests.push((file, word)),
                }
            }
            (rule, tests)
        })
        .collect()
}

/// Whether a source has a test of this name: its attributes stand right above it.
fn has_test(source: &str, name: &str) -> bool {
    let declares = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("async ").unwrap_or(line).starts_with(&format!("fn {name}("))
    };
    let lines: Vec<_> = source.lines().collect();
    lines.iter().position(|line| declares(line)).is_some_and(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        attributes.into_iter().any(|line| line.contains("test]") || line.contains("test("))
    })
}

#[test]
fn every_rule_of_the_protocol_is_held_by_tests_that_exist() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let rules = rules(&page);
    assert!(rules.len() > 70, "only {} rules were read", rules.len());
    let mut missing = Vec::new();
    for (rule, tests) in &rules {
        if tests.is_empty() {
            missing.push(format!("{rule}: no test"));
        }
        for (file, name) in tests {
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !has_test(&source, name) {
                missing.push(format!("{rule}: {file} has no test {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for section in ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "2", "5"] {
        assert!(page.contains(&format!("\n## {section} ")), "section {section} is missing");
    }
}

#[test]
fn a_name_that_is_no_test_is_found_out() {
    let source = "#[test]\nfn one() {}\n\nfn two() {}\n\n#[tokio::test]\nasync fn three() {}\n";
    let found: Vec<_> = ["one", "two", "three", "four"].map(|name| has_test(source, name)).into();
    assert_eq!(found, [true, false, true, false]);
}
