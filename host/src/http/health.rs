//! Health checks: whether the host is alive, and whether it is ready.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use utoipa::ToSchema;

use super::{
    error::{Refusal, chain},
    problem::Problem,
    state::App,
};

/// How long the result of a probe is reused. Anybody may ask, and each probe is a transaction.
const READINESS_HOLDS: Duration = Duration::from_secs(1);

/// Whether the host is ready; concurrent requests share one probe.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    latest: Mutex<Option<watch::Receiver<Option<Probed>>>>,
}

/// The result of a probe and its time. The error is the reason, shown to the client.
#[derive(Debug, Clone)]
struct Probed {
    at: Instant,
    result: Result<(), String>,
}

impl Readiness {
    /// Returns the result of the last probe or of the one in progress, and starts `probe` only if there is neither. A
    /// started probe continues when nobody waits for it any more, so that clients that disconnect do not start many.
    ///
    /// # Errors
    /// Why the host is not ready.
    pub(crate) async fn ask<E: std::fmt::Display>(
        &self,
        probe: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), String> {
        let mut probed = self.latest(probe);
        let probed = probed.wait_for(Option::is_some).await;
        match probed.as_deref() {
            Ok(Some(probed)) => probed.result.clone(),
            _ => Err("the check did not finish".into()),
        }
    }

    fn latest<E: std::fmt::Display>(
        &self,
        probe: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> watch::Receiver<Option<Probed>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probed) = latest.as_ref().filter(|probed| holds(probed)) {
            return probed.clone();
        }
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let result = probe.await.map_err(|error| error.to_string());
            let at = Instant::now();
            sender.send_replace(Some(Probed { at, result }));
        });
        latest.insert(receiver).clone()
    }
}

/// Whether a probe is in progress, or its result is still valid.
fn holds(probed: &watch::Receiver<Option<Probed>>) -> bool {
    match &*probed.borrow() {
        Some(probed) => probed.at.elapsed() < READINESS_HOLDS,
        // A probe that panicked will not send a result any more.
        None => probed.has_changed().is_ok(),
    }
}

/// The status of the host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
    /// The version of the host.
    version: &'static str,
}

/// Whether the process responds. Restart it if this fails.
#[utoipa::path(
    get, path = "/healthz", tag = "host",
    responses((status = 200, description = "The process responds", body = Health)),
)]
pub(crate) async fn alive() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether recovery has finished and the store is writable. Send no work while this fails.
#[utoipa::path(
    get, path = "/readyz", tag = "host",
    responses(
        (status = 200, description = "Ready for work", body = Health),
        (status = 503, description = "Not ready", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Health>, Refusal> {
    if app.stopping.is_cancelled() {
        return Err(Refusal::ShuttingDown);
    }
    let engine = app.engine.clone();
    // Anybody may ask, so the cause is only for the operator.
    let probe = async move {
        engine.ready().await.map_err(|error| {
            tracing::warn!(error = %chain(&error), "the store is not writable");
            "the store is not writable; the cause is in the host's log"
        })
    };
    let probed = app.readiness.ask(probe).await;
    probed.map_err(|reason| Refusal::NotReady { reason })?;
    Ok(Json(Health {
        status: "ready",
        version: env!("CARGO_PKG_VERSION"),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures::{FutureExt, future::join_all};

    use super::*;

    /// Counts its probes, each of which takes a while.
    #[derive(Clone, Default)]
    struct Store(Arc<AtomicU32>);

    impl Store {
        fn probe(&self) -> impl Future<Output = Result<(), &'static str>> + Send + 'static {
            let probes = self.0.clone();
            async move {
                probes.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
        }

        fn probes(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_share_the_result_of_one_probe() {
        let (readiness, store) = (Readiness::default(), Store::default());
        let answers = join_all((0..1_000).map(|_| readiness.ask(store.probe()))).await;
        assert!(answers.iter().all(Result::is_ok));
        tokio::time::advance(READINESS_HOLDS / 2).await;
        readiness.ask(store.probe()).await.unwrap();
        assert_eq!(store.probes(), 1);
        tokio::time::advance(READINESS_HOLDS).await;
        readiness.ask(store.probe()).await.unwrap();
        assert_eq!(store.probes(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_disconnect_start_one_probe_at_most() {
        let (readiness, store) = (Readiness::default(), Store::default());
        for _ in 0..1_000 {
            assert!(readiness.ask(store.probe()).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(store.probes(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_or_panics_is_reported_and_repeated_later() {
        let readiness = Readiness::default();
        let failing = async { Err("the disk is full") };
        assert_eq!(readiness.ask(failing).await, Err("the disk is full".into()));
        tokio::time::advance(READINESS_HOLDS).await;
        let breaking = async {
            if true {
                panic!("on purpose")
            } else {
                Ok::<_, String>(())
            }
        };
        assert!(readiness.ask(breaking).await.is_err());
        assert_eq!(readiness.ask(async { Ok::<_, String>(()) }).await, Ok(()));
    }
}
