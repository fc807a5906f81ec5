//! The thread that writes dialogs down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use siprec_session::{Journal, JournalHead, LeftDialog};
use tokio::sync::Notify;

use super::file::OwnFile;
use super::left::{self, LeftFile};
use super::{Folder, Left, LeftKey, StateDirError};

/// How long the loop waits for a dialog to be written down: some thousand times as long as that takes. Where a disk
/// does not answer, it waits once, and no more until the disk has answered.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long after a failed write all is written anew.
const RETRY: Duration = Duration::from_secs(5);
/// A smaller file is not worth to be written anew.
const SMALL: u64 = 64 * 1024;
/// By how much a file may be larger than what stands in it.
const GARBAGE: u64 = 3;

/// A line of a file.
type Line = Arc<[u8]>;

/// Writes down the dialogs of one agent on a thread of its own, and finds those that others have left behind on a second
/// one, which ends once it has.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    found: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The dialogs that stand, as they are written. As many as there are sessions.
    dialogs: BTreeMap<u64, Line>,
    /// Bytes of all these.
    bytes: u64,
    /// Those of which the file does not know yet.
    changes: BTreeSet<u64>,
    last_number: u64,
    /// What has become of dialogs that were left behind, no more than there were.
    left_changes: Vec<(LeftKey, Option<Line>)>,
    found_files: Vec<LeftFile>,
    found: VecDeque<Left>,
    /// How many changes there were, and how many of them were written, or cannot be.
    made: u64,
    done: u64,
    /// A change has waited for too long.
    is_behind: bool,
    is_closing: bool,
    has_closed: bool,
}

impl Keeper {
    /// Finds out whether files can be made there, and starts to look for those that others have left behind.
    ///
    /// # Errors
    /// [`StateDirError`]. A disk that is full is none: it may have room again by the time that there is a dialog.
    pub(crate) fn start(folder: &Path, log: &tracing::Dispatch) -> Result<Self, StateDirError> {
        let refused = |source| StateDirError::Refused { path: folder.to_owned(), source };
        let folder = Folder::open(folder)?;
        let mut book = Book { folder: folder.clone(), file: None, failed: None, has_told: false };
        if let Err(error) = book.renew(&[])
            && !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return Err(refused(error));
        }
        book.remove();
        let shared = Arc::new(Shared::default());
        let (seeking, log_of_seeking) = (Arc::clone(&shared), log.clone());
        let (writing, log) = (Arc::clone(&shared), log.clone());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        // Both end by themselves; nobody may wait for a disk.
        let _detached: JoinHandle<()> = thread("siprec-state")
            .spawn(move || tracing::dispatcher::with_default(&log, || writing.write(book)))
            .map_err(refused)?;
        let keeper = Self { shared };
        let _detached: JoinHandle<()> = thread("siprec-sweep")
            .spawn(move || tracing::dispatcher::with_default(&log_of_seeking, || seeking.seek(&folder)))
            .map_err(refused)?;
        Ok(keeper)
    }

    /// A dialog stands: a new one, or the one with this number. Returns its number once it is written down, or cannot be.
    pub(crate) fn stands(&self, number: Option<u64>, dialog: &LeftDialog) -> u64 {
        let mut state = self.shared.lock();
        let number = number.unwrap_or(state.last_number + 1);
        state.last_number = state.last_number.max(number);
        let line = Line::from(dialog.to_line(number));
        state.bytes += line.len() as u64;
        state.replace(number, Some(line));
        self.shared.changed.notify_all();
        self.shared.wait(state);
        number
    }

    /// Returns once all is written, or cannot be.
    pub(crate) fn flush(&self) {
        self.shared.wait(self.shared.lock());
    }

    /// The dialog with this number is over.
    pub(crate) fn is_over(&self, number: u64) {
        self.shared.lock().replace(number, None);
        self.shared.changed.notify_all();
    }

    /// A dialog that was left behind stands in another way, or is over.
    pub(crate) fn left(&self, key: LeftKey, dialog: Option<&LeftDialog>) {
        let line = dialog.map(|dialog| Line::from(dialog.to_line(key.number())));
        self.shared.lock().left_changes.push((key, line));
        self.shared.changed.notify_all();
    }

    /// Done when dialogs may have been found that were left behind.
    pub(crate) async fn found(&self) {
        self.shared.found.notified().await;
    }

    /// The dialogs that were found.
    pub(crate) fn take_found(&self) -> VecDeque<Left> {
        std::mem::take(&mut self.shared.lock().found)
    }

    /// Has all that waits written, and lets go of the files: of what stands in them, the next process takes care. Waits
    /// for that, at most so long.
    pub(crate) fn close(&self, longest: Duration) {
        let until = Instant::now() + longest;
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.changed.notify_all();
        while !state.has_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }
}

