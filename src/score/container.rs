//! The bytes around an artifact: magic, format version, SHA-256, compressed body.
//!
//! ```text
//! 0   8  magic "TANGOMDL"
//! 8   4  format version, little endian
//! 12  8  length of the body before compression
//! 20 32  SHA-256 of everything after it
//! 52  …  the body, compressed with zstd
//! ```

use sha2::{Digest, Sha256};

use super::artifact::ArtifactError;

const MAGIC: &[u8; 8] = b"TANGOMDL";
const HEADER_BYTES: usize = 52;
/// Grows with every change of the body's layout; all older ones are read. 2: weights of the trees' nodes.
pub const FORMAT_VERSION: u32 = 2;
/// No model is larger; a forged length must not reserve memory.
const MAX_BODY_BYTES: u64 = 2 << 30;

/// Wraps a body.
pub fn seal(body: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let packed = zstd::bulk::compress(body, 9).map_err(|error| ArtifactError::Corrupt(error.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + packed.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&packed));
    bytes.extend_from_slice(&packed);
    Ok(bytes)
}

/// Checks and unwraps: the format version and the body.
pub fn open(bytes: &[u8]) -> Result<(u32, Vec<u8>), ArtifactError> {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
        return Err(ArtifactError::NotAnArtifact);
    }
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let version = u32::from_le_bytes(word(8));
    if version > FORMAT_VERSION {
        return Err(ArtifactError::Newer { found: version, supported: FORMAT_VERSION });
    }
    let (low, high) = (u32::from_le_bytes(word(12)), u32::from_le_bytes(word(16)));
    let length = u64::from(low) | (u64::from(high) << 32);
    let packed = &bytes[HEADER_BYTES..];
    if Sha256::digest(packed)[..] != bytes[20..HEADER_BYTES] {
        return Err(ArtifactError::Checksum);
    }
    if length > MAX_BODY_BYTES {
        return Err(ArtifactError::Corrupt(format!("a body of {length} bytes is beyond the limit")));
    }
    let body =
        zstd::bulk::decompress(packed, length as usize).map_err(|error| ArtifactError::Corrupt(error.to_string()))?;
    if body.len() as u64 != length {
        return Err(ArtifactError::Corrupt("the body's length differs from the header".to_owned()));
    }
    Ok((version, body))
}

/// Little-endian arrays after one another.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub fn u32s(&mut self, values: &[u32]) {
        self.0.extend_from_slice(&(values.len() as u64).to_le_bytes());
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub fn u16s(&mut self, values: &[u16]) {
        self.0.extend_from_slice(&(values.len() as u64).to_le_bytes());
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub fn f32s(&mut self, values: &[f32]) {
        self.0.extend_from_slice(&(values.len() as u64).to_le_bytes());
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

/// Reads what [`Writer`] wrote; a wrong length is an error, never a panic.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, width: usize) -> Result<&'a [u8], ArtifactError> {
        let short = || ArtifactError::Corrupt("the body ends early".to_owned());
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or_else(short)?;
        let length =
            usize::try_from(u64::from_le_bytes(*head)).ok().and_then(|n| n.checked_mul(width)).ok_or_else(short)?;
        if rest.len() < length {
            return Err(short());
        }
        let (values, rest) = rest.split_at(length);
        self.0 = rest;
        Ok(values)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], ArtifactError> {
        self.take(1)
    }

    pub fn u32s(&mut self) -> Result<Vec<u32>, ArtifactError> {
        Ok(self.take(4)?.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    pub fn u16s(&mut self) -> Result<Vec<u16>, ArtifactError> {
        Ok(self.take(2)?.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect())
    }

    pub fn f32s(&mut self) -> Result<Vec<f32>, ArtifactError> {
        Ok(self.take(4)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}
