//! The block cache: file content in memory, least recently used first out, bounded by bytes.

use bytes::Bytes;
use lru::LruCache;
use serde::{Deserialize, Serialize};

/// One version of one file's content. Content of two versions never shares a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentKey(pub u64);

/// Content in memory, in blocks of [`BLOCK`] bytes that may be filled in part.
#[derive(Debug)]
pub struct Blocks {
    blocks: LruCache<(ContentKey, u64), Block>,
    usage: Usage,
}

/// What the cache holds, and how well it serves.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes held.
    pub used_bytes: u64,
    /// Bytes held at most.
    pub capacity_bytes: u64,
    /// Bytes that were asked for.
    pub asked_bytes: u64,
    /// Those of them that were there at once.
    pub found_bytes: u64,
}

/// Length of a block: as long as the kernel's longest read, so that most reads touch one or two.
pub const BLOCK: u64 = 1 << 20;

/// The pieces of a block that are there: sorted, not overlapping.
#[derive(Debug, Default)]
struct Block {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Blocks {
    /// An empty cache of at most `capacity_bytes` of content.
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            blocks: LruCache::unbounded(),
            usage: Usage {
                capacity_bytes,
                ..Usage::default()
            },
        }
    }

    /// Takes `bytes`, which stand at `offset`; what is there already stays.
    pub fn insert(&mut self, key: ContentKey, offset: u64, bytes: &Bytes) {
        let end = offset + bytes.len() as u64;
        let mut at = offset;
        while at < end {
            let index = at / BLOCK;
            let stop = end.min((index + 1) * BLOCK);
            let block = self.blocks.get_or_insert_mut((key, index), Block::default);
            let slice = bytes.slice((at - offset) as usize..(stop - offset) as usize);
            self.usage.used_bytes += block.insert(at, &slice);
            at = stop;
        }
        while self.usage.used_bytes > self.usage.capacity_bytes {
            let Some((_, block)) = self.blocks.pop_lru() else {
                break;
            };
            self.usage.used_bytes -= block.len();
        }
    }

    /// Appends to `found` what is there from `offset` on without a gap, up to `end`; the offset reached.
    pub fn collect(
        &mut self,
        key: ContentKey,
        offset: u64,
        end: u64,
        found: &mut Vec<Bytes>,
    ) -> u64 {
        let mut at = offset;
        while at < end {
            let Some(block) = self.blocks.get(&(key, at / BLOCK)) else {
                break;
            };
            let reached = block.collect(at, end, found);
            if reached == at {
                break;
            }
            at = reached;
        }
        at
    }

    /// Bytes that are held of the content `key`, which is `size` bytes long.
    pub fn held(&self, key: ContentKey, size: u64) -> u64 {
        (0..size.div_ceil(BLOCK))
            .filter_map(|index| self.blocks.peek(&(key, index)))
            .map(Block::len)
            .sum()
    }

    /// Lets go of the block that holds `offset`.
    pub fn forget(&mut self, key: ContentKey, offset: u64) {
        if let Some(block) = self.blocks.pop(&(key, offset / BLOCK)) {
            self.usage.used_bytes -= block.len();
        }
    }

    /// Counts a read of `asked` bytes, of which the first `found` were there.
    pub fn count(&mut self, asked: u64, found: u64) {
        self.usage.asked_bytes += asked;
        self.usage.found_bytes += found;
    }

    /// What is held, and what was found.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

impl Block {
    fn len(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| piece.bytes.len() as u64)
            .sum()
    }

    /// Fills the gaps that `bytes` at `start` covers; bytes added.
    fn insert(&mut self, start: u64, bytes: &Bytes) -> u64 {
        let end = start + bytes.len() as u64;
        let mut added = 0;
        let mut at = start;
        let mut index = self.pieces.partition_point(|piece| piece.end() <= start);
        while at < end {
            let gap_end = self
                .pieces
                .get(index)
                .map_or(end, |piece| piece.start.min(end));
            if at < gap_end {
                let slice = bytes.slice((at - start) as usize..(gap_end - start) as usize);
                added += gap_end - at;
                self.pieces.insert(
                    index,
                    Piece {
                        start: at,
                        bytes: slice,
                    },
                );
                index += 1;
            }
            match self.pieces.get(index) {
                Some(piece) => {
                    at = piece.end().max(gap_end);
                    index += 1;
                }
                None => break,
            }
        }
        added
    }

    fn collect(&self, offset: u64, end: u64, found: &mut Vec<Bytes>) -> u64 {
        let mut at = offset;
        let first = self.pieces.partition_point(|piece| piece.end() <= offset);
        for piece in &self.pieces[first..] {
            if piece.start > at || at >= end {
                break;
            }
            let stop = piece.end().min(end);
            found.push(
                piece
                    .bytes
                    .slice((at - piece.start) as usize..(stop - piece.start) as usize),
            );
            at = stop;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: ContentKey = ContentKey(1);

    fn read(blocks: &mut Blocks, offset: u64, end: u64) -> Vec<u8> {
        let mut found = Vec::new();
        blocks.collect(KEY, offset, end, &mut found);
        found.concat()
    }

    #[test]
    fn a_read_ends_at_the_first_gap() {
        let mut blocks = Blocks::new(1 << 20);
        blocks.insert(KEY, 10, &Bytes::from_static(b"abc"));
        blocks.insert(KEY, 14, &Bytes::from_static(b"e"));
        assert_eq!(read(&mut blocks, 10, 20), b"abc");
        blocks.insert(KEY, 11, &Bytes::from_static(b"xxdx"));
        assert_eq!(read(&mut blocks, 10, 20), b"abcde");
        assert_eq!(read(&mut blocks, 9, 20), b"");
        assert_eq!(blocks.usage().used_bytes, 5);
    }

    #[test]
    fn content_beyond_the_capacity_leaves_oldest_first() {
        let mut blocks = Blocks::new(2 * BLOCK);
        let full = Bytes::from(vec![7; BLOCK as usize]);
        for index in 0..3 {
            blocks.insert(KEY, index * BLOCK, &full);
        }
        assert_eq!(blocks.usage().used_bytes, 2 * BLOCK);
        assert!(read(&mut blocks, 0, 1).is_empty());
        assert_eq!(read(&mut blocks, BLOCK, 3 * BLOCK).len() as u64, 2 * BLOCK);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_inserted(pieces in proptest::collection::vec((0u64..3 * BLOCK, 1usize..5000), 1..40)) {
            let content = |offset: u64| (offset * 31 % 251) as u8;
            let mut blocks = Blocks::new(64 * BLOCK);
            let mut known = std::collections::HashSet::new();
            for &(offset, length) in &pieces {
                let bytes: Vec<u8> = (offset..offset + length as u64).map(content).collect();
                blocks.insert(KEY, offset, &Bytes::from(bytes));
                known.extend(offset..offset + length as u64);
            }
            prop_assert_eq!(blocks.usage().used_bytes, known.len() as u64);
            for &(offset, length) in &pieces {
                let found = read(&mut blocks, offset, offset + length as u64);
                let wanted: Vec<u8> = (offset..offset + length as u64).map(content).collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
