use std::time::Duration;

use proptest::prelude::*;
use siprec_model::TlsVersion;
use siprec_session::{Keying, LocationPolicy, PayloadTypes, SessionMode, SrtpUse, Strategy as Choosing};

use super::super::{HealthCheck, PoolRules, Pools};

const WHOLE: &str = r#"
# Every key there is.
[pool.east]
strategy = "least-used"
location-policy = "strict"
session-mode = "per-party"
retry-after-limit = 60
health-check = { interval = 5, timeout = 1.5, failures = 2, recoveries = 4 }

[[pool.east.recorder]]
uri = "sips:rec1.example"
weight = 3
capacity = 100
location = "oslo"
drain = true
payload-types = "answered"
catch-up = 0
retransmission = false
lower-case-parameters = true
extra-headers = { X-Port = "7", X-Area = "1" }
outbound-proxy = "sip:proxy.example"
tls = { server-name = "rec1.internal", ca = "/etc/ca.pem", min-version = "1.3" }
security = { srtp = "require", keying = "dtls", suites = ["AEAD_AES_256_GCM"], allow-downgrade = true, allow-clear-keys = true }

[[pool.east.recorder]]
uri = "sip:rec2.example;transport=tcp"

[pool."quiet.1"]
health-check = { interval = 0 }
recorder = [{ uri = "sip:rec2.example" }]
"#;

fn parse(text: &str) -> Result<Pools, String> {
    Pools::parse(text, "pools.toml").map_err(|error| error.to_string())
}

