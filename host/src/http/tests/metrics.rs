//! Tests of the metrics and of their documentation.

use std::collections::BTreeSet;

use super::harness::TestHost;
use crate::model::TenantName;
use crate::tenancy::{Quotas, Work};

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
            assert!(!sampled.contains(&current), "{current} appears twice");
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
async fn a_hundred_tenants_have_their_own_labels_and_the_others_share_one() {
    let host = TestHost::start().await;
    let tenancy = host.engine.tenancy();
    for number in 1..=102 {
        let name = format!("tenant-{number:03}").parse().unwrap();
        let tenant = tenancy.create_tenant(name, &Quotas::default()).await.unwrap();
        let work = Work {
            operations: 4,
            turns: 2,
            attempts: 3,
            fuel: 1_000,
        };
        tenancy.count_work(tenant.id, work);
        tenancy.count_start(tenant.id);
        tenancy.count_expired(tenant.id, 5);
    }
    let text = host.get("/metrics").await.text;
    let of_tenants: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("windlass_tenant_"))
        .collect();
    assert_eq!(of_tenants.len(), 9 * 101, "{text}");
    for (series, value) in [
        ("windlass_tenant_turns_total{tenant=\"default\"}", 0),
        ("windlass_tenant_instances_started_total{tenant=\"tenant-001\"}", 1),
        ("windlass_tenant_turns_total{tenant=\"tenant-099\"}", 2),
        ("windlass_tenant_turns_total{tenant=\"(others)\"}", 6),
        ("windlass_tenant_operations_total{tenant=\"tenant-001\"}", 4),
        ("windlass_tenant_activity_attempts_total{tenant=\"(others)\"}", 9),
        ("windlass_tenant_fuel_total{tenant=\"(others)\"}", 3_000),
        ("windlass_tenant_instances_expired_total{tenant=\"(others)\"}", 15),
        ("windlass_tenant_activities_running{tenant=\"(others)\"}", 0),
        ("windlass_tenant_activities_waiting{tenant=\"tenant-099\"}", 0),
    ] {
        let line = format!("{series} {value}");
        assert!(of_tenants.contains(&line.as_str()), "no {line} in\n{text}");
    }
    assert!("(others)".parse::<TenantName>().is_err());
}

#[tokio::test]
async fn writes_of_the_store_are_counted() {
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
