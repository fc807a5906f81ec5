//! The file of an agent that lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Folder;

/// How the names of the files begin and end.
const NAME: (&str, &str) = ("siprec-", ".dialogs");
/// The end of the name under which a file is written anew.
const NEW: &str = ".new";
/// How often a name is made up: another process may have taken our file for one that was left.
const TRIES: usize = 8;

/// What the name of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Dialogs stand in it.
    Dialogs,
    /// It was to become such a one.
    New,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        let (name, kind) = match name.strip_suffix(NEW) {
            Some(name) => (name, Self::New),
            None => (name, Self::Dialogs),
        };
        (name.starts_with(NAME.0) && name.ends_with(NAME.1)).then_some(kind)
    }
}

/// A file that we have made, or taken over: ours alone, locked, and whole up to where we write on.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    file: File,
    /// Up to where it is whole. What a failed write has left behind that is written over.
    end: u64,
}

impl OwnFile {
    /// Makes a file under a name of its own.
    ///
    /// # Errors
    /// What the system says; there is no file then.
    pub(super) fn create(folder: &Folder, content: &[u8]) -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            let number = getrandom::u64()?;
            let name = format!("{}{}-{number:016x}{}", NAME.0, std::process::id(), NAME.1);
            match Self::make(folder.path.join(name), content) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refused = error,
                other => return other,
            }
        }
        Err(refused)
    }

    /// One that we have locked, and of which so many bytes are whole.
    pub(super) fn taken_over(path: PathBuf, file: File, end: u64) -> Self {
        Self { path, file, end }
    }

    fn make(path: PathBuf, content: &[u8]) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
            .open(&path)?;
        let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => {}
            // Another process that has just started has taken it for one that was left: it removes it.
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(taken()),
            Err(TryLockError::Error(error)) => {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        }
        let mut own = Self { path, file, end: 0 };
        if let Err(error) = own.append(content) {
            own.remove();
            return Err(error);
        }
        Ok(own)
    }

    /// Writes behind all that was written.
    ///
    /// # Errors
    /// What the system says; what was written before is whole.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Puts a file with this content in its place: at any time, one of both is there and whole.
    ///
    /// # Errors
    /// What the system says; the file is as it was.
    pub(super) fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(NEW);
        let new = PathBuf::from(name);
        // Of an attempt that failed before.
        let _ = fs::remove_file(&new);
        let made = Self::make(new, content)?;
        if let Err(error) = fs::rename(&made.path, &self.path) {
            made.remove();
            return Err(error);
        }
        *self = Self { path: std::mem::take(&mut self.path), ..made };
        Ok(())
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    /// Whether nobody has taken it away.
    pub(super) fn is_there(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Removes it while it is locked, so that nobody looks for dialogs in it.
    pub(super) fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether this is the file that has the name.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(own), Ok(named)) => (own.dev(), own.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        (directory, folder)
    }

    fn names(folder: &Folder) -> Vec<String> {
        let entries = fs::read_dir(&folder.path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_ours_alone_locked_and_gone_when_it_is_removed() {
        let (_directory, folder) = folder();
        let mut own = OwnFile::create(&folder, b"head\n").unwrap();
        own.append(b"line\n").unwrap();
        assert_eq!(fs::read(&own.path).unwrap(), b"head\nline\n");
        assert_eq!(own.length(), 10);
        assert_eq!(fs::metadata(&own.path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            names(&folder).iter().map(|name| Kind::of(name)).collect::<Vec<_>>(),
            [Some(Kind::Dialogs)]
        );
        let other = File::open(&own.path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        let path = own.path.clone();
        own.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_put_in_place_of_another_is_locked_from_the_first_moment() {
        let (_directory, folder) = folder();
        let mut own = OwnFile::create(&folder, b"old\nold\n").unwrap();
        let old = File::open(&own.path).unwrap();
        own.replace(b"new\n").unwrap();
        own.append(b"line\n").unwrap();
        assert_eq!(fs::read(&own.path).unwrap(), b"new\nline\n");
        let new = File::open(&own.path).unwrap();
        assert!(matches!(new.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!is_at(&old, &own.path), "who waits for the old one sees that it is gone");
        assert_eq!(names(&folder).len(), 1);
        assert!(own.is_there());
    }

    #[test]
    fn a_symbolic_link_is_never_written_through() {
        let (_directory, folder) = folder();
        let victim = folder.path.join("victim");
        fs::write(&victim, "precious").unwrap();
        let mut own = OwnFile::create(&folder, b"head\n").unwrap();
        let mut new = own.path.as_os_str().to_owned();
        new.push(NEW);
        std::os::unix::fs::symlink(&victim, &new).unwrap();
        own.replace(b"new\n").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        std::os::unix::fs::symlink(&victim, folder.path.join("link")).unwrap();
        assert!(OwnFile::make(folder.path.join("link"), b"x").is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn only_our_own_names_are_looked_at() {
        assert_eq!(Kind::of("siprec-1-0123.dialogs"), Some(Kind::Dialogs));
        assert_eq!(Kind::of("siprec-1-0123.dialogs.new"), Some(Kind::New));
        for other in ["siprec-1", "x.dialogs", "siprec-1.dialogs~", ".siprec-1.dialogs", ""] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }
}
