//! Handshake messages put together from their pieces, whoever sent them: where two differ in what should be the same message,
//! both are kept, since nobody knows yet which of them is genuine.

use std::collections::BTreeMap;

use super::record::{HANDSHAKE, LONGEST_MESSAGE, MESSAGE_HEADER, Piece};

/// Most versions of one message that are kept, the newest, and most bytes of all of them; and most pieces of one. A flight may
/// come in several datagrams, with forged ones between them.
const MOST_VERSIONS: usize = 32;
const MOST_BYTES: usize = 1 << 16;
const MOST_PIECES: usize = 40;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) number: u16,
    pub(super) body: Vec<u8>,
    /// In which order versions became whole.
    pub(super) id: u32,
    /// The last datagram that had a piece of it.
    pub(super) datagram: u32,
}

/// What there is of messages.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    drafts: Vec<Draft>,
    whole: Vec<Message>,
    ids: u32,
}

/// A message that is not whole.
#[derive(Debug)]
struct Draft {
    kind: u8,
    number: u16,
    length: usize,
    pieces: BTreeMap<usize, Vec<u8>>,
}

impl Assembly {
    /// Takes a piece, which came with this datagram. Says whether a message has become whole that was not there before.
    pub(super) fn take(&mut self, piece: &Piece<'_>, datagram: u32) -> bool {
        let mut is_known = false;
        for message in self.whole.iter_mut().filter(|message| message.contains(piece)) {
            message.datagram = datagram;
            is_known = true;
        }
        if is_known || piece.length > LONGEST_MESSAGE {
            return false;
        }
        let mut fits = false;
        for draft in self.drafts.iter_mut().filter(|draft| draft.is_of(piece)) {
            fits |= draft.take(piece);
        }
        if !fits {
            let mut draft = Draft::new(piece);
            draft.take(piece);
            self.drafts.push(draft);
        }
        let mut became = false;
        for index in (0..self.drafts.len()).rev() {
            let Some(body) = self.drafts.get(index).and_then(Draft::whole) else { continue };
            let Draft { kind, number, .. } = self.drafts.remove(index);
            if !self.whole.iter().any(|old| (old.kind, old.number) == (kind, number) && old.body == body) {
                self.ids += 1;
                self.whole.push(Message { kind, number, body, id: self.ids, datagram });
                became = true;
            }
        }
        keep_newest(&mut self.drafts, piece.number, |draft| (draft.number, draft.bytes()));
        keep_newest(&mut self.whole, piece.number, |message| (message.number, message.body.len()));
        became
    }

    /// The whole versions of a message, the newest first.
    pub(super) fn versions(&self, kind: u8, number: u16) -> impl Iterator<Item = &Message> + Clone {
        self.whole.iter().rev().filter(move |message| (message.kind, message.number) == (kind, number))
    }

    /// The version of a message that came nearest to a datagram: what is sent at once comes at once.
    pub(super) fn nearest(&self, kind: u8, number: u16, datagram: u32) -> Option<&Message> {
        self.versions(kind, number).min_by_key(|message| message.datagram.abs_diff(datagram))
    }

    /// The id of the newest whole message.
    pub(super) const fn newest(&self) -> u32 {
        self.ids
    }
}

/// Takes the oldest versions of a message away, where there are too many. `size` says of which message one is, and its bytes.
fn keep_newest<T>(all: &mut Vec<T>, number: u16, size: impl Fn(&T) -> (u16, usize)) {
    loop {
        let versions = all.iter().map(&size).enumerate().filter(|(_, (of, _))| *of == number);
        let oldest = versions.clone().next();
        let (count, bytes) = versions.fold((0, 0), |(count, all), (_, (_, bytes))| (count + 1, all + bytes));
        match oldest {
            Some((oldest, _)) if count > 1 && (count > MOST_VERSIONS || bytes > MOST_BYTES) => {
                all.remove(oldest)
            }
            _ => return,
        };
    }
}

impl Draft {
    fn new(piece: &Piece<'_>) -> Self {
        let Piece { kind, number, length, .. } = *piece;
        Self { kind, number, length, pieces: BTreeMap::new() }
    }

    fn bytes(&self) -> usize {
        self.pieces.values().map(Vec::len).sum()
    }

    fn is_of(&self, piece: &Piece<'_>) -> bool {
        (self.kind, self.number, self.length) == (piece.kind, piece.number, piece.length)
    }

