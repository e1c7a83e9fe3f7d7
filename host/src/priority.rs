//! Scheduling priorities: what tenants run gives way to the threads that serve requests and write commits.
//!
//! Without them, a commit of a few bytes takes hundreds of milliseconds on a busy machine, because its thread waits for
//! a processor behind guests and compilers.

/// Work that gives way to the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// A thread that runs guests.
    Guests,
    /// A thread that runs the queries of clients.
    Queries,
    /// The process that compiles a module.
    Compiler,
}

impl Background {
    /// The nice value (setpriority(2)). Of two busy threads on one processor, one with 5 more gets a quarter of the time
    /// (sched(7)).
    fn nice(self) -> i32 {
        match self {
            Self::Guests | Self::Queries => 5,
            Self::Compiler => 10,
        }
    }
}

/// Gives the calling thread, and all threads that it starts, a lower priority. A thread cannot get its priority back.
pub fn lower(background: Background) {
    // On Linux, the priority belongs to a thread; elsewhere it would be that of the whole process.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, background.nice())
    {
        tracing::debug!(%error, ?background, "the priority of a thread could not be lowered");
    }
}
