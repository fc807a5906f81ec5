//! Recordings through Kamailio, which stays in the dialog, asks for a password, and speaks another transport on each
//! side.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::kamailio::{Asking, Kamailio, PASSWORD, Plan, REALM, USER};
use siprec_system_tests::pki::Authority;
use siprec_system_tests::recorder::{Recorder, Session};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::places;

const PATIENCE: Duration = Duration::from_secs(20);

/// A recorder behind a proxy.
struct Site {
    sandbox: Sandbox,
    recorder: Recorder,
    proxy: Kamailio,
}

impl Site {
    fn new(plan: Plan<'_>) -> Result<Self> {
        Self::within(Sandbox::new()?, plan)
    }

    fn within(sandbox: Sandbox, plan: Plan<'_>) -> Result<Self> {
        let recorder = Recorder::start(&sandbox, &[])?;
        let port = recorder.uri().rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = Kamailio::start(&sandbox, port.context("the recorder has no port")?, plan)?;
        Ok(Self { sandbox, recorder, proxy })
    }

    /// A call whose agent goes through the proxy at `proxy`, and has these properties.
    fn call(&self, proxy: &str, agent: &[&str]) -> Result<Call> {
        let properties = format!("recorder={} call-uuid=C1 dn=1001 other-dn=1002", self.recorder.uri());
        let mut all = vec!["local-address=127.0.0.1".to_owned(), format!("outbound-proxy={proxy}")];
        all.extend(agent.iter().map(|setting| (*setting).to_owned()));
        Call::start_led_with_agent(&self.sandbox, &properties, &all)
    }

    /// Two parties who talk, pause, talk and hang up: INVITE, two re-INVITEs and BYE. Gives what is recorded.
    fn record(&self, proxy: &str, agent: &[&str]) -> Result<Session> {
        self.paused_call(proxy, agent).with_context(|| self.proxy.said())
    }

    fn paused_call(&self, proxy: &str, agent: &[&str]) -> Result<Session> {
        let mut call = self.call(proxy, agent)?;
        let first = [babble(0, 2), babble(1, 2)];
        call.talk_untouched(&first)?;
        call.relay.wait_for_line("siprec-started", PATIENCE)?;
        call.order("action pause")?;
        call.relay.wait_for_line("siprec-paused", PATIENCE)?;
        call.order("action resume")?;
        call.relay.wait_for_line("siprec-resumed", PATIENCE)?;
        call.relay.say("quit")?;
        let printed = call.relay.succeed(PATIENCE)?;
        ensure!(!printed.contains("siprec-failed"), "{printed}");
        let session = self.recorder.sessions(1, PATIENCE)?.remove(0);
        places(&session, &first)?;
        Ok(session)
    }
}

fn ladder(session: &Session) -> String {
    std::fs::read_to_string(session.folder.join("ladder.txt")).unwrap()
}

