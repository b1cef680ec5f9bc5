//! What backends last said of themselves, on disk: so that a restart while a backend is down changes nothing for
//! clients.
//!
//! One file for each subject (a backend's schema, or one group and version of an HTTPS backend), in
//! `DATA_DIR/last-known-good/`. A file is written when its content changes; its modification time says when the
//! backend last confirmed it. A file that cannot be read is as good as none: the backend is asked anyway.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::data_dir::{DataDirError, create_private_dir, write_private};

const BACKENDS: &str = "last-known-good";
const DELEGATE: &str = "last-known-good-delegate";
/// The largest file that is read.
const MAX_FILE: u64 = 128 << 20;
/// First in each file; a later form has another.
const MAGIC: &[u8] = b"kubridge last known good 1\n";

/// The files. Cheap to clone. All calls block: they belong on a thread that may.
#[derive(Debug, Clone)]
pub struct LastKnownGood {
    directory: PathBuf,
}

/// What is kept of one subject: named parts, whose names and content are the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// By name.
    pub parts: BTreeMap<String, Vec<u8>>,
}

/// An entry, and when the backend last said that it is still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What was kept.
    pub entry: Entry,
    /// When it was last confirmed.
    pub confirmed_at: SystemTime,
}

impl LastKnownGood {
    /// That of the backends. Makes the directory if it is not there.
    pub fn open(data_dir: &Path) -> Result<Self, DataDirError> {
        Self::at(data_dir.join(BACKENDS))
    }

    /// That of the delegate, whose group-versions nobody here names. Makes the directory if it is not there.
    pub fn of_delegate(data_dir: &Path) -> Result<Self, DataDirError> {
        Self::at(data_dir.join(DELEGATE))
    }

    fn at(directory: PathBuf) -> Result<Self, DataDirError> {
        create_private_dir(&directory)?;
        Ok(Self { directory })
    }

    /// What is kept of a subject. A damaged file is logged and counts as none.
    pub fn read(&self, subject: &str) -> Option<Kept> {
        let path = self.path(subject);
        match read(&path, subject) {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), subject, %error, "a kept document is not usable");
                None
            }
        }
    }

    /// Keeps an entry in place of the one before; a crash leaves the old one or the new one.
    pub fn write(&self, subject: &str, entry: &Entry) -> Result<(), DataDirError> {
        write_private(&self.path(subject), &encode(subject, entry))
    }

    /// The backend has said that what is kept is still so.
    pub fn confirm(&self, subject: &str, at: SystemTime) {
        let path = self.path(subject);
        let touched = File::options().append(true).open(&path).and_then(|file| file.set_modified(at));
        if let Err(error) = touched {
            tracing::debug!(path = %path.display(), subject, %error, "the time of a kept document was not written");
        }
    }

    /// Removes everything but these subjects.
    pub fn retain(&self, subjects: &HashSet<String>) -> io::Result<()> {
        let wanted: HashSet<PathBuf> = subjects.iter().map(|subject| self.path(subject)).collect();
        for file in fs::read_dir(&self.directory)? {
            let path = file?.path();
            if !wanted.contains(&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// A subject may be any text: its hash is the file's name.
    fn path(&self, subject: &str) -> PathBuf {
        let hash = Sha256::digest(subject.as_bytes());
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(name)
    }
}

/// The file's content after magic and checksum.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(btree_map = "string, bytes", tag = "2")]
    parts: BTreeMap<String, Vec<u8>>,
}

fn encode(subject: &str, entry: &Entry) -> Vec<u8> {
    let stored = Stored { subject: subject.to_owned(), parts: entry.parts.clone() }.encode_to_vec();
    let checksum = Sha256::digest(&stored);
    [MAGIC, checksum.as_slice(), stored.as_slice()].concat()
}

fn read(path: &Path, subject: &str) -> io::Result<Kept> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let file = File::open(path)?;
    let confirmed_at = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged("it is too large"));
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it is of another form"))?;
    let (checksum, stored) = rest.split_at_checked(32).ok_or_else(|| damaged("it is cut short"))?;
    if Sha256::digest(stored).as_slice() != checksum {
        return Err(damaged("its checksum is wrong"));
    }
    let stored = Stored::decode(stored).map_err(|error| damaged(&error.to_string()))?;
    if stored.subject != subject {
        return Err(damaged("it is about another subject"));
    }
    Ok(Kept { entry: Entry { parts: stored.parts }, confirmed_at })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { parts: BTreeMap::from([("schema".to_owned(), text.as_bytes().to_vec())]) }
    }

    fn open() -> (tempfile::TempDir, LastKnownGood) {
        let temp = tempfile::tempdir().unwrap();
        let kept = LastKnownGood::open(temp.path()).unwrap();
        (temp, kept)
    }

    #[test]
    fn what_is_written_is_read_by_the_next_process() {
        let (temp, first) = open();
        first.write("grpc://a:1", &entry("one")).unwrap();
        first.write("grpc://a:1", &entry("two")).unwrap();
        let second = LastKnownGood::open(temp.path()).unwrap();
        assert_eq!(second.read("grpc://a:1").unwrap().entry, entry("two"));
        assert_eq!(second.read("grpc://b:1"), None);
    }

    #[test]
    fn confirming_moves_the_time_and_nothing_else() {
        let (_temp, kept) = open();
        kept.write("a", &entry("one")).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        kept.confirm("a", at);
        assert_eq!(kept.read("a").unwrap(), Kept { entry: entry("one"), confirmed_at: at });
        kept.confirm("never written", at);
        assert_eq!(kept.read("never written"), None);
    }

    #[test]
    fn what_nobody_names_any_more_goes() {
        let (_temp, kept) = open();
        kept.write("a", &entry("one")).unwrap();
        kept.write("b", &entry("two")).unwrap();
        kept.retain(&HashSet::from(["b".to_owned()])).unwrap();
        assert_eq!(kept.read("a"), None);
        assert_eq!(kept.read("b").unwrap().entry, entry("two"));
    }

    #[test]
    fn a_file_of_another_subject_is_not_used() {
        let (_temp, kept) = open();
        kept.write("a", &entry("one")).unwrap();
        fs::copy(kept.path("a"), kept.path("b")).unwrap();
        assert_eq!(kept.read("b"), None);
    }

    proptest! {
        /// Any damage is found: never a panic, never another content.
        #[test]
        fn a_damaged_file_is_as_good_as_none(at in 0usize..200, byte: u8, cut in 0usize..200) {
            let (_temp, kept) = open();
            kept.write("a", &entry("some text")).unwrap();
            let path = kept.path("a");
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] = byte;
            bad.truncate(bad.len() - cut % bad.len());
            fs::write(&path, &bad).unwrap();
            prop_assert_eq!(kept.read("a").is_some(), bad == good);
        }
    }
}
