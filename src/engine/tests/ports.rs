//! Local ports, as the session sees them.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;

use common::{FAST, LOCAL, Rig};
use siprec_engine::EngineConfig;
use siprec_model::{BranchCommand, BranchEvent, RtcpMode};

/// An even port whose successor was free a moment ago, too.
fn free_pair() -> u16 {
    loop {
        let port = UdpSocket::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port() & !1;
        if UdpSocket::bind((LOCAL, port)).is_ok() && UdpSocket::bind((LOCAL, port + 1)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_range_that_is_used_up_is_named_and_a_closed_branch_gives_its_ports_back() {
    let first = free_pair();
    let rig = Rig::new(EngineConfig { port_range: Some(first..=first + 1), ..EngineConfig::default() });
    let (tap, other) = (rig.tap(), rig.tap());
    let branch = rig.create(&tap, 0, FAST);
    let (rtp, rtcp) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    assert_eq!((rtp.port(), rtcp.port()), (first, first + 1));
    assert_eq!(rig.bind(branch, LOCAL, RtcpMode::Pair), (rtp, rtcp), "ports that are held are kept");

    let late = rig.create(&other, 1, FAST);
    rig.command(BranchCommand::Bind { branch: late, local: LOCAL, rtcp: RtcpMode::Pair });
    let reason = rig.expect(late, |event| match event {
        BranchEvent::PortsFailed { reason } => Some(reason),
        _ => None,
    });
    assert!(reason.contains(&format!("127.0.0.1 in {first}-{}", first + 1)), "{reason}");

    rig.close(branch);
    assert_eq!(rig.bind(late, LOCAL, RtcpMode::Pair), (rtp, rtcp));
}

#[test]
fn a_branch_that_does_not_exist_has_no_ports() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.tap();
    let branch = rig.create(&tap, 0, FAST);
    rig.close(branch);
    rig.command(BranchCommand::Bind { branch, local: LOCAL, rtcp: RtcpMode::Pair });
    rig.expect(branch, |event| matches!(event, BranchEvent::PortsFailed { .. }).then_some(()));
}

#[test]
fn another_mode_takes_new_ports() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.tap();
    let branch = rig.create(&tap, 0, FAST);
    let (rtp, rtcp) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    let (mux, same) = rig.bind(branch, LOCAL, RtcpMode::Mux);
    assert_eq!(mux, same);
    assert!(UdpSocket::bind(rtcp).is_ok() || mux == rtcp, "the old pair {rtp} is released");
}
