//! The list of recorders as users write it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use siprec_session::{Recorders, parse_recorders};

#[test]
fn recorders_are_separated_by_any_white_space_and_keep_their_order_and_text() {
    let uris = |text: &str| -> Vec<String> {
        parse_recorders(text).unwrap().iter().map(|target| target.uri.to_string()).collect()
    };
    assert_eq!(uris("sip:a.example"), ["sip:a.example"]);
    assert_eq!(uris("sip:a.example;maddr=192.0.2.7"), ["sip:a.example;maddr=192.0.2.7"]);
    assert_eq!(
        uris("  sips:b.example:5061;transport=tcp\n\tsip:[2001:db8::1]:5070  SIP:c "),
        ["sips:b.example:5061;transport=tcp", "sip:[2001:db8::1]:5070", "SIP:c"]
    );
}

#[test]
fn an_error_says_which_entry_is_wrong_and_why() {
    let table = [
        ("", "no recorder is given"),
        (" \n", "no recorder is given"),
        ("http://a", "recorder 1 (\"http://a\") begins with \"http:\" instead of \"sip:\" or \"sips:\""),
        ("sip:a tel:+1", "recorder 2 (\"tel:+1\") begins with \"tel:\" instead of \"sip:\" or \"sips:\""),
        ("a.example", "recorder 1 (\"a.example\") is no URI: no scheme, such as `sip:`, at the start"),
        ("sip:a sip:b sip:c:99999", "recorder 3 (\"sip:c:99999\") is no URI: `99999` is no port"),
        ("sip:", "recorder 1 (\"sip:\") is no URI: nothing after the scheme"),
        (
            "sip:a,sip:b",
            "recorder 1 (\"sip:a,sip:b\") is no URI: `a,sip` is neither a host name nor an address",
        ),
        (
            "sip:a?Subject=x",
            "recorder 1 (\"sip:a?…\") has headers (\"?…\"), which such an address cannot have",
        ),
        (
            "sip:a;method=BYE",
            "recorder 1 (\"sip:a;method=BYE\") has the parameter \"method\", which such an address cannot have",
        ),
        ("sip:a:0", "recorder 1 (\"sip:a:0\") has port 0, where nobody can listen"),
        ("sip:0.0.0.0", "recorder 1 (\"sip:0.0.0.0\") has the host 0.0.0.0, which is no host's address"),
        ("sip:[::]:5061", "recorder 1 (\"sip:[::]:5061\") has the host ::, which is no host's address"),
        (
            "sip:224.0.1.75",
            "recorder 1 (\"sip:224.0.1.75\") has the host 224.0.1.75, which is no host's address",
        ),
        ("sip:[ff02::1]", "recorder 1 (\"sip:[ff02::1]\") has the host ff02::1, which is no host's address"),
        (
            "sip:a sip:255.255.255.255",
            "recorder 2 (\"sip:255.255.255.255\") has the host 255.255.255.255, which is no host's address",
        ),
        (
            "sip:a;transport=TCP sip:b;transport=sctp",
            "recorder 2 (\"sip:b;transport=sctp\") asks for the transport \"sctp\", which is none of \"udp\", \"tcp\" \
             and \"tls\"",
        ),
        (
            "sip:a;maddr=239.255.0.1",
            "recorder 1 (\"sip:a;maddr=239.255.0.1\") has the parameter \"maddr\" with \"239.255.0.1\", which is no \
             host's name or address",
        ),
        (
            "sip:a;maddr",
            "recorder 1 (\"sip:a;maddr\") has the parameter \"maddr\" with \"\", which is no host's name or address",
        ),
        ("sip:a sip:A", "recorder 2 (\"sip:A\") is listed twice"),
    ];
    for (text, message) in table {
        assert_eq!(parse_recorders(text).unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn an_error_never_shows_what_may_be_secret() {
    for text in [
        "sip:user:secret@a?x=y",
        "tel:user:secret@a",
        "sip:user:secret@a:port",
        "user:secret@a",
        "secret@a",
        "secret@a:5060",
        "sip:secret?x@a:port",
        "sip:a?x=secret",
        "sip:a:port?x=secret",
        "sip:a:0;transport=tcp?x=secret&y=secret",
        "a?x=secret",
        "http://a/?x=secret",
        "sips:[::1?x=secret",
    ] {
        let message = parse_recorders(text).unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    for text in ["@", ":", ":@", "@:", "sip:@", "sip:é@é", "\u{a0}", "sip:[", "sip:[]", "é:@", "sip:%"] {
        assert!(parse_recorders(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_pool_is_named_instead_of_recorders_and_alone() {
    let named = |text: &str, location| match Recorders::parse(text, location) {
        Ok(Recorders::Pool { name, location }) => Ok((name.to_string(), location)),
        Ok(Recorders::Listed(recorders)) => Err(format!("{} recorders", recorders.len())),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(named(" pool:East-1.a_b \n", None), Ok(("East-1.a_b".to_owned(), None)));
    assert_eq!(named("pool:east", Some(" oslo ")), Ok(("east".to_owned(), Some("oslo".to_owned()))));
    assert_eq!(named("pool:east", Some("")), Ok(("east".to_owned(), None)));
    assert_eq!(named("sip:a sip:b", Some("oslo")), Err("2 recorders".to_owned()));
    assert!(named("pool:", None).unwrap_err().contains("is no pool's name"));
    assert!(named("pool:a/b", None).unwrap_err().contains("is no pool's name"));
    assert!(named("pool:a pool:b", None).unwrap_err().contains("stands alone"));
    // Neither a pool nor an address.
    assert!(named("sip:a pool:b", None).unwrap_err().starts_with("recorder 2 (\"pool:b\")"));
}
