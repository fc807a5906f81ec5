//! Where a video stream can be decoded from: the packets that begin a key frame.

use siprec_model::VideoCodec;

/// Whether an RTP payload begins a key frame: a picture that needs no other, or the parameter sets before it.
///
/// `payload` is what follows the RTP header, its CSRCs and extension, without padding. A picture may begin more than
/// once (parameter sets, then each of its slices): the first such packet of an RTP timestamp is where it begins. What
/// is cut short or contradicts itself begins nothing.
pub fn begins_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    let begins = match codec {
        VideoCodec::H264 => h264(payload),
        VideoCodec::H265 => h265(payload),
        VideoCodec::Vp8 => vp8(payload),
        VideoCodec::Vp9 => vp9(payload),
        // A codec that the model has and this does not know: as if it were unknown.
        _ => None,
    };
    begins.unwrap_or(false)
}

/// RFC 6184 §5.2, in all packetization modes. A sequence parameter set or an IDR slice; a picture parameter set alone
/// may come before any picture, and nothing can be decoded from it on.
fn h264(payload: &[u8]) -> Option<bool> {
    const DON: usize = 2;
    let is_key = |header: u8| matches!(header & 0x1F, 5 | 7);
    let (&header, rest) = payload.split_first()?;
    match header & 0x1F {
        24 => Units { rest, before: 0, between: 0 }.any(is_key), // STAP-A
        25 => Units { rest: rest.get(DON..)?, before: 0, between: 0 }.any(is_key), // STAP-B
        // A difference of decoding order numbers and one of time stand before each unit (§5.7.2).
        26 => Units { rest: rest.get(DON..)?, before: 0, between: 1 + 2 }.any(is_key), // MTAP16
        27 => Units { rest: rest.get(DON..)?, before: 0, between: 1 + 3 }.any(is_key), // MTAP24
        28 | 29 => fragment(rest, 0x1F).map(|start| start.is_some_and(is_key)),        // FU-A, FU-B
        _ => Some(is_key(header)),
    }
}

/// RFC 7798 §4.4: a video or sequence parameter set, or a slice of an IRAP picture (H.265 §7.4.2.2).
fn h265(payload: &[u8]) -> Option<bool> {
    const AGGREGATION: u8 = 48;
    const FRAGMENT: u8 = 49;
    const CONTENT_INFORMATION: u8 = 50;
    let is_key_type = |unit_type: u8| matches!(unit_type, 16..=23 | 32 | 33);
    let is_key = |header: u8| is_key_type(header >> 1 & 0x3F);
    let (&[header, _], mut rest) = payload.split_first_chunk()?;
    let mut unit_type = header >> 1 & 0x3F;
    if unit_type == CONTENT_INFORMATION {
        // PACI: the type of what it carries, and how many octets of extensions stand before that (§4.4.4).
        let (&[high, low], carried) = rest.split_first_chunk()?;
        unit_type = high >> 1 & 0x3F;
        rest = carried.get(usize::from((high & 1) << 4 | low >> 4)..)?;
    }
    match unit_type {
        // Whether there are decoding order numbers, only the session description says (§4.4.2). Where the lengths
        // make no sense without, they are there: two octets before the first unit, one before each other.
        AGGREGATION => Units { rest, before: 0, between: 0 }
            .any(is_key)
            .or_else(|| Units { rest: rest.get(1..)?, before: 1, between: 0 }.any(is_key)),
        FRAGMENT => fragment(rest, 0x3F).map(|start| start.is_some_and(is_key_type)),
        _ => Some(is_key_type(unit_type)),
    }
}

/// RFC 7741 §4.2 and §4.3: the start of the first partition of a frame whose inverse key frame flag is 0.
fn vp8(payload: &[u8]) -> Option<bool> {
    let (&descriptor, mut rest) = payload.split_first()?;
    let starts = descriptor & 0x10 != 0 && descriptor & 0x07 == 0;
    if descriptor & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            rest = after_picture_id(rest)?;
        }
        let level_index = usize::from(extension & 0x40 != 0);
        let layer_or_key_index = usize::from(extension & 0x30 != 0);
        rest = rest.get(level_index + layer_or_key_index..)?;
    }
    Some(starts && rest.first()? & 1 == 0)
}

