//! `tango demo`: a simulated contact centre, from its raw files to what routing by score gains.
//!
//! Everything goes through this program's own HTTP API, as a client's script would; only the simulation is
//! known to the demo alone, and with it the truth next to which the estimates are shown.
#![expect(clippy::print_stdout, reason = "the demo speaks to the person who started it")]

mod gain;
mod show;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use self::table::Table;
use super::serve::{Signals, print_welcome, run_app};
use crate::app::control::{self, Request};
use crate::app::{App, listen};
use crate::client::{Client, text};
use crate::clock::SystemClock;
use crate::config::{Config, Loaded};
use crate::http::pages::figures::grouped;
use crate::simulation::{Centre, Settings};
use crate::telemetry;

/// Marks a folder that a demo made, and that the next demo may therefore empty.
const MARK: &str = "made-by-tango-demo";
/// What the mark says once everything was shown.
const COMPLETE: &str = "A demo made this folder; `tango demo --again` empties it.\n";
const PREDICTOR: &str = "first_contact_resolution";

/// Where the data goes unless `--data-dir` says otherwise.
const FOLDER: &str = "./tango-data-demo";

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Past interactions to simulate
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(2_000..=5_000_000))]
    pub interactions: u32,
    /// Agents to simulate
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub agents: u32,
    /// Customers to simulate
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub customers: u32,
    /// Another seed is another contact centre
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Replace the data of an earlier demo in the same folder
    #[arg(long)]
    pub again: bool,
    /// End when everything was shown, instead of serving on; the data goes into a temporary folder
    #[arg(long)]
    pub exit: bool,
}

/// Runs the demo; returns when it is over, or when the person ends it.
pub async fn run(loaded: Loaded, args: DemoArgs) -> anyhow::Result<()> {
    let mut signals = Signals::catch()?;
    let chosen = loaded.values.iter().any(|value| value.name == "DATA_DIR" && value.source != "default");
    let temporary = args.exit && !chosen;
    let folder = match (chosen, temporary) {
        (true, _) => loaded.config.data_dir.clone(),
        (_, true) => std::env::temp_dir().join(format!("tango-demo-{}", std::process::id())),
        (_, false) => PathBuf::from(FOLDER),
    };
    if loaded.config.log_level == "INFO" {
        // The log of a healthy server would only run through the tables; DEBUG is somebody's wish.
        telemetry::start_logging("WARN", loaded.config.log_format).map_err(anyhow::Error::msg)?;
    }
    // Before anything is removed.
    drop(listen(loaded.config.listen)?);
    prepare_folder(&folder, args.again).await?;
    let config = Config {
        data_dir: folder.clone(),
        s3_listen: loaded.config.s3_listen.or(Some((loaded.config.listen.ip(), 0).into())),
        // Everything is shown in one go: nothing else is to be waited for.
        drain_seconds: 0,
        ..loaded.config
    };
    let app = App::start(config.clone(), Arc::new(SystemClock)).await?;
    let shown = tokio::select! {
        shown = show_everything(&args, &app, &config) => shown,
        _ = signals.next() => Err(anyhow::anyhow!("stopped before everything was shown")),
    };
    if shown.is_ok() && !args.exit {
        std::fs::write(folder.join(MARK), COMPLETE)?;
        println!("\nOpen it again later with: tango --data-dir {}", folder.display());
        println!();
        print_welcome(&app, &config).await;
        return run_app(app, Duration::ZERO, signals).await;
    }
    app.stop().await?;
    if temporary {
        std::fs::remove_dir_all(&folder).with_context(|| format!("{} could not be removed", folder.display()))?;
    }
    shown
}

