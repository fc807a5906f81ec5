//! Keys as they may stand in what a program says, and the search for them. Of bytes, as they are: nothing is decoded, and no
//! case is folded. Uses nothing but the standard library, since the tests of the plugin have it too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

/// So many bytes of a secret, wherever in it they stand, count as the secret.
pub const FRAGMENT: usize = 8;

/// How a secret is written.
///
/// Base64 says how many bytes stand before the secret, modulo 3. Its padding does not matter: it belongs to bytes that are
/// beyond what is looked for, as do the letters that depend on a neighbour of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Its bytes.
    Raw,
    /// Its bytes, those that are not printable as `\x00`, as Rust writes texts of bytes.
    Escaped,
    /// Hexadecimal in small letters, with anything or nothing between.
    Hex,
    /// The same in capital letters.
    UpperHex,
    /// Hexadecimal numbers with something between, as `{:x?}` writes them.
    HexNumbers,
    /// The same behind `0x`.
    PrefixedHexNumbers,
    /// RFC 4648 §4.
    Base64(usize),
    /// RFC 4648 §5.
    UrlBase64(usize),
    /// Decimal numbers with something between, as `Debug` of bytes writes them.
    Decimal,
}

impl Form {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Raw,
        Self::Escaped,
        Self::Hex,
        Self::UpperHex,
        Self::HexNumbers,
        Self::PrefixedHexNumbers,
        Self::Base64(0),
        Self::Base64(1),
        Self::Base64(2),
        Self::UrlBase64(0),
        Self::UrlBase64(1),
        Self::UrlBase64(2),
        Self::Decimal,
    ];

    /// In which view of a text this form is looked for.
    fn view(self) -> View {
        match self {
            Self::Raw | Self::Escaped | Self::Base64(_) | Self::UrlBase64(_) => View::Plain,
            Self::Hex | Self::UpperHex => View::Squeezed,
            Self::HexNumbers | Self::PrefixedHexNumbers | Self::Decimal => View::Words,
        }
    }

    /// What stands in that view where this part of a secret does.
    fn trace(self, part: &[u8]) -> Vec<u8> {
        let joined = |write: fn(&u8) -> String, between: &str| {
            part.iter().map(write).collect::<Vec<_>>().join(between).into_bytes()
        };
        let words = |write: fn(&u8) -> String| [b" ", &*joined(write, " "), b" "].concat();
        match self {
            Self::Raw => part.to_vec(),
            Self::Escaped => part.escape_ascii().collect(),
            Self::Hex => joined(|byte| format!("{byte:02x}"), ""),
            Self::UpperHex => joined(|byte| format!("{byte:02X}"), ""),
            Self::HexNumbers => words(|byte| format!("{byte:x}")),
            Self::PrefixedHexNumbers => words(|byte| format!("{byte:#04x}")),
            Self::Base64(before) => letters(part, before, STANDARD),
            Self::UrlBase64(before) => letters(part, before, URL_SAFE),
            Self::Decimal => words(u8::to_string),
        }
    }

    /// This part of a secret as programs write it: not by what [`Form::trace`] is made of, which it is to prove.
    fn write(self, part: &[u8]) -> Vec<u8> {
        let base64 = |before, alphabet| {
            let led = [&b"~~"[..before], part].concat();
            let padding = b"==".get(..(3 - led.len() % 3) % 3).unwrap_or_default();
            // One has padding and the other has not.
            [base64(&led, alphabet).as_slice(), if alphabet == STANDARD { padding } else { b"" }].concat()
        };
        match self {
            Self::Raw => part.to_vec(),
            Self::Escaped => {
                let text: String =
                    part.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
                text.into_bytes()
            }
            // As a dump has it.
            Self::Hex => part
                .chunks(2)
                .flat_map(|pair| format!("{:02x}{:02x} ", pair[0], pair[1]).into_bytes())
                .collect(),
            Self::UpperHex => part
                .iter()
                .fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02X}");
                    text
                })
                .into_bytes(),
            Self::HexNumbers => format!("{part:x?}").into_bytes(),
            Self::PrefixedHexNumbers => part
                .iter()
                .map(|byte| format!("0x{:x}{:x}", byte >> 4, byte & 15))
                .collect::<Vec<_>>()
                .join(", ")
                .into_bytes(),
            Self::Base64(before) => base64(before, STANDARD),
            Self::UrlBase64(before) => base64(before, URL_SAFE),
            Self::Decimal => format!("{part:?}").into_bytes(),
        }
    }
}

