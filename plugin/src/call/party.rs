//! Who the parties of a call are, which of them have muted, and what their session descriptions say: one table for the
//! element's properties and actions and its pads' properties.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use siprec_model::{Medium, StreamFormat};
use siprec_session::{PartyKey, PartySdp, PartySdpError, TEXT_LIMIT, Voice};

use super::keys::DescribedKeys;
use crate::sync::lock;

/// Most parties that are remembered for what was said of them before they came.
const MOST_EXPECTED: usize = 64;

/// Why nothing can be said of a party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownParty {
    /// Its number is no party's.
    #[error("the DN has {0} bytes, more than {TEXT_LIMIT}")]
    TooLong(usize),
    /// It is not there, like too many others of which something was said.
    #[error("{0:?} is not in the call, and {MOST_EXPECTED} others that are not are waited for already")]
    TooMany(String),
}

/// What the session descriptions say of the streams, by pad index.
pub(crate) type Negotiated = BTreeMap<u16, Result<StreamFormat, PartySdpError>>;

/// The parties by pad index, and what is known by directory number.
#[derive(Debug, Default)]
pub(crate) struct Parties(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    dns: BTreeMap<u16, String>,
    /// Pads whose property `muted` is set.
    muted_pads: BTreeSet<u16>,
    /// Pads whose party has left the call.
    left: BTreeSet<u16>,
    /// Parties muted by action, there or not.
    muted: BTreeSet<String>,
    descriptions: BTreeMap<String, PartySdp>,
    /// What those say of keys.
    keys: BTreeMap<String, DescribedKeys>,
}

impl Parties {
    /// The DN of a pad, where it has one.
    pub(crate) fn dn(&self, index: u16) -> Option<String> {
        lock(&self.0).dns.get(&index).cloned()
    }

    /// Gives a pad its DN, or takes it away. Answers whether that changed anything.
    pub(crate) fn set_dn(&self, index: u16, dn: Option<String>) -> bool {
        let mut table = lock(&self.0);
        let before = match dn.clone() {
            Some(dn) => table.dns.insert(index, dn),
            None => table.dns.remove(&index),
        };
        before != dn
    }

    /// Every DN in the order of the pads, empty where a pad has none.
    pub(crate) fn in_order(&self) -> Vec<String> {
        let table = lock(&self.0);
        let count = table.dns.keys().last().map_or(0, |last| last.saturating_add(1));
        (0..count).map(|index| table.dns.get(&index).cloned().unwrap_or_default()).collect()
    }

    /// Whether a pad's property `muted` is set.
    pub(crate) fn is_pad_muted(&self, index: u16) -> bool {
        lock(&self.0).muted_pads.contains(&index)
    }

    pub(crate) fn mute_pad(&self, index: u16, muted: bool) {
        set_member(&mut lock(&self.0).muted_pads, index, muted);
    }

    /// Mutes a party by its DN, whether it is there or not, or takes that back.
    ///
    /// # Errors
    /// The party is not there and cannot be remembered.
    pub(crate) fn mute(&self, dn: &str, muted: bool) -> Result<(), UnknownParty> {
        let mut table = lock(&self.0);
        if muted {
            table.expect(dn)?;
        }
        set_member(&mut table.muted, dn.to_owned(), muted);
        Ok(())
    }

    /// Whether the party of a pad has left the call.
    pub(crate) fn has_left(&self, index: u16) -> bool {
        lock(&self.0).left.contains(&index)
    }

    pub(crate) fn leaves(&self, index: u16, left: bool) {
        set_member(&mut lock(&self.0).left, index, left);
    }

    /// The pad is gone: what was said of it, but for its DN, does not hold for the next one of its name.
    pub(crate) fn forget(&self, index: u16) {
        self.mute_pad(index, false);
        self.leaves(index, false);
    }

