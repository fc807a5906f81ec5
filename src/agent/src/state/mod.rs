//! The folder in which the agents of this host write down their dialogs, so that those of one that crashes are ended by
//! the next.
//!
//! Each agent has a file of its own, which it holds locked while it lives: whoever can lock a file may end what stands in
//! it. What is written reaches the kernel, not the disk: a process that crashes loses nothing, a host that does may, but
//! the recorders hear of that by their session timers anyway.

mod file;
mod keeper;
mod left;

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

pub(crate) use keeper::Keeper;
pub(crate) use left::{Left, LeftKey};

/// Why a folder cannot be the one for [`AgentConfig::state_dir`](crate::AgentConfig::state_dir).
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Something else has its name.
    #[error("\"{}\" is no folder", .0.display())]
    NoFolder(PathBuf),
    /// Whose files they are, the owner of the folder decides.
    #[error("\"{}\" belongs to another user", .0.display())]
    OtherOwner(PathBuf),
    /// Anybody could take a file away.
    #[error("\"{}\" can be written to by everybody", .0.display())]
    Public(PathBuf),
    /// It cannot be made, or no file in it.
    #[error("\"{}\" cannot be used: {source}", path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder.
#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    /// Who we are to the file system.
    owner: u32,
    /// Locks tell only of the processes of one host.
    host: String,
}

impl Folder {
    /// Makes the folder where only its last part is missing, and looks who else can write to it.
    fn open(path: &Path) -> Result<Self, StateDirError> {
        let refused = |source| StateDirError::Refused { path: path.to_owned(), source };
        let metadata = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match std::fs::DirBuilder::new().mode(0o700).create(path) {
                    // Another process was quicker.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refused(error)),
                    _ => std::fs::metadata(path).map_err(refused)?,
                }
            }
            other => other.map_err(refused)?,
        };
        let owner = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() {
            return Err(StateDirError::NoFolder(path.to_owned()));
        }
        if metadata.uid() != owner && metadata.uid() != 0 {
            return Err(StateDirError::OtherOwner(path.to_owned()));
        }
        // In a sticky folder everybody has files of his own.
        if metadata.mode() & 0o1002 == 0o0002 {
            return Err(StateDirError::Public(path.to_owned()));
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { path: path.to_owned(), owner, host })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_missing_folder_is_made_for_us_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        Folder::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        Folder::open(&path).unwrap();
        let far = parent.path().join("not/there");
        assert!(matches!(Folder::open(&far), Err(StateDirError::Refused { .. })));
    }

    #[test]
    fn what_is_no_folder_or_everybodys_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Folder::open(&file), Err(StateDirError::NoFolder(_))));
        let open = parent.path().join("open");
        std::fs::create_dir(&open).unwrap();
        let allow = |mode| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o777);
        let error = Folder::open(&open).unwrap_err();
        assert!(matches!(error, StateDirError::Public(_)));
        assert!(error.to_string().contains("open"), "{error}");
        allow(0o1777);
        Folder::open(&open).unwrap();
        allow(0o770);
        Folder::open(&open).unwrap();
    }
}
