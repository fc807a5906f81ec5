//! The files of agents that are no more.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use siprec_session::{Journal, JournalError, JournalHead, LeftDialog};

use super::Folder;
use super::file::{Kind, OwnFile, is_at};

/// Most names of a folder that are looked at.
const NAMES: usize = 4096;
/// Largest file that is read.
const BYTES: u64 = 64 * 1024 * 1024;
/// Most dialogs that are taken over in one start; files beyond stay for the next one.
const DIALOGS: usize = 10_000;

/// A dialog that was left behind.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Where it stands.
    pub(crate) key: LeftKey,
    /// What was written down of it.
    pub(crate) dialog: LeftDialog,
}

/// A dialog of a file that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LeftKey {
    file: usize,
    number: u64,
}

/// A file that we have locked, and whose dialogs we end.
#[derive(Debug)]
pub(super) struct LeftFile {
    own: OwnFile,
    head: JournalHead,
    open: BTreeSet<u64>,
    /// Lines that nobody can read. They may name dialogs that nobody has ended.
    damaged: Vec<u8>,
}

impl LeftFile {
    /// What has become of one of its dialogs: a new line that says how it stands, or none, for it is over. Lets go of the
    /// file with its last dialog, and says whether it has.
    pub(super) fn note(&mut self, key: LeftKey, line: Option<&[u8]>) -> bool {
        // Should it fail, the dialog is ended twice, which is no harm.
        let _ = match line {
            Some(line) => self.own.append(line),
            None => self.own.append(&Journal::over_line(key.number)),
        };
        if line.is_none() {
            self.open.remove(&key.number);
        }
        if self.open.is_empty() {
            self.let_go();
        }
        self.open.is_empty()
    }

    /// Removes it, but for what is damaged.
    fn let_go(&mut self) {
        if self.damaged.is_empty() {
            self.own.remove();
        } else if self.own.is_there() {
            let rest = [self.head.to_line(), std::mem::take(&mut self.damaged)].concat();
            // As it is it says the same, in more lines.
            if let Err(error) = self.own.replace(&rest) {
                let file = self.own.path().display();
                tracing::warn!(%file, %error, "a file with damaged lines keeps those of dialogs that have ended, too");
            }
        }
    }
}

impl LeftKey {
    pub(super) fn file(self) -> usize {
        self.file
    }

    pub(super) fn number(self) -> u64 {
        self.number
    }
}

/// Looks for files that nobody holds, locks them, and reads what stands in them.
/// Those without a dialog are removed; those that cannot be read, or not whole, stay, and are told.
pub(super) fn find(folder: &Folder) -> Vec<(LeftFile, Vec<Left>)> {
    let names = match fs::read_dir(&folder.path) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(folder = %folder.path.display(), %error, "the state folder cannot be looked through");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    let mut count = 0;
    for entry in names.filter_map(Result::ok).take(NAMES) {
        let kind = entry.file_name().to_str().and_then(Kind::of);
        let Some(kind) = kind else { continue };
        let path = entry.path();
        match take(folder, &path, kind, found.len()) {
            Ok(None) => {}
            Ok(Some((_, dialogs))) if count + dialogs.len() > DIALOGS => {
                tracing::warn!(file = %path.display(), "too many dialogs were left behind; these stay for the next start");
            }
            Ok(Some((file, dialogs))) => {
                count += dialogs.len();
                found.push((file, dialogs));
            }
            Err(Unfit::Gone) => {}
            Err(reason) => {
                tracing::warn!(file = %path.display(), %reason, "a file in the state folder is left alone");
            }
        }
    }
    found
}

/// Why a file is not for us.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is gone")]
    Gone,
    #[error("it is not a file of ours alone")]
    Foreign,
    #[error("it has {0} bytes")]
    Large(u64),
    #[error("it was written on host \"{0}\"")]
    OtherHost(String),
    #[error("damaged lines: {0}, and no dialog that could be ended")]
    Damaged(usize),
    #[error("{0}")]
    Unreadable(#[from] JournalError),
    #[error("{0}")]
    Refused(io::Error),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Refused(error),
        }
    }
}