fn user(password: &str) -> Vec<String> {
    vec![format!("auth-user={USER}"), format!("auth-password={password}"), format!("auth-realm={REALM}")]
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn a_proxy_with_tcp_before_it_and_udp_behind_it_stays_in_the_dialog() {
    let site = Site::new(Plan::default()).unwrap();
    let session = site.record(&site.proxy.tcp(), &[]).unwrap();
    let said = site.proxy.said();
    for method in ["INVITE", "ACK", "BYE"] {
        assert!(site.proxy.count(&format!("request {method} by tcp")) > 0, "{method}:\n{said}");
    }
    assert_eq!(site.proxy.count(" by udp from"), 0, "everything goes to the side that faces us:\n{said}");
    assert_eq!(site.proxy.count("request INVITE"), 3);
    let ladder = ladder(&session);
    assert!(ladder.contains("SIP/2.0/UDP") && ladder.contains("r2=on"), "{ladder}");
}

#[test]
fn a_proxy_with_tls_before_it_and_udp_behind_it_stays_in_the_dialog() {
    let sandbox = Sandbox::new().unwrap();
    let authority = Authority::new(&sandbox, "authority").unwrap();
    let certificate = authority.sign("proxy", "IP:127.0.0.1").unwrap();
    let ca = format!("tls-ca={}", authority.file().display());
    let sandbox = Sandbox::new().unwrap();
    let site = Site::within(sandbox, Plan { tls: Some(&certificate), ..Plan::default() }).unwrap();
    site.record(&site.proxy.tls(), &[&ca]).unwrap();
    let said = site.proxy.said();
    for method in ["INVITE", "ACK", "BYE"] {
        assert!(site.proxy.count(&format!("request {method} by tls")) > 0, "{method}:\n{said}");
    }
    assert_eq!(site.proxy.count(" by udp from") + site.proxy.count(" by tcp from"), 0, "{said}");
}

#[test]
fn a_strict_router_is_asked_by_its_own_address() {
    let site = Site::new(Plan { strict: true, ..Plan::default() }).unwrap();
    site.record(&site.proxy.udp(), &[]).unwrap();
    let own = site.proxy.udp();
    let own = own.trim_end_matches(";transport=udp");
    let said = site.proxy.said();
    let addressed = |line: &&str| line.contains("request BYE") && line.contains(&format!("to {own}"));
    assert!(said.lines().any(|line| addressed(&line)), "{said}");
    assert_eq!((site.proxy.count("request INVITE"), site.proxy.count("request ACK")), (3, 3), "{said}");
}

#[test]
fn a_proxy_that_asks_gets_the_password_at_every_request_and_the_nonce_counted() {
    for (who, algorithm) in [("proxy", "MD5"), ("www", "SHA-256"), ("www", "MD5"), ("proxy", "SHA-256")] {
        let asking = Asking { who, algorithm, lifetime: 300 };
        let site = Site::new(Plan { asking: Some(asking), ..Plan::default() }).unwrap();
        let agent = user(PASSWORD);
        let session = site.record(&site.proxy.tcp(), &texts(&agent)).unwrap();
        let said = site.proxy.said();
        assert_eq!(site.proxy.count("asked at INVITE"), 1, "{asking:?}:\n{said}");
        assert_eq!(site.proxy.count("asked at"), 1, "later requests bring it by themselves:\n{said}");
        assert_eq!(site.proxy.count("believed ada at INVITE"), 3, "{asking:?}:\n{said}");
        assert_eq!(site.proxy.count("believed ada at BYE"), 1, "{asking:?}:\n{said}");
        // The proxy takes out what it has judged. It judges no ACK, each of which repeats its INVITE's (RFC 3261 §22.1).
        let ladder = ladder(&session);
        let count = |what: &str| ladder.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("ACK sip:"), count("Authorization:")), (3, 3), "{asking:?}:\n{ladder}");
        assert!(!ladder.contains("response="), "{ladder}");
    }
}

#[test]
fn a_nonce_that_grew_old_is_replaced_at_the_next_request() {
    let asking = Asking { who: "proxy", algorithm: "SHA-256", lifetime: 1 };
    let site = Site::new(Plan { asking: Some(asking), ..Plan::default() }).unwrap();
    let agent = user(PASSWORD);
    site.record(&site.proxy.udp(), &texts(&agent)).unwrap();
    // Two seconds of talk lie between the INVITE and what comes after it.
    assert!(site.proxy.count("asked at") >= 2, "{}", site.proxy.said());
}

#[test]
fn a_wrong_password_is_told_once_and_the_call_goes_on() {
    let asking = Asking { who: "www", algorithm: "MD5", lifetime: 300 };
    let site = Site::new(Plan { asking: Some(asking), ..Plan::default() }).unwrap();
    for (password, realm, reason) in [
        ("WRONG", REALM, "refuses user"),
        (PASSWORD, "elsewhere", "no user and password are configured for realm"),
    ] {
        let agent =
            [format!("auth-user={USER}"), format!("auth-password={password}"), format!("auth-realm={realm}")];
        let before = site.proxy.count("asked at INVITE");
        let mut call = site.call(&site.proxy.udp(), &texts(&agent)).unwrap();
        call.talk_untouched(&[babble(0, 2), babble(1, 2)]).unwrap();
        let failed = call.relay.wait_for_line("siprec-failed", PATIENCE).unwrap();
        assert!(
            failed.replace('\\', "").contains(reason) && failed.contains("sip-code=(uint)401"),
            "{failed}"
        );
        assert!(!call.relay.output().contains("WRONG"));
        let tries = site.proxy.count("asked at INVITE") - before;
        assert_eq!(tries, if password == PASSWORD { 1 } else { 2 }, "{}", site.proxy.said());
        call.relay.say("quit").unwrap();
        call.relay.succeed(PATIENCE).unwrap();
    }
}
