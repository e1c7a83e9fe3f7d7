//! Scheduling priorities: work that can take its time gives way to turns, requests and commits.
//!
//! Without them, a commit of a few bytes takes hundreds of milliseconds on a busy machine, because its thread waits for
//! a processor behind compilers and the queries of clients. Guests keep the priority of the writer: if the writer ran
//! before them, it would write many small batches.

/// The highest nice value.
const LOWEST: i32 = 19;

/// Work that gives way to the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// A thread that runs the queries of clients.
    Queries,
    /// The process that compiles a module.
    Compiler,
}

impl Background {
    /// What is added to the nice value (setpriority(2)). Of two busy threads on one processor, one with 5 more gets a
    /// quarter of the time (sched(7)).
    fn niceness(self) -> i32 {
        match self {
            Self::Queries => 5,
            Self::Compiler => 10,
        }
    }
}

/// Gives the calling thread, and all threads that it starts, a lower priority. A thread cannot get its priority back.
pub fn lower(background: Background) {
    // On Linux, the priority belongs to a thread; elsewhere it would be that of the whole process.
    if !cfg!(target_os = "linux") {
        return;
    }
    let now = rustix::process::getpriority_process(None);
    let lowered = now.and_then(|nice| {
        let nice = (nice + background.niceness()).min(LOWEST);
        rustix::process::setpriority_process(None, nice)
    });
    if let Err(error) = lowered {
        tracing::debug!(%error, ?background, "the priority of a thread could not be lowered");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_gives_way() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let lowered = std::thread::spawn(move || {
            lower(Background::Queries);
            let once = nice();
            (0..5).for_each(|_| lower(Background::Compiler));
            (once, nice())
        });
        assert_eq!(lowered.join().unwrap(), ((before + 5).min(LOWEST), LOWEST));
        assert_eq!(nice(), before);
    }
}
