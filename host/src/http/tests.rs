//! The edge over a real socket, over a real store. Instances are written straight into the store, so that no module has to
//! run; whole workflows are the business of the end-to-end tests.

mod bodies;
mod contract;
mod fuzz;
mod harness;
mod instances;
mod metrics;
mod modules;
mod openapi;
mod requests;
mod starts;
