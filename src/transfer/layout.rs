//! The folder of a copy.
//!
//! ```text
//! tango.json                     what it is: format, program, moment, counts
//! SHA256SUMS                     every other file with its checksum; written last, so that a folder with it is whole
//! secret.key                     of a single node that generated its secret: without it API keys cannot be read
//! <database>/<collection>.bson   documents as MongoDB holds them, one after the other, in the order of their keys
//! <database>/<collection>.metadata.json
//! objects/<key>                  objects that documents refer to
//! INCOMPLETE                     while it is being written, and when that was cut off
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sums::{Sums, is_below, sum_of_file};
use super::{Result, TransferError};
use crate::domain::Timestamp;
use crate::store::Collection;

/// Of what this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Programs from this one on read what is written here.
pub const MIN_PROGRAM: &str = "0.1.0";
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

pub const MANIFEST: &str = "tango.json";
pub const SUMS: &str = "SHA256SUMS";
pub const SECRET: &str = "secret.key";
pub const OBJECTS: &str = "objects";
const INCOMPLETE: &str = "INCOMPLETE";
const INCOMPLETE_TEXT: &str =
    "A backup is being written into this folder, or was cut off. Run the same command again to go on with it.\n";

/// `tango.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Wrote it.
    pub program: String,
    /// The oldest that reads it.
    pub min_program: String,
    /// Everything that was acknowledged before is in it.
    pub created_at: Timestamp,
    /// The folder of the dump.
    pub database: String,
    /// How many, by collection.
    pub documents: BTreeMap<String, u64>,
    pub document_bytes: u64,
    pub objects: u64,
    pub object_bytes: u64,
    /// What was missing or damaged in the store itself, in the words of `references`: a restore does not ask for it.
    pub missing: Vec<String>,
}

/// What can be read of the manifest in any format.
#[derive(Deserialize)]
struct AnyManifest {
    format: u32,
    program: String,
    min_program: String,
}

/// Where the documents of a collection are, below the folder.
pub fn dump_path(database: &str, collection: Collection) -> String {
    format!("{database}/{}.bson", collection.name())
}

pub fn metadata_path(database: &str, collection: Collection) -> String {
    format!("{database}/{}.metadata.json", collection.name())
}

pub fn object_path(key: &str) -> String {
    format!("{OBJECTS}/{key}")
}

/// A folder that a backup is written into.
pub struct Target {
    pub folder: PathBuf,
    /// Locked as long as this is open.
    _incomplete: File,
}

impl Target {
    /// Makes the folder, or goes on with one that an interrupted backup left: its objects are used again.
    pub fn begin(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(TransferError::at(folder))?;
        if folder.join(SUMS).exists() && !folder.join(INCOMPLETE).exists() {
            return Err(TransferError::BackupExists(folder.to_owned()));
        }
        let mark = folder.join(INCOMPLETE);
        let mut entries = folder.read_dir().map_err(TransferError::at(folder))?;
        if !mark.exists() && entries.next().is_some() {
            return Err(TransferError::FolderNotEmpty(folder.to_owned()));
        }
        let incomplete = OpenOptions::new().create(true).truncate(false).write(true).open(&mark);
        let incomplete = incomplete.map_err(TransferError::at(&mark))?;
        match incomplete.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TransferError::FolderInUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(TransferError::File { path: mark, source }),
        }
        std::fs::write(&mark, INCOMPLETE_TEXT).map_err(TransferError::at(&mark))?;
        for file in [MANIFEST, SUMS, SECRET] {
            remove(&folder.join(file))?;
        }
        Ok(Self { folder: folder.to_owned(), _incomplete: incomplete })
    }

    /// Everything is written: from now on the folder is a backup.
    pub fn finish(self, sums: &Sums) -> Result<()> {
        let list = self.folder.join(SUMS);
        sums.write(&list)?;
        remove(&self.folder.join(INCOMPLETE))?;
        super::sums::sync_folder_of(&list)
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(TransferError::at(path)(error)),
        _ => Ok(()),
    }
}

/// A whole backup. Its list of checksums and its manifest were checked, the other files not yet.
#[derive(Debug, Clone)]
pub struct Backup {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub sums: Sums,
    /// Names it: the checksum of its checksums.
    pub id: String,
}

