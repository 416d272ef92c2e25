//! The stored schema of a profile.

use crate::context::Context;
use crate::domain::profile::ProfileSchema;
use crate::domain::schema::{Field, FieldType};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, SharedStore, StoreError, StoreExt, Stored};

use super::Profile;
use super::values::{ID, VERSION, check_name};

/// Revision of a schema that is not stored yet.
pub const NOT_STORED: u64 = 0;

/// The current schema, or the initial one.
pub async fn load(store: &SharedStore, profile: &Profile) -> Result<Stored<ProfileSchema>, StoreError> {
    let key = Key::new(profile.account_id.as_str(), profile.kind.as_str());
    Ok(match store.load::<ProfileSchema>(&key).await? {
        Some(stored) => stored,
        None => {
            Stored { value: ProfileSchema::initial(profile.account_id.clone(), profile.kind), revision: NOT_STORED }
        }
    })
}

/// Writes a changed schema, if nobody else changed it since it was read.
pub fn write(batch: &mut Batch, read: &Stored<ProfileSchema>, value: ProfileSchema) {
    if read.revision == NOT_STORED {
        batch.insert(&value);
    } else {
        batch.replace(&Stored { value, revision: read.revision });
    }
}

/// Why a new list of fields is refused.
#[derive(Debug)]
pub enum SchemaFault {
    /// Position in the list, and what is wrong.
    Field {
        index: usize,
        member: &'static str,
        reason: String,
    },
    /// A field that anonymises: not available yet.
    Anonymize {
        index: usize,
    },
    /// A field that must stay is not in the list.
    Missing {
        reason: String,
    },
    Store(StoreError),
}

/// Checks a new list of fields against the current schema and the stored records.
pub async fn check(
    ctx: &Context,
    profile: &Profile,
    current: &ProfileSchema,
    fields: &[Field],
) -> Result<(), SchemaFault> {
    let fault = |index, member, reason: String| Err(SchemaFault::Field { index, member, reason });
    let limit = ctx.config.limits.max_columns;
    if fields.len() > limit {
        return Err(SchemaFault::Missing {
            reason: format!("{} fields are too many: at most {limit} (MAX_COLUMNS)", fields.len()),
        });
    }
    for (index, field) in fields.iter().enumerate() {
        if let Err(reason) = check_name(&field.name) {
            return fault(index, "name", reason);
        }
        if field.name == ID || field.name == VERSION {
            return fault(index, "name", format!("{} is a record's own member and cannot be a field", field.name));
        }
        if fields[..index].iter().any(|other| other.name == field.name) {
            return fault(index, "name", format!("the field {} is listed twice", field.name));
        }
        if field.anonymize {
            return Err(SchemaFault::Anonymize { index });
        }
        let old = current.schema.field(&field.name).map(|old| old.field_type);
        if let Some(old) = old.filter(|old| !holds(field.field_type, *old)) {
            let mandatory = profile.kind.mandatory_fields().iter().any(|mandatory| mandatory.name == field.name);
            if mandatory || has_values(ctx, profile, &field.name).await.map_err(SchemaFault::Store)? {
                let new = field.field_type;
                let reason = format!(
                    "{} is {old:?} and {}; it cannot become {new:?}. Send records without it first, or add a field under another name",
                    field.name,
                    if mandatory { "mandatory" } else { "records hold values of it" },
                );
                return fault(index, "type", reason);
            }
        }
    }
    for mandatory in profile.kind.mandatory_fields() {
        if !fields.iter().any(|field| field.name == mandatory.name && field.field_type == mandatory.field_type) {
            let (name, field_type) = (&mandatory.name, mandatory.field_type);
            return Err(SchemaFault::Missing {
                reason: format!("the field {name} ({field_type:?}) is mandatory and is not in the list"),
            });
        }
    }
    Ok(())
}

/// Every value of the old type is one of the new type, too.
fn holds(new: FieldType, old: FieldType) -> bool {
    new == old
        || matches!((old, new), (FieldType::Integer, FieldType::Float) | (FieldType::Timestamp, FieldType::String))
}

async fn has_values(ctx: &Context, profile: &Profile, field: &str) -> Result<bool, StoreError> {
    let query = Query::new(Collection::of_profile(profile.kind), profile.account_id.as_str())
        .filter(Condition::Exists { path: Path::new(["fields", field]) })
        .limit(1);
    Ok(!ctx.store.find(&query).await?.documents.is_empty())
}
