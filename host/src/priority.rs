//! How the kernel schedules the host's threads: they take short turns, guests and requests give way to commits, and work
//! that can take its time gives way to both.
//!
//! Without priorities, a commit of a few bytes takes many milliseconds on a busy machine, because its threads wait for a
//! processor behind guests, uploads, the queries of clients, and reads of long histories; and a workflow waits for several
//! commits. Guests and requests give way to commits together: a writer that runs before one of the two writes smaller
//! batches, which costs a tenth of the throughput on a machine without idle processors.

use std::{sync::OnceLock, time::Duration};

/// How long a thread of the host runs on a processor while others are ready. A step of a workflow passes through five
/// threads, and waits for each that another one lets go of its processor. The kernel's default is one to three milliseconds.
const SLICE: Duration = Duration::from_micros(300);

/// The highest nice value.
const LOWEST: i32 = 19;

/// What is added to the nice value of commits for guests and requests. Of two busy threads on one processor, one with 4
/// more gets less than a third of the time (sched(7)).
const BELOW_COMMITS: i32 = 4;

/// The nice value of the thread that started the host.
static OF_COMMITS: OnceLock<i32> = OnceLock::new();

/// Work that gives way to guests and requests.
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
    /// What is added to the nice value of guests and requests (setpriority(2)). Of two busy threads on one processor, one
    /// with 5 more gets a quarter of the time (sched(7)).
    fn niceness(self) -> i32 {
        match self {
            Self::Queries | Self::Loads => 5,
            Self::Compiler => 10,
        }
    }
}

/// Lets the calling thread, and all threads that it starts, run in short slices (sched_setattr(2)), with the priority of
/// commits. Linux before 6.12 ignores the slices.
pub fn start_host() {
    set_slice(SLICE);
    if let Ok(nice) = nice() {
        OF_COMMITS.get_or_init(|| nice);
    }
}

/// Gives the calling thread the priority of guests and requests, which is below that of commits.
pub fn give_way_to_commits() {
    let Some(of_commits) = OF_COMMITS.get() else { return };
    set_nice(of_commits + BELOW_COMMITS);
}

/// Sets the slice of the calling thread; zero is the kernel's default.
#[cfg(target_os = "linux")]
fn set_slice(slice: Duration) {
    let set = nice().map_err(std::io::Error::from).and_then(|nice| {
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
    // In a host, it does not matter whether a thread of commits or of requests started this one. The process of the
    // compiler inherits its priority.
    let of_requests = OF_COMMITS.get().map(|of_commits| of_commits + BELOW_COMMITS);
    if let Some(from) = of_requests.or_else(|| nice().ok()) {
        set_nice(from + background.niceness());
    }
}

/// The nice value of the calling thread.
fn nice() -> Result<i32, rustix::io::Errno> {
    rustix::process::getpriority_process(None)
}

/// Sets the nice value of the calling thread, unless it is higher already.
fn set_nice(wanted: i32) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let set = nice().and_then(|now| match wanted.min(LOWEST) {
        wanted if wanted > now => rustix::process::setpriority_process(None, wanted),
        _ => Ok(()),
    });
    if let Err(error) = set {
        tracing::debug!(%error, wanted, "the priority of a thread could not be lowered");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_gives_way() {
        start_host();
        let now = || nice().unwrap();
        let before = now();
        let lowered = std::thread::spawn(move || {
            let each = [
                give_way_to_commits,
                || lower(Background::Queries),
                || lower(Background::Loads),
                give_way_to_commits,
                || lower(Background::Compiler),
            ];
            each.map(|gives_way| {
                gives_way();
                now()
            })
        });
        let expected = [4, 9, 9, 9, 14].map(|more| (before + more).min(LOWEST));
        assert_eq!(lowered.join().unwrap(), expected);
        assert_eq!(now(), before);
    }

    #[test]
    fn it_does_not_matter_which_thread_starts_one_that_gives_way() {
        start_host();
        let lowered = || {
            lower(Background::Loads);
            nice().unwrap()
        };
        let of_commits = std::thread::spawn(lowered);
        let of_guests = std::thread::spawn(move || {
            give_way_to_commits();
            std::thread::spawn(lowered).join().unwrap()
        });
        assert_eq!(of_commits.join().unwrap(), of_guests.join().unwrap());
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
            start_host();
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
