//! The operator: what a resource asks for, and what has to be done to have it. The planning function decides for
//! engines in a cluster and for engines on one machine alike; only where they live differs.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The YAML that makes a cluster know the resource.
pub mod crd;
/// The operator as a process: admin server, Lease, controller.
pub mod process;
/// The operator's departure before its release is removed.
pub mod departure;
/// The operator's options.
pub mod config;
/// The operator at work: watches resources, and makes rounds.
pub mod controller;
/// One round for one resource of a cluster.
pub mod round;
/// The end of a resource.
pub mod deletion;
/// The resource that a round is about.
pub mod subject;
/// By what a deleted resource waits for its engines.
pub mod finalizer;
/// Keeps a resource's Service, account, budget and policy as they should be.
pub mod upkeep;
/// Volumes that keep an engine from beginning.
pub mod mounts;
/// What is told as events.
pub mod events;
/// The operator's metrics.
pub mod metrics;
/// Engines as pods: the cluster's half of the seam.
pub mod pods;
/// One round: list, plan, act.
pub mod reconcile;
/// What is told about a resource.
pub mod status;
/// From a pod to the engine that it is.
pub mod observe;
/// What a resource has in a cluster beside its engines.
pub mod belongings;
/// From a pool to a cluster's objects.
pub mod build;
/// How a checkpoint comes into a pod.
pub mod checkpoint;
/// An engine's certificates in its pod.
mod certificates;
/// What no container may do.
mod confinement;
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