    /// Takes a party's latest session description. Answers whether the party receives somewhere else than before.
    ///
    /// # Errors
    /// The party is not there and cannot be remembered.
    pub(crate) fn describe(&self, dn: &str, sdp: PartySdp) -> Result<bool, UnknownParty> {
        let mut table = lock(&self.0);
        table.expect(dn)?;
        let before = table.descriptions.insert(dn.to_owned(), sdp.clone());
        Ok(before.is_some_and(|before| sdp.has_moved(&before)))
    }

    /// Forgets what a party's session description said, once no pad is its any more: if it comes back, it says anew.
    pub(crate) fn forget_description(&self, dn: &str) {
        let mut table = lock(&self.0);
        if !table.dns.values().any(|other| other == dn) {
            table.descriptions.remove(dn);
            table.keys.remove(dn);
        }
    }

    /// Each of these pads as far as its silence depends on it.
    pub(crate) fn voices(&self, pads: &[u16], hold_is_mute: bool) -> Vec<Voice> {
        let table = lock(&self.0);
        pads.iter()
            .map(|pad| {
                let dn = table.dns.get(pad).map_or("", String::as_str);
                let by_sdp = table.descriptions.get(dn).is_some_and(|sdp| sdp.is_mute(hold_is_mute));
                let muted = by_sdp || table.muted.contains(dn) || table.muted_pads.contains(pad);
                Voice { party: PartyKey::new(*pad, dn), muted }
            })
            .collect()
    }

    /// Takes what a party's session description says of keys, in place of what it said before.
    pub(crate) fn set_keys(&self, dn: &str, keys: DescribedKeys) {
        let mut table = lock(&self.0);
        // Only beside the description itself, whose number is bounded.
        if table.descriptions.contains_key(dn) {
            table.keys.insert(dn.to_owned(), keys);
        }
    }

    /// The keys of a pad's party.
    pub(crate) fn keys(&self, index: u16) -> DescribedKeys {
        let table = lock(&self.0);
        table.dns.get(&index).and_then(|dn| table.keys.get(dn)).cloned().unwrap_or_default()
    }

    /// Whether a pad's party says that its media is encrypted; of this medium, where it is known.
    pub(crate) fn is_secured(&self, index: u16, medium: Option<Medium>) -> bool {
        let table = lock(&self.0);
        let described = table.dns.get(&index).and_then(|dn| table.descriptions.get(dn));
        described.is_some_and(|sdp| sdp.is_secured(medium))
    }

    /// What the session descriptions say of these pads, which come with the medium of their caps: nothing of a pad whose
    /// party has given none, or has no line for it. Two parties' descriptions are taken together.
    pub(crate) fn negotiated(&self, pads: &[(u16, Option<Medium>)]) -> Negotiated {
        let table = lock(&self.0);
        let dn = |pad: u16| table.dns.get(&pad).filter(|dn| !dn.is_empty());
        let present: BTreeSet<&String> = pads.iter().filter_map(|(pad, _)| dn(*pad)).collect();
        let mut negotiated = Negotiated::new();
        for (own, sdp) in present.iter().filter_map(|own| Some((own, table.descriptions.get(*own)?))) {
            let mut others = present.iter().filter(|other| *other != own);
            let other = match (others.next(), others.next()) {
                (Some(other), None) => table.descriptions.get(*other),
                _ => None,
            };
            let streams: Vec<_> = pads.iter().filter(|(pad, _)| dn(*pad) == Some(*own)).collect();
            let media: Vec<_> = streams.iter().map(|(_, medium)| *medium).collect();
            for ((pad, _), place) in streams.into_iter().zip(sdp.place(&media)) {
                let Some((medium, number)) = place else { continue };
                if let Some(format) = sdp.negotiated(other, medium, number).transpose() {
                    negotiated.insert(*pad, format);
                }
            }
        }
        negotiated
    }
}

