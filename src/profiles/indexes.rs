//! Store indexes for every field of a profile (`AUTOGENERATE_INDEXES`).

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{Profile, schema};
use crate::context::Context;
use crate::domain::profile::ProfileSchema;
use crate::domain::schema::FieldType;
use crate::store::{Collection, IndexInfo, IndexSpec, IndexState, Path, StoreError};

/// Indexes that one profile may have: each one slows every write a little.
/// Fields come first, then Dict entries in alphabetical order.
pub const MAX_INDEXES: usize = 64;

/// One line of `GET …/indexes`.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FieldIndex {
    /// A field's name; an entry of a Dict field as `skills.English`.
    pub field: String,
    /// `key` (the id), `value`, `elements` (of a list), `entry` (of a dictionary), or `none`.
    pub kind: &'static str,
    /// `ready`, `building`, or `absent` (not made: `AUTOGENERATE_INDEXES` is False, the schema is not accepted, or there are too many).
    pub state: &'static str,
    pub bytes: Option<u64>,
    /// How often it was used, where the store counts.
    #[serde(rename = "use")]
    pub uses: Option<u64>,
}

/// Something that an index can be made for.
struct Wanted {
    label: String,
    kind: &'static str,
    spec: IndexSpec,
}

/// Everything of the schema that can be indexed, most useful first.
fn indexable(profile: &Profile, schema: &ProfileSchema) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut entries = Vec::new();
    for field in &schema.schema.fields {
        let path = Path::new(["fields", field.name.as_str()]);
        match field.field_type {
            FieldType::Dict => {
                for key in schema.dict_keys.get(&field.name).into_iter().flatten() {
                    let path = Path::new(["fields", field.name.as_str(), key.as_str()]);
                    let label = format!("{}.{key}", field.name);
                    entries.push(Wanted { label, kind: "entry", spec: spec(profile, path, false) });
                }
            }
            FieldType::List => {
                wanted.push(Wanted { label: field.name.clone(), kind: "elements", spec: spec(profile, path, true) });
            }
            _ => wanted.push(Wanted { label: field.name.clone(), kind: "value", spec: spec(profile, path, false) }),
        }
    }
    wanted.extend(entries);
    wanted
}

fn spec(profile: &Profile, path: Path, elements: bool) -> IndexSpec {
    // A name has letters, digits and underscores only; a path may hold anything, so that it is hashed.
    let hash = xxh3_64(path.0.join("\u{0}").as_bytes());
    IndexSpec {
        name: format!("{}{hash:016x}{}", prefix(profile), if elements { "e" } else { "" }),
        collection: Collection::of_profile(profile.kind),
        scope: Some(profile.account_id.to_string()),
        path,
        elements,
    }
}

fn prefix(profile: &Profile) -> String {
    format!("profile_{}_", profile.account_id)
}

async fn existing(ctx: &Context, profile: &Profile) -> Result<Vec<IndexInfo>, StoreError> {
    let prefix = prefix(profile);
    let all = ctx.store.indexes(Collection::of_profile(profile.kind)).await?;
    Ok(all.into_iter().filter(|index| index.spec.name.starts_with(&prefix)).collect())
}

/// Makes what is missing and drops what is not wanted any more. Done again, it does nothing.
/// Answers how many were made and dropped.
pub async fn reconcile(ctx: &Context, profile: &Profile) -> Result<(usize, usize), StoreError> {
    let schema = schema::load(&ctx.store, profile).await?.value;
    let wanted = if ctx.config.autogenerate_indexes && schema.schema.accepted {
        let mut wanted = indexable(profile, &schema);
        if wanted.len() > MAX_INDEXES {
            let kind = profile.kind.as_str();
            tracing::warn!(kind, wanted = wanted.len(), limit = MAX_INDEXES, "more fields and skills than indexes");
            wanted.truncate(MAX_INDEXES);
        }
        wanted
    } else {
        Vec::new()
    };
    let existing = existing(ctx, profile).await?;
    let (mut made, mut dropped) = (0, 0);
    for index in &existing {
        if !wanted.iter().any(|wanted| wanted.spec.name == index.spec.name) {
            ctx.store.drop_index(index.spec.collection, &index.spec.name).await?;
            dropped += 1;
        }
    }
    for wanted in wanted {
        if !existing.iter().any(|index| index.spec.name == wanted.spec.name) {
            ctx.store.create_index(wanted.spec).await?;
            made += 1;
        }
    }
    Ok((made, dropped))
}

/// Whether [`reconcile`] would change something.
pub async fn is_behind(ctx: &Context, profile: &Profile, schema: &ProfileSchema) -> Result<bool, StoreError> {
    let mut wanted: Vec<String> = if ctx.config.autogenerate_indexes && schema.schema.accepted {
        indexable(profile, schema).into_iter().take(MAX_INDEXES).map(|wanted| wanted.spec.name).collect()
    } else {
        Vec::new()
    };
    let mut names: Vec<String> = existing(ctx, profile).await?.into_iter().map(|index| index.spec.name).collect();
    wanted.sort_unstable();
    names.sort_unstable();
    Ok(wanted != names)
}

/// One line a field, the id first.
pub async fn list(ctx: &Context, profile: &Profile) -> Result<Vec<FieldIndex>, StoreError> {
    let schema = schema::load(&ctx.store, profile).await?.value;
    let existing = existing(ctx, profile).await?;
    let key = FieldIndex { field: "id".to_owned(), kind: "key", state: "ready", bytes: None, uses: None };
    let lines = indexable(profile, &schema).into_iter().map(|wanted| {
        let found = existing.iter().find(|index| index.spec.name == wanted.spec.name);
        FieldIndex {
            field: wanted.label,
            kind: if found.is_some() { wanted.kind } else { "none" },
            state: match found.map(|index| index.state) {
                Some(IndexState::Ready) => "ready",
                Some(IndexState::Building) => "building",
                None => "absent",
            },
            bytes: found.and_then(|index| index.size_bytes),
            uses: found.and_then(|index| index.uses),
        }
    });
    Ok(std::iter::once(key).chain(lines).collect())
}
