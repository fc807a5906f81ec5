//! Properties, pads' properties, and what is wrong with a configuration: told when the element goes to READY.
#![cfg(test)]

mod common;

use common::{idle_siprec, init, launch, ready, silent_recorder, siprectee};
use gst::prelude::*;

fn structure(field: &str, value: &str) -> gst::Structure {
    gst::Structure::builder("s").field(field, value).build()
}

#[test]
fn a_recorder_is_enough() {
    let (recorder, _socket) = silent_recorder();
    ready(|element| element.set_property("recorder", &recorder)).unwrap();
}

#[test]
fn without_auto_start_even_the_recorder_may_come_later_and_nothing_else() {
    ready(|element| element.set_property("auto-start", false)).unwrap();
    let told = ready(|element| {
        element.set_property("auto-start", false);
        element.set_property("extra-headers", structure("Via", "SIP/2.0/UDP here"));
    });
    assert!(told.unwrap_err().contains("property \"extra-headers\""));
}

#[test]
fn what_no_recording_can_have_is_an_error() {
    let with = |property: &'static str, value: gst::glib::Value| {
        ready(move |element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element.set_property_from_value(property, &value);
        })
        .unwrap_err()
    };
    assert!(ready(|_| ()).unwrap_err().contains("no recorder"));
    for wrong in ["", "  ", "recorder.example", "http://recorder.example", "sip:", "sip:a b:c"] {
        let error = with("recorder", wrong.to_value());
        assert!(error.contains("property \"recorder\""), "{wrong:?}: {error}");
    }
    for (wrong, named) in [
        ("sip:127.0.0.1:0", "port 0"),
        ("sip:0.0.0.0", "has the host 0.0.0.0"),
        ("sip:224.0.0.1", "has the host 224.0.0.1"),
        ("sip:127.0.0.1;transport=sctp", "\"sctp\""),
        ("sip:127.0.0.1;transport=ws", "\"ws\""),
        ("sips:127.0.0.1;transport=wss", "\"wss\""),
        ("sip:127.0.0.1 sip:127.0.0.1:5060;transport=tls-sctp", "recorder 2"),
        ("sip:127.0.0.1 sip:127.0.0.1:5060;transport=udp", "is listed twice"),
    ] {
        let error = with("recorder", wrong.to_value());
        assert!(error.contains("property \"recorder\"") && error.contains(named), "{wrong:?}: {error}");
    }
    for name in ["tag", "lr", "transport", "maddr", "ttl", "method", "user"] {
        let error = with("extra-parameters", structure(name, "1").to_value());
        assert!(error.contains("property \"extra-parameters\"") && error.contains(name), "{error}");
    }
    for (name, value) in [("Via", "SIP/2.0/UDP here"), ("X-A", "1\r\nTo: <sip:evil@example>")] {
        let error = with("extra-headers", structure(name, value).to_value());
        assert!(error.contains("property \"extra-headers\"") && error.contains(name), "{error}");
    }
    let many = (0..80).map(|number| (format!("X-{number}"), "x".repeat(1000)));
    let many = gst::Structure::from_iter("s", many.map(|(name, value)| (name, value.to_send_value())));
    let error = with("extra-headers", many.to_value());
    assert!(error.contains("property \"extra-headers\"") && error.contains("more than 49152"), "{error}");
    assert!(with("catch-up", 0.5f32.to_value()).contains("property \"catch-up\""));
    assert!(with("recording-id", "".to_value()).contains("property \"recording-id\""));
    let error = with("srtp-suites", "AEAD_AES_128_GCM;AES_CM_128_HMAC_SHA1_80".to_value());
    assert!(error.contains("property \"srtp-suites\"") && error.contains("there are AE"), "{error}");
    let keyed = |srtp: &'static str| {
        ready(move |element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element
                .set_property("srtp-suites", "AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80\tAEAD_AES_256_GCM");
            element.set_property_from_str("srtp-keying", "dtls");
            element.set_property_from_str("srtp", srtp);
        })
    };
    let error = keyed("disable").unwrap_err();
    assert!(error.contains("property \"srtp-keying\": dtls makes no keys with srtp=disable"), "{error}");
    keyed("auto").unwrap();
}