impl Backup {
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder).map_err(TransferError::at(folder))?;
        let no_backup = |why| TransferError::NotABackup { folder: folder.clone(), why };
        if !folder.is_dir() {
            return Err(no_backup("there is no such folder"));
        }
        if folder.join(INCOMPLETE).exists() {
            return Err(TransferError::Incomplete(folder));
        }
        let list = folder.join(SUMS);
        if !list.exists() {
            return Err(no_backup(
                "it has no SHA256SUMS. A dump of the database alone cannot be restored: the objects belong to it",
            ));
        }
        let (sums, id) = Sums::read(&list)?;
        let path = folder.join(MANIFEST);
        let wanted =
            sums.0.get(MANIFEST).ok_or_else(|| TransferError::damaged(&list, "it does not name tango.json"))?;
        if sum_of_file(&path, |_| Ok(()))? != *wanted {
            return Err(TransferError::damaged(&path, "it does not match its checksum"));
        }
        let text = std::fs::read_to_string(&path).map_err(TransferError::at(&path))?;
        let manifest = read_manifest(&folder, &path, &text)?;
        Ok(Self { folder, manifest, sums, id })
    }

    /// Where the collection's documents are, and their checksum; `None` when an older program had no such collection.
    pub fn dump(&self, collection: Collection) -> Option<(PathBuf, &str)> {
        let name = dump_path(&self.manifest.database, collection);
        let sum = self.sums.0.get(&name)?;
        Some((self.folder.join(name), sum))
    }

    /// Key, path and checksum of every object.
    pub fn objects(&self) -> impl Iterator<Item = (&str, PathBuf, &str)> {
        self.sums.0.iter().filter_map(|(name, sum)| {
            let key = name.strip_prefix(OBJECTS)?.strip_prefix('/')?;
            Some((key, self.folder.join(name), sum.as_str()))
        })
    }

    /// The secret that the API keys were sealed with, when the copy has it.
    pub fn secret(&self) -> Result<Option<String>> {
        if !self.sums.0.contains_key(SECRET) {
            return Ok(None);
        }
        let path = self.folder.join(SECRET);
        std::fs::read_to_string(&path).map(Some).map_err(TransferError::at(&path))
    }
}

fn read_manifest(folder: &Path, path: &Path, text: &str) -> Result<Manifest> {
    let unreadable = |error: serde_json::Error| TransferError::damaged(path, error.to_string());
    let any: AnyManifest = serde_json::from_str(text).map_err(unreadable)?;
    if any.format > FORMAT || parse_version(&any.min_program) > parse_version(PROGRAM) {
        let AnyManifest { program, min_program, .. } = any;
        return Err(TransferError::Newer { folder: folder.to_owned(), program, min_program });
    }
    let manifest: Manifest = serde_json::from_str(text).map_err(unreadable)?;
    if !is_below(&manifest.database) || manifest.database == OBJECTS {
        return Err(TransferError::damaged(path, "its database is no name of a folder"));
    }
    Ok(manifest)
}

fn parse_version(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// The newest whole backup among the folders of a folder, and when it was made. Nothing that is wrong with one is an error here.
pub fn newest(parent: &Path) -> Option<(PathBuf, Timestamp)> {
    let folders = parent.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let backups = folders.filter_map(|folder| Backup::open(&folder).ok());
    backups.map(|backup| (backup.folder, backup.manifest.created_at)).max_by_key(|(_, created_at)| *created_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(format: u32, min_program: &str) -> String {
        format!(
            r#"{{"format":{format},"program":"9.1.0","min_program":"{min_program}","created_at":"2026-01-01T00:00:00Z","database":"tango",
            "documents":{{}},"document_bytes":0,"objects":0,"object_bytes":0,"missing":[],"added_later":1}}"#
        )
    }

    fn read(text: &str) -> Result<Manifest> {
        read_manifest(Path::new("/b"), Path::new("/b/tango.json"), text)
    }

    #[test]
    fn a_newer_form_is_refused_by_name_and_additions_are_not() {
        assert_eq!(read(&manifest(1, "0.1.0")).unwrap().program, "9.1.0");
        for newer in [
            manifest(2, "9.0.0"),
            manifest(1, "9.0.0"),
            r#"{"format":2,"program":"9.1.0","min_program":"9.0.0"}"#.to_owned(),
        ] {
            let error = read(&newer).unwrap_err().to_string();
            assert!(error.contains("9.1.0") && error.contains("use tango 9.0.0 or newer"), "{error}");
        }
        let outside = manifest(1, "0.1.0").replace("\"tango\",", "\"../x\",");
        assert!(matches!(read(&outside), Err(TransferError::Damaged { .. })));
    }

    #[test]
    fn a_folder_is_written_by_one_at_a_time_and_only_when_it_is_new() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let target = Target::begin(&folder).unwrap();
        assert!(matches!(Target::begin(&folder), Err(TransferError::FolderInUse(_))));
        drop(target);
        assert!(matches!(Backup::open(&folder), Err(TransferError::Incomplete(_))));
        Target::begin(&folder).unwrap().finish(&Sums::default()).unwrap();
        assert!(matches!(Target::begin(&folder), Err(TransferError::BackupExists(_))));
        assert!(matches!(Target::begin(parent.path()), Err(TransferError::FolderNotEmpty(_))));
        assert!(matches!(Backup::open(parent.path()), Err(TransferError::NotABackup { .. })));
    }
}
