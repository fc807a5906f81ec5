//! Files that are read again when they have changed.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::TlsError;
use crate::transport::lock;

/// A file that was written so shortly before it was read may change again without another time of change.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);
/// No certificate file is longer; a device that never ends is no reason to.
const LONGEST: u64 = 16 << 20;

/// Makes something of files, in the order of their names.
type Parse<T> = fn(&[(&Path, &[u8])]) -> Result<T, TlsError>;

/// What files mean, as of the last time that they could be used.
#[derive(Debug)]
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    held: Mutex<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    read_at: SystemTime,
    digest: u64,
    /// Why the files as they are now cannot be used, as it was last told.
    told: Option<TlsError>,
}

/// What tells that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: (i64, i64),
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

impl<T> Watched<T> {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub(super) fn open(paths: Vec<PathBuf>, parse: Parse<T>) -> Result<Self, TlsError> {
        let read_at = SystemTime::now();
        let stamps = stamps(&paths)?;
        let texts = read(&paths)?;
        let value = Arc::new(parse(&pairs(&paths, &texts))?);
        let held = Held { value, stamps, read_at, digest: digest(&texts), told: None };
        Ok(Self { paths, parse, held: Mutex::new(held) })
    }

    /// What the files mean now. Those that have become bad mean what they did before, which is logged once. Blocks.
    pub(super) fn current(&self) -> Arc<T> {
        let mut held = lock(&self.held);
        match self.read_again(&mut held) {
            Ok(false) => {}
            Ok(true) => tracing::info!(files = %self.names(), "read again, because they have changed"),
            Err(error) => {
                if held.told.as_ref() != Some(&error) {
                    tracing::warn!(%error, "a changed file cannot be used; what it said before goes on to count");
                    held.told = Some(error);
                }
            }
        }
        Arc::clone(&held.value)
    }

    fn read_again(&self, held: &mut Held<T>) -> Result<bool, TlsError> {
        let read_at = SystemTime::now();
        let stamps = stamps(&self.paths)?;
        if stamps == held.stamps && !stamps.iter().any(|stamp| stamp.is_fresh(held.read_at)) {
            return Ok(false);
        }
        let texts = read(&self.paths)?;
        let digest = digest(&texts);
        if digest != held.digest {
            held.value = Arc::new((self.parse)(&pairs(&self.paths, &texts))?);
        }
        let changed = digest != held.digest;
        (held.stamps, held.read_at, held.digest, held.told) = (stamps, read_at, digest, None);
        Ok(changed)
    }

    fn names(&self) -> String {
        self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }

    /// Whether the file was written just before it was read.
    fn is_fresh(self, read_at: SystemTime) -> bool {
        let read_at = read_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        changed + CLOCK_GRAIN > read_at
    }
}

fn stamps(paths: &[PathBuf]) -> Result<Vec<Stamp>, TlsError> {
    let stamp = |path: &PathBuf| match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LONGEST => Err(unreadable(path, "it is too long")),
        Ok(metadata) if !metadata.is_file() => Err(unreadable(path, "it is no file")),
        Ok(metadata) => Ok(Stamp::of(&metadata)),
        Err(error) => Err(unreadable(path, &error.to_string())),
    };
    paths.iter().map(stamp).collect()
}

fn read(paths: &[PathBuf]) -> Result<Vec<Zeroizing<Vec<u8>>>, TlsError> {
    let text = |path: &PathBuf| fs::read(path).map_err(|error| unreadable(path, &error.to_string()));
    paths.iter().map(|path| text(path).map(Zeroizing::new)).collect()
}

fn pairs<'a>(paths: &'a [PathBuf], texts: &'a [Zeroizing<Vec<u8>>]) -> Vec<(&'a Path, &'a [u8])> {
    paths.iter().map(PathBuf::as_path).zip(texts.iter().map(|text| text.as_slice())).collect()
}

fn unreadable(path: &Path, reason: &str) -> TlsError {
    TlsError::Unreadable { path: path.into(), reason: reason.to_owned() }
}

/// Tells changed files from touched ones, without keeping a key for that.
fn digest(texts: &[Zeroizing<Vec<u8>>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for text in texts {
        text.as_slice().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of both files together; a text with an exclamation mark is bad.
    fn lengths(files: &[(&Path, &[u8])]) -> Result<usize, TlsError> {
        for (path, text) in files {
            if text.contains(&b'!') {
                return Err(unreadable(path, "bad"));
            }
        }
        Ok(files.iter().map(|(_, text)| text.len()).sum())
    }

    #[test]
    fn files_that_change_are_read_again_and_bad_ones_keep_the_old_meaning() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a"), folder.path().join("b")];
        fs::write(&paths[0], "1").unwrap();
        fs::write(&paths[1], "22").unwrap();
        let watched = Watched::open(paths.to_vec(), lengths).unwrap();
        let first = watched.current();
        assert_eq!(*first, 3);
        assert!(Arc::ptr_eq(&first, &watched.current()), "unchanged files are not parsed again");
        fs::write(&paths[1], "333").unwrap();
        assert_eq!(*watched.current(), 4);
        fs::write(&paths[0], "4!").unwrap();
        assert_eq!(*watched.current(), 4);
        fs::remove_file(&paths[0]).unwrap();
        assert_eq!(*watched.current(), 4);
        fs::write(&paths[0], "55555").unwrap();
        assert_eq!(*watched.current(), 8);
    }

    #[test]
    fn a_change_of_the_same_length_within_the_grain_of_the_clock_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let first_byte = |files: &[(&Path, &[u8])]| Ok(files[0].1[0]);
        fs::write(&path, "1").unwrap();
        let watched = Watched::open(vec![path.clone()], first_byte).unwrap();
        for digit in b"2345678" {
            fs::write(&path, [*digit]).unwrap();
            assert_eq!(*watched.current(), *digit);
        }
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Watched::open(vec![folder.path().to_owned()], lengths).unwrap_err();
        assert!(error.to_string().contains("it is no file"), "{error}");
        let error = Watched::open(vec![folder.path().join("missing.pem")], lengths).unwrap_err();
        assert!(error.to_string().contains("missing.pem: No such file"), "{error}");
    }
}
