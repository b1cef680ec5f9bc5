//! The data directory: one process at a time, and files that are either old or new but never half.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// A data directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock lives as long as the file is open.
    _lock: File,
}

/// Why the data directory, or a file of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "{} is in use by another kubridge{}: stop that one, or give this one a --data-dir of its own",
        .path.display(), .holder.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its pid, where it could be read.
        holder: Option<u32>,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}{}", .path.display(), mend(.source))]
    Io {
        /// "create", "write", "read".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => " (make room on the disk and start again)",
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => " (raise the limit and start again)",
        io::ErrorKind::ReadOnlyFilesystem => " (--data-dir must be on a disk that can be written)",
        io::ErrorKind::PermissionDenied => " (--data-dir must belong to the user that runs kubridge)",
        _ => "",
    }
}

impl DataDir {
    /// Makes the directory if it is not there (mode 0700), and takes its lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        create_private_dir(path)?;
        let lock_path = path.join("lock");
        let mut lock = open_private(&lock_path, OpenOptions::new().read(true).write(true).create(true))
            .map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(DataDirError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        // The pid is a help for people, the lock itself is the file's: a full disk must not stop the start here.
        let _ = lock
            .rewind()
            .and_then(|()| lock.set_len(0))
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Makes a directory and its parents, mode 0700. One that is there is left as it is.
pub fn create_private_dir(path: &Path) -> Result<(), DataDirError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io_error("create", path))
}

/// Replaces a file as a whole, mode 0600: after a crash at any moment it is the old one or the new one.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), DataDirError> {
    let fail = |action| io_error(action, path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dir = path.parent().unwrap_or(Path::new("."));
    // The lock makes us the only writer: what lies under this name is the rest of a crash.
    let temporary = dir.join(format!(".{name}.tmp"));
    let written = (|| {
        let mut file = open_private(&temporary, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(fail("write")(error));
    }
    sync_dir(dir).map_err(fail("write"))
}

/// Reads a small text file; `None` when there is none. More than 1 MiB is refused unread.
pub fn read_text(path: &Path) -> Result<Option<String>, DataDirError> {
    const LIMIT: u64 = 1 << 20;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let mut text = String::new();
    file.take(LIMIT + 1).read_to_string(&mut text).map_err(io_error("read", path))?;
    if text.len() as u64 > LIMIT {
        let error = io::Error::new(io::ErrorKind::InvalidData, "the file is larger than 1 MiB");
        return Err(io_error("read", path)(error));
    }
    Ok(Some(text))
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_second_one_is_told_who_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        assert!(error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        fs::write(temp.path().join(".secret.tmp"), "the rest of a crash").unwrap();
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        write_private(&path, b"old").unwrap();
        // A directory in the way of the temporary file fails for root too.
        fs::create_dir(temp.path().join(".secret.tmp")).unwrap();
        let error = write_private(&path, b"new").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("secret"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_parent_that_is_a_file_is_named() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let error = DataDir::open(&temp.path().join("file/data")).unwrap_err().to_string();
        assert!(error.starts_with("cannot create ") && error.contains("file/data"), "{error}");
    }
}
