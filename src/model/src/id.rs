//! Identifiers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of one recording (one call) within this process. Never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingKey(u64);

/// The number of one tapped call stream (one sink pad) within this process. Never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// A recorder, as the session knows it: streams to one host with the same key are one recorder's, whichever recordings they are of. What
/// a host refuses of one recorder says nothing of another one there. Never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecorderKey(u64);

impl RecorderKey {
    /// The key with this number, which is the same for all sessions with the recorder.
    pub const fn from_raw(number: u64) -> Self {
        Self(number)
    }
}

macro_rules! process_unique {
    ($type:ident) => {
        impl $type {
            /// A number that no other value of this type in this process has.
            pub fn unique() -> Self {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }

            /// The value with this number, for tests that want to name their own.
            pub const fn from_raw(number: u64) -> Self {
                Self(number)
            }

            /// The number itself.
            pub const fn as_raw(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

process_unique!(RecordingKey);
process_unique!(StreamId);

/// One stream of a call on its way to one recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId {
    /// The recording that the branch belongs to.
    pub recording: RecordingKey,
    /// Which copy of the stream, from 0: each goes to a recorder of its own.
    pub leg: u16,
    /// Number of the stream within the recording: the index of its pad, or from 64 on where the pad had another before.
    pub slot: u16,
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.recording, self.leg, self.slot)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// Takes any text: escaping belongs to whoever puts it on the wire.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The recording's name at the recorder, `record=<id>` in the dialect `genesys`. Globally unique.
    RecordingId
}
text_id! {
    /// The controller's name of the call, `calluuid` in the dialect `genesys`.
    CallUuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_differ() {
        assert_ne!(StreamId::unique(), StreamId::unique());
        assert_ne!(RecordingKey::unique(), RecordingKey::unique());
    }

    #[test]
    fn branch_ids_print_as_a_path() {
        let branch = BranchId { recording: RecordingKey::from_raw(7), leg: 0, slot: 1 };
        assert_eq!(branch.to_string(), "7/0/1");
    }
}
