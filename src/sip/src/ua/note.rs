//! What the user writes down of a dialog, so that another process can end it.

use std::time::Instant;

use super::slots::ForkNote;
use super::{Confirmed, DialogUa, Ending, Endpoint, Role, State};
use crate::dialog::Dialog;
use crate::{Headers, Method, Random};

/// By how much the number of a BYE is above the one that was written down of its dialog, since later requests are not.
pub const LEFT_BEHIND_STEP: u32 = 1000;

/// From so many later requests on, a dialog is written down again.
const RENEW: u32 = LEFT_BEHIND_STEP / 2;

/// Something that has changed of the dialogs that a peer believes in. They are told apart by the peer's tags: those of
/// other branches of a forked INVITE are here, too, until their BYE is done.
#[derive(Debug, Clone, PartialEq)]
pub enum DialogNote {
    /// There is a dialog, or what was written down of it is not true any more.
    Stands(Box<Dialog>),
    /// The dialog has ended: by the peer's BYE, or by ours, whose final answer came or never will.
    Over {
        /// The peer's tag.
        remote_tag: Option<String>,
        /// Our BYE had no answer, so that the peer may keep the dialog.
        is_unanswered: bool,
    },
}

/// What the user knows of the confirmed dialog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted {
    cseq: u32,
    moves: u32,
}

impl DialogUa {
    /// The next thing to be written down before what [`poll_transmit`](Self::poll_transmit) gives is sent: a dialog
    /// stands once its INVITE has a 2xx, before our ACK leaves, and until it has ended.
    pub fn poll_note(&mut self) -> Option<DialogNote> {
        match &self.state {
            State::Confirmed(Confirmed { dialog }) | State::Ending(Ending { dialog, .. }) => {
                let (cseq, moves) = (dialog.local_cseq(), dialog.moves());
                let is_true = |noted: &Noted| noted.moves == moves && cseq < noted.cseq.saturating_add(RENEW);
                if !self.noted.as_ref().is_some_and(is_true) {
                    self.noted = Some(Noted { cseq, moves });
                    return Some(DialogNote::Stands(Box::new(dialog.clone())));
                }
            }
            State::Ended(ended) => {
                if self.noted.take().is_some() {
                    let remote_tag = ended.dialog.as_ref().and_then(Dialog::remote_tag);
                    return Some(DialogNote::Over {
                        remote_tag: remote_tag.map(str::to_owned),
                        is_unanswered: ended.is_unanswered,
                    });
                }
            }
            State::Calling(_) | State::Ringing(_) => {}
        }
        let noted = self.forks.iter_mut().find_map(|fork| match fork.note {
            ForkNote::No => {
                fork.note = ForkNote::Stands;
                Some(DialogNote::Stands(Box::new(fork.dialog.clone())))
            }
            ForkNote::Stands if fork.bye.is_answered() || fork.bye.is_terminated() => {
                fork.note = ForkNote::Over;
                let remote_tag = fork.dialog.remote_tag().map(str::to_owned);
                Some(DialogNote::Over { remote_tag, is_unanswered: !fork.is_answered })
            }
            ForkNote::Stands | ForkNote::Over => None,
        });
        if noted.is_some() {
            self.forget();
        }
        noted
    }

    /// Sends the BYE of a dialog that another process has left behind, as the endpoint that we are now: its number is
    /// [`LEFT_BEHIND_STEP`] above the one that was written down, so that no request that was sent since has a higher
    /// one (RFC 3261 §12.2.2). The only event to come is `Terminated`.
    pub fn bye_left_behind(
        endpoint: Endpoint,
        mut dialog: Dialog,
        random: &mut Random,
        now: Instant,
    ) -> DialogUa {
        dialog.skip_numbers(LEFT_BEHIND_STEP - 1);
        DialogUa::bye_again(endpoint, dialog, random, now)
    }

    /// The same, with the next number: for a BYE of ours that could not be sent, in the [dialog](Self::dialog) as that has left it.
    pub fn bye_again(endpoint: Endpoint, dialog: Dialog, random: &mut Random, now: Instant) -> DialogUa {
        let state = State::Confirmed(Confirmed { dialog: dialog.clone() });
        let mut ua = DialogUa::new(endpoint, random.fork(), Role::Caller, dialog, state);
        // A confirmed dialog takes a BYE.
        let _ = ua.request(Method::Bye, Headers::new(), None, now);
        ua
    }
}
