//! Objects between the object store and files.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::sums::{Hashing, sum_of_file, sync_folder_of};
use super::{Phase, Result, TransferError, blocking};
use crate::objects::{MAX_PARTS, NamedPart, ObjectError, ObjectStore};

/// Objects that are copied at the same time; each has one piece in memory.
pub const AT_ONCE: usize = 4;
/// Bytes that one request asks for or sends. Larger objects are sent in parts of this size, or larger ones when there would be too many.
const PIECE_BYTES: u64 = 8 << 20;

/// An object as a file.
pub struct Copied {
    pub sum: String,
    pub size_bytes: u64,
}

/// Copies an object into a file, which is there whole or not at all. A file that is there already is used when its size is
/// right: objects never change. `None`: there is no such object.
pub async fn download(objects: &Arc<ObjectStore>, key: &str, to: &Path, phase: &Phase) -> Result<Option<Copied>> {
    let size_bytes = match objects.size(key).await {
        Ok(size) => size,
        Err(ObjectError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if std::fs::metadata(to).is_ok_and(|file| file.is_file() && file.len() == size_bytes) {
        let (path, phase) = (to.to_owned(), phase.clone());
        let sum = blocking(move || sum_of_file(&path, |count| phase.add(count))).await?;
        return Ok(Some(Copied { sum, size_bytes }));
    }
    let temporary = to.with_added_extension("part");
    let path = temporary.clone();
    let mut file = blocking(move || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(TransferError::at(folder))?;
        }
        File::create(&path).map(Hashing::new).map_err(TransferError::at(&path))
    })
    .await?;
    let mut start = 0;
    while start < size_bytes {
        let end = (start + PIECE_BYTES).min(size_bytes);
        let piece = match objects.get_range(key, start..end).await {
            Ok(piece) => piece,
            // Purged at this moment.
            Err(ObjectError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let path = temporary.clone();
        file = blocking(move || {
            file.write_all(&piece).map_err(TransferError::at(&path))?;
            Ok(file)
        })
        .await?;
        phase.add(end - start)?;
        start = end;
    }
    let to = to.to_owned();
    let sum = blocking(move || {
        let (file, sum) = file.finish();
        file.sync_all().map_err(TransferError::at(&temporary))?;
        std::fs::rename(&temporary, &to).map_err(TransferError::at(&to))?;
        sync_folder_of(&to)?;
        Ok(sum)
    })
    .await?;
    Ok(Some(Copied { sum, size_bytes }))
}

/// Stores a file as an object, unless the object is there with the same bytes. Whether it was stored.
pub async fn upload(objects: &Arc<ObjectStore>, key: &str, from: &Path, sum: &str, phase: &Phase) -> Result<bool> {
    let size_bytes = std::fs::metadata(from).map_err(TransferError::at(from))?.len();
    if is_there(objects, key, size_bytes, sum).await? {
        phase.add(size_bytes)?;
        return Ok(false);
    }
    if size_bytes <= PIECE_BYTES {
        let path = from.to_owned();
        let bytes = blocking(move || std::fs::read(&path).map_err(TransferError::at(&path))).await?;
        objects.put(key, Bytes::from(bytes)).await?;
        phase.add(size_bytes)?;
    } else {
        let upload = objects.create_upload(key, false).await?;
        if let Err(error) = send_parts(objects, key, &upload, from, size_bytes, phase).await {
            // What cannot be dropped now is purged later.
            let _dropped = objects.abort_upload(key, &upload).await;
            return Err(error);
        }
    }
    Ok(true)
}

async fn send_parts(
    objects: &Arc<ObjectStore>,
    key: &str,
    upload: &str,
    from: &Path,
    size_bytes: u64,
    phase: &Phase,
) -> Result<()> {
    let part_bytes = PIECE_BYTES.max(size_bytes.div_ceil(MAX_PARTS));
    let mut file = File::open(from).map_err(TransferError::at(from))?;
    let mut parts = Vec::new();
    let mut start = 0;
    while start < size_bytes {
        let length = part_bytes.min(size_bytes - start);
        let path = from.to_owned();
        let (same, bytes) = blocking(move || {
            let mut bytes = Vec::new();
            (&mut file).take(length).read_to_end(&mut bytes).map_err(TransferError::at(&path))?;
            Ok((file, Bytes::from(bytes)))
        })
        .await?;
        file = same;
        let number = u32::try_from(parts.len() + 1).unwrap_or(u32::MAX);
        let etag = objects.upload_part(key, upload, number, bytes).await?;
        parts.push(NamedPart { number, etag, sha256: None });
        phase.add(length)?;
        start += length;
    }
    objects.complete_upload(key, upload, &parts, size_bytes).await?;
    Ok(())
}

/// Whether the object exists with these bytes.
async fn is_there(objects: &Arc<ObjectStore>, key: &str, size_bytes: u64, sum: &str) -> Result<bool> {
    match objects.size(key).await {
        Ok(size) if size == size_bytes => {}
        Ok(_) | Err(ObjectError::NotFound(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let mut hash = Sha256::new();
    let mut start = 0;
    while start < size_bytes {
        let end = (start + PIECE_BYTES).min(size_bytes);
        let piece = match objects.get_range(key, start..end).await {
            Ok(piece) => piece,
            Err(ObjectError::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        hash = blocking(move || {
            hash.update(&piece);
            Ok(hash)
        })
        .await?;
        start = end;
    }
    Ok(hex::encode(hash.finalize()) == sum)
}

/// Refuses when a folder's disk has less room.
pub fn require_space(folder: &Path, needed: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| TransferError::at(folder)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed { Err(TransferError::NoSpace { folder: folder.to_owned(), needed, free }) } else { Ok(()) }
}