#[test]
fn what_recorder_tls_names_is_read_at_ready() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table = [
        ("ca", "/nowhere/ca.pem".to_owned(), "cannot read /nowhere/ca.pem: No such file"),
        ("ca", file("words.pem", "no certificate"), "words.pem has no certificate in PEM"),
        ("ca", file("broken.pem", block), "broken.pem, line 1: this certificate cannot be used"),
        ("server-name", "no name".to_owned(), "\"no name\" is no name that a certificate could be for"),
    ];
    for (field, value, named) in table {
        let told = ready(|element| {
            element.set_property("recorder", "sips:127.0.0.1");
            element.set_property("recorder-tls", structure(field, &value));
        })
        .unwrap_err();
        let whose = format!("property \"recorder-tls\": the field \"{field}\"");
        assert!(told.contains(&whose) && told.contains(named), "{field}={value}: {told}");
        // Without auto-start the recorder may come later, but a file is there or not.
        ready(|element| {
            element.set_property("auto-start", false);
            element.set_property("recorder-tls", structure(field, &value));
        })
        .unwrap_err();
    }
}

#[test]
fn any_dn_is_a_dn() {
    for dn in ["1;lr", "a@b", "\"quoted\"", "1\r\nVia: evil", "☎️", ""] {
        ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element.set_property("dn", dn);
            element.set_property("other-dn", dn);
        })
        .unwrap_or_else(|error| panic!("{dn:?}: {error}"));
    }
}

#[test]
fn an_agent_that_cannot_start_is_an_error() {
    init();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = u32::from(taken.local_addr().unwrap().port());
    let with = |property: &'static str, value: gst::glib::Value| {
        let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
        agent.set_property("local-address", "127.0.0.1");
        agent.set_property_from_value(property, &value);
        ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element.set_property("agent", &agent);
        })
        .unwrap_err()
    };
    let told = with("sip-port", port.to_value());
    assert!(told.contains("\"sip-port\"") && told.contains(&port.to_string()), "{told}");
    let told = with("rtp-port-range", "9-9".to_value());
    assert!(told.contains("\"rtp-port-range\"") && told.contains("9-9"), "{told}");
    assert!(with("local-address", "here".to_value()).contains("here"));
    assert!(with("media-address", "there".to_value()).contains("there"));
    assert!(with("rtp-port-range", "9-8".to_value()).contains("9-8"));
}

#[test]
fn a_file_of_tls_that_cannot_be_used_is_named() {
    init();
    let kind = gst::glib::Type::from_name("GstSiprecAgent").unwrap();
    let agent = gst::glib::Object::with_type(kind);
    let (recorder, _socket) = silent_recorder();
    let with_agent = || {
        ready(|element| {
            element.set_property("recorder", &recorder);
            element.set_property("agent", &agent);
        })
    };
    for property in ["tls-ca", "tls-certificate", "tls-key"] {
        agent.set_property("tls-certificate", "/etc/hostname");
        agent.set_property(property, "/nowhere/file.pem");
        if property == "tls-ca" {
            agent.set_property("tls-certificate", None::<String>);
        }
        let told = with_agent().unwrap_err();
        let named = format!("agent property \"{property}\": cannot read /nowhere/file.pem: No such file");
        assert!(told.contains(&named), "{told}");
        agent.set_property(property, None::<String>);
    }
    agent.set_property("tls-certificate", "/etc/hostname");
    let told = with_agent().unwrap_err();
    assert!(told.contains("agent property \"tls-certificate\": /etc/hostname has no certificate"), "{told}");
    agent.set_property("tls-certificate", None::<String>);
    agent.set_property("tls-min-version", "1.1");
    let told = with_agent().unwrap_err();
    assert!(told.contains("tls-min-version") && told.contains("1.1"), "{told}");
    agent.set_property("tls-min-version", "1.3");
    with_agent().unwrap();
}

#[test]
fn unknown_values_are_refused_where_they_are_given() {
    init();
    for wrong in ["dialect=morse", "session-mode=all", "catch-up=x", "no-such-property=1"] {
        let result = launch(&format!("siprec {wrong} ! fakesink"));
        assert!(result.is_err(), "{wrong}");
    }
    assert!(launch("audiotestsrc ! siprec auto-start=false ! fakesink").is_err(), "raw audio is no RTP");
}

