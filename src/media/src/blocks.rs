//! Records of bytes in blocks of memory: appended at one end, given back at the other, never moved.

use std::collections::VecDeque;

use crate::memory::{Purpose, Share};

/// Capacity of a block in bytes, unless one record is larger: at least, and at most.
const SMALLEST: usize = 8 * 1024;
const LARGEST: usize = 64 * 1024;
/// How many make up what there may be at most, where the bounds allow that.
const BLOCKS: usize = 64;

/// Records, back to back, none of them in two blocks. One block that has become empty is kept for the next one.
pub(crate) struct Blocks {
    /// None of them is empty but the only one.
    blocks: VecDeque<Vec<u8>>,
    /// The number of the first one: how many were before it.
    first: usize,
    spare: Option<Vec<u8>>,
    /// Capacity of the next block.
    size: usize,
    /// Capacity of all blocks.
    capacity: usize,
    pub(crate) share: Share,
}

/// Where a record begins, or the last one ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    block: usize,
    offset: usize,
}

impl Blocks {
    /// Of as many bytes as there may be at most.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            first: 0,
            spare: None,
            size: size_of_blocks(limit),
            capacity: 0,
            share: Share::default(),
        }
    }

    /// There may be so many bytes at most from now on. What is not in use is given back.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.size = size_of_blocks(limit);
        self.drop_spare();
    }

    /// Makes room for a record of `size` bytes; whether the budget allows that.
    pub(crate) fn make_room(&mut self, size: usize, purpose: Purpose) -> bool {
        if self.blocks.back().is_some_and(|block| block.capacity() - block.len() >= size) {
            return true;
        }
        let block = match self.spare.take_if(|spare| spare.capacity() >= size) {
            Some(spare) => spare,
            None => {
                self.drop_spare();
                let capacity = size.max(self.size);
                if !self.share.resize(self.capacity + capacity, purpose) {
                    return false;
                }
                let block = Vec::with_capacity(capacity);
                self.capacity += block.capacity();
                block
            }
        };
        match self.blocks.back_mut().filter(|block| block.is_empty()) {
            // Too small, and the only one.
            Some(empty) => {
                let empty = std::mem::replace(empty, block);
                self.put_aside(empty);
            }
            None => self.blocks.push_back(block),
        }
        true
    }

    /// Appends a record, given in two parts, for which there is room.
    pub(crate) fn append(&mut self, head: &[u8], tail: &[u8]) {
        if let Some(block) = self.blocks.back_mut() {
            block.extend_from_slice(head);
            block.extend_from_slice(tail);
        }
    }

    /// The bytes from there on, those of the record there first. Empty behind the last one.
    pub(crate) fn read(&self, place: Place) -> &[u8] {
        let Place { block, offset } = self.settled(place);
        self.blocks.get(self.index(block)).and_then(|block| block.get(offset..)).unwrap_or_default()
    }

    /// Writes over the first bytes of the record there.
    pub(crate) fn overwrite(&mut self, place: Place, bytes: &[u8]) {
        let Place { block, offset } = self.settled(place);
        let index = self.index(block);
        let block = self.blocks.get_mut(index);
        if let Some(record) = block.and_then(|block| block.get_mut(offset..offset + bytes.len())) {
            record.copy_from_slice(bytes);
        }
    }

    /// Where the record behind this one begins, which has `size` bytes.
    pub(crate) fn behind(&self, place: Place, size: usize) -> Place {
        let Place { block, offset } = self.settled(place);
        Place { block, offset: offset + size }
    }

    /// Where the record before this one begins, which has `size` bytes.
    pub(crate) fn before(&self, Place { block, offset }: Place, size: usize) -> Place {
        if offset > 0 {
            return Place { block, offset: offset.saturating_sub(size) };
        }
        let block = block.saturating_sub(1).max(self.first);
        let end = self.blocks.get(self.index(block)).map_or(0, Vec::len);
        Place { block, offset: end.saturating_sub(size) }
    }

    /// Gives back the blocks that lie before this place as a whole.
    pub(crate) fn release_before(&mut self, place: Place) {
        let Place { block: wanted, .. } = self.settled(place);
        while wanted > self.first
            && let Some(block) = self.blocks.pop_front()
        {
            self.first += 1;
            self.put_aside(block);
        }
    }

    /// Forgets all records, and gives back all blocks but one. Says where the next record will be.
    pub(crate) fn clear(&mut self) -> Place {
        self.drop_spare();
        while self.blocks.len() > 1 || self.blocks.back().is_some_and(|block| block.capacity() > self.size) {
            let Some(block) = self.blocks.pop_front() else { break };
            self.first += 1;
            self.give_back(&block);
        }
        if let Some(block) = self.blocks.back_mut() {
            block.clear();
        }
        Place { block: self.first, offset: 0 }
    }

    fn drop_spare(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.give_back(&spare);
        }
    }

    /// A place behind the last record of a block is one at the beginning of the next block, if there is any.
    fn settled(&self, place: Place) -> Place {
        if place.block < self.first {
            return Place { block: self.first, offset: 0 };
        }
        let index = self.index(place.block);
        let is_behind = self.blocks.get(index).is_some_and(|block| place.offset >= block.len());
        if is_behind && index + 1 < self.blocks.len() {
            Place { block: place.block + 1, offset: 0 }
        } else {
            place
        }
    }

    fn index(&self, block: usize) -> usize {
        block.wrapping_sub(self.first)
    }

    fn put_aside(&mut self, mut block: Vec<u8>) {
        block.clear();
        if let Some(spare) = self.spare.replace(block) {
            self.give_back(&spare);
        }
    }

    fn give_back(&mut self, block: &Vec<u8>) {
        self.capacity -= block.capacity();
        self.share.resize(self.capacity, Purpose::Waiting);
    }
}

