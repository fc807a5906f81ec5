//! The call's own way through `siprec` and `siprectee`: what comes in goes out, the same, at once, alone.
#![cfg(test)]

mod common;

use common::{Inlet, Outlet, Way, caps, every_way, idle_siprec, init, rtp, tapping_siprec};
use gst::prelude::*;

#[test]
fn the_same_buffer_goes_out_and_nobody_else_holds_it() {
    for way in every_way() {
        way.inlet.begin();
        for sequence in 0..3 {
            let buffer = rtp(sequence);
            let address = buffer.as_ptr() as usize;
            way.push(buffer).unwrap();
            assert_eq!(way.outlet.take().buffers, [(address, true)], "{}", way.element.name());
        }
    }
}

#[test]
fn a_buffer_of_several_memories_keeps_them() {
    for way in every_way() {
        way.inlet.begin();
        let mut buffer = rtp(0);
        buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(b"tail"));
        // A second reference sees afterwards what became of the buffer.
        let witness = buffer.clone();
        way.push(buffer).unwrap();
        assert_eq!(witness.n_memory(), 2, "{}", way.element.name());
    }
}

#[test]
fn a_list_stays_the_same_list() {
    for way in every_way() {
        way.inlet.begin();
        let list: gst::BufferList = (0..5).map(rtp).collect();
        let address = list.as_ptr() as usize;
        way.inlet.pad.push_list(list).unwrap();
        let seen = way.outlet.take();
        assert_eq!(seen.lists, [(address, 5)], "{}", way.element.name());
        assert!(seen.buffers.is_empty());
    }
}

#[test]
fn the_flow_of_the_calls_own_push_goes_upstream_unchanged() {
    use gst::{FlowError, FlowSuccess};
    let answers = [
        Ok(FlowSuccess::Ok),
        Ok(FlowSuccess::CustomSuccess),
        Ok(FlowSuccess::CustomSuccess1),
        Err(FlowError::Error),
        Err(FlowError::NotNegotiated),
        Err(FlowError::CustomError),
        Err(FlowError::CustomError2),
        Err(FlowError::Flushing),
    ];
    for way in every_way() {
        way.inlet.begin();
        for answer in answers {
            way.outlet.answer(answer);
            assert_eq!(way.push(rtp(0)), answer, "{}", way.element.name());
            let list: gst::BufferList = (0..2).map(rtp).collect();
            assert_eq!(way.inlet.pad.push_list(list), answer, "{}", way.element.name());
        }
    }
}

#[test]
fn an_unlinked_way_out_is_told_as_such() {
    for way in every_way() {
        way.inlet.begin();
        way.outlet.pad.peer().unwrap().unlink(&way.outlet.pad).unwrap();
        assert_eq!(way.push(rtp(0)), Err(gst::FlowError::NotLinked), "{}", way.element.name());
    }
}

#[test]
fn events_go_through_in_their_order() {
    for way in every_way() {
        way.inlet.begin();
        way.push(rtp(0)).unwrap();
        assert!(way.inlet.pad.push_event(gst::event::Gap::new(gst::ClockTime::ZERO, None)));
        assert!(way.inlet.pad.push_event(gst::event::FlushStart::new()));
        assert_eq!(way.push(rtp(1)), Err(gst::FlowError::Flushing));
        assert!(way.inlet.pad.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(way.inlet.pad.push_event(gst::event::Segment::new(&segment)));
        way.push(rtp(2)).unwrap();
        assert!(way.inlet.pad.push_event(gst::event::Eos::new()));
        assert_eq!(way.push(rtp(3)), Err(gst::FlowError::Eos));
        use gst::EventType::{Caps, Eos, FlushStart, FlushStop, Gap, Segment, StreamStart};
        let expected = [StreamStart, Caps, Segment, Gap, FlushStart, FlushStop, Segment, Eos];
        assert_eq!(way.outlet.take().events, expected, "{}", way.element.name());
    }
}

#[test]
fn caps_may_change_while_the_call_runs() {
    for way in every_way() {
        way.inlet.begin();
        way.push(rtp(0)).unwrap();
        let other: gst::Caps =
            "application/x-rtp,media=audio,encoding-name=PCMA,clock-rate=8000,payload=8".parse().unwrap();
        assert!(way.inlet.pad.push_event(gst::event::Caps::new(&other)));
        way.push(rtp(1)).unwrap();
        assert_eq!(way.outlet.pad.current_caps(), Some(other), "{}", way.element.name());
    }
}

#[test]
fn caps_that_are_not_plain_rtp_cost_the_recording_and_not_the_call() {
    for way in every_way() {
        let bus = gst::Bus::new();
        way.element.set_bus(Some(&bus));
        way.inlet.begin();
        way.push(rtp(0)).unwrap();
        for strange in ["application/x-srtp,media=audio,payload=0", "audio/x-raw,format=S16LE"] {
            let strange: gst::Caps = strange.parse().unwrap();
            assert!(way.inlet.pad.push_event(gst::event::Caps::new(&strange)));
            way.push(rtp(1)).unwrap();
            assert_eq!(way.outlet.pad.current_caps(), Some(strange));
            // Others may come before, such as one of the keys of such a recording.
            loop {
                let wait = gst::ClockTime::from_seconds(15);
                let warning = bus.timed_pop_filtered(wait, &[gst::MessageType::Warning]).expect("no warning");
                let gst::MessageView::Warning(warning) = warning.view() else { panic!() };
                if warning.error().to_string().contains("application/x-") {
                    break;
                }
            }
            assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
        }
        way.element.set_bus(None::<&gst::Bus>);
    }
}

#[test]
fn upstream_events_reach_the_source() {
    for way in every_way() {
        way.inlet.begin();
        way.inlet.take_events();
        let key_unit = gst::Structure::new_empty("GstForceKeyUnit");
        assert!(way.outlet.pad.push_event(gst::event::CustomUpstream::new(key_unit)));
        assert!(way.outlet.pad.push_event(gst::event::Reconfigure::new()));
        assert!(way.outlet.pad.push_event(gst::event::Latency::new(gst::ClockTime::SECOND)));
        use gst::EventType::{CustomUpstream, Latency, Reconfigure};
        assert_eq!(way.inlet.take_events(), [CustomUpstream, Reconfigure, Latency], "{}", way.element.name());
    }
}

#[test]
fn latency_is_asked_of_the_source_and_not_changed() {
    for way in every_way() {
        way.inlet.begin();
        let mut query = gst::query::Latency::new();
        assert!(way.outlet.pad.peer_query(&mut query));
        let expected = (true, gst::ClockTime::from_mseconds(7), gst::ClockTime::NONE);
        assert_eq!(query.result(), expected, "{}", way.element.name());
    }
}

#[test]
fn allocation_is_asked_of_whoever_comes_next() {
    for way in every_way() {
        way.inlet.begin();
        // Nobody behind offers anything: the answer is the outlet's own "no".
        let mut query = gst::query::Allocation::new(Some(&caps()), false);
        assert!(!way.inlet.pad.peer_query(&mut query), "{}", way.element.name());
    }
    let way = Way::through(idle_siprec());
    let offering = gst::Pad::builder(gst::PadDirection::Sink)
        .name("offering")
        .query_function(|pad, parent, query| {
            if let gst::QueryViewMut::Allocation(allocation) = query.view_mut() {
                allocation.add_allocation_meta::<gst::ParentBufferMeta>(None);
                return true;
            }
            gst::Pad::query_default(pad, parent, query)
        })
        .build();
    offering.set_active(true).unwrap();
    let source = way.outlet.pad.peer().unwrap();
    source.unlink(&way.outlet.pad).unwrap();
    source.link(&offering).unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps()), false);
    assert!(way.inlet.pad.peer_query(&mut query));
    assert!(query.find_allocation_meta::<gst::ParentBufferMeta>().is_some());
}