/// Takes a file over; nothing where its process lives, or where there is nothing in it.
fn take(
    folder: &Folder,
    path: &Path,
    kind: Kind,
    index: usize,
) -> Result<Option<(LeftFile, Vec<Left>)>, Unfit> {
    // Opening something else can already have an effect.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(Unfit::Foreign);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.is_file()
        && metadata.uid() == folder.owner
        && metadata.mode() & 0o077 == 0
        && metadata.nlink() <= 1;
    if !is_ours {
        return Err(Unfit::Foreign);
    }
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => {}
        Ok(()) => return Err(Unfit::Gone),
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    if kind == Kind::New {
        // The file that it was to replace is still there.
        fs::remove_file(path)?;
        return Ok(None);
    }
    if metadata.len() > BYTES {
        return Err(Unfit::Large(metadata.len()));
    }
    let mut bytes = Vec::new();
    (&mut file).take(BYTES).read_to_end(&mut bytes)?;
    let journal = match Journal::read(&bytes) {
        Err(JournalError::Empty) => {
            fs::remove_file(path)?;
            return Ok(None);
        }
        other => other?,
    };
    if journal.head.host != folder.host {
        return Err(Unfit::OtherHost(journal.head.host));
    }
    if journal.dialogs.is_empty() {
        if journal.damaged > 0 {
            return Err(Unfit::Damaged(journal.damaged));
        }
        fs::remove_file(path)?;
        return Ok(None);
    }
    if journal.damaged > 0 {
        tracing::warn!(
            file = %path.display(), lines = journal.damaged,
            "lines of a file of dialogs are damaged; they stay, and nobody ends what they speak of"
        );
    }
    tracing::info!(
        process = journal.head.process,
        dialogs = journal.dialogs.len(),
        "a process has left dialogs behind; they are ended"
    );
    let end = journal.length as u64;
    // The end of a torn line.
    file.set_len(end)?;
    let open = journal.dialogs.keys().copied().collect();
    let left = |(number, dialog)| Left { key: LeftKey { file: index, number }, dialog };
    let dialogs = journal.dialogs.into_iter().map(left).collect();
    let own = OwnFile::taken_over(path.to_owned(), file, end);
    Ok(Some((LeftFile { own, head: journal.head, open, damaged: journal.damaged_lines }, dialogs)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::super::keeper::tests::left;
    use super::*;

    /// A folder with one file in which a dialog stands that was left.
    fn folder() -> (tempfile::TempDir, Folder, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        let path = write(&folder, "siprec-1-0.dialogs", &content(&folder.host), 0o600);
        (directory, folder, path)
    }

    fn write(folder: &Folder, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = folder.path.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn content(host: &str) -> Vec<u8> {
        let head = JournalHead { host: host.to_owned(), process: 1 };
        [head.to_line(), left().to_line(1)].concat()
    }

    fn found(folder: &Folder) -> Vec<PathBuf> {
        find(folder).into_iter().map(|(file, _)| file.own.path().to_owned()).collect()
    }

    #[test]
    fn only_what_is_ours_alone_and_of_this_host_is_taken_over_and_all_else_stays() {
        let (_directory, folder, path) = folder();
        let own = content(&folder.host);
        write(&folder, "siprec-1-1.dialogs", &content("another host"), 0o600);
        write(&folder, "siprec-1-2.dialogs", &own, 0o640);
        write(&folder, "siprec-1-3.dialogs.new.old", &own, 0o600);
        let large = write(&folder, "siprec-1-4.dialogs", &own, 0o600);
        File::options().write(true).open(large).unwrap().set_len(BYTES + 1).unwrap();
        let linked = write(&folder, "siprec-1-5.dialogs", &own, 0o600);
        fs::hard_link(&linked, folder.path.join("siprec-1-6.dialogs")).unwrap();
        let held = File::open(write(&folder, "siprec-1-7.dialogs", &own, 0o600)).unwrap();
        held.lock().unwrap();
        let names = || fs::read_dir(&folder.path).unwrap().count();
        let before = names();
        assert_eq!(found(&folder), [path]);
        assert_eq!(names(), before);
    }

    #[test]
    fn a_file_of_another_user_is_left_alone() {
        let (_directory, folder, path) = folder();
        let other = Folder { owner: folder.owner.wrapping_add(1), ..folder.clone() };
        assert_eq!(found(&other), [""; 0].map(PathBuf::from));
        assert_eq!(found(&folder), [path]);
    }

    #[test]
    fn a_file_goes_with_its_last_dialog_and_no_other_that_has_its_name_by_then() {
        for is_replaced in [false, true] {
            let (_directory, folder, path) = folder();
            let (mut file, dialogs) = find(&folder).remove(0);
            if is_replaced {
                fs::remove_file(&path).unwrap();
                fs::write(&path, "of somebody else").unwrap();
            }
            assert!(file.note(dialogs[0].key, None), "no dialog of it is left");
            assert_eq!(path.exists(), is_replaced);
        }
    }

    const DAMAGED: &[u8] = b"00000000 +7\tcall-id=y\n\n";

    /// A file with two damaged lines before those of two dialogs, and half a one at its end.
    fn with_damage() -> (tempfile::TempDir, Folder, PathBuf) {
        let (directory, folder, path) = folder();
        let head = JournalHead { host: folder.host.clone(), process: 1 };
        let torn = &left().to_line(3)[..20];
        let lines = [&head.to_line()[..], DAMAGED, &left().to_line(1), &left().to_line(2), torn].concat();
        fs::write(&path, lines).unwrap();
        (directory, folder, path)
    }

    #[test]
    fn what_is_damaged_stays_behind_the_last_dialog_and_nothing_else_does() {
        let (_directory, folder, path) = with_damage();
        let (mut file, dialogs) = find(&folder).remove(0);
        assert!(!file.note(dialogs[0].key, None));
        assert!(
            Journal::read(&fs::read(&path).unwrap()).unwrap().dialogs.len() == 1,
            "as long as one is open"
        );
        assert!(file.note(dialogs[1].key, None));
        let rest =
            [content(&folder.host).split_inclusive(|byte| *byte == b'\n').next().unwrap(), DAMAGED].concat();
        assert_eq!(fs::read(&path).unwrap(), rest);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 1);
        let locked = File::open(&path).unwrap();
        assert!(
            matches!(locked.try_lock(), Err(TryLockError::WouldBlock)),
            "it is ours until we let go of it"
        );
        drop((file, locked));
        // At each start that follows.
        for _ in 0..2 {
            let reason = take(&folder, &path, Kind::Dialogs, 0).unwrap_err().to_string();
            assert_eq!(reason, "damaged lines: 2, and no dialog that could be ended");
            assert_eq!(found(&folder), [""; 0].map(PathBuf::from));
            assert_eq!(fs::read(&path).unwrap(), rest);
        }
    }

    #[test]
    fn where_the_rest_cannot_be_written_anew_the_file_stays_with_all_its_lines() {
        let (_directory, folder, path) = with_damage();
        let (mut file, dialogs) = find(&folder).remove(0);
        // A folder that takes no file of the new name, as one that is full or read only.
        fs::create_dir(folder.path.join("siprec-1-0.dialogs.new")).unwrap();
        assert!(dialogs.iter().map(|left| file.note(left.key, None)).collect::<Vec<_>>() == [false, true]);
        let journal = Journal::read(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((journal.dialogs.len(), journal.damaged, journal.damaged_lines), (0, 2, DAMAGED.to_vec()));
        drop(file);
        assert_eq!(found(&folder), [""; 0].map(PathBuf::from), "no dialog is ended twice");
        assert!(path.exists());
    }

    #[test]
    fn a_torn_last_line_is_no_damage() {
        let (_directory, folder, path) = folder();
        fs::write(&path, [content(&folder.host), left().to_line(2)[..20].to_vec()].concat()).unwrap();
        let (mut file, dialogs) = find(&folder).remove(0);
        assert!(file.note(dialogs[0].key, None));
        assert!(!path.exists());
    }
}
