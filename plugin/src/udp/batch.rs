//! Packets that leave together: what several pushes of one burst or one list have handed to sinks on this thread.

use std::cell::RefCell;
use std::ops::Range;

use gst::subclass::prelude::*;

use super::SiprecUdpSink;

thread_local! {
    static OPEN: RefCell<Batch> = RefCell::default();
}

/// Most bytes that wait. A batch that has more leaves at once.
const MOST_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Batch {
    /// How many have opened it, one within another.
    depth: usize,
    bytes: Vec<u8>,
    packets: Vec<(SiprecUdpSink, Range<usize>)>,
    ends: Vec<Range<usize>>,
}

/// While it lives, packets of this thread wait for each other. They leave when it ends.
pub(super) struct Together(());

impl Together {
    pub(super) fn begin() -> Self {
        OPEN.with_borrow_mut(|batch| batch.depth += 1);
        Self(())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let is_last = OPEN.with_borrow_mut(|batch| {
            batch.depth = batch.depth.saturating_sub(1);
            batch.depth == 0
        });
        if is_last {
            flush();
        }
    }
}

/// Keeps a packet for the end of the batch. `false` where none is open.
pub(super) fn keep(sink: &SiprecUdpSink, packet: &[&[u8]]) -> bool {
    let kept = OPEN.with_borrow_mut(|batch| {
        if batch.depth == 0 {
            return None;
        }
        let start = batch.bytes.len();
        packet.iter().for_each(|part| batch.bytes.extend_from_slice(part));
        batch.packets.push((sink.clone(), start..batch.bytes.len()));
        Some(batch.bytes.len())
    });
    if kept.is_some_and(|bytes| bytes > MOST_BYTES) {
        flush();
    }
    kept.is_some()
}

/// Sends what waits. Sending reports by messages, whose handlers may push: the batch is out of reach meanwhile.
fn flush() {
    let Some(mut batch) = OPEN.with_borrow_mut(|open| {
        let depth = open.depth;
        (!open.packets.is_empty()).then(|| Batch { depth, ..std::mem::take(open) })
    }) else {
        return;
    };
    OPEN.with_borrow_mut(|open| open.depth = batch.depth);
    for run in batch.packets.chunk_by(|(one, _), (next, _)| one == next) {
        let Some((sink, _)) = run.first() else { continue };
        batch.ends.clear();
        batch.ends.extend(run.iter().map(|(_, range)| range.clone()));
        sink.imp().send_all(&batch.bytes, &batch.ends);
    }
    batch.bytes.clear();
    batch.packets.clear();
    OPEN.with_borrow_mut(|open| {
        // Its memory is used again, unless a handler has begun another.
        if open.packets.is_empty() {
            *open = Batch { depth: open.depth, ..batch };
        }
    });
}
