//! The real engine over a simulated store, clock and guests, driven by one seed.
//!
//! A [world](world) runs a host again and again over one disk: [clients](workload) send requests, the disk and the
//! guests fail according to the [plan](faults) of the seed, [disturbances] evict guests and repeat messages, and each
//! run ends with a crash or a graceful stop. Then the faults stop, and every instance must end. [Checkers](checkers)
//! observe everything. The simulation runs on one thread under paused time, so the same seed always gives the same run.
//!
//! `make sim SEEDS=…` runs many seeds, `make sim SEED=…` one of them with logs.

mod broadcasts;
mod checkers;
mod disturbances;
mod faults;
mod guests;
mod operators;
mod programs;
mod retention;
mod rng;
mod schedules;
mod tests;
mod time;
mod workload;
mod world;

pub(super) use self::time::SimulatedClock;
