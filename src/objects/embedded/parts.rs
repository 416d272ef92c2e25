//! Unfinished multipart uploads on disk: a folder each, with the object's name in [`TARGET`] and a file a part.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use s3s::dto::{CompletedPart, ETag, MultipartUpload, Timestamp};
use s3s::{S3Result, s3_error};
use xxhash_rust::xxh3::Xxh3;

use super::folder::{failed, install};
use crate::objects::MIN_PART_BYTES;

/// Holds `<bucket>/<key>` of the object that the parts are for; its age is the upload's.
pub(super) const TARGET: &str = "target";

/// A part's file name tells its number and ETag.
fn part_of(name: &str) -> Option<(i32, &str)> {
    let (number, etag) = name.split_once('.')?;
    Some((number.parse().ok()?, etag))
}

/// The parts that have arrived: number, ETag, size, path; sorted by number, the newest of each.
pub(super) fn arrived(folder: &Path) -> io::Result<Vec<(i32, String, u64, PathBuf)>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((number, etag)) = name.to_str().and_then(part_of) {
            parts.push((number, etag.to_owned(), entry.metadata()?.len(), entry.path()));
        }
    }
    parts.sort_by_key(|part| part.0);
    Ok(parts)
}

/// Puts the parts together in a temporary file, syncs it and gives it its name; only then the parts go, so that a
/// crash on the way leaves everything as it was.
pub(super) fn assemble(
    wanted: &[CompletedPart],
    folder: &Path,
    temporary: &Path,
    target: &Path,
    root: &Path,
) -> S3Result<String> {
    let arrived = arrived(folder).map_err(failed)?;
    let mut sources = Vec::with_capacity(wanted.len());
    let mut previous = 0;
    for (position, part) in wanted.iter().enumerate() {
        let number = part.part_number.unwrap_or(0);
        if number <= previous {
            return Err(s3_error!(InvalidPartOrder));
        }
        previous = number;
        let etag = part.e_tag.as_ref().map(ETag::value);
        let found = arrived.iter().find(|part| part.0 == number && Some(part.1.as_str()) == etag);
        let found = found.ok_or_else(|| s3_error!(InvalidPart, "a part is missing or has another ETag"))?;
        if found.2 < MIN_PART_BYTES && position + 1 < wanted.len() {
            return Err(s3_error!(EntityTooSmall));
        }
        sources.push(found);
    }
    let mut hash = Xxh3::new();
    let write = || -> io::Result<()> {
        let mut out = std::fs::File::create(temporary)?;
        for source in &sources {
            // On Linux this copies inside the kernel.
            io::copy(&mut std::fs::File::open(&source.3)?, &mut out)?;
        }
        out.sync_all()?;
        install(temporary, target, root)
    };
    if let Err(error) = write() {
        let _gone = std::fs::remove_file(temporary);
        // Somebody else has put it together in the meantime.
        let is_gone = error.kind() == io::ErrorKind::NotFound && !folder.exists();
        return Err(if is_gone { s3_error!(NoSuchUpload) } else { failed(error) });
    }
    for source in &sources {
        hash.update(source.1.as_bytes());
    }
    // At one blow: whoever assembles the same upload sees all of its parts or none.
    if std::fs::rename(folder, temporary).is_ok() {
        std::fs::remove_dir_all(temporary).map_err(failed)?;
    }
    Ok(format!("{:032x}-{}", hash.digest128(), sources.len()))
}

/// Uploads of objects with this prefix, by key and id, after this pair.
pub(super) fn unfinished(
    folder: &Path,
    bucket: &str,
    prefix: &str,
    after: &(String, String),
) -> io::Result<Vec<MultipartUpload>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let target = entry.path().join(TARGET);
        // Completed or aborted at this very moment.
        let (Ok(name), Ok(metadata)) = (std::fs::read_to_string(&target), std::fs::metadata(&target)) else { continue };
        let Some((its_bucket, key)) = name.split_once('/') else { continue };
        let Ok(id) = entry.file_name().into_string() else { continue };
        let place = (key.to_owned(), id);
        if its_bucket == bucket && key.starts_with(prefix) && place > *after {
            found.insert(place, metadata.modified().unwrap_or(UNIX_EPOCH));
        }
    }
    let uploads = found.into_iter().map(|((key, id), started)| MultipartUpload {
        key: Some(key),
        upload_id: Some(id),
        initiated: Some(Timestamp::from(started)),
        ..Default::default()
    });
    Ok(uploads.collect())
}

/// Removes what a crash left of uploads whose id nobody was told.
pub(super) fn remove_nameless(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = std::fs::read_to_string(path.join(TARGET)).unwrap_or_default();
        if path.is_dir() && !name.contains('/') {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
