//! The real engine over a simulated store, clock and guests, driven from one seed.
//!
//! A [world](world) runs a host again and again over one disk: [clients](workload) want things, the disk and the
//! guests fail as the [plan](faults) of the seed has it, [disturbances] evict guests and repeat messages, and each run ends with a crash
//! or a stop. Then everything goes well until all is over. [Checkers](checkers) look on. Everything runs on one thread
//! under paused time, so a seed always does the same.
//!
//! `make sim SEEDS=…` tries many seeds, `make sim SEED=…` one of them with logs.

mod checkers;
mod disturbances;
mod faults;
mod guests;
mod programs;
mod rng;
mod tests;
mod time;
mod workload;
mod world;

pub(super) use self::time::SimulatedClock;