impl State {
    fn replace(&mut self, number: u64, line: Option<Line>) {
        let old = match line {
            Some(line) => self.dialogs.insert(number, line),
            None => self.dialogs.remove(&number),
        };
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| old.len() as u64));
        self.changes.insert(number);
        self.made += 1;
    }

    fn is_idle(&self) -> bool {
        self.changes.is_empty() && self.left_changes.is_empty() && self.found_files.is_empty()
    }
}

impl Shared {
    /// Waits until what was said is written, unless the disk has not answered for so long that nobody waits any more.
    fn wait(&self, mut state: MutexGuard<'_, State>) {
        let made = state.made;
        let until = Instant::now() + PATIENCE;
        while state.done < made && !state.is_behind && !state.has_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.is_behind = true;
                tracing::warn!("the state folder takes no dialog within {PATIENCE:?}; nobody waits for it");
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn seek(&self, folder: &Folder) {
        for (file, dialogs) in left::find(folder) {
            let mut state = self.lock();
            state.found_files.push(file);
            state.found.extend(dialogs);
        }
        self.changed.notify_all();
        self.found.notify_one();
    }

    fn write(&self, mut book: Book) {
        let mut files: Vec<Option<LeftFile>> = Vec::new();
        loop {
            let mut state = self.lock();
            while state.is_idle() && !state.is_closing && !book.is_due() {
                state = match book.failed {
                    Some(_) => {
                        self.changed.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
            }
            let made = state.made;
            let changes = std::mem::take(&mut state.changes);
            let all = book.wants_all(state.bytes);
            let lines = match all {
                true => state.dialogs.values().cloned().collect(),
                false => changes.iter().map(|number| state.line(*number)).collect::<Vec<_>>(),
            };
            let left_changes = std::mem::take(&mut state.left_changes);
            files.extend(std::mem::take(&mut state.found_files).into_iter().map(Some));
            let closes = state.is_closing;
            let stands = !state.dialogs.is_empty();
            drop(state);
            match stands {
                true => book.take(&lines, all),
                false => book.remove(),
            }
            for (key, line) in left_changes {
                if let Some(file) = files.get_mut(key.file())
                    && file.as_mut().is_some_and(|file| file.note(key, line.as_deref()))
                {
                    *file = None;
                }
            }
            let mut state = self.lock();
            (state.done, state.is_behind) = (made, false);
            state.has_closed = closes;
            self.changed.notify_all();
            if closes {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the file is to say of a dialog.
    fn line(&self, number: u64) -> Line {
        self.dialogs.get(&number).cloned().unwrap_or_else(|| Journal::over_line(number).into())
    }
}

/// The file of this agent, and what has gone wrong with it.
#[derive(Debug)]
struct Book {
    folder: Folder,
    file: Option<OwnFile>,
    /// When the last write failed: the file does not know all any more.
    failed: Option<Instant>,
    has_told: bool,
}

impl Book {
    /// Whether a failed write is to be tried again.
    fn is_due(&self) -> bool {
        self.failed.is_some_and(|failed| failed.elapsed() >= RETRY)
    }

    /// Whether the file is to be written anew, where so many bytes stand.
    fn wants_all(&self, bytes: u64) -> bool {
        let is_large = |file: &OwnFile| file.length() > SMALL.max(bytes.saturating_mul(GARBAGE));
        self.failed.is_some() || self.file.as_ref().is_none_or(is_large)
    }

    fn take(&mut self, lines: &[Line], all: bool) {
        if self.failed.is_some() && !self.is_due() {
            return;
        }
        let outcome = match &mut self.file {
            _ if all => self.renew(lines),
            Some(_) if lines.is_empty() => Ok(()),
            Some(file) => file.append(&lines.concat()),
            None => Ok(()),
        };
        match outcome {
            Ok(()) => {
                self.failed = None;
                if std::mem::take(&mut self.has_told) {
                    tracing::info!("the state folder takes dialogs again");
                }
            }
            Err(error) => {
                self.failed = Some(Instant::now());
                if !std::mem::replace(&mut self.has_told, true) {
                    let folder = self.folder.path.display();
                    tracing::warn!(
                        %folder, %error,
                        "dialogs cannot be written down: should this process crash now, nobody ends them"
                    );
                }
            }
        }
    }

    /// Writes all anew.
    fn renew(&mut self, lines: &[Line]) -> io::Result<()> {
        let head = JournalHead { host: self.folder.host.clone(), process: std::process::id() };
        let mut content = head.to_line();
        lines.iter().for_each(|line| content.extend_from_slice(line));
        match &mut self.file {
            Some(file) if file.is_there() => file.replace(&content),
            _ => {
                self.file = Some(OwnFile::create(&self.folder, &content)?);
                Ok(())
            }
        }
    }

    /// No dialog stands any more, and nothing that could not be written is missing.
    fn remove(&mut self) {
        self.failed = None;
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    fn lines(count: u64) -> Vec<Line> {
        (0..count).map(|number| Line::from(Journal::over_line(number))).collect()
    }

    fn book() -> (tempfile::TempDir, Book) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        let mut book = Book { folder, file: None, failed: None, has_told: false };
        book.renew(&[]).unwrap();
        (directory, book)
    }

    fn content(book: &Book) -> Vec<String> {
        let path = fs::read_dir(&book.folder.path).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn what_could_not_be_written_is_written_once_there_is_a_place_for_it() {
        let (directory, mut book) = book();
        let path = directory.path().to_owned();
        fs::remove_dir_all(&path).unwrap();
        book.take(&lines(1), true);
        assert!(book.failed.is_some() && book.has_told && !book.is_due());
        assert!(book.wants_all(0), "what is missing in the file nobody knows");
        fs::create_dir(&path).unwrap();
        book.take(&lines(2), true);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "a disk that fails is not asked all the time");
        book.failed = Instant::now().checked_sub(RETRY);
        book.take(&lines(2), true);
        assert!(book.failed.is_none() && !book.has_told);
        assert_eq!(content(&book).len(), 2);
    }

    #[test]
    fn a_file_grows_no_larger_than_three_times_what_stands_in_it() {
        let (_directory, mut book) = book();
        let many = lines(1000);
        let bytes: usize = many.iter().map(|line| line.len()).sum();
        let mut largest = 0;
        for _ in 0..40 {
            let all = book.wants_all(bytes as u64);
            book.take(&many, all);
            largest = largest.max(book.file.as_ref().unwrap().length());
        }
        assert!(largest <= SMALL.max(GARBAGE * bytes as u64) + bytes as u64, "{largest} bytes");
        assert!(content(&book).len() >= 1000);
    }

    #[test]
    fn a_disk_that_does_not_answer_is_waited_for_once() {
        let keeper = Keeper { shared: Arc::default() };
        let left = left();
        let started = Instant::now();
        let number = keeper.stands(None, &left);
        assert!(started.elapsed() >= PATIENCE);
        let started = Instant::now();
        for _ in 0..1000 {
            keeper.stands(Some(number), &left);
        }
        assert!(started.elapsed() < PATIENCE * 100, "a thousand are not waited for");
        assert_eq!(keeper.shared.lock().changes.len(), 1, "only the latest is written");
        keeper.is_over(number);
        let state = keeper.shared.lock();
        assert_eq!((state.bytes, state.dialogs.len()), (0, 0));
        drop(state);
    }

    pub(in crate::state) fn left() -> LeftDialog {
        use siprec_sip::{Dialog, HeaderValue, NameAddr, Uri};
        let uri = Uri::parse("sip:a@192.0.2.1").unwrap();
        let address = NameAddr::new(uri.clone());
        let call_id = HeaderValue::from("x");
        LeftDialog {
            dialog: Dialog::left_behind(call_id, address.clone(), address, 1, uri.clone(), Vec::new()),
            way: siprec_session::DialogWay {
                hop: uri,
                tls: siprec_model::TlsProfile::default(),
                remote: "192.0.2.1:5060".parse().unwrap(),
                transport: siprec_sip::Transport::Udp,
                fixed: false,
                proxied: false,
            },
            recording_id: siprec_model::RecordingId::new("R"),
            call_uuid: siprec_model::CallUuid::new("C"),
        }
    }
}
