//! Memory of `siprectee`'s branches goes round: what that must not be seen by.
#![cfg(test)]

mod common;

use std::sync::{Arc, Mutex};

use common::leaks::Leaks;
use common::{Inlet, Outlet, Way, init, rtp_bytes, siprectee};
use gst::prelude::*;

/// A pad behind `source` that keeps every buffer, after it was asked what may be done with it.
fn keeping(source: &gst::Pad) -> (gst::Pad, Arc<Mutex<Vec<gst::Buffer>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let of_pad = kept.clone();
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name("keeping")
        .chain_function(move |_, _, buffer| {
            of_pad.lock().unwrap().push(buffer);
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    pad.set_active(true).unwrap();
    source.link(&pad).unwrap();
    (pad, kept)
}

/// A pad behind `source` that writes over all of every buffer, in its place, and cuts it.
fn scribbling(source: &gst::Pad) -> gst::Pad {
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name("scribbling")
        .chain_function(|_, _, mut buffer| {
            let memory = buffer.map_readable().unwrap().as_ptr();
            let buffer = buffer.get_mut().expect("nobody else has it");
            let mut bytes = buffer.map_writable().unwrap();
            assert_eq!(bytes.as_ptr(), memory, "nobody else has its memory");
            bytes.fill(0xAB);
            drop(bytes);
            buffer.set_size(1);
            buffer.set_flags(gst::BufferFlags::DISCONT);
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    pad.set_active(true).unwrap();
    source.link(&pad).unwrap();
    pad
}

fn packet(sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = rtp_bytes(sequence);
    packet.truncate(12);
    packet.extend((0..payload).map(|byte| byte as u8 ^ sequence as u8));
    packet
}

#[test]
fn what_a_branch_has_sent_stays_as_it_was_whoever_keeps_it_and_whatever_others_do_to_theirs() {
    let way = Way::through(siprectee());
    let branch = || way.element.request_pad_simple("rec_%u").unwrap();
    let (first, second, third) = (branch(), branch(), branch());
    let (_keeping, kept) = keeping(&first);
    let _scribbling = scribbling(&second);
    let last = Outlet::behind(&third);
    way.inlet.begin();
    let sizes = [0, 1, 160, 356, 357, 1000, 1892, 1893, 9000, 65_000, 20];
    let packets: Vec<_> = (0..700_u16).map(|n| packet(n, sizes[usize::from(n) % sizes.len()])).collect();
    for packet in &packets {
        way.push(gst::Buffer::from_slice(packet.clone())).unwrap();
    }
    let (seen, kept) = (last.take(), kept.lock().unwrap());
    assert_eq!((seen.bytes.len(), kept.len()), (packets.len(), packets.len()));
    for ((packet, kept), seen) in packets.iter().zip(&*kept).zip(&seen.bytes) {
        let kept = kept.map_readable().unwrap();
        assert!(kept[4..] == packet[4..] && seen[4..] == packet[4..]);
        assert_eq!((kept.len(), seen.len()), (packet.len(), packet.len()));
    }
    assert!(seen.buffers.iter().all(|(_, writable)| *writable));
    let mut places: Vec<_> = kept.iter().map(|buffer| buffer.as_ptr() as usize).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), packets.len(), "what is kept is not used again");
}

#[test]
fn a_buffer_of_a_branch_is_used_again_and_says_nothing_of_its_last_packet() {
    let way = Way::through(siprectee());
    let _scribbling = scribbling(&way.element.request_pad_simple("rec_%u").unwrap());
    let last = Outlet::behind(&way.element.request_pad_simple("rec_%u").unwrap());
    way.inlet.begin();
    for sequence in 0..100 {
        let mut buffer = gst::Buffer::from_slice(packet(sequence, usize::from(sequence)));
        if sequence % 2 == 0 {
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(u64::from(sequence)));
        }
        way.push(buffer).unwrap();
    }
    let seen = last.take();
    let mut places: Vec<_> = seen.buffers.iter().map(|(place, _)| *place).collect();
    places.sort_unstable();
    places.dedup();
    assert!(places.len() <= 2, "{} buffers", places.len());
    for (sequence, bytes) in (0..).zip(&seen.bytes) {
        assert_eq!(bytes[4..], packet(sequence, usize::from(sequence))[4..]);
    }
}

#[test]
fn nothing_is_left_of_tees_that_flush_and_change_state_while_somebody_keeps_their_buffers() {
    init();
    // The bindings' allocator, which lives as long as the process.
    drop(gst::Buffer::from_slice([0]));
    let leaks = Leaks::track();
    let outlive = {
        let tee = siprectee();
        let source = tee.static_pad("src").unwrap();
        let call = Outlet::ignoring(&source);
        let branch = tee.request_pad_simple("rec_%u").unwrap();
        let (pad, kept) = keeping(&branch);
        let inlet = Inlet::before(&tee.static_pad("sink").unwrap());
        for (round, state) in [
            gst::State::Playing,
            gst::State::Paused,
            gst::State::Playing,
            gst::State::Ready,
            gst::State::Playing,
        ]
        .into_iter()
        .cycle()
        .take(50)
        .enumerate()
        {
            tee.set_state(state).unwrap();
            if state == gst::State::Ready {
                continue;
            }
            inlet.begin();
            let number = 21 * round as u16;
            for sequence in number..number + 20 {
                inlet.pad.push(gst::Buffer::from_slice(packet(sequence, 100 * round))).unwrap();
            }
            let on_another_thread = inlet.pad.clone();
            std::thread::spawn(move || {
                on_another_thread.push(gst::Buffer::from_slice(packet(number + 20, 160))).unwrap();
            })
            .join()
            .unwrap();
            assert!(inlet.pad.push_event(gst::event::FlushStart::new()));
            assert!(inlet.pad.push_event(gst::event::FlushStop::new(true)));
        }
        tee.set_state(gst::State::Null).unwrap();
        branch.unlink(&pad).unwrap();
        source.unlink(&call).unwrap();
        tee.release_request_pad(&branch);
        std::mem::take(&mut *kept.lock().unwrap())
    };
    assert_eq!(outlive.len(), 40 * 21);
    drop(outlive);
    leaks.assert_none_left("GstSiprecPacketPool");
}
