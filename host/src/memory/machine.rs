//! How much memory this process may use.

use std::path::Path;

/// The memory that this process may use, in bytes: the lowest limit of its control groups (`memory.max` of version 2,
/// `memory.limit_in_bytes` of version 1), or else all memory of the machine. `None` if the system tells neither.
pub fn available_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| machine(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group(Path::new("/sys/fs/cgroup"), &groups);
    machine.into_iter().chain(group).min()
}

/// Parses `/proc/meminfo`, which uses kibibytes.
fn machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The lowest limit of the groups that `/proc/self/cgroup` lists, and of the groups around them (cgroups(7)).
///
/// In a container the listed path may not exist below `root`, because the container sees its own group as the root. The
/// root is therefore always read as well.
fn group(root: &Path, groups: &str) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let folder = base.join(path.trim_start_matches('/'));
        let around = folder.ancestors().take_while(|folder| folder.starts_with(&base));
        let limits = around.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok());
        lowest = limits.chain(lowest).min();
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_in_kibibytes() {
        assert_eq!(machine("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24 << 20));
        assert_eq!(machine("MemFree: 1 kB\n"), None);
        assert!(available_bytes().unwrap() > 64 << 20);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| group(root.path(), groups);
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1_000));
        write("memory.max", "500\n");
        assert_eq!(
            limit("0::/not/here\n"),
            Some(500),
            "a container sees its own group as the root"
        );
        write("memory/x/memory.limit_in_bytes", "400\n");
        assert_eq!(limit("3:cpu:/x\n4:hugetlb,memory:/x\n0::/a/b\n"), Some(400));
        assert_eq!(limit("nonsense"), None);
    }
}
