//! Reading a packet out of a buffer without touching the buffer.

use gst::memory::{MemoryMap, Readable};

/// The most memories that one buffer can have in GStreamer (`GST_BUFFER_MEM_MAX`).
const MAX_MEMORIES: usize = 16;

/// Gives `take` the bytes of `buffer`, in order, one slice for each of its memories; a payloader's packets have two
/// or more (header, payload). Answers `None` when a memory cannot be read or there is none.
///
/// The memories are mapped one by one: mapping the buffer as a whole would merge them, and the call's buffer goes on
/// as it came. Nothing is kept: neither reference nor mapping outlives the call.
pub(crate) fn with_bytes<T>(buffer: &gst::BufferRef, take: impl FnOnce(&[&[u8]]) -> T) -> Option<T> {
    match buffer.n_memory() {
        0 => None,
        1 => {
            let map = buffer.peek_memory(0).map_readable().ok()?;
            Some(take(&[map.as_slice()]))
        }
        memories => {
            let mut maps: [Option<MemoryMap<'_, Readable>>; MAX_MEMORIES] = Default::default();
            for (index, map) in maps.iter_mut().enumerate().take(memories) {
                *map = Some(buffer.peek_memory(index).map_readable().ok()?);
            }
            let mut slices = [&[][..]; MAX_MEMORIES];
            for (slice, map) in slices.iter_mut().zip(maps.iter().flatten()) {
                *slice = map.as_slice();
            }
            slices.get(..memories.min(MAX_MEMORIES)).map(take)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &'static [u8]) -> gst::Memory {
        gst::Memory::from_slice(bytes)
    }

    #[test]
    fn several_memories_are_read_in_order_and_left_as_they_are() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        for bytes in [&b"head"[..], b"er", b"payload"] {
            buffer.get_mut().unwrap().append_memory(memory(bytes));
        }
        assert_eq!(with_bytes(&buffer, |parts| parts.concat()).unwrap(), b"headerpayload");
        assert_eq!(buffer.n_memory(), 3);
        assert!(buffer.is_writable());
    }

    #[test]
    fn one_memory_is_read_without_copying() {
        gst::init().unwrap();
        let buffer = gst::Buffer::from_slice(b"packet");
        let before = buffer.peek_memory(0).map_readable().unwrap().as_ptr();
        with_bytes(&buffer, |parts| {
            assert_eq!(parts, [b"packet"]);
            assert_eq!(parts[0].as_ptr(), before);
        })
        .unwrap();
    }

    #[test]
    fn an_empty_buffer_has_no_bytes() {
        gst::init().unwrap();
        assert!(with_bytes(&gst::Buffer::new(), |_| ()).is_none());
    }
}
