//! What leaves on the branches of `siprectee`, and that nothing comes back from them.
#![cfg(test)]

mod common;

use std::sync::mpsc::channel;

use common::{Outlet, PCMU, Way, caps, marked_rtp, rtp, rtp_bytes, siprectee};
use gst::prelude::*;

const H264: &str = "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96";

/// A playing `siprectee` with one branch.
fn with_branch() -> (Way, gst::Pad, Outlet) {
    with_branch_of(PCMU)
}

/// The same for a stream of other caps.
fn with_branch_of(caps: &str) -> (Way, gst::Pad, Outlet) {
    let way = Way::through(siprectee());
    way.inlet.begin_with(&caps.parse().unwrap());
    let pad = way.element.request_pad_simple("rec_%u").unwrap();
    let branch = Outlet::behind(&pad);
    (way, pad, branch)
}

fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

#[test]
fn a_branch_gets_its_own_numbers_and_everything_else_as_it_was() {
    let (way, _, branch) = with_branch();
    for number in 65_534..=65_535 {
        way.push(rtp(number)).unwrap();
    }
    let mut next = rtp_bytes(0);
    next[4..8].copy_from_slice(&(65_536 * 160_u32).to_be_bytes());
    way.push(gst::Buffer::from_mut_slice(next)).unwrap();
    let seen = branch.take();
    assert_eq!(seen.bytes.len(), 3);
    let first = sequence(&seen.bytes[0]);
    assert!((256..32_768).contains(&first), "{first}");
    assert_eq!(sequence(&seen.bytes[1]), first + 1);
    assert_eq!(sequence(&seen.bytes[2]), first + 2);
    assert_eq!(seen.bytes[1][4..], rtp_bytes(65_535)[4..]);
    assert_eq!(way.outlet.take().bytes[1], rtp_bytes(65_535));
}

#[test]
fn the_call_goes_first() {
    let (way, _, branch) = with_branch();
    let (tell, order) = channel();
    for (name, outlet) in [("call", &way.outlet), ("branch", &branch)] {
        let tell = tell.clone();
        outlet.pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            tell.send(name).unwrap();
            gst::PadProbeReturn::Ok
        });
    }
    way.push(rtp(0)).unwrap();
    assert_eq!(order.try_iter().collect::<Vec<_>>(), ["call", "branch"]);
}

#[test]
fn a_branch_that_comes_late_knows_what_the_stream_is() {
    let (way, _, branch) = with_branch();
    way.push(rtp(0)).unwrap();
    use gst::EventType::{Caps, Segment, StreamStart};
    assert_eq!(branch.take().events, [StreamStart, Caps, Segment]);
    assert_eq!(branch.pad.current_caps(), Some(caps()));
}

#[test]
fn caps_of_a_branch_have_no_numbers_of_the_stream() {
    let (way, _, branch) = with_branch();
    let mut numbered = caps();
    numbered.make_mut().set("seqnum-base", 7u32);
    assert!(way.inlet.pad.push_event(gst::event::Caps::new(&numbered)));
    assert_eq!(branch.pad.current_caps(), Some(caps()));
    assert_eq!(way.outlet.pad.current_caps(), Some(numbered));
}

#[test]
fn what_a_branch_answers_is_its_own_affair() {
    use gst::FlowError::{CustomError, Eos, Error, Flushing, NotLinked, NotNegotiated};
    let (way, _, branch) = with_branch();
    for answer in [Error, Eos, Flushing, NotLinked, NotNegotiated, CustomError] {
        branch.answer(Err(answer));
        assert_eq!(way.push(rtp(0)), Ok(gst::FlowSuccess::Ok), "{answer:?}");
        let list: gst::BufferList = (1..3).map(rtp).collect();
        assert_eq!(way.inlet.pad.push_list(list), Ok(gst::FlowSuccess::Ok), "{answer:?}");
    }
    assert_eq!(way.outlet.take().buffers.len(), 6);
}