/// An empty folder with our mark in it.
async fn prepare_folder(folder: &Path, again: bool) -> anyhow::Result<()> {
    let mark = folder.join(MARK);
    let used = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if used && !mark.exists() {
        bail!(
            "{} is not empty and was not made by a demo: name another folder with --data-dir, or remove it yourself",
            folder.display()
        );
    }
    if used {
        if control::ask(folder, &Request::Status).await?.is_some() {
            bail!(
                "another demo is running on {}: stop it first, or name another folder with --data-dir",
                folder.display()
            );
        }
        // What a person may have added to a finished demo is theirs; half a demo is of no use to anybody.
        if !again && std::fs::read_to_string(&mark).is_ok_and(|text| text == COMPLETE) {
            bail!(
                "{0} holds an earlier demo. Open it again with `tango --data-dir {0}`, replace it with \
                 `tango demo --again`, or name another folder with --data-dir",
                folder.display()
            );
        }
        println!("removing the data of an earlier demo in {}", folder.display());
        std::fs::remove_dir_all(folder).with_context(|| format!("{} could not be emptied", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} could not be created", folder.display()))?;
    std::fs::write(&mark, "A demo makes this folder; the next one empties it.\n")?;
    Ok(())
}

async fn show_everything(args: &DemoArgs, app: &App, config: &Config) -> anyhow::Result<()> {
    let started = Instant::now();
    println!("tango demo: a simulated contact centre whose truth is known");
    println!("   data folder {}   server {}", config.data_dir.display(), app.url);
    let settings = Settings {
        seed: args.seed,
        interactions: args.interactions as usize,
        agents: args.agents as usize,
        customers: args.customers as usize,
        ..Settings::default()
    };
    heading(1, "Simulate");
    let centre = tokio::task::spawn_blocking(move || Centre::generate(settings)).await?;
    println!(
        "   {} interactions over {} days, {} agents, {} customers (seed {})",
        grouped(centre.interactions.len() as u64),
        centre.settings.days,
        grouped(centre.agents.len() as u64),
        grouped(centre.customers.len() as u64),
        args.seed
    );
    println!("   Agents have strengths for particular reasons for contact that no file contains.");
    let first = app.first_start.as_ref().context("the data folder was not new")?;
    let given = config.super_user_password.as_ref().map(|secret| secret.0.as_str());
    let password = first.generated_password.as_deref().or(given).context("the first user's password is not known")?;
    let client = Client::sign_in(&app.url, &first.username, password).await?;

    heading(2, "Upload through presigned URLs, accept the schema, count");
    let dataset = upload_everything(&client, &centre).await?;
    show::cardinalities(&client, &dataset).await?;

    heading(3, "Define a predictor and train three models");
    let predictor = create_predictor(&client, &dataset).await?;
    let models = train_models(&client, &predictor).await?;
    let best = models.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).context("no model was trained")?;
    client.post(&format!("/api/v1/models/{}/activate", best.id), &json!({})).await?;
    println!("   {} has the lowest log loss and answers score requests from now on.", best.model_type);

    heading(4, "Score waiting interactions");
    show::waiting(&client, &centre, PREDICTOR).await?;

    heading(5, "What routing by score would gain");
    gain::show(&client, &centre, PREDICTOR).await?;

    println!("\nDone in {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}

fn heading(number: usize, text: &str) {
    println!("\n{number}  {text}");
}

/// Uploads agents, customers and interactions; answers the dataset's id once its rows are there.
async fn upload_everything(client: &Client, centre: &Centre) -> anyhow::Result<String> {
    let (mut agents, mut customers, mut interactions) = (Vec::new(), Vec::new(), Vec::new());
    centre.write_agents(&mut agents)?;
    centre.write_customers(&mut customers)?;
    centre.write_interactions(&mut interactions)?;
    let mut table = Table::new(&["file", "bytes", "records", "seconds"]);
    for (target, bytes) in [("agents", agents), ("customers", customers)] {
        let (started, size) = (Instant::now(), bytes.len());
        let ask = json!({ "target": target, "filename": format!("{target}.csv"), "mode": "create" });
        let done = client.upload(bytes, ask, true).await?;
        client.wait(&done["job_id"], &format!("storing {target}")).await?;
        let records = match target {
            "agents" => centre.agents.len(),
            _ => centre.customers.len(),
        };
        table.row(file_row(target, size, records as u64, started.elapsed()));
    }
    let (started, size) = (Instant::now(), interactions.len());
    let ask = json!({ "target": "dataset", "name": "interactions", "filename": "interactions.csv", "mode": "create" });
    let done = client.upload(interactions, ask, false).await?;
    client.wait(&done["job_id"], "discovering the schema").await?;
    let dataset = text(&done["dataset_id"])?;
    let path = format!("/api/v1/datasets/{dataset}");
    let schema = client.get(&format!("{path}/schema")).await?;
    client.put(&format!("{path}/schema"), &json!({ "fields": with_roles(&schema)? })).await?;
    let accepted = client.post(&format!("{path}/schema/accept"), &json!({})).await?;
    client.wait(&accepted["job_id"], "writing columns").await?;
    let rows = client.get(&path).await?["rows"].as_u64().unwrap_or_default();
    table.row(file_row("interactions", size, rows, started.elapsed()));
    table.lines().iter().for_each(|line| println!("{line}"));
    Ok(dataset)
}

fn file_row(name: &str, bytes: usize, records: u64, took: Duration) -> Vec<String> {
    vec![name.to_owned(), grouped(bytes as u64), grouped(records), format!("{:.1}", took.as_secs_f64())]
}

/// What a person would set in the browser: what each discovered field is for.
fn with_roles(schema: &Value) -> anyhow::Result<Vec<Value>> {
    let fields = schema["fields"].as_array().context("the schema has no fields")?;
    let role = |name: &str| match name {
        "start_time" => "timestamp",
        "agent_id" => "agent_id",
        "customer_id" => "customer_id",
        "first_contact_resolution" | "handle_time_seconds" => "metric",
        "interaction_id" => "ignored",
        _ => "context",
    };
    fields
        .iter()
        .map(|field| {
            let name = text(&field["name"])?;
            Ok(json!({ "name": name, "type": field["type"], "role": role(&name) }))
        })
        .collect()
}

/// Answers the predictor's id.
async fn create_predictor(client: &Client, dataset: &str) -> anyhow::Result<String> {
    let body = json!({
        "name": PREDICTOR,
        "dataset_id": dataset,
        "metric": { "field": "first_contact_resolution", "kind": "classification", "goal": "maximize" },
        "agent_source": "profile",
        "customer_source": "profile",
        "features": {
            "context": ["start_time", "reason", "language", "channel", "previous_contacts", "wait_seconds"],
            "customer": ["tier", "segment", "region", "customer_tenure_months", "products"],
            "agent": ["skills", "site", "tenure_months"],
        },
    });
    let predictor = client.post("/api/v1/predictors", &body).await?;
    println!("   predictor {PREDICTOR}: 6 context, 5 customer and 3 agent features");
    text(&predictor["id"])
}

/// A model with what is shown of it.
struct TrainedModel {
    id: String,
    model_type: String,
    log_loss: f64,
}

/// Trains the full-feature model that came with the predictor, and one of each other type.
async fn train_models(client: &Client, predictor: &str) -> anyhow::Result<Vec<TrainedModel>> {
    let models = format!("/api/v1/predictors/{predictor}/models");
    let mut drafts = Vec::new();
    for model_type in ["GLOBAL", "DISJOINT"] {
        let body = json!({ "name": model_type.to_lowercase(), "type": model_type });
        drafts.push(client.post(&models, &body).await?);
    }
    let all = client.get(&models).await?;
    let existing = all["items"].as_array().into_iter().flatten().find(|model| model["type"] == "HYBRID");
    drafts.push(existing.context("the predictor came without its full-feature model")?.clone());
    let mut table =
        Table::new(&["model", "AUC", "95 % interval", "log loss", "trees", "agents with own model", "MB", "seconds"]);
    let mut trained = Vec::new();
    for draft in drafts {
        let (id, model_type) = (text(&draft["id"])?, text(&draft["type"])?);
        let started = Instant::now();
        let job = client.post(&format!("/api/v1/models/{id}/train"), &json!({})).await?;
        client.wait(&job["job_id"], &format!("training {model_type}")).await?;
        let took = started.elapsed();
        let quality = client.get(&format!("/api/v1/models/{id}/quality")).await?;
        let coverage = client.get(&format!("/api/v1/models/{id}/coverage")).await?;
        let model = client.get(&format!("/api/v1/models/{id}")).await?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let auc = &quality["classification"]["auc"];
        let log_loss = number(&quality["classification"]["log_loss"]["value"]);
        table.row(vec![
            model_type.clone(),
            format!("{:.4}", number(&auc["value"])),
            format!("{:.4} to {:.4}", number(&auc["low"]), number(&auc["high"])),
            format!("{log_loss:.4}"),
            quality["trees"].to_string(),
            format!("{} of {}", coverage["local"], number(&coverage["local"]) + number(&coverage["global"])),
            format!("{:.1}", number(&model["artifact_bytes"]) / 1e6),
            format!("{:.1}", took.as_secs_f64()),
        ]);
        trained.push(TrainedModel { id, model_type, log_loss });
    }
    table.lines().iter().for_each(|line| println!("{line}"));
    println!("   measured on the last fifth of the 90 days, which training did not see");
    Ok(trained)
}
