//! How the kernel schedules the host's threads: they take short turns, and work that can take its time gives way to
//! turns, requests and commits.
//!
//! Without priorities, a commit of a few bytes takes hundreds of milliseconds on a busy machine, because its thread waits for
//! a processor behind uploads, the queries of clients, and reads of long histories. Guests keep the priority of the writer: if the writer ran
//! before them, it would write many small batches.

use std::time::Duration;

/// How long a thread of the host runs on a processor while others are ready. A step of a workflow passes through five
/// threads, and waits for each that another one lets go of its processor. The kernel's default is one to three milliseconds.
const SLICE: Duration = Duration::from_micros(300);

/// The highest nice value.
const LOWEST: i32 = 19;

/// Work that gives way to the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// A thread that runs the queries of clients.
    Queries,
    /// A thread that reads instances.
    Loads,
    /// The process that compiles a module, and a thread that does other work of an upload.
    Compiler,
}

impl Background {
    /// What is added to the nice value (setpriority(2)). Of two busy threads on one processor, one with 5 more gets a
    /// quarter of the time (sched(7)).
    fn niceness(self) -> i32 {
        match self {
            Self::Queries | Self::Loads => 5,
            Self::Compiler => 10,
        }
    }
}

/// Lets the calling thread, and all threads that it starts, run in short slices (sched_setattr(2)). Linux before 6.12
/// ignores it.
pub fn short_slices() {
    set_slice(SLICE);
}

/// Sets the slice of the calling thread; zero is the kernel's default.
#[cfg(target_os = "linux")]
fn set_slice(slice: Duration) {
    let set = rustix::process::getpriority_process(None)
        .map_err(std::io::Error::from)
        .and_then(|nice| {
            let attributes = libc::sched_attr {
                size: size_of::<libc::sched_attr>() as u32,
                sched_policy: libc::SCHED_OTHER as u32,
                sched_flags: 0,
                sched_nice: nice,
                sched_priority: 0,
                sched_runtime: slice.as_nanos() as u64,
                sched_deadline: 0,
                sched_period: 0,
            };
            // SAFETY: the kernel reads `size` bytes of the attributes, and sets those of the calling thread (0).
            match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    if let Err(error) = set {
        tracing::debug!(%error, "the time slice of a thread could not be set");
    }
}

/// Sets the slice of the calling thread, which only Linux can.
#[cfg(not(target_os = "linux"))]
fn set_slice(_: Duration) {}

/// Gives the calling thread, and all threads that it starts, a lower priority, and slices of the usual length. A thread
/// cannot get its priority back.
pub fn lower(background: Background) {
    // On Linux, the priority belongs to a thread; elsewhere it would be that of the whole process.
    if !cfg!(target_os = "linux") {
        return;
    }
    set_slice(Duration::ZERO);
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

    /// The slice of the calling thread in nanoseconds, as the kernel shows it.
    fn slice_ns() -> Option<u64> {
        let sched = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = sched.lines().find(|line| line.starts_with("se.slice"))?;
        line.split(':').nth(1)?.trim().parse().ok()
    }

    #[test]
    fn threads_inherit_short_slices_until_they_give_way() {
        let usual = slice_ns();
        let slices = std::thread::spawn(|| {
            short_slices();
            let short = slice_ns();
            let inherited = std::thread::spawn(|| {
                let inherited = slice_ns();
                lower(Background::Queries);
                (inherited, slice_ns())
            });
            (short, inherited.join().unwrap())
        });
        let (short, (inherited, lowered)) = slices.join().unwrap();
        assert_eq!((inherited, lowered), (short, usual));
        // Kernels before 6.12 do not show slices, or do not let a thread choose its own.
        if let Some(short) = short.filter(|short| Some(*short) != usual) {
            assert_eq!(u128::from(short), SLICE.as_nanos());
        }
    }
}
