//! What a dialog keeps of requests, and when it forgets them.

use std::time::Instant;

use super::DialogUa;
use super::slots::{ClientSlot, ServerSlot};
use crate::Response;
use crate::dialog::remote_tag;

/// Requests of the peer that wait at once for our answer, or for the ACK of one. Those above are refused, save BYE.
const MAX_OPEN: usize = 64;

/// Bytes, about, that each side's requests may take once they are answered and kept only for what comes again: some
/// 50 answers with SDP. A peer that asks four times a second is known again for longer than its timer E waits at first.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// INVITEs of ours that were forgotten while their 2xx could still come again.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForgottenInvites {
    /// CSeq number of the newest.
    newest: u32,
    /// When its timer M would have ended.
    until: Instant,
}

impl DialogUa {
    /// Whether the peer has as many requests open as it may.
    pub(super) fn is_full(&self) -> bool {
        self.servers.iter().filter(|slot| slot.is_open()).count() >= MAX_OPEN
    }

    /// Forgets the requests that are done, and the oldest of those that are kept only for what comes again.
    ///
    /// Who is forgotten is not taken for new: the peer's by its number (RFC 3261 §12.2.2), a 2xx to ours by the dialog,
    /// which acknowledges it again.
    pub(super) fn forget(&mut self) {
        // After the end nothing comes again on a stream that would need the same answer.
        let is_over = self.is_terminated() && self.endpoint.transport().is_reliable();
        self.servers.retain(|slot| !slot.is_done() && (!is_over || slot.is_absorbed_on_streams()));
        self.clients.retain(|slot| !slot.transaction.is_terminated());
        self.forks.retain(|fork| !fork.is_done());
        for slot in &mut self.clients {
            slot.transaction.forget_request();
        }
        forget_oldest(&mut self.servers, ServerSlot::kept_bytes, |_| ());
        forget_oldest(&mut self.clients, ClientSlot::kept_bytes, |slot| {
            if let (Some(newest), Some(until)) = (slot.acknowledged_invite(), slot.transaction.next_timeout())
            {
                self.forgotten = Some(ForgottenInvites { newest, until });
            }
        });
    }

    /// The number of an INVITE of ours that is forgotten, where `response` is its 2xx and comes in time.
    pub(super) fn forgotten_invite(&self, response: &Response, now: Instant) -> Option<u32> {
        let forgotten = self.forgotten.filter(|forgotten| now < forgotten.until)?;
        let number = response.headers.cseq().ok()?.number;
        let ours = self.state.dialog()?.remote_tag() == remote_tag(response).as_deref();
        (ours && number <= forgotten.newest).then_some(number)
    }
}

/// Forgets the oldest of the slots that have a size, until the others fit.
fn forget_oldest<T>(
    slots: &mut Vec<T>,
    kept_bytes: impl Fn(&T) -> Option<usize>,
    mut forgotten: impl FnMut(&T),
) {
    let kept: usize = slots.iter().filter_map(&kept_bytes).sum();
    let mut excess = kept.saturating_sub(MAX_KEPT_BYTES);
    if excess > 0 {
        slots.retain(|slot| match kept_bytes(slot) {
            Some(bytes) if excess > 0 => {
                excess = excess.saturating_sub(bytes);
                forgotten(slot);
                false
            }
            _ => true,
        });
    }
    if slots.is_empty() {
        // A dialog spends nearly all of its life without a request.
        slots.shrink_to_fit();
    }
}