#[test]
fn events_from_behind_a_branch_end_there() {
    let (way, _, branch) = with_branch();
    way.inlet.take_events();
    assert!(branch.pad.push_event(gst::event::Reconfigure::new()));
    assert!(branch.pad.push_event(gst::event::Latency::new(gst::ClockTime::SECOND)));
    let seek = gst::event::Seek::new(
        1.0,
        gst::SeekFlags::FLUSH,
        gst::SeekType::Set,
        gst::ClockTime::ZERO,
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    assert!(!branch.pad.push_event(seek));
    assert!(!branch.pad.push_event(gst::event::CustomUpstream::new(gst::Structure::new_empty("a"))));
    assert!(way.inlet.take_events().is_empty());
    way.push(rtp(0)).unwrap();
}

#[test]
fn a_branch_learns_the_latency_before_it() {
    let (_way, _, branch) = with_branch();
    let mut query = gst::query::Latency::new();
    assert!(branch.pad.peer_query(&mut query));
    assert_eq!(query.result().1, gst::ClockTime::from_mseconds(7));
}

#[test]
fn a_list_is_a_list_on_a_branch_too() {
    let (way, _, branch) = with_branch();
    way.inlet.pad.push_list((0..5).map(rtp).collect()).unwrap();
    let seen = branch.take();
    assert_eq!(seen.lists.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [5]);
}

#[test]
fn an_inactive_branch_sends_nothing_and_goes_on_where_it_stopped() {
    let (way, pad, branch) = with_branch();
    way.push(rtp(0)).unwrap();
    let last = sequence(&branch.take().bytes[0]);
    pad.set_property("active", false);
    for number in 1..500 {
        way.push(rtp(number)).unwrap();
    }
    assert!(branch.take().bytes.is_empty());
    pad.set_property("active", true);
    way.push(rtp(500)).unwrap();
    let seen = branch.take().bytes;
    assert_eq!(sequence(&seen[0]), last + 1);
    assert_eq!(seen[0][1], 0x80, "the first packet of a talkspurt has the marker bit");
}

#[test]
fn what_is_no_rtp_stays_off_the_branch_and_is_counted() {
    let (way, pad, branch) = with_branch();
    for bytes in [vec![0x80, 200, 0, 1, 0, 0, 0, 1], vec![0x80, 0, 0, 1], Vec::from([0; 20])] {
        way.push(gst::Buffer::from_mut_slice(bytes)).unwrap();
    }
    assert!(branch.take().bytes.is_empty());
    let stats: gst::Structure = pad.property("stats");
    assert_eq!(stats.get::<u64>("seen"), Ok(3));
    assert_eq!(stats.get::<u64>("dropped-not-rtp"), Ok(2));
    assert_eq!(stats.get::<u64>("dropped-malformed"), Ok(1));
}

#[test]
fn an_encrypted_stream_does_not_reach_a_branch() {
    let (way, _, branch) = with_branch();
    branch.take();
    assert!(way.inlet.pad.push_event(gst::event::Caps::new(&"application/x-srtp".parse().unwrap())));
    way.push(rtp(0)).unwrap();
    let seen = branch.take();
    assert!(seen.bytes.is_empty() && seen.events.is_empty(), "{seen:?}");
    assert!(way.inlet.pad.push_event(gst::event::Caps::new(&caps())));
    way.push(rtp(1)).unwrap();
    assert_eq!(branch.take().bytes.len(), 1);
}

#[test]
fn branches_come_and_go_while_the_stream_runs() {
    let way = Way::through(siprectee());
    way.inlet.begin();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            for number in 0..5000 {
                way.push(rtp(number)).unwrap();
            }
        });
        while !running.is_finished() {
            let pads: Vec<_> = (0..3).map(|_| way.element.request_pad_simple("rec_%u").unwrap()).collect();
            let outlets: Vec<_> = pads.iter().map(Outlet::behind).collect();
            outlets[0].pad.peer().unwrap().unlink(&outlets[0].pad).unwrap();
            outlets[1].pad.set_active(false).unwrap();
            pads.iter().for_each(|pad| way.element.release_request_pad(pad));
        }
    });
    assert_eq!(way.outlet.take().buffers.len(), 5000);
    assert!(way.element.src_pads().iter().all(|pad| pad.name() == "src"));
}

#[test]
fn the_element_tells_of_all_its_branches() {
    let (way, pad, _branch) = with_branch();
    for number in 0..3 {
        way.push(rtp(number)).unwrap();
    }
    let stats = way.element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<bool>("recordable"), Ok(true), "{stats}");
    let branch = stats.get::<gst::Structure>(pad.name().as_str()).unwrap();
    assert_eq!((branch.get::<u64>("seen"), branch.get::<u64>("sent")), (Ok(3), Ok(3)), "{branch}");
}

#[test]
fn a_branch_of_video_asks_for_a_key_frame_whenever_it_begins() {
    use gst::EventType::CustomUpstream;
    let (way, pad, branch) = with_branch_of(H264);
    way.inlet.take_events();
    let speak = |number| assert!(way.push(marked_rtp(0xA2, 96, number)).is_ok());
    (0..3).for_each(speak);
    assert_eq!(way.inlet.take_events(), [CustomUpstream], "once");
    pad.set_property("active", false);
    (3..6).for_each(speak);
    assert!(way.inlet.take_events().is_empty());
    pad.set_property("active", true);
    (6..9).for_each(speak);
    assert_eq!(way.inlet.take_events(), [CustomUpstream], "after a break");
    let seen = branch.take().bytes;
    let first = sequence(&seen[0]);
    assert_eq!(seen.iter().map(|packet| sequence(packet) - first).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(seen.iter().all(|packet| packet[1] == 96), "a marker would say that a picture ends");
    pad.unlink(&branch.pad).unwrap();
    speak(9);
    assert!(way.inlet.take_events().is_empty());
    let _other = Outlet::behind(&pad);
    speak(10);
    assert!(way.inlet.take_events().contains(&CustomUpstream), "of a new receiver");
    assert_eq!(way.outlet.take().buffers.len(), 11);
}

#[test]
fn a_branch_of_audio_asks_for_no_key_frame() {
    let (way, _, _branch) = with_branch();
    way.inlet.take_events();
    way.push(rtp(0)).unwrap();
    assert!(way.inlet.take_events().is_empty());
}

#[test]
fn who_receives_a_branch_may_ask_for_a_key_frame() {
    let (way, _, branch) = with_branch_of(H264);
    way.inlet.take_events();
    let wish = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
    assert!(branch.pad.push_event(gst::event::CustomUpstream::new(wish)));
    assert_eq!(way.inlet.take_events(), [gst::EventType::CustomUpstream]);
}
