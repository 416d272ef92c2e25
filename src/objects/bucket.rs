//! The bucket and its rules: made when they are missing, where the service has them.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, CorsConfiguration,
    CorsRule, CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
};

use super::failure::{CallError, code, status};
use super::{ObjectStore, Trouble};

/// An upload takes parts for seven days; what is unfinished after these many nobody continues.
const ABORT_AFTER_DAYS: i32 = 8;
/// The object that says which installation the bucket belongs to.
const OWNER: &str = "tango-installation";
/// Our rules among those of others.
const RULE_ID: &str = "tango";
/// What a browser needs to send parts, look at them and read their ETags.
const METHODS: [&str; 3] = ["PUT", "GET", "HEAD"];
/// The region whose name must not be given when a bucket is made.
const FIRST_REGION: &str = "us-east-1";

/// Something that an S3 service may or may not do for us beside keeping objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// With its article, to be used in sentences.
    pub name: &'static str,
    /// Why it is missing and what that means; `None` when it is there.
    pub missing: Option<String>,
}

/// What was found at the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketState {
    pub is_there: bool,
    /// Made just now.
    pub is_new: bool,
    pub features: Vec<Feature>,
}

/// Whether missing things are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Look,
    SetUp,
}

impl ObjectStore {
    /// Makes the bucket and its rules unless they are there. Several nodes may do so at once, and again and again.
    pub async fn set_up(&self) -> Result<BucketState, Trouble> {
        self.bucket_state(Mode::SetUp).await
    }

    /// Says what is there; changes nothing.
    pub async fn examine(&self) -> Result<BucketState, Trouble> {
        self.bucket_state(Mode::Look).await
    }

    async fn bucket_state(&self, mode: Mode) -> Result<BucketState, Trouble> {
        let is_new = match mode {
            Mode::SetUp => self.ensure_bucket().await?,
            Mode::Look if self.has_bucket().await? => false,
            Mode::Look => return Ok(BucketState { is_there: false, is_new: false, features: Vec::new() }),
        };
        self.check_owner(mode).await?;
        let (cors, lifecycle, list) =
            tokio::try_join!(self.browser_rule(mode), self.cleaning_rule(mode), self.list_of_uploads())?;
        Ok(BucketState { is_there: true, is_new, features: vec![cors, lifecycle, list] })
    }

    /// Refuses a bucket whose objects another installation looks after: each would delete what the other one knows.
    async fn check_owner(&self, mode: Mode) -> Result<(), Trouble> {
        let Some(ours) = &self.installation else { return Ok(()) };
        let mut owner = self.owner().await?;
        if owner.is_none() && mode == Mode::SetUp {
            let put = self.client.put_object().bucket(&*self.bucket).key(OWNER).body(ours.as_bytes().to_vec().into());
            put.send().await.map_err(|error| self.trouble(&error))?;
            // Of two that come at once, both see the same.
            owner = self.owner().await?;
        }
        match owner {
            Some(owner) if owner != **ours => Err(self.owned_by(&owner, ours)),
            _ => Ok(()),
        }
    }

    /// That the bucket is another installation's than `ours`, if it is; none also when that cannot be found out. Changes nothing.
    pub async fn foreign_owner(&self, ours: &str) -> Option<Trouble> {
        let owner = self.owner().await.ok()??;
        (owner != ours).then(|| self.owned_by(&owner, ours))
    }

    fn owned_by(&self, owner: &str, ours: &str) -> Trouble {
        self.place.wrong(&format!(
            "has a bucket {} that belongs to another tango installation ({owner}, this one is {ours}), which would lose objects: name \
             a bucket of its own in S3_BUCKET, and check the database in MONGODB_URL. If the other installation is gone for good, \
             delete the object {OWNER} from the bucket, and start again",
            self.bucket
        ))
    }