fn size_of_blocks(limit: usize) -> usize {
    (limit / BLOCKS).clamp(SMALLEST, LARGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::HoldMemory;

    /// Blocks beside what should be in them.
    struct Rig {
        blocks: Blocks,
        memory: HoldMemory,
        records: VecDeque<(Place, Vec<u8>)>,
        end: Place,
    }

    impl Rig {
        fn new(limit: usize, budget: usize) -> Self {
            let (mut blocks, memory) = (Blocks::new(limit), HoldMemory::new(budget));
            blocks.share.join(memory.clone());
            Self { blocks, memory, records: VecDeque::new(), end: Place::default() }
        }

        fn append(&mut self, record: Vec<u8>) -> bool {
            let has_room = self.blocks.make_room(record.len(), Purpose::Waiting);
            if has_room {
                let (head, tail) = record.split_at(record.len() / 3);
                self.blocks.append(head, tail);
                let place = self.end;
                self.end = self.blocks.behind(place, record.len());
                self.records.push_back((place, record));
            }
            has_room
        }

        fn release(&mut self, count: usize) {
            self.records.drain(..count.min(self.records.len()));
            match self.records.front() {
                Some((place, _)) => self.blocks.release_before(*place),
                None => self.end = self.blocks.clear(),
            }
        }

        fn check(&self) {
            let mut place = self.records.front().map_or(self.end, |(place, _)| *place);
            for (appended_at, record) in &self.records {
                assert_eq!(self.blocks.read(*appended_at).get(..record.len()), Some(&record[..]));
                assert_eq!(self.blocks.read(place).get(..record.len()), Some(&record[..]));
                place = self.blocks.behind(place, record.len());
            }
            assert_eq!(self.blocks.read(place), [0u8; 0]);
            for (_, record) in self.records.iter().rev() {
                place = self.blocks.before(place, record.len());
                assert_eq!(self.blocks.read(place).get(..record.len()), Some(&record[..]));
            }
            let capacity: usize =
                self.blocks.blocks.iter().chain(&self.blocks.spare).map(Vec::capacity).sum();
            assert_eq!((self.blocks.capacity, self.memory.used()), (capacity, capacity));
        }
    }

    fn record(number: usize, size: usize) -> Vec<u8> {
        (0..size).map(|byte| (number * 31 + byte) as u8).collect()
    }

    proptest! {
        #[test]
        fn records_are_read_forwards_and_backwards_until_they_are_released(
            steps in prop::collection::vec((1usize..70_000, 0usize..9, 0usize..40), 1..120),
            limit in prop::sample::select(vec![0, 512 * 1024, 8 * 1024 * 1024]),
            small in any::<bool>(),
        ) {
            let mut rig = Rig::new(limit, usize::MAX);
            for (number, (size, kind, released)) in steps.into_iter().enumerate() {
                match kind {
                    0 => rig.release(released),
                    1 if let Some((place, first)) = rig.records.front_mut() => {
                        let written = record(number, first.len().min(35));
                        first[..written.len()].copy_from_slice(&written);
                        rig.blocks.overwrite(*place, &written);
                    }
                    _ => {
                        let size = if small { 1 + size % 2000 } else { size };
                        assert!(rig.append(record(number, size)));
                    }
                }
                rig.check();
            }
            rig.release(usize::MAX);
            rig.check();
            prop_assert!(rig.memory.used() <= size_of_blocks(limit), "{}", rig.memory.used());
        }
    }

    #[test]
    fn what_comes_and_goes_takes_the_same_blocks_again() {
        let mut rig = Rig::new(512 * 1024, usize::MAX);
        for number in 0..2000 {
            assert!(rig.append(record(number, 207)));
            if number >= 400 {
                rig.release(1);
            }
        }
        rig.check();
        // What is in use, the rest of the first and the last block, and the one that is aside.
        let most = 400 * 207 + 3 * SMALLEST;
        assert!(rig.memory.used() <= most, "{} of {most}", rig.memory.used());
    }

    #[test]
    fn the_budget_is_asked_for_each_block() {
        let mut rig = Rig::new(0, SMALLEST * 5 / 2);
        let taken = (0..100).take_while(|number| rig.append(record(*number, 1000))).count();
        assert_eq!(taken, SMALLEST / 1000 * 2);
        rig.check();
        rig.release(SMALLEST / 1000);
        assert!(rig.append(record(0, 1000)), "the block that was given back");
        rig.check();
    }
}
