//! The tests of the program as a whole: each boots the real server on a free port and speaks HTTP to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod architecture;
mod centre;
mod crash_jobs;
mod crash_node;
mod crash_outcomes;
mod crash_store;
mod datasets;
mod disk_full;
mod door;
mod edge;
mod lift_estimation;
mod memory;
mod models;
mod pages;
mod pages_forms;
mod pages_live;
mod pages_shared;
mod predictors;
mod process;
mod production;
mod profiles;
mod purging;
mod real_data;
mod reports;
mod s3_service;
mod score;
mod score_log;
mod score_turns;
#[path = "../support/services.rs"]
mod services;
mod session;
#[path = "../support/stores.rs"]
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod training;
mod transfer;
mod uploads;
mod users;
