//! Tests of the cluster: real `mongod` members, a real S3 service, real load balancers, several `tango` processes, and what
//! happens when they die. Each module owns real processes and ends them when it is dropped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "figures are for whoever runs the scenarios")]

mod appenders;
mod balancer;
mod clock_skew;
mod cluster_command;
mod deployment;
mod dev_cluster;
mod figures;
mod first_start;
mod job_makers;
mod locked_job;
mod memory;
mod network;
mod no_quorum;
mod node;
mod object_service;
mod object_service_down;
mod open_loop;
mod partition;
mod primary_killed;
mod propagation;
mod proxy;
mod recovery;
mod refused_starts;
mod replica_set;
mod rolling_restart;
mod scorers;
#[path = "../support/services.rs"]
mod services;
mod shared_services;
mod stored_jobs;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the other test binary uses what this one does not")]
mod support;
mod suspended_member;
mod suspended_worker;
mod workers_killed;
