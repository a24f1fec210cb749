//! Files that are written once, whole, and with the right permissions from the start.
//!
//! A file is written under a temporary name that only its owner can read, synced, and then given
//! its real name, unless that is taken. So nobody ever sees half a file, nothing is overwritten,
//! and a key is at no moment readable by others.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Mode 0600.
    Owner,
    /// Mode 0644, as far as the umask permits.
    Everybody,
}

/// What the file system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", .path.display())]
pub(crate) struct StoreError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// Makes a directory that only its owner can enter, and its parents. One that is there stays as
/// it is.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("make the directory", path))
}

/// Writes a file that must not be there.
pub(crate) fn write_new(path: &Path, text: &str, access: Access) -> Result<(), StoreError> {
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    let write = || {
        // Beside the real name, because a rename does not leave its file system.
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut file = tempfile::Builder::new()
            .prefix(".teff-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(failed("write", path))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Whether a name is taken, be it by a link that leads nowhere.
pub(crate) fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// The names in a directory, those that are not UTF-8 left out.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    };
    read().map_err(failed("list", dir))
}

/// The permission bits of a file that others than its owner can read.
pub(crate) fn mode_if_exposed(path: &Path) -> Result<Option<u32>, StoreError> {
    let mode = fs::metadata(path)
        .map_err(failed("look at", path))?
        .permissions()
        .mode()
        & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Makes sure that new names in a directory survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |cause| StoreError {
        action,
        path,
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, "one", Access::Owner).unwrap();
        let error = write_new(&path, "two", Access::Owner).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), "one");
        // And nothing is left of the attempt.
        assert_eq!(names(dir.path()).unwrap(), ["a"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(exists(&link).unwrap());
        assert!(write_new(&link, "text", Access::Owner).is_err());
        assert!(!exists(&target).unwrap());
    }

    #[test]
    fn secrets_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = (dir.path().join("secret"), dir.path().join("public"));
        write_new(&secret, "", Access::Owner).unwrap();
        write_new(&public, "", Access::Everybody).unwrap();
        assert_eq!(mode_if_exposed(&secret).unwrap(), None);
        fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(mode_if_exposed(&secret).unwrap(), Some(0o640));
        let mode = fs::metadata(&public).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn a_directory_is_made_private_and_left_alone_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_dir(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
        create_dir(&path).unwrap();
        assert_eq!(mode(), 0o750);
        write_new(&path.join("file"), "", Access::Everybody).unwrap();
        assert!(create_dir(&path.join("file")).is_err());
    }
}
