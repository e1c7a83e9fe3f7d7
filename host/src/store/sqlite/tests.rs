//! What is about files: their folder, checkpoints, copies, migrations, and the readers for what people ask.

mod backups;
mod checkpoints;
mod folder;
mod migrations;
mod people;

use crate::store::{tests::*, *};