/// What is made of a text before it is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    /// Nothing.
    Plain,
    /// Without anything but letters and digits, so that it does not matter how hexadecimal digits are grouped.
    Squeezed,
    /// With one space for each run of anything else, so that it does not matter how numbers are listed.
    Words,
}

impl View {
    fn of(self, text: &[u8]) -> Vec<u8> {
        let mut seen = Vec::with_capacity(text.len() + 2);
        match self {
            Self::Plain => seen.extend_from_slice(text),
            Self::Squeezed => seen.extend(text.iter().filter(|byte| byte.is_ascii_alphanumeric())),
            Self::Words => {
                seen.push(b' ');
                for byte in text.iter().chain(b" ") {
                    match byte.is_ascii_alphanumeric() {
                        true => seen.push(*byte),
                        false if seen.last() == Some(&b' ') => {}
                        false => seen.push(b' '),
                    }
                }
            }
        }
        seen
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        [18, 12, 6, 0].into_iter().take(group.len() + 1).map(move |shift| alphabet[bits >> shift & 63])
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// The letters of base64 that no byte beside this part has a bit in.
fn letters(part: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let all = base64(&[&[0; 2][..before], part].concat(), alphabet);
    all[(8 * before).div_ceil(6)..8 * (before + part.len()) / 6].to_vec()
}

/// Bytes that must not be found, and what they are.
#[derive(Clone)]
pub struct Secret {
    /// For whoever reads of a find.
    pub name: String,
    /// At least [`FRAGMENT`].
    pub bytes: Vec<u8>,
}

impl Secret {
    /// These bytes.
    ///
    /// # Panics
    /// When they are too few to be told from others.
    pub fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        let name = name.into();
        assert!(bytes.len() >= FRAGMENT, "{name} is too short");
        Self { name, bytes: bytes.to_vec() }
    }
}

/// A part of a secret that stands in a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// The secret's name.
    pub secret: String,
    /// How it is written.
    pub form: Form,
    /// Which byte of the secret the part begins with.
    pub first: usize,
}

/// Looks for many secrets at once.
#[derive(Default)]
pub struct Search {
    /// What is looked for, by the view in which it would stand.
    traces: BTreeMap<View, Traces>,
}

/// By their first eight bytes; and which of these there are, roughly, since nearly none is there.
struct Traces {
    rough: Vec<bool>,
    exact: HashMap<[u8; 8], Vec<(Vec<u8>, Find)>>,
}

impl Search {
    /// Looks also for every part of [`FRAGMENT`] bytes of a secret, in these forms.
    pub fn add(&mut self, secret: &Secret, forms: &[Form]) {
        for (first, part) in secret.bytes.windows(FRAGMENT).enumerate() {
            for form in forms {
                let empty = || Traces { rough: vec![false; 1 << 16], exact: HashMap::new() };
                let traces = self.traces.entry(form.view()).or_insert_with(empty);
                let bytes = form.trace(part);
                let head = bytes[..8].try_into().unwrap();
                traces.rough[spread(u64::from_be_bytes(head))] = true;
                let find = Find { secret: secret.name.clone(), form: *form, first };
                traces.exact.entry(head).or_default().push((bytes, find));
            }
        }
    }

    /// What stands in a text.
    pub fn find(&self, text: &[u8]) -> BTreeSet<Find> {
        let mut found = BTreeSet::new();
        for (view, traces) in &self.traces {
            let seen = view.of(text);
            let mut head = 0_u64;
            for (last, byte) in seen.iter().enumerate() {
                head = head << 8 | u64::from(*byte);
                if traces.rough[spread(head)]
                    && let Some(start) = last.checked_sub(7)
                    && let Some(known) = traces.exact.get(&head.to_be_bytes())
                {
                    let here = known.iter().filter(|(bytes, _)| seen[start..].starts_with(bytes));
                    found.extend(here.map(|(_, find)| find.clone()));
                }
            }
        }
        found
    }
}

