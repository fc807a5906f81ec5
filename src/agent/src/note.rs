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
            DialogNote::Over { remote_tag } => {
                if let Some(number) = entry.noted.remove(&(attempt, remote_tag)) {
                    keeper.is_over(number);
                }
            }
        }
    }

    /// No dialog of the attempt is waited for any more: those of other branches have their BYE.
    pub(crate) fn forget_notes(&mut self, key: RecordingKey, attempt: Option<u32>) {
        let Some(keeper) = &self.parts.keeper else { return };
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        for (_, number) in entry.noted.extract_if(|(of, _), _| attempt.is_none_or(|attempt| attempt == *of)) {
            keeper.is_over(number);
        }
    }
}
