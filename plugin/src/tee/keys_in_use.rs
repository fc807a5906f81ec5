//! Which keys are used for what in one element, so that none is used for two things.
//!
//! A branch keeps the call's SSRC, and its sequence numbers run through the same range as the call's and as those of other
//! branches. Under one key they would meet in one (key, SSRC, index), and two packets would share a keystream (RFC 3711
//! §9.1).

use std::sync::Mutex;

use siprec_model::SrtpKey;

use crate::sync::lock;

/// Keys of the call that are remembered.
const MOST_OF_CALL: usize = 64;
/// Keys of branches that are remembered, and no more are there in the life of an element.
const MOST_OF_BRANCHES: usize = 4096;

/// The keys of one element, of its whole life. They are overwritten when it goes.
#[derive(Default)]
pub(super) struct KeysInUse(Mutex<Known>);

#[derive(Default)]
struct Known {
    call: Vec<SrtpKey>,
    branches: Vec<(u64, SrtpKey)>,
}

/// The key is used for something else, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken;

impl KeysInUse {
    /// Notes a key of the call.
    pub(super) fn of_call(&self, key: &SrtpKey) -> Result<(), Taken> {
        let mut known = lock(&self.0);
        if known.branches.iter().any(|(_, known)| known.master() == key.master()) {
            return Err(Taken);
        }
        if known.call.iter().all(|known| known.master() != key.master()) {
            if known.call.len() >= MOST_OF_CALL {
                known.call.remove(0);
            }
            known.call.push(key.clone());
        }
        Ok(())
    }

    /// Notes a key of a branch, which may come to it again.
    pub(super) fn of_branch(&self, branch: u64, key: &SrtpKey) -> Result<(), Taken> {
        let mut known = lock(&self.0);
        if known.call.iter().any(|known| known.master() == key.master()) {
            return Err(Taken);
        }
        match known.branches.iter().find(|(_, known)| known.master() == key.master()) {
            Some((owner, _)) => (*owner == branch).then_some(()).ok_or(Taken),
            None if known.branches.len() >= MOST_OF_BRANCHES => Err(Taken),
            None => {
                known.branches.push((branch, key.clone()));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::SrtpSuite;

    use super::*;

    fn key(byte: u8) -> SrtpKey {
        SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[byte; 28]).unwrap()
    }

    #[test]
    fn a_key_is_of_one_branch_for_ever() {
        let keys = KeysInUse::default();
        assert_eq!(keys.of_branch(1, &key(1)), Ok(()));
        assert_eq!(keys.of_branch(1, &key(2)), Ok(()));
        assert_eq!(keys.of_branch(1, &key(1)), Ok(()));
        assert_eq!(keys.of_branch(2, &key(1)), Err(Taken));
        assert_eq!(keys.of_branch(2, &key(3)), Ok(()));
    }

    #[test]
    fn no_key_is_of_the_call_and_of_a_branch() {
        let keys = KeysInUse::default();
        assert_eq!(keys.of_call(&key(1)), Ok(()));
        assert_eq!(keys.of_call(&key(1)), Ok(()));
        assert_eq!(keys.of_branch(1, &key(1)), Err(Taken));
        assert_eq!(keys.of_branch(1, &key(2)), Ok(()));
        assert_eq!(keys.of_call(&key(2)), Err(Taken));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let keys = KeysInUse::default();
        for number in 0..5000_u32 {
            let mut master = [0; 28];
            master[..4].copy_from_slice(&number.to_be_bytes());
            let key = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &master).unwrap();
            assert_eq!(keys.of_call(&key), Ok(()));
            master[27] = 1;
            let key = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &master).unwrap();
            assert_eq!(keys.of_branch(1, &key).is_ok(), number < 4096);
        }
        assert_eq!(lock(&keys.0).call.len(), MOST_OF_CALL);
    }
}
