//! What Prometheus is given, and that it is explained.

use std::collections::BTreeSet;

use super::harness::TestHost;

/// The names of all metrics, each with its kind.
fn metrics(text: &str) -> BTreeSet<(String, String)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| line.split_once(' ').expect("a name and a kind"))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[tokio::test]
async fn every_sample_has_a_metric_and_every_metric_a_sample() {
    let host = TestHost::start().await;
    let answer = host.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(answer.text.ends_with('\n'));
    let (mut current, mut sampled) = (String::new(), BTreeSet::new());
    for line in answer.text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().unwrap_or_default().to_owned();
            assert!(!sampled.contains(&current), "{current} is there twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(kind.starts_with(&format!("{current} ")), "{line} follows {current}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let plain = name.split('{').next().unwrap_or_default();
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| plain.strip_suffix(end).filter(|base| *base == current))
                .unwrap_or(plain);
            assert_eq!(plain, current, "{line}");
            sampled.insert(current.clone());
        }
    }
    let named: BTreeSet<String> = metrics(&answer.text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(sampled, named);
}

#[tokio::test]
async fn the_guide_explains_every_metric_and_no_other() {
    let guide = include_str!("../../../../docs/metrics.md");
    let rows = guide.lines().filter(|line| line.starts_with("| `"));
    let explained: BTreeSet<(String, String)> = rows
        .map(|line| {
            let mut cells = line.split(" | ");
            let name = cells.next().unwrap_or_default().trim_matches(['|', ' ', '`']);
            (name.to_owned(), cells.next().unwrap_or_default().to_owned())
        })
        .collect();
    let host = TestHost::start().await;
    assert_eq!(explained, metrics(&host.get("/metrics").await.text));
}

#[tokio::test]
async fn what_the_store_wrote_is_counted() {
    let host = TestHost::start().await;
    let text = host.get("/metrics").await.text;
    let stats = host.store.stats();
    assert!(stats.batches > 0, "the module was stored");
    let counted = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse::<u64>().unwrap()
    };
    assert_eq!(
        counted("windlass_store_commit_seconds_count"),
        counted("windlass_store_commits_total")
    );
    assert!(counted("windlass_store_operations_total") >= counted("windlass_store_commits_total"));
    assert!(text.contains("windlass_store_commit_operations_bucket{le=\"256\"}"));
}
