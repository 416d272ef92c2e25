//! `kill -9` of workers, again and again, while they read files and train models: each job's effect happens once, and a job whose
//! worker died goes on soon after its lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::appenders::wait_for_jobs;
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::job_makers::JobMakers;
use crate::stored_jobs::{StoredJob, StoredJobs, TAKEN_OVER_WITHIN};
use crate::support::centre;
use crate::support::patience::until;

/// The first ones are never killed: somebody has to see that a job stands still, and be free to take it.
const WORKERS: usize = 5;
const SURVIVORS: usize = 2;
/// A job that has lost so many workers already is left alone, so that its client need not wait for ever.
const DEATHS_OF_A_JOB: i64 = 3;
/// Each kill comes a little later after the job's beginning than the one before, in turn.
const LATER: Duration = Duration::from_millis(40);

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_jobs_happen_once_and_go_on_soon_after_the_lease() {
    let (kills, appending, training) = sized((8, 3, 1), (100, 6, 1));
    let shape = Shape { members: 1, servers: 1, workers: WORKERS, ..Shape::default() };
    let Some(mut deployment) = Deployment::start(shape).await else { return };
    let api = deployment.at(0);
    let predictor = centre::load(&api).await.create_predictor(&api).await;
    let jobs = StoredJobs::of(&deployment.set).await;
    let makers = JobMakers::start(&api, &predictor, appending, training);
    let mut taken_over = Vec::new();
    let mut orphans: BTreeMap<String, u32> = BTreeMap::new();
    for kill in 0..kills {
        let workers = &mut deployment.workers[SURVIVORS..];
        let busy = until("a job at work", async || {
            let running = jobs.running().await;
            let fresh = running.iter().filter(|job| job.attempt <= DEATHS_OF_A_JOB);
            let of = |job: &StoredJob| workers.iter().position(|worker| job.is_run_by(worker));
            fresh.filter_map(of).next().ok_or(running)
        })
        .await;
        tokio::time::sleep(LATER * (kill % 8)).await;
        let worker = &mut workers[busy];
        worker.kill();
        let killed = Instant::now();
        for orphan in jobs.running().await.into_iter().filter(|job| job.is_run_by(worker)) {
            *orphans.entry(orphan.kind.clone()).or_default() += 1;
            taken_over.push(tokio::spawn(jobs.clone().taken_over(orphan, killed)));
        }
        tokio::task::block_in_place(|| worker.restart());
    }
    let made = makers.stop().await;
    let taken_over = futures::future::join_all(taken_over).await;
    wait_for_jobs(&api).await;
    let ended = jobs.all().await;
    let failed: Vec<_> = ended.iter().filter(|job| job.state != "succeeded").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    made.check(&api).await;
    let taken_over = Spread::of(taken_over.into_iter().map(Result::unwrap));
    figure(
        &format!("{kills} workers killed; they left {orphans:?} behind"),
        format!("{} files, {} models, {} jobs, each once", made.files(), made.models(), ended.len()),
        "each effect once",
    );
    figure("a job goes on after its worker's death", &taken_over, "≤ 12 s: the lease of 10 s, and 2 s");
    promise(taken_over.max() <= TAKEN_OVER_WITHIN, taken_over);
}