fn rules(pools: &Pools, name: &str) -> PoolRules {
    pools.get(&name.parse().unwrap()).unwrap().clone()
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let pools = parse(WHOLE).unwrap();
    let east = rules(&pools, "east");
    assert_eq!(
        (east.pool.strategy, east.pool.location_policy),
        (Choosing::LeastUsed, LocationPolicy::Strict)
    );
    assert_eq!(east.longest_away, Duration::from_secs(60));
    let check = HealthCheck {
        interval: Duration::from_secs(5),
        timeout: Duration::from_millis(1500),
        failures: 2,
        recoveries: 4,
    };
    assert_eq!(east.health_check, Some(check));
    let [first, second] = &east.pool.members[..] else { panic!("two recorders") };
    assert_eq!(
        (first.weight, first.capacity, first.location.as_deref(), first.drained),
        (3, Some(100), Some("oslo"), true)
    );
    let profile = &first.target.profile;
    assert_eq!(profile.payload_types, Some(PayloadTypes::Answered));
    assert_eq!(profile.session_mode, Some(SessionMode::PerParty));
    assert!(profile.lower_case_parameters);
    assert_eq!(profile.catch_up, Some(0.0));
    assert!(profile.without_retransmission);
    assert_eq!(
        profile.extra_headers,
        [("X-Area", "1"), ("X-Port", "7")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(profile.outbound_proxy.as_ref().unwrap().first().unwrap().as_str(), "sip:proxy.example;lr");
    assert_eq!(profile.tls.server_name.as_deref(), Some("rec1.internal"));
    assert_eq!(profile.tls.min_version, Some(TlsVersion::V1_3));
    let security = profile.security.as_ref().unwrap();
    assert_eq!((security.srtp, security.keying, security.suites.len()), (SrtpUse::Require, Keying::Dtls, 1));
    assert!(security.allow_downgrade && security.allow_clear_keys);
    assert_eq!(
        (second.weight, second.capacity, second.location.as_deref(), second.drained),
        (1, None, None, false)
    );
    assert_eq!(second.target.profile.session_mode, Some(SessionMode::PerParty));
    assert!(!second.target.profile.without_retransmission);
    assert_eq!((&second.target.profile.security, second.target.profile.catch_up), (&None, None));
    let quiet = rules(&pools, "quiet.1");
    assert_eq!((quiet.pool.strategy, quiet.health_check), (Choosing::Ordered, None));
    assert_eq!(quiet.longest_away, Duration::from_secs(300));
}

#[test]
fn recorders_are_asked_whether_they_live_unless_the_file_says_otherwise() {
    let pools = parse("[[pool.a.recorder]]\nuri = \"sip:r\"\n").unwrap();
    assert_eq!(rules(&pools, "a").health_check, Some(HealthCheck::default()));
    // A short interval shortens the wait for an answer.
    let pools = parse("[pool.a]\nhealth-check.interval = 1\n[[pool.a.recorder]]\nuri = \"sip:r\"\n").unwrap();
    assert_eq!(rules(&pools, "a").health_check.unwrap().timeout, Duration::from_secs(1));
}

#[test]
fn an_empty_file_has_no_pool() {
    assert_eq!(parse("# nothing yet\n"), Ok(Pools::default()));
}

#[test]
fn a_fault_is_told_with_its_line_its_key_and_what_is_allowed() {
    let recorder = |lines: &str| format!("[[pool.east.recorder]]\nuri = \"sip:r.example\"\n{lines}\n");
    let pool =
        |lines: &str| format!("[pool.east]\n{lines}\n[[pool.east.recorder]]\nuri = \"sip:r.example\"\n");
    let table: Vec<(String, &str)> = vec![
        (
            "pool = 7".into(),
            "pools.toml, line 1: \"pool\": it is 7, but must be a table, with a table [pool.NAME] for each pool",
        ),
        ("[pools.east]".into(), "pools.toml, line 1: \"pools\": there is no such key; it must be `pool`"),
        ("[pool.east".into(), "pools.toml, line 1: unclosed table, expected `]`"),
        (
            "[pool.\"a b\"]\nrecorder = [{ uri = \"sip:r\" }]".into(),
            "pools.toml, line 1: \"a b\" is no pool's name",
        ),
        (
            "[pool.east]\n".into(),
            "pools.toml, line 1: \"pool.east.recorder\": there are 0 recorders, but a pool has from 1 to 256",
        ),
        (
            pool("strategy = \"fastest\""),
            "pools.toml, line 2: \"pool.east.strategy\": it is \"fastest\", but must be one of `ordered`, `round-robin`, `least-used`",
        ),
        (
            pool("location-policy = \"none\""),
            "line 2: \"pool.east.location-policy\": it is \"none\", but must be one of `overflow`, `strict`",
        ),
        (
            pool("retry-after-limit = 4000"),
            "line 2: \"pool.east.retry-after-limit\": it is 4000, but must be a number of seconds from 0 to 3600",
        ),
        (pool("retry-after-limit = nan"), "line 2: \"pool.east.retry-after-limit\": it is nan, but must be"),
        (
            pool("health-check = { interval = 5, timeout = 6 }"),
            "line 2: \"pool.east.health-check.timeout\": it is longer than the interval",
        ),
        (
            pool("health-check.failures = 0"),
            "line 2: \"pool.east.health-check.failures\": it is 0, but must be a whole number from 1 to 100",
        ),
        (
            pool("health-check.intervall = 1"),
            "line 2: \"pool.east.health-check.intervall\": there is no such key; it must be one of `interval`, `timeout`, `failures`, `recoveries`",
        ),
        (
            recorder("wieght = 1"),
            "line 3: \"pool.east.recorder.wieght\": there is no such key; it must be one of `uri`, `weight`, `capacity`",
        ),
        (
            recorder("weight = 0"),
            "line 3: \"pool.east.recorder.weight\": it is 0, but must be a whole number from 1 to 1000",
        ),
        (
            recorder("weight = \"much\""),
            "line 3: \"pool.east.recorder.weight\": it is a string, but must be a whole number from 1 to 1000",
        ),
        (
            recorder("capacity = 0"),
            "line 3: \"pool.east.recorder.capacity\": it is 0, but must be a whole number from 1 to 1000000",
        ),
        (
            recorder("location = \" \""),
            "line 3: \"pool.east.recorder.location\": it is a string, but must be a label of 1 to 64 bytes",
        ),
        (
            recorder("drain = 1"),
            "line 3: \"pool.east.recorder.drain\": it is 1, but must be `true` or `false`",
        ),
        (
            recorder("weight = 1\nextra-headers = { To = \"x\" }"),
            "line 4: \"pool.east.recorder.extra-headers.To\": the header \"To\" is refused: the protocol sets it",
        ),
        (
            recorder("[pool.east.recorder.extra-headers]\nX-Area = \"1\"\nX-Port = \"a\\nb\""),
            "line 5: \"pool.east.recorder.extra-headers.X-Port\": the value of the header \"X-Port\" has control characters",
        ),
        (
            recorder("[pool.east.recorder.extra-headers]\n\"X Port\" = \"1\""),
            "line 4: \"pool.east.recorder.extra-headers.X Port\": \"X Port\" cannot be a header name",
        ),
        (
            recorder("extra-headers.X-Port = 7"),
            "line 3: \"pool.east.recorder.extra-headers.X-Port\": it is 7, but must be a string",
        ),
        (
            recorder("weight = 1\ncatch-up = 0.5"),
            "line 4: \"pool.east.recorder.catch-up\": catch-up is 0.5, but must be 0 or from 1.0 to 100.0",
        ),
        (recorder("catch-up = nan"), "line 3: \"pool.east.recorder.catch-up\": catch-up is NaN, but must be"),
        (
            recorder("outbound-proxy = \"proxy\""),
            "line 3: \"pool.east.recorder.outbound-proxy\": outbound proxy 1 (\"proxy\") is no URI",
        ),
        (
            recorder("tls = { min-version = \"1.1\" }"),
            "line 3: \"pool.east.recorder.tls.min-version\": \"1.1\" is no version of TLS",
        ),
        (
            recorder("security = { suites = [\"AES\"] }"),
            "line 3: \"pool.east.recorder.security.srtp\": it is missing, and must be one of `auto`, `require`, `disable`",
        ),
        (
            recorder("tls = { server-name = \"no name\" }"),
            "line 3: \"pool.east.recorder.tls.server-name\": \"no name\" is no name that a certificate could be for",
        ),
        (
            recorder("weight = 1\nsecurity = { srtp = \"disable\", keying = \"dtls\" }"),
            "line 4: \"pool.east.recorder.security.keying\": dtls makes no keys with srtp = \"disable\"",
        ),
        (
            recorder("security = { srtp = \"auto\", suites = [\"AES\"] }"),
            "line 3: \"pool.east.recorder.security.suites\": \"AES\" is no SRTP suite",
        ),
        (
            recorder("weight = 1\nsecurity = { srtp = \"auto\", suites = [] }"),
            "line 4: \"pool.east.recorder.security.suites\": no SRTP suite is given",
        ),
        (
            recorder("security = { srtp = \"auto\", suites = [\"AEAD_AES_128_GCM\", \"AEAD_AES_128_GCM\"] }"),
            "line 3: \"pool.east.recorder.security.suites\": the SRTP suite AEAD_AES_128_GCM is listed twice",
        ),
        (
            "[[pool.east.recorder]]\nweight = 1".into(),
            "line 1: \"pool.east.recorder.uri\": it is missing, and must be a SIP or SIPS URI",
        ),
        (
            "[[pool.east.recorder]]\nuri = \"tel:+1\"".into(),
            "line 2: \"pool.east.recorder.uri\": it begins with \"tel:\" instead of \"sip:\" or \"sips:\"",
        ),
        (
            recorder("[[pool.east.recorder]]\nuri = \"SIP:r.example\""),
            "line 4: \"pool.east.recorder.uri\": it is listed twice, however it is written",
        ),
        (
            "[[pool.east.recorder]]\nuri = \"sip:192.0.2.7\"\n\
             [[pool.east.recorder]]\nuri = \"sip:me@192.0.2.7:5060;transport=udp\"\n"
                .into(),
            "line 4: \"pool.east.recorder.uri\": it is listed twice, however it is written",
        ),
        (recorder("uri = \"sip:again.example\""), "line 3: \"uri\": this key is given twice"),
    ];
    for (text, message) in table {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(message), "{text}\n{error}\n{message}");
    }
}

/// A value of another kind than the key's is told with the key, where it stands, and what is allowed.
#[test]
fn no_value_of_another_kind_is_told_without_its_key_and_what_is_wanted() {
    let pool = [
        ("strategy", "must be one of `ordered`, `round-robin`, `least-used`"),
        ("location-policy", "must be one of `overflow`, `strict`"),
        ("session-mode", "must be one of `both-parties`, `per-party`"),
        ("retry-after-limit", "must be a number of seconds from 0 to 3600"),
        ("health-check", "must be a table such as `{ interval = 10 }`, where `interval = 0` turns it off"),
        ("health-check.interval", "must be a number of seconds from 0.1 to 3600, or 0 to turn it off"),
        ("health-check.timeout", "must be a number of seconds from 0.1 to 32"),
        ("health-check.failures", "must be a whole number from 1 to 100"),
        ("health-check.recoveries", "must be a whole number from 1 to 100"),
    ];
    let recorder = [
        ("uri", "must be a SIP or SIPS URI"),
        ("weight", "must be a whole number from 1 to 1000"),
        ("capacity", "must be a whole number from 1 to 1000000"),
        ("location", "must be a label of 1 to 64 bytes without control characters"),
        ("drain", "must be `true` or `false`"),
        ("payload-types", "must be one of `offered`, `answered`"),
        ("lower-case-parameters", "must be `true` or `false`"),
        ("expects-rr", "must be `true` or `false`"),
        ("catch-up", "0 or"),
        ("retransmission", "must be `true` or `false`"),
        ("extra-headers", "must be a table of strings"),
        ("extra-headers.X-Port", "must be a string"),
        ("outbound-proxy", "must be SIP URIs in one string"),
        ("tls", "must be a table such as `{ server-name = \"recorder.example\" }`"),
        ("tls.server-name", "must be the name that its certificate is for, as a string"),
        ("tls.ca", "must be the path of a PEM file, as a string"),
        ("tls.min-version", "must be a string, \"1.2\" or \"1.3\""),
        ("security", "must be a table such as `{ srtp = \"require\" }`"),
        ("security.srtp", "must be one of `auto`, `require`, `disable`"),
        ("security.keying", "must be one of `sdes`, `dtls`"),
        ("security.suites", "must be an array of strings; there are AEAD_AES_256_GCM, "),
        ("security.allow-downgrade", "must be `true` or `false`"),
        ("security.allow-clear-keys", "must be `true` or `false`"),
    ];
    let values = ["-7", "1e400", "-inf", "99999999999999999999999", "1979-05-27", "[[]]", "false"];
    for (keys, table, path) in
        [(&pool[..], "[pool.a]", "pool.a"), (&recorder, "[[pool.a.recorder]]", "pool.a.recorder")]
    {
        for (key, wanted) in keys {
            for value in values {
                let is_flag = wanted.contains("`true`");
                let value = if is_flag && value == "false" { "\"false\"" } else { value };
                let before = match *key {
                    "uri" => "",
                    key if key.starts_with("security.") && key != "security.srtp" => {
                        "uri = \"sip:r\"\nsecurity.srtp = \"auto\"\n"
                    }
                    _ if path == "pool.a" => "recorder = [{ uri = \"sip:r\" }]\n",
                    _ => "uri = \"sip:r\"\n",
                };
                let line = 2 + before.lines().count();
                let error = parse(&format!("{table}\n{before}{key} = {value}\n")).unwrap_err();
                let place = format!("line {line}: \"{path}.{key}\": ");
                assert!(error.contains(&place) && error.contains(wanted), "{key} = {value}: {error}");
                let of_rust =
                    ["struct", "i64", "f64", "u32", "f32", "variant", "field", "invalid type", "map"];
                assert!(of_rust.iter().all(|word| !error.contains(word)), "{error}");
            }
        }
    }
    for (text, message) in [
        ("[pool]\na = 7", "line 2: \"pool.a\": it is 7, but must be a table, [pool.NAME]"),
        ("[[pool.a]]", "line 1: \"pool.a\": it is an array, but must be a table"),
        (
            "[pool.a]\nrecorder = \"sip:r\"",
            "line 2: \"pool.a.recorder\": it is a string, but must be an array",
        ),
        (
            "[pool.a]\nrecorder = [\n\"sip:r\"]",
            "line 3: \"pool.a.recorder\": it is a string, but must be a table such as `{ uri",
        ),
        (
            "[pool.a]\nrecorder = []",
            "line 2: \"pool.a.recorder\": there are 0 recorders, but a pool has from 1",
        ),
        (
            "[[pool.a.recorder]]\nuri = \"sip:r\"\nsecurity = { srtp = \"auto\", suites = [\n7] }",
            "line 4: \"pool.a.recorder.security.suites\": it is 7, but must be an array of strings; there are ",
        ),
        ("[pool.a]\nstrategy = \"ordered\"\nstrategy = 1", "line 3: \"strategy\": this key is given twice"),
        ("[pool.a]\n[pool.b]\n[pool.a]", "line 3: \"a\": this key is given twice"),
        (
            "[pool.a]\nrecorder = []\nrecorder.uri = 1",
            "line 3: \"recorder\": cannot extend value of type array",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(message), "{text}\n{error}");
    }
    let many: String =
        (0..257).map(|number| format!("[[pool.a.recorder]]\nuri = \"sip:r{number}\"\n")).collect();
    let error = parse(&many).unwrap_err();
    assert_eq!(
        error,
        "pools.toml, line 1: \"pool.a.recorder\": there are 257 recorders, but a pool has from 1 to 256"
    );
}

/// The keys that a table may have, as the reader itself lists them.
fn keys(table: &str) -> std::collections::BTreeSet<String> {
    let error = parse(&format!("{table}\nnot-a-key = 1\n")).unwrap_err();
    let known =
        error.split_once("there is no such key; it must be one of ").unwrap_or_else(|| panic!("{error}")).1;
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The page says of each key that there is, and of no other; and its example is one.
#[test]
fn the_page_of_pools_is_complete_and_right() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pools.md")).unwrap();
    let told = |heading: &str| -> std::collections::BTreeSet<String> {
        let rows = page.lines().skip_while(|line| !line.starts_with(&format!("| {heading} |"))).skip(2);
        let rows = rows.take_while(|line| line.starts_with("| `"));
        rows.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect()
    };
    for (heading, table) in [
        ("key of `[pool.NAME]`", "[pool.a]"),
        ("key of `health-check`", "[pool.a.health-check]"),
        ("key of `[[pool.NAME.recorder]]`", "[[pool.a.recorder]]"),
    ] {
        assert_eq!(told(heading), keys(table), "{heading}");
    }
    for table in ["tls", "security"] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{table}` |"))).unwrap();
        for key in keys(&format!("[[pool.a.recorder]]\nuri = \"sip:r\"\n[pool.a.recorder.{table}]")) {
            assert!(row.contains(&format!("`{key}`")), "{table}: {key}");
        }
    }
    let example = page
        .lines()
        .skip_while(|line| !line.starts_with("    [pool."))
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let example: Vec<&str> = example.map(str::trim).collect();
    let pools = parse(&example.join("\n")).unwrap();
    assert_eq!(rules(&pools, "east").pool.members.len(), 2);
}

#[test]
fn an_error_never_shows_what_may_be_secret() {
    for text in
        ["recorder = \"sip:me:secret@a\"", "recorder = [\"sip:me:secret@a\"]", "health-check = \"secret\""]
    {
        let error = parse(&format!("[pool.a]\n{text}\n")).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
    for uri in ["sip:me:secret@a?x=y", "tel:me:secret@a", "sip:me:secret@a:0", "sip:a?x=secret"] {
        for text in [format!("uri = \"{uri}\""), format!("uri = \"sip:a\"\noutbound-proxy = \"{uri}\"")] {
            let error = parse(&format!("[[pool.a.recorder]]\n{text}\n")).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pools.toml");
    let error = Pools::read(&path).unwrap_err();
    assert!(error.to_string().contains("pools.toml: No such file"), "{error}");
    assert!(Pools::read(folder.path()).unwrap_err().to_string().ends_with(": it is no file"));
    assert!(
        Pools::read(std::path::Path::new("/dev/zero")).unwrap_err().to_string().ends_with(": it is no file")
    );
    std::fs::write(&path, [b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(Pools::read(&path).unwrap_err().to_string().contains("more than 1048576 bytes"));
    std::fs::write(&path, [0xff]).unwrap();
    assert!(Pools::read(&path).unwrap_err().to_string().contains("UTF-8"));
    let whole = WHOLE.replace("/etc/ca.pem", AUTHORITY);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(Pools::read(&path).unwrap(), parse(&whole).unwrap());
}

/// With a certificate, good until 2126, and without its key.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pool/file/authority.pem");

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_told_with_the_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pools.toml");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (authority, named) in [
        ("/nowhere/ca.pem".to_owned(), "cannot read /nowhere/ca.pem: No such file"),
        (file("empty.pem", ""), "empty.pem has no certificate in PEM"),
        (file("words.pem", "no certificate"), "words.pem has no certificate in PEM"),
        (file("broken.pem", block), "broken.pem, line 1: this certificate cannot be used"),
        (folder.path().to_str().unwrap().to_owned(), "it is no file"),
    ] {
        // One that can be used stands before it.
        let text = format!(
            "[[pool.a.recorder]]\nuri = \"sips:a\"\ntls.ca = \"{AUTHORITY}\"\n\
             [[pool.a.recorder]]\nuri = \"sips:b\"\ntls = {{ min-version = \"1.3\", ca = \"{authority}\" }}\n"
        );
        std::fs::write(&path, &text).unwrap();
        let error = Pools::read(&path).unwrap_err();
        let told = error.to_string();
        assert_eq!(error.line, Some(6), "{told}");
        assert!(told.contains("line 6: \"pool.a.recorder.tls.ca\": ") && told.contains(named), "{told}");
        // The text alone is right.
        parse(&text).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Whatever is cut out of a file, or put in, it is read or refused.
    #[test]
    fn no_text_makes_it_panic(at in 0usize..WHOLE.len(), cut in 0usize..40, put in "[\\PC\n\\[\\]{}=\"#.,]{0,6}") {
        let mut text = WHOLE.to_owned();
        text.replace_range(at..(at + cut).min(WHOLE.len()), &put);
        if let Err(error) = parse(&text) {
            prop_assert!(error.starts_with("pools.toml"), "{error}");
        }
    }
}
