//! Faults that tests put into a branch.

use std::sync::Mutex;

use siprec_model::BranchId;

static VICTIM: Mutex<Option<BranchId>> = Mutex::new(None);

/// The next slice of this branch panics.
pub(crate) fn inject(branch: BranchId) {
    *VICTIM.lock().unwrap() = Some(branch);
}

/// Panics if this branch's turn has come.
pub(crate) fn strike(branch: BranchId) {
    let mut victim = VICTIM.lock().unwrap();
    if *victim == Some(branch) {
        *victim = None;
        drop(victim);
        panic!("injected fault");
    }
}
