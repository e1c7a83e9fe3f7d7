//! Tests of the HTTP API over a real socket and a real store. Instances are written directly into the store, so that no
//! module has to run; the end-to-end tests cover whole workflows.

mod bodies;
mod contract;
mod durable_functions;
mod fuzz;
mod harness;
mod instances;
mod metrics;
mod modules;
mod openapi;
mod pages;
mod requests;
mod schedules;
mod starts;
