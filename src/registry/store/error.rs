//! What can go wrong with the store's file.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

/// Why the store did not open. Each names the file and the mend.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(
        "{} is damaged ({detail}): restore it from a backup, or move it away together with its -wal and -shm files \
         to start with an empty registry", .file.display()
    )]
    Corrupt { file: PathBuf, detail: String },
    #[error(
        "{} is not a registry of kubridge: move it away, or give another --data-dir", .0.display()
    )]
    Foreign(PathBuf),
    #[error("{} was written by a newer kubridge (format {format}): run that one", .file.display())]
    Newer { file: PathBuf, format: i64 },
    #[error("the disk of {} is full or limited ({detail}): free space, then start again", .file.display())]
    Full { file: PathBuf, detail: String },
    #[error("{} cannot be written ({detail}): make --data-dir writable for this user, then start again", .file.display())]
    ReadOnly { file: PathBuf, detail: String },
    #[error("{} cannot be opened: {detail}", .file.display())]
    Io { file: PathBuf, detail: String },
}

/// Why a read or a write failed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("the disk of the data directory is full or limited: {0}")]
    Full(String),
    #[error("the data directory is read-only: {0}")]
    ReadOnly(String),
    #[error("the registry's file is damaged: {0}")]
    Corrupt(String),
    #[error("the registry's file failed: {0}")]
    Io(String),
    #[error("the log starts after version {floor}")]
    TooOld { floor: u64 },
    #[error("the object is not protobuf: {0}")]
    Malformed(#[from] kubridge_bridge::wire::Malformed),
    #[error("the store has stopped, or the write died")]
    Stopped,
}

impl StoreError {
    pub(super) fn from_sqlite(error: &rusqlite::Error) -> Self {
        let detail = error.to_string();
        match error.sqlite_error() {
            Some(fault) => match fault.code {
                ErrorCode::DiskFull => Self::Full(detail),
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly(detail),
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(detail),
                // A file size limit, a quota: SQLite says "full" only for ENOSPC.
                ErrorCode::SystemIoFailure if is_write(fault.extended_code) => Self::Full(detail),
                _ => Self::Io(detail),
            },
            None => Self::Io(detail),
        }
    }
}

impl OpenError {
    /// A fault of the store in `data_dir` while what must be in it was read and written.
    pub(crate) fn of(data_dir: &Path, error: StoreError) -> Self {
        Self::with_file(data_dir.join(super::FILE), error)
    }

    pub(super) fn from_sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) {
            return Self::ReadOnly { file: file.to_owned(), detail: error.to_string() };
        }
        Self::with_file(file.to_owned(), StoreError::from_sqlite(error))
    }

    fn with_file(file: PathBuf, error: StoreError) -> Self {
        match error {
            StoreError::Full(detail) => Self::Full { file, detail },
            StoreError::ReadOnly(detail) => Self::ReadOnly { file, detail },
            StoreError::Corrupt(detail) => Self::Corrupt { file, detail },
            other => Self::Io { file, detail: other.to_string() },
        }
    }
}

fn is_write(extended: i32) -> bool {
    [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_IOERR_SHMSIZE]
        .contains(&extended)
}