impl Table {
    /// Makes sure that something can be remembered of a party, there or not.
    fn expect(&self, dn: &str) -> Result<(), UnknownParty> {
        if dn.len() > TEXT_LIMIT {
            return Err(UnknownParty::TooLong(dn.len()));
        }
        let is_there = |dn: &str| self.dns.values().any(|known| known == dn);
        let expected: BTreeSet<&String> =
            self.muted.iter().chain(self.descriptions.keys()).filter(|dn| !is_there(dn)).collect();
        if is_there(dn) || expected.iter().any(|known| *known == dn) || expected.len() < MOST_EXPECTED {
            return Ok(());
        }
        Err(UnknownParty::TooMany(dn.to_owned()))
    }
}

fn set_member<T: Ord>(set: &mut BTreeSet<T>, member: T, is_in: bool) {
    if is_in {
        set.insert(member);
    } else {
        set.remove(&member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pad_without_a_dn_keeps_its_place() {
        let parties = Parties::default();
        assert!(parties.set_dn(2, Some("1002".to_owned())));
        assert!(!parties.set_dn(2, Some("1002".to_owned())));
        assert_eq!(parties.in_order(), ["", "", "1002"]);
        assert!(parties.set_dn(2, None));
        assert!(parties.in_order().is_empty());
    }

    #[test]
    fn a_mute_by_number_waits_for_its_party() {
        let parties = Parties::default();
        parties.mute("1002", true).unwrap();
        let muted = || parties.voices(&[0, 1], true).iter().map(|voice| voice.muted).collect::<Vec<_>>();
        assert_eq!(muted(), [false, false]);
        parties.set_dn(1, Some("1002".to_owned()));
        assert_eq!(muted(), [false, true]);
        parties.mute("1002", false).unwrap();
        parties.mute_pad(0, true);
        assert_eq!(muted(), [true, false]);
        parties.forget(0);
        assert_eq!(muted(), [false, false]);
    }

    #[test]
    fn parties_that_are_not_there_are_remembered_up_to_a_bound() {
        let parties = Parties::default();
        parties.set_dn(0, Some("here".to_owned()));
        for number in 0..MOST_EXPECTED {
            parties.mute(&number.to_string(), true).unwrap();
        }
        assert_eq!(parties.mute("one more", true), Err(UnknownParty::TooMany("one more".to_owned())));
        parties.mute("0", true).unwrap();
        parties.mute("here", true).unwrap();
        parties.mute("one more", false).unwrap();
        parties.mute("0", false).unwrap();
        parties.mute("one more", true).unwrap();
        let long = "x".repeat(TEXT_LIMIT + 1);
        assert_eq!(parties.mute(&long, true), Err(UnknownParty::TooLong(long.len())));
    }

    #[test]
    fn two_parties_descriptions_are_taken_together() {
        let sdp = |formats: &str| {
            let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
            PartySdp::parse(&format!("{head}m=audio 4000 RTP/AVP {formats}\r\n")).unwrap()
        };
        let parties = Parties::default();
        parties.set_dn(0, Some("1001".to_owned()));
        parties.set_dn(1, Some("1002".to_owned()));
        parties.describe("1001", sdp("0 8")).unwrap();
        let pads = [(0, None), (1, None)];
        let numbers = |pad: u16| {
            let format = parties.negotiated(&pads).remove(&pad)?.ok()?;
            Some(format.payloads.iter().map(|payload| payload.payload_type).collect::<Vec<_>>())
        };
        assert_eq!((numbers(0), numbers(1)), (Some(vec![0, 8]), None));
        parties.describe("1002", sdp("8")).unwrap();
        assert_eq!((numbers(0), numbers(1)), (Some(vec![8]), Some(vec![8])));
        parties.describe("1002", sdp("9")).unwrap();
        assert!(parties.negotiated(&pads).values().all(Result::is_err));
        parties.forget_description("1002");
        assert_eq!(numbers(0), None, "it is still there");
        parties.set_dn(1, Some("1003".to_owned()));
        parties.forget_description("1002");
        parties.set_dn(1, Some("1002".to_owned()));
        assert_eq!((numbers(0), numbers(1)), (Some(vec![0, 8]), None));
    }
}