#[test]
fn caps_are_asked_of_whoever_comes_next() {
    for way in every_way() {
        let mut query = gst::query::Caps::new(None);
        assert!(way.inlet.pad.peer_query(&mut query));
        let answer = query.result_owned().unwrap();
        assert!(answer.can_intersect(&caps()), "{}: {answer}", way.element.name());
        assert!(!answer.is_any(), "{}: {answer}", way.element.name());
    }
}

#[test]
fn rtcp_passes_beside_its_stream() {
    let plain = vec![0x81, 201, 0, 1, 0, 0, 0, 1];
    // What nobody here has a key for, and what is none at all.
    let encrypted = [&plain[..], &[0xE7; 20], &[0x80, 0, 0, 7], &[0x3C; 10]].concat();
    for (caps, packets) in [
        ("application/x-rtcp", vec![plain.clone(), vec![0x81]]),
        ("application/x-srtcp", vec![encrypted.clone(), encrypted[..9].to_vec()]),
    ] {
        let (element, _recorder) = tapping_siprec();
        let sink = element.request_pad_simple("rtcp_sink_1").unwrap();
        let source = element.static_pad("rtcp_src_1").unwrap();
        let (inlet, outlet) = (Inlet::before(&sink), Outlet::behind(&source));
        element.set_state(gst::State::Playing).unwrap();
        inlet.begin_with(&caps.parse().unwrap());
        let buffers: Vec<_> = packets.iter().cloned().map(gst::Buffer::from_mut_slice).collect();
        let expected: Vec<_> = buffers.iter().map(|buffer| (buffer.as_ptr() as usize, true)).collect();
        for buffer in buffers {
            inlet.pad.push(buffer).unwrap();
        }
        let seen = outlet.take();
        assert_eq!((seen.buffers, seen.bytes), (expected, packets), "{caps}");
        assert!(outlet.pad.push_event(gst::event::Reconfigure::new()));
        assert_eq!(inlet.take_events().last(), Some(&gst::EventType::Reconfigure));
        element.release_request_pad(&sink);
        assert!(element.static_pad("rtcp_src_1").is_none());
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn anything_on_a_streams_pad_goes_through() {
    init();
    let rtcp = vec![0x80, 200, 0, 1, 0, 0, 0, 1];
    let stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    let truncated = rtp(0).map_readable().unwrap()[..11].to_vec();
    let mut wild_csrc = common::rtp_bytes(1);
    wild_csrc[0] = 0x8F;
    wild_csrc.truncate(20);
    let mut wild_extension = common::rtp_bytes(2);
    wild_extension[0] = 0x90;
    wild_extension[14..16].copy_from_slice(&[0xFF, 0xFF]);
    let mut wild_padding = common::rtp_bytes(3);
    wild_padding[0] = 0xA0;
    *wild_padding.last_mut().unwrap() = 255;
    let strange =
        [rtcp, stun, truncated, wild_csrc, wild_extension, wild_padding, vec![0x80], vec![0; 70_000]];
    for way in every_way() {
        way.inlet.begin();
        for bytes in &strange {
            way.push(gst::Buffer::from_mut_slice(bytes.clone())).unwrap();
        }
        way.push(gst::Buffer::new()).unwrap();
        let seen = way.outlet.take();
        assert_eq!(seen.bytes.len(), strange.len() + 1, "{}", way.element.name());
        assert_eq!(seen.bytes[..strange.len()], strange);
    }
}
