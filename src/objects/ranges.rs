//! Ranges of objects. A body that breaks off is continued where it did.

use std::ops::Range;

use bytes::Bytes;
use tokio::time::Instant;

use super::{ObjectError, ObjectStore, Result, patience};

/// How often a body may break off.
const MOST_BREAKS: u32 = 4;

impl ObjectStore {
    /// Bytes `range` of an object. A range that reaches over the object's end fails.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let deadline = Instant::now() + 2 * patience::to_move(length);
        let mut breaks = 0;
        while (bytes.len() as u64) < length {
            let start = range.start + bytes.len() as u64;
            let Err(reason) = self.read_on(key, start..range.end, &mut bytes).await? else { continue };
            breaks += 1;
            if breaks >= MOST_BREAKS || Instant::now() >= deadline {
                self.watch.suspected.notify_one();
                return Err(ObjectError::Unavailable(
                    reason.context(format!("{key}: the body broke off {breaks} times")),
                ));
            }
            tracing::debug!(key, breaks, error = format!("{reason:#}"), "a body broke off, reading on");
        }
        if bytes.len() as u64 > length {
            let got = bytes.len();
            return Err(ObjectError::Failed(anyhow::anyhow!("{key}: asked for {length} bytes, got {got}")));
        }
        Ok(bytes.into())
    }

    /// Appends the range to `bytes`, as far as it comes. The inner error says why not all of it came.
    async fn read_on(&self, key: &str, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<anyhow::Result<()>> {
        let length = range.end - range.start;
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let get = self.client.get_object().bucket(&*self.bucket).key(key).range(&header);
        let mut body = get.send().await.map_err(|error| self.failure(key, error))?.body;
        let before = bytes.len();
        let reading = async {
            while let Some(piece) = body.try_next().await? {
                bytes.extend_from_slice(&piece);
                if (bytes.len() - before) as u64 > length {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let limit = patience::to_move(length);
        let read = match tokio::time::timeout(limit, reading).await {
            Ok(read) => read,
            Err(_) => Err(anyhow::anyhow!("not read within {} s", limit.as_secs())),
        };
        let got = (bytes.len() - before) as u64;
        Ok(read.and_then(|()| {
            anyhow::ensure!(got >= length, "asked for {header}, got {got} bytes");
            Ok(())
        }))
    }
}
