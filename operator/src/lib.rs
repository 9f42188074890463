//! The operator: what a resource asks for, and what has to be done to have it. The planning function decides for
//! engines in a cluster and for engines on one machine alike; only where they live differs.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The operator's options.
pub mod config;
/// The YAML that makes a cluster know the resource.
pub mod crd;
/// The operator at work: watches resources, and makes rounds.
pub mod controller;
/// One round for one resource of a cluster.
pub mod round;
/// Engines as pods: the cluster's half of the seam.
pub mod pods;
/// One round: list, plan, act.
pub mod reconcile;
/// What is told about a resource.
pub mod status;
/// From a pod to the engine that it is.
pub mod observe;
/// From a pool to a cluster's objects.
pub mod build;
/// From a template to an engine's flags.
pub mod flags;
/// Where engines live: the seam to pods and to local processes.
pub mod home;
/// Which engines to create, drain and delete.
pub mod plan;
/// From a resource to what it means, or to every reason why it means nothing.
pub mod validate;
/// Which fields of a resource make an engine another one.
pub mod revision;
