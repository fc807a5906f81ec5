//! The agent's user and password: set, never read, and told wrong when the element goes to READY.
#![cfg(test)]

mod common;

use common::{init, ready};
use gst::glib;
use gst::prelude::*;

fn agent() -> glib::Object {
    init();
    glib::Object::with_type(glib::Type::from_name("GstSiprecAgent").unwrap())
}

/// What NULL → READY says of an element whose agent has these properties.
fn with(properties: &[(&str, &str)]) -> Result<(), String> {
    let agent = agent();
    for (name, value) in properties {
        agent.set_property(name, value);
    }
    ready(|element| {
        element.set_property("recorder", "sip:127.0.0.1:9");
        element.set_property("agent", &agent);
    })
}

#[test]
fn the_password_can_be_set_and_not_read() {
    let flags = agent().find_property("auth-password").unwrap().flags();
    assert!(flags.contains(glib::ParamFlags::WRITABLE));
    assert!(!flags.contains(glib::ParamFlags::READABLE));
}

#[test]
fn user_and_password_go_together() {
    with(&[("auth-user", "ada"), ("auth-password", "")]).unwrap();
    with(&[("auth-user", "ada"), ("auth-password", "p"), ("auth-realm", "r")]).unwrap();
    with(&[("auth-realm", "")]).unwrap();
    let error = with(&[("auth-realm", "r")]).unwrap_err();
    assert!(error.contains("\"auth-user\" is not set, but \"auth-realm\" is"), "{error}");
    let error = with(&[("auth-user", "ada")]).unwrap_err();
    assert!(error.contains("\"auth-password\" is not set"), "{error}");
    let error = with(&[("auth-password", "SECRET")]).unwrap_err();
    assert!(error.contains("\"auth-user\" is not set") && !error.contains("SECRET"), "{error}");
    let error = with(&[("auth-user", "a\"b"), ("auth-password", "SECRET")]).unwrap_err();
    assert!(error.contains("\"auth-user\"") && !error.contains("SECRET"), "{error}");
}

#[test]
fn a_proxy_that_is_none_is_named() {
    with(&[("outbound-proxy", "sip:127.0.0.1:9;transport=tcp sip:127.0.0.1:10;lr")]).unwrap();
    with(&[("outbound-proxy", "")]).unwrap();
    let error = with(&[("outbound-proxy", "sip:127.0.0.1 proxy.example")]).unwrap_err();
    assert!(error.contains("\"outbound-proxy\"") && error.contains("proxy 2 (\"proxy.example\")"), "{error}");
}
