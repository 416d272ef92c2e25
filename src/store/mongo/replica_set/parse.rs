//! From the server's answers to plain values. What is missing in them is `None`, never an error: versions differ.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document};

use super::{Configuration, Disk, MemberConfiguration, Position};
use crate::domain::Timestamp;

/// The members of a configuration or of a status.
pub(super) fn members(document: &Document) -> impl Iterator<Item = &Document> {
    document.get_array("members").into_iter().flatten().filter_map(Bson::as_document)
}

pub(super) fn configuration(raw: &Document) -> Option<Configuration> {
    Some(Configuration {
        set: raw.get_str("_id").ok()?.to_owned(),
        version: whole(raw, "version")?,
        term: whole(raw, "term").filter(|term| *term >= 0),
        members: members(raw).map(member).collect::<Option<_>>()?,
    })
}

fn member(raw: &Document) -> Option<MemberConfiguration> {
    let tags = raw.get_document("tags").into_iter().flatten();
    let tags: BTreeMap<String, String> =
        tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Some(MemberConfiguration {
        id: whole(raw, "_id")?,
        host: raw.get_str("host").ok()?.to_owned(),
        votes: whole(raw, "votes").unwrap_or(1),
        priority: number(raw, "priority").unwrap_or(1.0),
        arbiter: raw.get_bool("arbiterOnly").unwrap_or(false),
        hidden: raw.get_bool("hidden").unwrap_or(false),
        delay_seconds: whole(raw, "secondaryDelaySecs").unwrap_or(0),
        tags,
    })
}

/// How far a member's own data goes, from its status, and when its last write was made.
pub(super) fn position(status: &Document) -> Option<(Position, Option<Timestamp>)> {
    let times = status.get_document("optimes").ok()?;
    let applied = times.get_document("appliedOpTime").ok()?;
    let at = applied.get_timestamp("ts").ok()?;
    let position = Position { term: whole(applied, "t")?, seconds: at.time, increment: at.increment };
    (position.seconds > 0).then(|| (position, time(times, "lastAppliedWallTime")))
}

/// The disk under a member's data, from `dbStats`.
pub(super) fn disk(stats: &Document) -> Option<Disk> {
    let bytes = |name: &str| number(stats, name).map(|bytes| bytes as u64);
    let total_bytes = bytes("fsTotalSize").filter(|total| *total > 0)?;
    Some(Disk { total_bytes, free_bytes: total_bytes.saturating_sub(bytes("fsUsedSize")?) })
}

/// A moment; `None` when it never was.
pub(super) fn time(document: &Document, name: &str) -> Option<Timestamp> {
    let at = document.get_datetime(name).ok()?.timestamp_millis();
    Timestamp::from_timestamp_millis(at).filter(|_| at > 0)
}

/// Whatever kind of number the server took.
pub(super) fn number(document: &Document, name: &str) -> Option<f64> {
    match document.get(name)? {
        Bson::Double(number) => Some(*number),
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        _ => None,
    }
}

pub(super) fn whole(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        Bson::Double(number) => Some(*number as i64),
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}
