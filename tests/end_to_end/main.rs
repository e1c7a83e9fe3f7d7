//! The real host with real modules, over HTTP: one file per feature.

mod approval;
mod bench;
mod cli;
mod control;
mod crash;
mod disks;
mod egress;
mod events;
mod hostile;
mod invoices;
mod metrics;
mod openapi;
mod orders;
mod overload;
mod patterns;
mod recovery;
mod refusals;
mod settings;
mod shutdown;
mod starts;
mod std_everywhere;
mod tenants;
mod tls;
mod uploads;
mod versions;
