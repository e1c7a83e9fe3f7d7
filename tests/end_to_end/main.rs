//! The real host with real modules, over HTTP: one file per feature.

mod orders;
