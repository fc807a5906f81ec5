//! What is written down of our own dialogs, within the loop.

use siprec_model::RecordingKey;
use siprec_session::LeftDialog;
use siprec_sip::DialogNote;

use crate::worker::Worker;

impl Worker {
    /// Writes down that a dialog stands, or that it is over.
    pub(crate) fn note(&mut self, key: RecordingKey, attempt: u32, note: DialogNote) {
        let Some(keeper) = &self.parts.keeper else { return };
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        match note {
            DialogNote::Stands(dialog) => {
                let Some(way) = entry.routes.noted(attempt) else { return };
                let of = (attempt, dialog.remote_tag().map(str::to_owned));
                let left = LeftDialog {
                    dialog: *dialog,
                    way,
                    recording_id: entry.info.recording_id.clone(),
                    call_uuid: entry.info.call_uuid.clone(),
                };
                let number = keeper.stands(entry.noted.get(&of).copied(), &left);
                entry.noted.insert(of, number);
            }
            DialogNote::Over { remote_tag, is_unanswered } => {
                let Some(number) = entry.noted.remove(&(attempt, remote_tag)) else { return };
                if is_unanswered {
                    let recording = entry.info.recording_id.as_str();
                    let reason = entry.unsent.get(&attempt).map_or("nobody has answered it", String::as_str);
                    tracing::warn!(
                        recording,
                        reason,
                        "a dialog has not ended by its BYE, and is given up: its recorder may keep it"
                    );
                }
                keeper.is_over(number);
            }
        }
    }

    /// Nobody has ended these dialogs of a recording: they are left to the next process.
    pub(crate) fn leave_notes(&mut self, key: RecordingKey) {
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        for ((attempt, _), _) in entry.noted.drain() {
            let recording = entry.info.recording_id.as_str();
            let reason = entry.unsent.get(&attempt).map_or("nobody has answered its BYE", String::as_str);
            tracing::warn!(recording, reason, "a dialog has not ended, and is left to the next start");
        }
    }

    /// No dialog of the attempt is waited for any more: those of other branches have their BYE.
    pub(crate) fn forget_notes(&mut self, key: RecordingKey, attempt: Option<u32>) {
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        entry.unsent.retain(|of, _| attempt.is_some_and(|attempt| attempt != *of));
        let Some(keeper) = &self.parts.keeper else { return };
        for (_, number) in entry.noted.extract_if(|(of, _), _| attempt.is_none_or(|attempt| attempt == *of)) {
            keeper.is_over(number);
        }
    }
}