    /// The installation that uses the bucket, if one has said so.
    async fn owner(&self) -> Result<Option<String>, Trouble> {
        let found = match self.client.get_object().bucket(&*self.bucket).key(OWNER).send().await {
            Ok(found) => found,
            Err(error) if code(&error) == Some("NoSuchKey") || status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(self.trouble(&error)),
        };
        match found.body.collect().await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes.into_bytes()).trim().to_owned())),
            Err(error) => Err(Trouble::Away(format!("the object store breaks off while {OWNER} is read: {error}"))),
        }
    }

    /// Whether the bucket exists and the keys may use it.
    pub(super) async fn has_bucket(&self) -> Result<bool, Trouble> {
        // A HEAD's refusal says nothing of its reason, so that is asked for by a list.
        let refused = match self.client.head_bucket().bucket(&*self.bucket).send().await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        if refused.raw_response().is_none() {
            return Err(self.trouble(&refused));
        }
        match self.client.list_objects_v2().bucket(&*self.bucket).max_keys(1).send().await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == Some("NoSuchBucket") => Ok(false),
            Err(error) => Err(self.trouble(&error)),
        }
    }

    /// Makes the bucket unless it exists; whether it was made.
    pub async fn ensure_bucket(&self) -> Result<bool, Trouble> {
        if self.has_bucket().await? {
            return Ok(false);
        }
        let region = Some(self.place.region.as_str()).filter(|region| *region != FIRST_REGION);
        let place = region.map(|region| {
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build()
        });
        let create = self.client.create_bucket().bucket(&*self.bucket).set_create_bucket_configuration(place);
        match create.send().await {
            Ok(_) => Ok(true),
            // Another node was first.
            Err(error) if matches!(code(&error), Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")) => {
                if self.has_bucket().await? {
                    return Ok(false);
                }
                Err(self.place.wrong(&format!("says both that the bucket {} exists and that it does not", self.bucket)))
            }
            Err(error) => Err(self.place.not_creatable(&error, self.clock.ahead_seconds())),
        }
    }

    /// What lets a page of ours PUT parts, and read their ETags.
    async fn browser_rule(&self, mode: Mode) -> Result<Feature, Trouble> {
        let missing = |why: String| Feature {
            name: "a CORS rule for uploads from browsers",
            missing: Some(format!(
                "{why}: allow {} to PUT, and expose ETag, in the service's own settings, or browsers send files through tango",
                self.origins.join(", ")
            )),
        };
        let mut rules = match self.client.get_bucket_cors().bucket(&*self.bucket).send().await {
            Ok(found) => found.cors_rules.unwrap_or_default(),
            Err(error) if code(&error) == Some("NoSuchCORSConfiguration") => Vec::new(),
            Err(error) => return Ok(missing(self.lacks(&error)?)),
        };
        let there = Feature { missing: None, ..missing(String::new()) };
        if rules.iter().any(|rule| self.lets_browsers_in(rule)) {
            return Ok(there);
        }
        if mode == Mode::Look {
            return Ok(missing("it is not set, and a start sets it".to_owned()));
        }
        let rule = CorsRule::builder()
            .id(RULE_ID)
            .set_allowed_methods(Some(METHODS.map(str::to_owned).to_vec()))
            .set_allowed_origins(Some(self.origins.to_vec()))
            .allowed_headers("*")
            .expose_headers("ETag")
            .max_age_seconds(3_600)
            .build();
        rules.retain(|rule| rule.id() != Some(RULE_ID));
        let rules = rule.and_then(|rule| {
            rules.push(rule);
            CorsConfiguration::builder().set_cors_rules(Some(rules)).build()
        });
        let rules = rules.map_err(|error| self.place.wrong(&format!("cannot be given a CORS rule ({error})")))?;
        match self.client.put_bucket_cors().bucket(&*self.bucket).cors_configuration(rules).send().await {
            Ok(_) => Ok(there),
            Err(error) => Ok(missing(self.lacks(&error)?)),
        }
    }

    fn lets_browsers_in(&self, rule: &CorsRule) -> bool {
        let has = |there: &[String], wanted: &str| there.iter().any(|one| one.eq_ignore_ascii_case(wanted));
        METHODS.iter().all(|method| has(rule.allowed_methods(), method))
            && (has(rule.allowed_origins(), "*")
                || self.origins.iter().all(|origin| has(rule.allowed_origins(), origin)))
            && has(rule.allowed_headers(), "*")
            && has(rule.expose_headers(), "ETag")
    }

    /// What ends uploads that nobody completes, also those of which tango has no record.
    async fn cleaning_rule(&self, mode: Mode) -> Result<Feature, Trouble> {
        let missing = |why: String| Feature {
            name: "a lifecycle rule that ends unfinished uploads",
            missing: Some(format!("{why}: tango's own purge ends them")),
        };
        let found = self.client.get_bucket_lifecycle_configuration().bucket(&*self.bucket).send().await;
        let mut rules = match found {
            Ok(found) => found.rules.unwrap_or_default(),
            Err(error) if code(&error) == Some("NoSuchLifecycleConfiguration") => Vec::new(),
            Err(error) => return Ok(missing(self.lacks(&error)?)),
        };
        let there = Feature { missing: None, ..missing(String::new()) };
        if rules.iter().any(ends_unfinished_uploads) {
            return Ok(there);
        }
        if mode == Mode::Look {
            return Ok(missing("it is not set, and a start sets it".to_owned()));
        }
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(ABORT_AFTER_DAYS).build();
        let rule = LifecycleRule::builder()
            .id(RULE_ID)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
            .abort_incomplete_multipart_upload(abort)
            .build();
        rules.retain(|rule| rule.id() != Some(RULE_ID));
        let rules = rule.and_then(|rule| {
            rules.push(rule);
            BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build()
        });
        let rules = rules.map_err(|error| self.place.wrong(&format!("cannot be given a lifecycle rule ({error})")))?;
        let put = self.client.put_bucket_lifecycle_configuration().bucket(&*self.bucket);
        match put.lifecycle_configuration(rules).send().await {
            Ok(_) => Ok(there),
            Err(error) => Ok(missing(self.lacks(&error)?)),
        }
    }

    /// What lets the purge find uploads of which tango has no record.
    async fn list_of_uploads(&self) -> Result<Feature, Trouble> {
        let name = "a list of unfinished uploads";
        match self.client.list_multipart_uploads().bucket(&*self.bucket).max_uploads(1).send().await {
            Ok(_) => Ok(Feature { name, missing: None }),
            Err(error) => {
                let why = self.lacks(&error)?;
                let missing = Some(format!("{why}: the purge ends those that tango's records name, and no others"));
                Ok(Feature { name, missing })
            }
        }
    }

    /// Why a call beside the point did not work; an error only when the store is away.
    fn lacks<E>(&self, error: &CallError<E>) -> Result<String, Trouble>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) {
            return Err(self.trouble(error));
        }
        Ok(match (status(error), code(error)) {
            (Some(501 | 405), _) | (_, Some("NotImplemented" | "MethodNotAllowed")) => {
                "this service has none".to_owned()
            }
            (Some(401 | 403), _) => "the access key may not set or see it".to_owned(),
            (status, code) => {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                format!("the service refuses it ({status} {})", code.unwrap_or("without a reason"))
            }
        })
    }
}

/// Whether a rule ends unfinished uploads in the whole bucket.
fn ends_unfinished_uploads(rule: &LifecycleRule) -> bool {
    #[expect(deprecated, reason = "services still answer with it, and a rule that has it is a rule")]
    let old_prefix = rule.prefix();
    let prefix = rule.filter().and_then(LifecycleRuleFilter::prefix).or(old_prefix);
    let partial = rule.filter().is_some_and(|filter| {
        filter.tag().is_some()
            || filter.and().is_some()
            || filter.object_size_greater_than().is_some()
            || filter.object_size_less_than().is_some()
    });
    *rule.status() == ExpirationStatus::Enabled
        && rule.abort_incomplete_multipart_upload().is_some()
        && !partial
        && prefix.unwrap_or_default().is_empty()
}
