//! Memory for packets that are made here, which comes back when a packet has gone its way.
//!
//! A pool belongs to a streaming thread and all elements that it runs through, not to a stream: where one thread serves
//! many streams, the same few buffers go round and stay in the processor's cache.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

thread_local! {
    static HERE: RefCell<Weak<Pools>> = RefCell::default();
}

/// Bytes of a buffer: of audio, and of a packet that an Ethernet frame carries.
const SIZES: [u32; 2] = [512, 2048];

/// The pools of one streaming thread. They live as long as somebody has them.
#[derive(Debug)]
pub(crate) struct Pools([PacketPool; SIZES.len()]);

impl Pools {
    /// Those of this thread, which mostly are the `known` ones.
    pub(crate) fn here(known: &mut Option<Arc<Self>>) -> &Self {
        HERE.with_borrow_mut(|here| {
            if known.as_ref().is_none_or(|known| Arc::as_ptr(known) != here.as_ptr()) {
                *known = here.upgrade();
            }
            known.get_or_insert_with(|| {
                let made = Arc::new(Self(SIZES.map(PacketPool::new)));
                *here = Arc::downgrade(&made);
                made
            })
        })
    }

    /// A buffer with room for this many bytes or more, with which others may do as with any other. Downstream may keep as
    /// many as it likes; those that come back are used again, some of them at least. `None` when there is no memory.
    pub(crate) fn buffer(&self, room: usize) -> Option<gst::Buffer> {
        let fitting = self.0.iter().zip(SIZES).find(|(_, size)| room <= *size as usize);
        match fitting {
            Some((pool, _)) => pool.acquire_buffer(None).ok(),
            None => gst::Buffer::with_size(room).ok(),
        }
    }
}

glib::wrapper! {
    /// Buffers of one size. Whoever wants one never waits: there are as many as are wanted.
    pub(crate) struct PacketPool(ObjectSubclass<imp::PacketPool>) @extends gst::BufferPool, gst::Object;
}

impl PacketPool {
    fn new(size: u32) -> Self {
        let pool: Self = glib::Object::new();
        let mut config = pool.config();
        config.set_params(None, size, 0, 0);
        // A pool in nobody's use takes what its own class asks for, and begins.
        let _ = pool.set_config(config).and_then(|()| pool.set_active(true));
        pool.imp().set_size(size);
        pool
    }
}

mod imp {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use gst::glib;
    use gst::subclass::prelude::*;

    use crate::sync::lock;

    /// Most buffers that wait to be used again. Beyond them they are freed.
    pub(crate) const MOST_FREE: usize = 64;

    #[derive(Default)]
    pub(crate) struct PacketPool {
        size: AtomicUsize,
        /// The last one back is the first one out.
        free: Mutex<Vec<gst::Buffer>>,
    }

    impl PacketPool {
        pub(crate) fn set_size(&self, size: u32) {
            self.size.store(size as usize, Ordering::Relaxed);
            lock(&self.free).reserve_exact(MOST_FREE);
        }

