//! tango: an open predictive-routing server.
//!
//! The layout is the architecture: see `docs/ARCHITECTURE.md`. Arrows point one way,
//! `cli → app → {http, jobs} → {learn, score, ingest} → {store, objects, sketch, filter, expression} → domain`,
//! and `tests/it/architecture.rs` fails on a wrong one.

pub mod app;
pub mod auth;
pub mod background;
pub mod bench;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod context;
pub mod domain;
pub mod expression;
pub mod filter;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod learn;
pub mod lifecycle;
pub mod live;
pub mod objects;
pub mod production;
pub mod profiles;
pub mod progress;
pub mod quick_map;
pub mod score;
pub mod simulation;
pub mod sketch;
pub mod store;
pub mod telemetry;
pub mod transfer;
pub mod unread_body;
