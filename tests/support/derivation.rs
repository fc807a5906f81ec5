//! The session keys that come of a master key of SRTP, by the letter of RFC 3711 §4.3 and FIPS 197: nothing that the product
//! uses has a part in it.

/// Names and bytes of all session keys of a suite, for a key derivation rate of 0 and index 0: cipher, authentication and salt
/// of RTP and of RTCP. `master` is key and salt as `inline:` has them.
///
/// # Panics
/// When the master key's length is not the suite's.
pub fn session_keys(suite: &str, master: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (key_length, is_gcm) = (if suite.contains("256") { 32 } else { 16 }, suite.contains("GCM"));
    let salt_length = if is_gcm { 12 } else { 14 };
    assert_eq!(master.len(), key_length + salt_length, "{suite}");
    let (key, salt) = master.split_at(key_length);
    // RFC 3711 §4.3.2; RFC 7714 §11: without authentication, and with twelve bytes of salt.
    let kinds = [
        ("cipher of RTP", 0, key_length),
        ("authentication of RTP", 1, if is_gcm { 0 } else { 20 }),
        ("salt of RTP", 2, salt_length),
        ("cipher of RTCP", 3, key_length),
        ("authentication of RTCP", 4, if is_gcm { 0 } else { 20 }),
        ("salt of RTCP", 5, salt_length),
    ];
    let cipher = Aes::new(key);
    let derived = kinds.map(|(name, label, length)| (name, derive(&cipher, salt, label, length)));
    derived.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// AES in counter mode over zeros (RFC 3711 §4.3.3): a salt of 96 bits counts as one of 112 with zeros behind (RFC 7714 §11).
fn derive(cipher: &Aes, salt: &[u8], label: u8, length: usize) -> Vec<u8> {
    let mut block = [0; 16];
    block[..salt.len()].copy_from_slice(salt);
    // Label and index, 56 bits, stand at the end of the 112.
    block[7] ^= label;
    let mut stream = Vec::new();
    for counter in 0..length.div_ceil(16) as u16 {
        block[14..].copy_from_slice(&counter.to_be_bytes());
        stream.extend(cipher.encrypt(block));
    }
    stream.truncate(length);
    stream
}

/// AES (FIPS 197), slowly.
struct Aes {
    substitutes: [u8; 256],
    round_keys: Vec<[u8; 16]>,
}

impl Aes {
    fn new(key: &[u8]) -> Self {
        let substitutes = substitutes();
        let columns = key.len() / 4;
        let mut words: Vec<[u8; 4]> = key.chunks(4).map(|word| word.try_into().unwrap()).collect();
        let mut round = 1;
        for index in columns..4 * (columns + 7) {
            let mut word = words[index - 1];
            if index % columns == 0 {
                word.rotate_left(1);
            }
            if index % columns == 0 || columns > 6 && index % columns == 4 {
                word = word.map(|byte| substitutes[usize::from(byte)]);
            }
            if index % columns == 0 {
                word[0] ^= round;
                round = doubled(round);
            }
            let before = words[index - columns];
            words.push(std::array::from_fn(|row| word[row] ^ before[row]));
        }
        let round_keys = words.chunks(4).map(|four| four.concat().try_into().unwrap()).collect();
        Self { substitutes, round_keys }
    }

    fn encrypt(&self, mut state: [u8; 16]) -> [u8; 16] {
        for (round, key) in self.round_keys.iter().enumerate() {
            if round > 0 {
                state =
                    std::array::from_fn(|at| self.substitutes[usize::from(state[(at + at % 4 * 4) % 16])]);
                if round + 1 < self.round_keys.len() {
                    state = std::array::from_fn(|at| {
                        let byte = |row: usize| state[at / 4 * 4 + (at + row) % 4];
                        doubled(byte(0) ^ byte(1)) ^ byte(1) ^ byte(2) ^ byte(3)
                    });
                }
            }
            state = std::array::from_fn(|at| state[at] ^ key[at]);
        }
        state
    }
}

/// Twice in GF(2^8).
fn doubled(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 == 0 { 0 } else { 0x1B }
}

/// The S-box: inverse, then the affine map.
fn substitutes() -> [u8; 256] {
    let product = |mut one: u8, mut other: u8| {
        let mut sum = 0;
        while other > 0 {
            sum ^= if other & 1 == 0 { 0 } else { one };
            (one, other) = (doubled(one), other >> 1);
        }
        sum
    };
    std::array::from_fn(|byte| {
        let inverse = (1..=255).find(|other| product(byte as u8, *other) == 1).unwrap_or(0_u8);
        [1, 2, 3, 4].into_iter().fold(inverse ^ 0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
    })
}
