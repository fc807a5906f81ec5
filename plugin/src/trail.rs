//! Where the memory lies that the packets of a stream need, so that the processor has it when a packet comes.
//!
//! A thread that serves hundreds of streams in turn finds what belongs to each of them out of its cache, one piece after the
//! other, and waits for each. It knows which stream is next, though: while one is served, the memory of the next is on its way.
//! What that is, is learnt by following a packet now and then.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use gst::prelude::*;

use crate::sys;

/// Bytes that a processor fetches at once. Where it is more, some are asked for twice.
const LINE: usize = 64;
/// Most pieces of a trail, and most lines of a piece, which fit into the lowest bits of an address.
const MOST: usize = 32;
const MOST_LINES: usize = 16;

thread_local! {
    static LEARNT: Cell<Option<Box<Way>>> = const { Cell::new(None) };
    static IS_LEARNING: Cell<bool> = const { Cell::new(false) };
}

/// The pieces of memory on a stream's way: each the address of its first line, and how many lines follow.
///
/// They are never read, only named to the processor: whoever owned one may be gone.
#[derive(Debug, Default)]
pub(crate) struct Trail([AtomicUsize; MOST]);

impl Trail {
    /// Does something, and remembers what memory [`pass`] is told of meanwhile.
    pub(crate) fn learn<T>(&self, work: impl FnOnce() -> T) -> T {
        LEARNT.set(Some(Box::default()));
        IS_LEARNING.set(true);
        let done = work();
        IS_LEARNING.set(false);
        let way = LEARNT.take().unwrap_or_default();
        for (piece, learnt) in self.0.iter().zip(way.0) {
            piece.store(learnt, Ordering::Relaxed);
        }
        done
    }

    /// Has the processor fetch it all, and does not wait for that.
    pub(crate) fn fetch(&self) {
        for piece in &self.0 {
            match piece.load(Ordering::Relaxed) {
                0 => break,
                piece => fetch_lines(piece, piece % LINE),
            }
        }
    }
}

/// Has the processor fetch the memory of a value, and does not wait for that.
pub(crate) fn fetch<T>(value: *const T) {
    fetch_lines(value.addr(), size_of::<T>() / LINE);
}

/// A line and those that follow.
fn fetch_lines(address: usize, more: usize) {
    let first = address - address % LINE;
    (0..=more).for_each(|line| sys::prefetch(first.wrapping_add(line * LINE)));
}

/// Tells whoever learns on this thread, which is nobody mostly, what memory a packet needs here.
pub(crate) fn pass(tell: impl FnOnce(&mut Way)) {
    if IS_LEARNING.get()
        && let Some(mut way) = LEARNT.take()
    {
        tell(&mut way);
        LEARNT.set(Some(way));
    }
}

/// What has been told so far.
#[derive(Debug, Default)]
pub(crate) struct Way([usize; MOST]);

impl Way {
    /// Memory that begins here. What is more than a trail takes is not remembered.
    pub(crate) fn memory(&mut self, address: usize, size: usize) {
        if address == 0 || size == 0 {
            return;
        }
        let (first, last) = (address / LINE, (address + size - 1) / LINE);
        let piece = first * LINE + (last - first).min(MOST_LINES - 1);
        // In a burst everything comes again.
        let place = self.0.iter_mut().find(|known| **known == 0 || **known == piece);
        if let Some(place) = place {
            *place = piece;
        }
    }

    /// A value, but for what it has on the heap.
    pub(crate) fn value<T: ?Sized>(&mut self, value: &T) {
        self.memory(std::ptr::from_ref(value).addr(), size_of_val(value));
    }

    /// What every element is.
    pub(crate) fn element(&mut self, element: &impl IsA<gst::Element>) {
        self.memory(element.as_ptr().addr(), size_of::<gst::ffi::GstElement>());
    }

    /// A pad, and the one that it is linked to.
    pub(crate) fn link(&mut self, pad: &gst::Pad) {
        for pad in [Some(pad), pad.peer().as_ref()].into_iter().flatten() {
            let memory = sys::memory_of_pad(pad);
            memory.into_iter().for_each(|(address, size)| self.memory(address, size));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Whether the line at this address belongs to it.
    pub(crate) fn has(trail: &Trail, address: usize) -> bool {
        learnt(trail).iter().any(|(first, _)| *first == address - address % LINE)
    }

    fn learnt(trail: &Trail) -> Vec<(usize, usize)> {
        let pieces = trail.0.iter().map(|piece| piece.load(Ordering::Relaxed)).filter(|piece| *piece != 0);
        pieces.map(|piece| (piece - piece % LINE, piece % LINE + 1)).collect()
    }

    #[test]
    fn a_trail_has_each_line_of_what_was_passed_while_it_was_learnt() {
        let trail = Trail::default();
        pass(|way| way.memory(0x9000, 1));
        let done = trail.learn(|| {
            for (address, size) in
                [(0x1000, 64), (0x2010, 64), (0x3000, 65), (0x1000, 64), (0x4000, 0), (0, 9)]
            {
                pass(|way| way.memory(address, size));
            }
            7
        });
        pass(|way| way.memory(0x9000, 1));
        assert_eq!(done, 7);
        assert_eq!(learnt(&trail), [(0x1000, 1), (0x2000, 2), (0x3000, 2)]);
        // Nothing is there; it is not read.
        trail.fetch();
        trail.learn(|| pass(|way| way.memory(0x5000, 1)));
        assert_eq!(learnt(&trail), [(0x5000, 1)]);
    }

    #[test]
    fn a_trail_is_bounded() {
        let trail = Trail::default();
        trail.learn(|| (1..1000).for_each(|page| pass(|way| way.memory(page * 4096, 4096))));
        assert_eq!(learnt(&trail).len(), MOST);
        assert!(learnt(&trail).iter().all(|(_, lines)| *lines == MOST_LINES));
    }

    #[test]
    fn a_way_leads_over_both_pads_of_a_link() {
        gst::init().unwrap();
        let source = gst::Pad::builder(gst::PadDirection::Src).build();
        let sink = gst::Pad::builder(gst::PadDirection::Sink).build();
        source.link(&sink).unwrap();
        let trail = Trail::default();
        trail.learn(|| pass(|way| way.link(&source)));
        for pad in [source, sink] {
            assert!(has(&trail, pad.as_ptr().addr()));
        }
    }
}
