//! Resource usage of a process, read from `/proc` of Linux.

use std::time::Duration;

/// Clock ticks per second in `/proc`; 100 for every Linux program (`USER_HZ`, proc(5)).
const TICKS_PER_S: u64 = 100;

/// The resource usage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// CPU time so far, user and system, of all its threads; in steps of 10 ms.
    pub cpu: Duration,
    /// Current resident memory, in bytes.
    pub resident_bytes: u64,
    /// Peak resident memory, in bytes.
    pub peak_resident_bytes: u64,
}

/// The usage of a process: `self`, or the id of another one of the same user. `None` if there is no such process, or no
/// `/proc`.
pub fn process_usage(process: &str) -> Option<ProcessUsage> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    Some(ProcessUsage {
        cpu: cpu(&stat)?,
        resident_bytes: bytes(&status, "VmRSS:")?,
        peak_resident_bytes: bytes(&status, "VmHWM:")?,
    })
}

/// Parses `stat`: its second field is the program's name in parentheses, fields 14 and 15 are the times (proc(5)).
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_S))
}

/// Parses `status`, which uses kibibytes rather than pages.
fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a (b) c) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = process_usage("self").unwrap();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.peak_resident_bytes >= usage.resident_bytes, "{usage:?}");
        assert_eq!(process_usage("no-such-process"), None);
    }
}
