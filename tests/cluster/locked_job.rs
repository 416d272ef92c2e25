//! A job that a dead process left locked, in the middle of a claim, keeps no worker from the other jobs.

use serde_json::json;

use crate::deployment::{Deployment, Shape};
use crate::node::Role;
use crate::stored_jobs::StoredJobs;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_claimed_keeps_nobody_from_the_others() {
    let shape = Shape { members: 1, servers: 1, workers: 0, ..Shape::default() };
    let Some(mut deployment) = Deployment::start(shape).await else { return };
    let (api, jobs) = (deployment.at(0), StoredJobs::of(&deployment.set).await);
    let locked = api.start_upload("dataset", b"call,agent\nfirst,agent-7\n", json!({"name": "locked"})).await;
    let locked = locked["job_id"].as_str().unwrap();
    // Not one of tango's own, which would be ended when nothing is heard of it.
    let transaction = jobs.lock(locked).await;
    let worker = deployment.start_node_with(Role::Worker, &[]);
    let other = api.upload("dataset", b"call,agent\nfirst,agent-7\n", json!({"name": "free"})).await;
    assert_eq!(other["job"]["state"], "succeeded", "{other:#}");
    assert_eq!(jobs.get(locked).await.state, "queued");
    drop(transaction);
    assert_eq!(api.wait_for_job(locked).await["state"], "succeeded");
    deployment.workers.push(worker);
}