/// RFC 9628 §4.2: the start of a frame of the lowest spatial layer that is not predicted from another picture, and is
/// a key frame by its own header: one of intra blocks only needs older pictures all the same.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&descriptor, mut rest) = payload.split_first()?;
    let has = |bit: u8| descriptor & bit != 0;
    let [picture_id, predicted, layers, flexible, starts, structure] =
        [0x80, 0x40, 0x20, 0x10, 0x08, 0x02].map(has);
    if predicted || !starts {
        return Some(false);
    }
    if picture_id {
        rest = after_picture_id(rest)?;
    }
    if layers {
        let (layer, after) = rest.split_first()?;
        if layer >> 1 & 0x07 != 0 {
            return Some(false);
        }
        rest = after.get(usize::from(!flexible)..)?;
    }
    if structure {
        rest = after_scalability_structure(rest)?;
    }
    // The uncompressed header: marker, profile, a reserved bit in profile 3, show_existing_frame, frame_type.
    let header = rest.first()?;
    let is_key = if header & 0x30 == 0x30 { header & 0x06 == 0 } else { header & 0x0C == 0 };
    Some(header >> 6 == 2 && is_key)
}

/// What follows the one or two octets of a picture id.
fn after_picture_id(rest: &[u8]) -> Option<&[u8]> {
    let (id, after) = rest.split_first()?;
    after.get(usize::from(id >> 7)..)
}

/// RFC 9628 §4.2.1.
fn after_scalability_structure(rest: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = rest.split_first()?;
    if header & 0x10 != 0 {
        let layers = usize::from(header >> 5) + 1;
        rest = rest.get(4 * layers..)?;
    }
    if header & 0x08 != 0 {
        let (pictures, after) = rest.split_first()?;
        rest = after;
        for _ in 0..*pictures {
            let (picture, after) = rest.split_first()?;
            rest = after.get(usize::from(picture >> 2 & 0x03)..)?;
        }
    }
    Some(rest)
}

/// The type of a unit whose first fragment this is; nothing for its other fragments.
fn fragment(rest: &[u8], type_bits: u8) -> Option<Option<u8>> {
    let header = rest.first()?;
    Some((header & 0x80 != 0).then_some(header & type_bits))
}

/// The units of an aggregation packet, each behind its size in two octets.
struct Units<'a> {
    rest: &'a [u8],
    /// Octets before each size.
    before: usize,
    /// Octets between each size and its unit.
    between: usize,
}