/// A place in a table of 65,536 for eight bytes.
fn spread(head: u64) -> usize {
    (head.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

/// Stand-ins for a secret that are put where it could leak: in each form another one, each made of [`FRAGMENT`] bytes of a
/// longer one, at random.
pub struct Plants(Vec<(Form, Secret, Vec<u8>)>);

impl Plants {
    /// In these forms. Raw is a text.
    pub fn in_forms(forms: &[Form]) -> Self {
        let plant = |form: &Form| {
            let mut bytes = random::<24>();
            match form {
                Form::Raw => bytes = random_letters(),
                // Letters of which only one alphabet has some, and bytes of which only one case has some.
                Form::Base64(_) | Form::UrlBase64(_) => {
                    bytes.iter_mut().step_by(2).for_each(|byte| *byte = 0xFF)
                }
                _ => bytes.iter_mut().step_by(2).for_each(|byte| *byte |= 0xA0),
            }
            let name = format!("plant {:08x} as {form:?}", u32::from_ne_bytes(random()));
            let secret = Secret::new(name, &bytes);
            (*form, secret, form.write(&bytes[8..8 + FRAGMENT]))
        };
        Self(forms.iter().map(plant).collect())
    }

    /// In every form that is a text without a backslash, which many a place doubles.
    pub fn in_text() -> Self {
        Self::in_forms(&Form::ALL.into_iter().filter(|form| *form != Form::Escaped).collect::<Vec<_>>())
    }

    /// In every form.
    pub fn in_all() -> Self {
        Self::in_forms(&Form::ALL)
    }

    /// What is to be put where a secret could leak.
    pub fn text(&self) -> String {
        let texts = self.0.iter().map(|(.., written)| std::str::from_utf8(written).unwrap());
        texts.collect::<Vec<_>>().join(" ; ")
    }
}

/// Bytes that nobody knew before.
pub fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let state = RandomState::new();
    std::array::from_fn(|index| {
        let mut hasher = state.build_hasher();
        hasher.write_usize(index);
        hasher.finish() as u8
    })
}

/// The same of letters and digits, so that they can stand in a text as they are.
pub fn random_letters<const LENGTH: usize>() -> [u8; LENGTH] {
    random::<LENGTH>().map(|byte| STANDARD[usize::from(byte) % 62])
}

/// What was said, each source apart, as it was said.
#[derive(Default)]
pub struct Evidence(BTreeMap<String, Vec<u8>>);

impl Evidence {
    /// Adds to a source, behind a line break.
    pub fn add(&mut self, source: &str, text: &[u8]) {
        let all = self.0.entry(source.to_owned()).or_default();
        all.extend_from_slice(text);
        all.push(b'\n');
    }

    /// Holds that each source was captured and is searched well, since all that was planted in it is found, and that no
    /// secret is in any: in one pass over the same bytes.
    ///
    /// # Panics
    /// Says what is wrong, without the bytes of a secret.
    pub fn ensure_silent(&self, planted: &[(&str, &Plants)], secrets: &[Secret]) {
        let names: BTreeSet<_> = planted.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            self.0.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            names,
            "every source is proven"
        );
        assert!(!secrets.is_empty());
        let mut search = Search::default();
        for (form, plant, _) in planted.iter().flat_map(|(_, plants)| &plants.0) {
            search.add(plant, &[*form]);
        }
        secrets.iter().for_each(|secret| search.add(secret, &Form::ALL));
        let faults = self.0.iter().flat_map(|(source, text)| {
            let found = search.find(text);
            let planted = planted.iter().filter(|(name, _)| name == source).flat_map(|(_, plants)| &plants.0);
            let missed =
                planted.filter(|(_, plant, _)| !found.iter().any(|find| find.secret == plant.name)).map(
                    |(_, plant, _)| format!("{} is not seen in {source} ({} bytes)", plant.name, text.len()),
                );
            let leaked = found.iter().filter(|find| secrets.iter().any(|secret| secret.name == find.secret));
            missed.chain(leaked.map(|find| format!("{source} has {find:?}"))).collect::<Vec<_>>()
        });
        let faults: Vec<_> = faults.collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