#[test]
fn dn_and_other_dn_are_those_of_the_first_two_pads() {
    let element = idle_siprec();
    element.set_property("dn", "1001");
    let pads: Vec<_> = (0..3).map(|_| element.request_pad_simple("sink_%u").unwrap()).collect();
    assert_eq!(pads[0].property::<String>("dn"), "1001");
    pads[1].set_property("dn", "1002");
    assert_eq!(element.property::<String>("other-dn"), "1002");
    element.set_property("dn", None::<String>);
    assert_eq!(pads[0].property::<Option<String>>("dn"), None);
    pads[2].set_property("dn", "1003");
    assert_eq!(pads[2].property::<String>("dn"), "1003");
}

#[test]
fn pads_are_children_by_name_and_number() {
    for (element, pad) in [(idle_siprec(), "sink_0"), (siprectee(), "rec_0")] {
        let proxy = element.dynamic_cast_ref::<gst::ChildProxy>().unwrap();
        let (tell, added) = std::sync::mpsc::channel();
        let removed = tell.clone();
        proxy.connect_child_added(move |_, _, name| tell.send(format!("+{name}")).unwrap());
        proxy.connect_child_removed(move |_, _, name| removed.send(format!("-{name}")).unwrap());
        assert!(proxy.child_by_name(pad).is_none());
        let requested = element.request_pad_simple(pad).unwrap();
        assert_eq!(proxy.children_count(), 1);
        assert_eq!(proxy.child_by_name(pad), proxy.child_by_index(0));
        assert!(proxy.child_by_index(1).is_none());
        element.release_request_pad(&requested);
        assert_eq!(proxy.children_count(), 0);
        assert_eq!(added.try_iter().collect::<Vec<_>>(), [format!("+{pad}"), format!("-{pad}")]);
    }
}

#[test]
fn pad_numbers_are_used_once_and_again_when_free() {
    let element = idle_siprec();
    let one = element.request_pad_simple("sink_1").unwrap();
    assert!(element.static_pad("src_1").is_some());
    assert_eq!(element.request_pad_simple("sink_%u").unwrap().name(), "sink_0");
    assert_eq!(element.request_pad_simple("sink_%u").unwrap().name(), "sink_2");
    element.release_request_pad(&one);
    assert!(element.static_pad("src_1").is_none());
    assert_eq!(element.request_pad_simple("sink_%u").unwrap().name(), "sink_1");
    assert!(element.request_pad_simple("sink_70000").is_none());
}

#[test]
fn every_property_reads_back_what_was_set() {
    let element = idle_siprec();
    for property in
        element.list_properties().iter().filter(|property| property.owner_type() == element.type_())
    {
        assert!(property.blurb().is_some_and(|blurb| blurb.len() > 10), "{}", property.name());
        if !property.flags().contains(gst::glib::ParamFlags::WRITABLE) {
            continue;
        }
        let value = match property.value_type() {
            gst::glib::Type::STRING => "text".to_value(),
            gst::glib::Type::BOOL => (!element.property::<bool>(property.name())).to_value(),
            gst::glib::Type::U32 => 4096u32.to_value(),
            gst::glib::Type::U64 => 77u64.to_value(),
            gst::glib::Type::F32 => 3.5f32.to_value(),
            kind if kind == gst::Structure::static_type() => structure("a", "b").to_value(),
            _ => continue,
        };
        element.set_property_from_value(property.name(), &value);
        let read = element.property_value(property.name());
        assert_eq!(format!("{read:?}"), format!("{value:?}"), "{}", property.name());
    }
}

#[test]
fn a_text_that_is_too_long_is_named_by_its_property() {
    let long = "x".repeat(1025);
    for property in ["call-uuid", "recording-id", "record-dn", "dn", "other-dn"] {
        let told = ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:5060");
            element.set_property(property, &long);
        });
        let told = told.unwrap_err();
        assert!(told.contains(&format!("property \"{property}\"")) && told.contains("1025 bytes"), "{told}");
    }
    for property in ["extra-parameters", "extra-headers"] {
        let told = ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:5060");
            element.set_property(property, gst::Structure::builder("p").field("X-A", &long).build());
        });
        let told = told.unwrap_err();
        assert!(told.contains(&format!("property \"{property}\"")) && told.contains("1025 bytes"), "{told}");
    }
}