impl Units<'_> {
    /// Whether any unit begins with such an octet; nothing when the sizes do not add up to the packet.
    fn any(self, matches: impl Fn(u8) -> bool) -> Option<bool> {
        let Self { mut rest, before, between } = self;
        let mut any = false;
        while !rest.is_empty() {
            let (size, after) = rest.get(before..)?.split_first_chunk::<2>()?;
            let size = usize::from(u16::from_be_bytes(*size));
            let (unit, after) = after.get(between..)?.split_at_checked(size)?;
            any |= unit.first().is_some_and(|header| matches(*header));
            rest = after;
        }
        Some(any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn assert_table(codec: VideoCodec, table: &[(&[u8], bool)]) {
        for (payload, begins) in table {
            assert_eq!(begins_keyframe(codec, payload), *begins, "{codec:?} {payload:02x?}");
        }
    }

    #[test]
    fn h264_begins_with_a_parameter_set_or_an_idr_slice_however_it_is_packed() {
        assert_table(
            VideoCodec::H264,
            &[
                (&[], false),
                (&[0x67, 0x42], true),                                      // SPS
                (&[0x65, 0x88], true),                                      // IDR
                (&[0x68, 0xCE], false),                                     // PPS
                (&[0x41, 0x9A], false),                                     // another slice
                (&[0x09, 0x10], false),                                     // access unit delimiter
                (&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68], true),                 // STAP-A: SPS, PPS
                (&[0x78, 0, 2, 0x09, 1, 0, 1, 0x65], true),                 // STAP-A: delimiter, IDR
                (&[0x78, 0, 2, 0x41, 1, 0, 1, 0x41], false),                // STAP-A: two slices
                (&[0x78, 0, 2, 0x67, 1, 0, 9, 0x68], false),                // STAP-A that lies
                (&[0x78, 0, 2, 0x67, 1, 0], false),                         // STAP-A cut short
                (&[0x78], false),                                           // STAP-A of nothing
                (&[0x79, 0, 7, 0, 1, 0x65], true),                          // STAP-B
                (&[0x79, 0, 7, 0, 1, 0x41], false),                         //
                (&[0x79, 0], false),                                        //
                (&[0x7A, 0, 7, 0, 1, 0x65, 0, 0, 0x65], true),              // MTAP16
                (&[0x7A, 0, 7, 0, 1, 0x65, 0x65, 0x65, 0x41], false),       //
                (&[0x7B, 0, 7, 0, 1, 0, 0, 0, 0, 0x65], true),              // MTAP24
                (&[0x7B, 0, 7, 0, 1, 0x65, 0x65, 0x65, 0x65, 0x41], false), //
                (&[0x7C, 0x85, 0x88], true),                                // FU-A, start of an IDR
                (&[0x7C, 0x05, 0x88], false),                               // its middle
                (&[0x7C, 0x45, 0x88], false),                               // its end
                (&[0x7C, 0x81, 0x88], false),                               // start of another slice
                (&[0x7C], false),                                           //
                (&[0x7D, 0x85, 0, 7, 0x88], true),                          // FU-B
                (&[0x7D, 0x81, 0, 7, 0x88], false),                         //
            ],
        );
    }

    #[test]
    fn h265_begins_with_a_parameter_set_or_an_irap_slice_however_it_is_packed() {
        let one = |unit_type: u8| [unit_type << 1, 1, 0xAF];
        for unit_type in 0..48 {
            let begins = matches!(unit_type, 16..=23 | 32 | 33);
            assert_eq!(begins_keyframe(VideoCodec::H265, &one(unit_type)), begins, "{unit_type}");
        }
        assert_table(
            VideoCodec::H265,
            &[
                (&[], false),
                (&[0x40], false),
                (&[0x60, 1, 0, 3, 0x40, 1, 9, 0, 2, 0x44, 1], true), // AP: VPS, PPS
                (&[0x60, 1, 0, 3, 0x02, 1, 9, 0, 2, 0x28, 1], true), // AP: slice, IDR_N_LP
                (&[0x60, 1, 0, 3, 0x02, 1, 9, 0, 2, 0x44, 1], false), // AP: slice, PPS
                (&[0x60, 1, 0, 3, 0x40, 1, 9, 0, 9, 0x44, 1], false), // AP that lies
                (&[0x60, 1, 0, 7, 0, 3, 0x02, 1, 9, 1, 0, 2, 0x40, 1], true), // AP with numbers: slice, VPS
                (&[0x60, 1, 0, 7, 0, 3, 0x02, 1, 9, 1, 0, 2, 0x02, 1], false), //
                (&[0x62, 1, 0x80 | 19, 0xAF], true),                 // FU, start of an IDR_W_RADL
                (&[0x62, 1, 19, 0xAF], false),                       // its middle
                (&[0x62, 1, 0x80 | 1, 0xAF], false),                 // start of another slice
                (&[0x62, 1], false),                                 //
                (&[0x64, 1, 21 << 1, 0x10, 7, 0xAF], true),          // PACI, one octet of extensions, CRA
                (&[0x64, 1, 1 << 1, 0x10, 7, 0xAF], false),          //
                (&[0x64, 1, 49 << 1, 0x10, 7, 0x80 | 21, 0xAF], true), // PACI around a fragment
                (&[0x64, 1, 49 << 1 | 1, 0xF0, 7], false),           // PACI that lies
            ],
        );
    }

    #[test]
    fn vp8_begins_where_the_first_partition_of_a_key_frame_does() {
        assert_table(
            VideoCodec::Vp8,
            &[
                (&[], false),
                (&[0x10], false),
                (&[0x10, 0x50], true),
                (&[0x10, 0x51], false),                               // interframe
                (&[0x00, 0x50], false),                               // not the start
                (&[0x11, 0x50], false),                               // second partition
                (&[0x30, 0x50], true),                                // non-reference bit
                (&[0x90, 0x80, 0x7F, 0x50], true),                    // picture id of 7 bits
                (&[0x90, 0x80, 0x81, 0xFF, 0x50], true),              // of 15 bits
                (&[0x90, 0x80, 0x81, 0xFF, 0x51], false),             //
                (&[0x90, 0xC0, 0x81, 0xFF, 0x01, 0x50], true),        // with TL0PICIDX
                (&[0x90, 0xE0, 0x81, 0xFF, 0x01, 0x21, 0x50], true),  // with TID
                (&[0x90, 0xF0, 0x81, 0xFF, 0x01, 0x21, 0x51], false), // with TID and KEYIDX, which share an octet
                (&[0x90, 0x10, 0x21, 0x50], true),                    // KEYIDX alone
                (&[0x90, 0x00, 0x50], true),                          // an extension of nothing
                (&[0x90, 0xF0, 0x81, 0xFF, 0x01], false),             // cut short
                (&[0x90], false),                                     //
            ],
        );
    }

    #[test]
    fn vp9_begins_where_the_lowest_layer_of_a_key_frame_does() {
        const KEY: u8 = 0x82;
        const INTER: u8 = 0x86;
        assert_table(
            VideoCodec::Vp9,
            &[
                (&[], false),
                (&[0x08], false),
                (&[0x08, KEY], true),
                (&[0x08, INTER], false),          // intra blocks only, or a lying P bit
                (&[0x08, 0x8A], false),           // shows an older frame
                (&[0x08, 0xB0], true),            // profile 3
                (&[0x08, 0xB2], false),           //
                (&[0x08, 0x02], false),           // no VP9
                (&[0x48, KEY], false),            // predicted
                (&[0x04, KEY], false),            // not the start
                (&[0x88, 0x7F, KEY], true),       // picture id of 7 bits
                (&[0x88, 0xFF, 0xFF, KEY], true), // of 15 bits
                (&[0xA8, 0x7F, 0x10, 0x05, KEY], true), // layers, TL0PICIDX
                (&[0xB8, 0x7F, 0x10, KEY], true), // layers, flexible mode
                (&[0xB8, 0x7F, 0x12, KEY], false), // a higher spatial layer
                (&[0x0A, 0x00, KEY], true),       // structure of nothing
                (&[0x0A, 0x30, 1, 2, 3, 4, 5, 6, 7, 8, KEY], true), // of two sizes
                (&[0x0A, 0x08, 2, 0x04, 9, 0x08, 9, 9, KEY], true), // of two pictures
                (&[0x0A, 0x08, 255, 0x04, 9, 0x08, 9, 9, KEY], false), // that lies
                (&[0x0A, 0xF0, 1, 2, 3, KEY], false), //
            ],
        );
    }

    const CODECS: [VideoCodec; 4] = [VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp8, VideoCodec::Vp9];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn no_payload_makes_it_panic(
            codec in proptest::sample::select(&CODECS[..]),
            packed in prop_oneof![24u8..=29, (48u8..=50).prop_map(|unit_type| unit_type << 1), any::<u8>()],
            rest in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..64),
        ) {
            begins_keyframe(codec, &[&[packed], &rest[..]].concat());
        }

        #[test]
        fn a_key_unit_is_found_anywhere_in_an_aggregation_and_nothing_is_found_in_one_without(
            sizes in proptest::collection::vec(1usize..40, 1..8),
            place in any::<proptest::sample::Index>(),
            with_key in any::<bool>(),
        ) {
            let place = place.index(sizes.len());
            let mut h264 = vec![0x78];
            let mut h265 = vec![0x60, 1];
            for (n, size) in sizes.iter().enumerate() {
                let is_key = with_key && n == place;
                for (packet, header) in
                    [(&mut h264, if is_key { 0x65 } else { 0x41 }), (&mut h265, if is_key { 0x26 } else { 0x02 })]
                {
                    packet.extend((*size as u16).to_be_bytes());
                    packet.push(header);
                    packet.resize(packet.len() + size - 1, 0x65);
                }
            }
            prop_assert_eq!(begins_keyframe(VideoCodec::H264, &h264), with_key);
            prop_assert_eq!(begins_keyframe(VideoCodec::H265, &h265), with_key);
            h264.pop();
            prop_assert!(!begins_keyframe(VideoCodec::H264, &h264), "cut short");
        }
    }
}
