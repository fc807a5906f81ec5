//! What pools say of their recorders that binds also those who name these in another way.

use std::collections::HashMap;

use siprec_session::{Member, RecorderPlace};

use super::Pools;

/// The recorders that may not have whatever they are given, by where they are.
///
/// Pools may say different things of one. Each keeps to what it says itself; who comes by none of them keeps to the strictest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds(HashMap<RecorderPlace, Bound>);

#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    capacity: Option<u32>,
    drained: bool,
}

impl Bounds {
    pub(crate) fn of(pools: &Pools) -> Self {
        let mut bounds: HashMap<RecorderPlace, Bound> = HashMap::new();
        let members = pools.iter().flat_map(|(_, rules)| &rules.pool.members);
        for member in members.filter(|member| member.drained || member.capacity.is_some()) {
            let bound = bounds.entry(RecorderPlace::of(&member.target.uri)).or_default();
            bound.capacity = bound.capacity.into_iter().chain(member.capacity).min();
            bound.drained |= member.drained;
        }
        Self(bounds)
    }

    /// A recorder that is named by no pool, as far as it is bound.
    pub(crate) fn bind(&self, stranger: Member) -> Member {
        match self.0.get(&RecorderPlace::of(&stranger.target.uri)) {
            Some(Bound { capacity, drained }) => {
                Member { capacity: *capacity, drained: *drained, ..stranger }
            }
            None => stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_recorder_without_its_pools_keeps_to_the_strictest_of_them() {
        let text = r#"
            [[pool.east.recorder]]
            uri = "sip:192.0.2.1"
            capacity = 5
            [[pool.north.recorder]]
            uri = "sip:192.0.2.1:5060;transport=udp"
            [[pool.west.recorder]]
            uri = "sip:192.0.2.1"
            capacity = 3
            [[pool.west.recorder]]
            uri = "sip:192.0.2.2"
            drain = true
            [[pool.west.recorder]]
            uri = "sip:192.0.2.3"
            location = "oslo"
        "#;
        let bounds = Bounds::of(&Pools::parse(text, "pools.toml").unwrap());
        let bound = |uri: &str| {
            let member = bounds.bind(Member::new(uri.parse().unwrap()));
            (member.capacity, member.drained, member.location)
        };
        assert_eq!(bound("sip:192.0.2.1;transport=udp"), (Some(3), false, None));
        assert_eq!(bound("sip:192.0.2.2"), (None, true, None));
        assert_eq!(bound("sip:192.0.2.3"), (None, false, None));
        assert_eq!(bound("sip:192.0.2.4"), (None, false, None));
    }
}
