//! Reads a whole copy before anything changes: every checksum, every document, every reference.

use std::sync::Arc;

use super::dump::DumpReader;
use super::layout::{self, Backup};
use super::references::{References, missing_object, odd_object};
use super::renewal::ApiKeys;
use super::sums::sum_of_file;
use super::{Phase, Result, TransferError};
use crate::domain::job::Reporter;
use crate::store::Collection;

/// Refuses a copy that is damaged or does not hold what it refers to. Call it on a blocking thread.
pub fn verify(backup: &Backup, api_keys: &ApiKeys, reporter: &Arc<dyn Reporter>) -> Result<References> {
    let total = backup.manifest.document_bytes + backup.manifest.object_bytes;
    let phase = Phase::start(reporter, "checking the backup", "bytes", Some(total))?;
    let mut references = References::default();
    for collection in Collection::ALL {
        documents(backup, collection, api_keys, &mut references, &phase)?;
    }
    let unknown =
        backup.manifest.documents.keys().find(|name| !Collection::ALL.iter().any(|known| known.name() == *name));
    if let Some(name) = unknown {
        let problem = format!("it has a collection {name:?} that this program does not know");
        return Err(TransferError::damaged(&backup.folder.join(layout::MANIFEST), problem));
    }
    let dumps = Collection::ALL.map(|collection| layout::dump_path(&backup.manifest.database, collection));
    let objects = format!("{}/", layout::OBJECTS);
    for (name, sum) in backup.sums.0.iter().filter(|(name, _)| !dumps.contains(*name)) {
        let path = backup.folder.join(name);
        let counted = name.starts_with(&objects);
        let found = match sum_of_file(&path, |count| if counted { phase.add(count) } else { Ok(()) }) {
            Err(TransferError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(TransferError::damaged(&path, "it is missing"));
            }
            found => found?,
        };
        if found != *sum {
            return Err(TransferError::damaged(&path, "it does not match its checksum"));
        }
    }
    let mut problems = references.problems();
    problems.extend(object_problems(backup, &references)?);
    problems.retain(|problem| !backup.manifest.missing.contains(problem));
    match problems.first() {
        Some(first) => Err(TransferError::Dangling { count: problems.len(), first: first.clone() }),
        None => Ok(references),
    }
}

fn documents(
    backup: &Backup,
    collection: Collection,
    api_keys: &ApiKeys,
    references: &mut References,
    phase: &Phase,
) -> Result<()> {
    let told = backup.manifest.documents.get(collection.name()).copied().unwrap_or(0);
    let Some((path, sum)) = backup.dump(collection) else {
        if told > 0 {
            let list = backup.folder.join(layout::SUMS);
            return Err(TransferError::damaged(&list, format!("it does not name the {}", collection.name())));
        }
        return Ok(());
    };
    let mut reader = match DumpReader::open(&path, collection) {
        Err(TransferError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(TransferError::damaged(&path, "it is missing"));
        }
        reader => reader?,
    };
    let (mut count, mut bytes) = (0, 0);
    while let Some(item) = reader.next()? {
        references.see(collection, &item).map_err(|error| TransferError::damaged(&path, error.to_string()))?;
        if collection == Collection::Accounts {
            api_keys.check(&item, &path)?;
        }
        count += 1;
        phase.add(reader.bytes() - bytes)?;
        bytes = reader.bytes();
    }
    if reader.finish() != *sum {
        return Err(TransferError::damaged(&path, "it does not match its checksum"));
    }
    if count != told {
        return Err(TransferError::damaged(&path, format!("it has {count} documents instead of {told}")));
    }
    Ok(())
}

fn object_problems(backup: &Backup, references: &References) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (key, wanted) in references.objects() {
        if !backup.sums.0.contains_key(&layout::object_path(&key)) {
            if wanted.required {
                problems.push(missing_object(&key));
            }
            continue;
        }
        let path = backup.folder.join(layout::object_path(&key));
        let found = std::fs::metadata(&path).map_err(TransferError::at(&path))?.len();
        if let Some(told) = wanted.size_bytes.filter(|told| *told != found) {
            problems.push(odd_object(&key, told, found));
        }
    }
    Ok(problems)
}
