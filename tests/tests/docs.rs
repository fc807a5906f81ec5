//! The pages say what programs and texts say, and lead where they point. What elements and the agent have is held to their
//! pages by `plugin/tests/documentation.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sources::{root, rust_files};

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    read(Path::new("docs").join(name))
}

/// What stands in backticks, in order.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The texts that a `fn as_str` in a file gives, by the type that it belongs to.
fn words(file: &str, of: &str) -> BTreeSet<String> {
    let source = read(file);
    let body = source.split(&format!("impl {of} {{")).nth(1).unwrap_or_else(|| panic!("no impl of {of}"));
    let body = body.split("fn as_str").nth(1).unwrap().split("\n    }\n").next().unwrap();
    body.lines().filter_map(|line| Some(line.split_once("=> \"")?.1.split('"').next()?.to_owned())).collect()
}

#[test]
fn every_reason_of_an_end_is_documented() {
    let page = page("siprec.md");
    let words = words("src/model/src/event.rs", "StopReason");
    assert!(words.len() > 5, "{words:?}");
    let row = page.lines().find(|line| line.starts_with("| `siprec-stopped` |")).unwrap();
    let meaning = row.split('|').nth(3).unwrap();
    let told: BTreeSet<_> = code(meaning).into_iter().map(str::to_owned).collect();
    assert_eq!(told, words);
}

/// The options that the program tells of.
fn options() -> BTreeSet<String> {
    let sandbox = Sandbox::new().unwrap();
    let mut command = Command::new(sandbox.build().join("siprec"));
    let (status, printed) =
        run(&sandbox, "help", command.args(["recorder", "--help"]), Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{printed}");
    let options: BTreeSet<_> = printed
        .lines()
        .map(str::trim_start)
        .filter_map(|line| line.strip_prefix("-h, ").or(Some(line)))
        .filter(|line| line.starts_with("--"))
        .map(|line| line.split([' ', '[']).next().unwrap().to_owned())
        .filter(|option| option != "--help")
        .collect();
    assert!(options.len() > 4, "{printed}");
    options
}

#[test]
fn every_option_of_the_program_is_documented() {
    let page = page("recorder.md");
    let documented: BTreeSet<_> = page
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|line| code(line)[0].split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(documented, options());
}

#[test]
fn every_option_of_the_program_is_given_in_a_test() {
    let tests = rust_files(&["tests/tests"]).unwrap();
    let untested: Vec<_> = options()
        .into_iter()
        .filter(|option| !tests.iter().any(|(_, text)| text.contains(&format!("\"{option}\""))))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}

/// Every text of the program, without what Rust puts between its parts.
fn sources() -> String {
    let files = rust_files(&["src", "plugin/src"]).unwrap();
    let all: String = files.into_iter().map(|(_, text)| text).collect();
    let joined: Vec<_> = all.split("\\\n").map(str::trim_start).collect();
    joined.concat().replace("\\\"", "\"")
}

#[test]
fn troubleshooting_quotes_what_the_program_says() {
    let sources = sources();
    let page = page("troubleshooting.md");
    let mut quoted = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let symptom = line.trim_matches('|').split(" | ").next().unwrap_or_default();
        // A single word is a name and no text.
        for text in code(symptom).into_iter().filter(|text| text.contains(' ')) {
            quoted += 1;
            for part in text.split('…').map(str::trim) {
                assert!(sources.contains(part), "nothing says \"{part}\" (of \"{text}\")");
            }
        }
    }
    assert!(quoted > 20, "found only {quoted}");
}

/// The heading's anchor, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn links_lead_somewhere_and_every_page_is_found_from_the_readme() {
    let mut pages: Vec<PathBuf> =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let readme = read("README.md");
    for page in &pages {
        let name = format!("docs/{}", page.file_name().unwrap().to_str().unwrap());
        assert!(readme.contains(&format!("({name})")), "README.md does not link {name}");
    }
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            let there =
                |line: &str| line.starts_with('#') && anchor(line.trim_start_matches(['#', ' '])) == fragment;
            let found = fragment.is_empty() || fs::read_to_string(&target).unwrap().lines().any(there);
            assert!(found, "{}: {link} has no such heading", page.display());
        }
    }
    assert!(links > 20, "found only {links}");
}