        #[cfg(test)]
        pub(crate) fn free(&self) -> usize {
            lock(&self.free).len()
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for PacketPool {
        const NAME: &'static str = "GstSiprecPacketPool";
        type Type = super::PacketPool;
        type ParentType = gst::BufferPool;
    }

    impl ObjectImpl for PacketPool {}
    impl GstObjectImpl for PacketPool {}

    // The class's own keeps buffers without bound and takes the oldest, which no cache has any more.
    impl BufferPoolImpl for PacketPool {
        fn start(&self) -> bool {
            true
        }

        fn acquire_buffer(
            &self,
            _: Option<&gst::BufferPoolAcquireParams>,
        ) -> Result<gst::Buffer, gst::FlowError> {
            let free = lock(&self.free).pop();
            free.map_or_else(
                || {
                    gst::Buffer::with_size(self.size.load(Ordering::Relaxed))
                        .map_err(|_| gst::FlowError::Error)
                },
                Ok,
            )
        }

        /// Comes after `reset_buffer`, which makes a buffer as it was, but for its memory.
        fn release_buffer(&self, buffer: gst::Buffer) {
            // Somebody took the memory out, put other memory in, or still holds it.
            let is_whole = !buffer.flags().contains(gst::BufferFlags::TAG_MEMORY)
                && buffer.size() == self.size.load(Ordering::Relaxed)
                && buffer.is_all_memory_writable();
            let mut free = lock(&self.free);
            if is_whole && free.len() < MOST_FREE {
                free.push(buffer);
            } else {
                drop(free);
                drop(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Arc<Pools> {
        gst::init().unwrap();
        Arc::new(Pools(SIZES.map(PacketPool::new)))
    }

    fn memory(buffer: &gst::Buffer) -> *const u8 {
        buffer.map_readable().unwrap().as_ptr()
    }

    fn free(pools: &Pools) -> [usize; SIZES.len()] {
        pools.0.each_ref().map(|pool| pool.imp().free())
    }

    #[test]
    fn a_buffer_that_comes_back_is_used_again_as_if_it_were_new() {
        let pools = pools();
        for (room, size, place) in [(1, 512, 0), (512, 512, 0), (513, 2048, 1), (2048, 2048, 1)] {
            let mut buffer = pools.buffer(room).unwrap();
            let (address, bytes) = (buffer.as_ptr(), memory(&buffer));
            assert_eq!((buffer.size(), buffer.n_memory(), free(&pools)[place]), (size, 1, 0));
            let changed = buffer.get_mut().unwrap();
            changed.set_pts(gst::ClockTime::SECOND);
            changed.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::MARKER);
            changed.set_offset(7);
            gst::ReferenceTimestampMeta::add(
                changed,
                &gst::Caps::new_empty_simple("timestamp/x-unix"),
                gst::ClockTime::ZERO,
                gst::ClockTime::NONE,
            );
            changed.resize(5..9).unwrap();
            drop(buffer);
            assert_eq!(free(&pools)[place], 1);
            let again = pools.buffer(room).unwrap();
            assert_eq!((again.as_ptr(), memory(&again), again.size()), (address, bytes, size));
            assert_eq!(
                (again.pts(), again.offset(), again.flags()),
                (None, u64::MAX, gst::BufferFlags::empty())
            );
            assert_eq!(again.iter_meta::<gst::Meta>().count(), 0);
            assert!(again.is_writable() && again.is_all_memory_writable());
        }
    }

    #[test]
    fn whoever_keeps_buffers_gets_more_and_what_comes_back_at_once_is_bounded() {
        let pools = pools();
        let kept: Vec<_> = (0..1000).map(|_| pools.buffer(300).unwrap()).collect();
        let mut addresses: Vec<_> = kept.iter().map(memory).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 1000);
        drop(kept);
        assert_eq!(free(&pools), [imp::MOST_FREE, 0]);
    }

    #[test]
    fn memory_that_somebody_else_has_or_took_is_not_used_again() {
        let pools = pools();
        let mut shared = pools.buffer(300).unwrap();
        let part = shared.copy_region(gst::BufferCopyFlags::MEMORY, 0..4).unwrap();
        let bytes = memory(&shared);
        drop(shared);
        assert_eq!(free(&pools), [0, 0]);
        assert_eq!(memory(&part), bytes);
        shared = pools.buffer(300).unwrap();
        shared.get_mut().unwrap().remove_all_memory();
        drop(shared);
        assert_eq!(free(&pools), [0, 0]);
        let mut other = pools.buffer(300).unwrap();
        other.get_mut().unwrap().append_memory(gst::Memory::from_slice([0; 3]));
        drop(other);
        assert_eq!(free(&pools), [0, 0]);
    }

    #[test]
    fn a_packet_too_large_for_the_pools_has_a_buffer_of_its_own() {
        let pools = pools();
        let buffer = pools.buffer(70_000).unwrap();
        assert_eq!(buffer.size(), 70_000);
        drop(buffer);
        assert_eq!(free(&pools), [0, 0]);
    }

    #[test]
    fn tees_of_one_thread_share_its_pools_and_no_other_thread_does() {
        gst::init().unwrap();
        let (mut one, mut two) = (None, None);
        let here = std::ptr::from_ref(Pools::here(&mut one));
        assert!(std::ptr::eq(here, Pools::here(&mut one)) && std::ptr::eq(here, Pools::here(&mut two)));
        let (one, there) = std::thread::spawn(move || {
            let there = std::ptr::from_ref(Pools::here(&mut one)) as usize;
            (one, there)
        })
        .join()
        .unwrap();
        assert_ne!(here as usize, there);
        let weak = Arc::downgrade(&two.take().unwrap());
        assert_eq!(weak.strong_count(), 0, "pools live as long as a tee has them");
        drop(one);
        assert_eq!(HERE.with_borrow(Weak::strong_count), 0);
    }

    #[test]
    fn a_buffer_may_outlive_its_pool() {
        let pools = pools();
        let buffer = pools.buffer(300).unwrap();
        let pool = pools.0[0].downgrade();
        drop(pools);
        assert!(pool.upgrade().is_some(), "it goes with its last buffer");
        drop(buffer);
        assert!(pool.upgrade().is_none());
    }
}