    /// Takes a piece, unless another version has other bytes there.
    fn take(&mut self, piece: &Piece<'_>) -> bool {
        let agrees = self.pieces.iter().all(|(offset, bytes)| agree(*offset, bytes, piece));
        if agrees && self.pieces.len() < MOST_PIECES {
            let held = self.pieces.entry(piece.offset).or_default();
            if held.len() < piece.bytes.len() {
                *held = piece.bytes.to_vec();
            }
        }
        agrees
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        for (offset, bytes) in &self.pieces {
            let known = body.len().checked_sub(*offset)?;
            body.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
        (body.len() == self.length).then_some(body)
    }
}

/// Whether bytes at a place are those of a piece where both have some.
fn agree(offset: usize, bytes: &[u8], piece: &Piece<'_>) -> bool {
    let from = offset.max(piece.offset);
    let to = (offset + bytes.len()).min(piece.offset + piece.bytes.len());
    from >= to
        || bytes.get(from - offset..to - offset) == piece.bytes.get(from - piece.offset..to - piece.offset)
}

impl Message {
    /// Whether a piece is of this one.
    pub(super) fn contains(&self, piece: &Piece<'_>) -> bool {
        (self.kind, self.number, self.body.len()) == (piece.kind, piece.number, piece.length)
            && agree(0, &self.body, piece)
    }

    /// As it is hashed: in one piece (RFC 6347 §4.2.6).
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let [.., l2, l1, l0] = self.body.len().to_be_bytes();
        let [m1, m0] = self.number.to_be_bytes();
        let mut bytes = Vec::with_capacity(MESSAGE_HEADER + self.body.len());
        bytes.extend_from_slice(&[self.kind, l2, l1, l0, m1, m0, 0, 0, 0, l2, l1, l0]);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// As a record of its own.
    pub(super) fn to_record(&self) -> Vec<u8> {
        let message = self.to_bytes();
        let [.., l1, l0] = message.len().to_be_bytes();
        let [n1, n0] = self.number.to_be_bytes();
        let mut record = vec![HANDSHAKE, 254, 253, 0, 0, 0, 0, 0, 0, n1, n0, l1, l0];
        record.extend_from_slice(&message);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u16, length: usize, offset: usize, bytes: &[u8]) -> Piece<'_> {
        Piece { kind: 1, length, number, offset, bytes }
    }

    fn bodies(assembly: &Assembly) -> Vec<&[u8]> {
        assembly.versions(1, 0).map(|message| &message.body[..]).collect()
    }

    #[test]
    fn pieces_make_a_message_in_any_order_repeated_and_overlapping() {
        let mut assembly = Assembly::default();
        for (offset, bytes) in [(6, &b"ghi"[..]), (0, b"ab"), (6, b"ghi"), (1, b"bcd"), (0, b"ab")] {
            assert!(!assembly.take(&piece(0, 9, offset, bytes), 1));
        }
        assert!(assembly.take(&piece(0, 9, 3, b"defg"), 2));
        assert_eq!(bodies(&assembly), [b"abcdefghi"]);
        assert!(!assembly.take(&piece(0, 9, 3, b"def"), 5), "it is there");
        let message = assembly.versions(1, 0).next().unwrap();
        assert_eq!((message.id, message.datagram), (1, 5));
        assert_eq!(message.to_bytes(), *b"\x01\0\0\x09\0\0\0\0\0\0\0\x09abcdefghi");
        assert_eq!(message.to_record()[..13], [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 21]);
    }

    #[test]
    fn a_forged_piece_does_not_keep_the_genuine_one_out() {
        let mut assembly = Assembly::default();
        assembly.take(&piece(0, 6, 0, b"xyz"), 1);
        assembly.take(&piece(0, 6, 0, b"abc"), 2);
        assert!(assembly.take(&piece(0, 6, 3, b"def"), 2));
        assert!(bodies(&assembly).contains(&&b"abcdef"[..]), "{assembly:?}");
        // Nor does a message of another length, or one that is whole.
        assembly.take(&piece(0, 3, 0, b"xyz"), 3);
        assert!(assembly.take(&piece(0, 6, 0, b"ghijkl"), 4));
        assert_eq!(bodies(&assembly)[0], b"ghijkl");
        assert_eq!(assembly.nearest(1, 0, 3).unwrap().body, b"xyz");
    }

    #[test]
    fn a_flood_is_kept_within_bounds_and_the_newest_stay() {
        let mut assembly = Assembly::default();
        for round in 0..1000_u32 {
            let bytes = round.to_be_bytes();
            assembly.take(&piece(0, 9, 0, &bytes), round);
            assembly.take(&piece(0, 4, 0, &bytes), round);
            let offset = usize::try_from(round).unwrap();
            assembly.take(&piece(0, LONGEST_MESSAGE, 2 * offset, b"x"), round);
        }
        assert!(assembly.drafts.len() <= MOST_VERSIONS && assembly.whole.len() <= MOST_VERSIONS);
        assert!(assembly.drafts.iter().all(|draft| draft.pieces.len() <= MOST_PIECES));
        assert_eq!(bodies(&assembly)[0], 999_u32.to_be_bytes());
        assert!(!assembly.take(&piece(0, LONGEST_MESSAGE + 1, 0, b"x"), 0));
        for round in 0..100_u8 {
            assembly.take(&piece(0, 10_000, 0, &[round; 10_000]), 0);
        }
        let kept: usize = bodies(&assembly).iter().map(|body| body.len()).sum();
        assert!((50_000..=MOST_BYTES).contains(&kept), "{kept}");
    }
}
