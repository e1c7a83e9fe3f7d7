//! The services that the Windlass samples call, as one small HTTP service on loopback.
//!
//! Each area (`orders`, `payments`, …) has its own file with its data, endpoints and handlers; all of them store their
//! data in journals that survive a kill. The `control` area makes the others misbehave, to show how workflows cope. The
//! service knows nothing about Windlass: it stands for a third party.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::net::TcpListener;

mod error;
mod journal;
mod once;

mod blobs;
mod control;
mod customers;
mod errors;
mod inventory;
mod invoices;
mod notifications;
mod operations;
mod orders;
mod payments;
mod records;
mod shipments;
mod unreliable;

use error::ApiError;

/// Maximum length of a request body that is not a blob, in bytes: far more than any sample needs.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The address and the data folder of the service.
#[derive(Debug, Clone)]
pub struct Options {
    /// A loopback address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The folder of the data files, created and filled on first use. Only one process can use it at a time.
    pub data: PathBuf,
}

/// A service that has opened its data and its port, and can [`run`](Backend::run).
pub struct Backend {
    listener: TcpListener,
    address: SocketAddr,
    world: Arc<World>,
}

impl Backend {
    /// Opens the data folder and the port.
    ///
    /// # Errors
    /// If the address is not a loopback one or is in use, or the folder is in use or unreadable.
    pub async fn bind(options: Options) -> anyhow::Result<Self> {
        ensure!(
            options.listen.ip().is_loopback(),
            "{} is not a loopback address",
            options.listen
        );
        let world = World::open(&options.data).with_context(|| format!("cannot open {}", options.data.display()))?;
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            world: Arc::new(world),
        })
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` resolves. Nothing is lost if the process is killed instead.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        axum::serve(self.listener, router(self.world))
            .with_graceful_shutdown(stop)
            .await?;
        Ok(())
    }
}

/// The state of the service, with one field per area.
struct World {
    blobs: blobs::Blobs,
    cleanups: records::Cleanups,
    control: control::Control,
    errors: errors::ErrorLog,
    inventory: inventory::Inventory,
    invoices: invoices::Invoices,
    notifications: notifications::Notifications,
    operations: operations::Operations,
    orders: orders::Orders,
    payments: payments::Payments,
    records: records::Records,
    shipments: shipments::Shipments,
    unreliable: unreliable::Unreliable,
    /// Held for the lifetime of the process, so that no other process writes to the same journals.
    _lock: std::fs::File,
}

impl World {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lock = std::fs::File::create(folder.join("lock"))?;
        lock.try_lock().context("another process uses this folder")?;
        let world = Self {
            blobs: blobs::Blobs::open(folder)?,
            cleanups: records::Cleanups::open(folder)?,
            control: control::Control::default(),
            errors: errors::ErrorLog::open(folder)?,
            inventory: inventory::Inventory::open(folder)?,
            invoices: invoices::Invoices::open(folder)?,
            notifications: notifications::Notifications::open(folder)?,
            operations: operations::Operations::open(folder)?,
            orders: orders::Orders::open(folder)?,
            payments: payments::Payments::open(folder)?,
            records: records::Records::open(folder)?,
            shipments: shipments::Shipments::open(folder)?,
            unreliable: unreliable::Unreliable::open(folder)?,
            _lock: lock,
        };
        // Written last: if seeding was interrupted, it is repeated.
        let seeded = folder.join("seeded");
        if !seeded.exists() {
            world.seed()?;
            std::fs::write(seeded, "")?;
        }
        Ok(world)
    }

    fn seed(&self) -> std::io::Result<()> {
        self.blobs.seed()?;
        self.inventory.seed()?;
        self.orders.seed()?;
        self.records.seed()
    }

    /// Resets the data to the state of the first start.
    fn reset(&self) -> std::io::Result<()> {
        self.blobs.clear()?;
        self.cleanups.clear()?;
        self.control.clear();
        self.errors.clear()?;
        self.inventory.clear()?;
        self.invoices.clear()?;
        self.notifications.clear()?;
        self.operations.clear()?;
        self.orders.clear()?;
        self.payments.clear()?;
        self.records.clear()?;
        self.shipments.clear()?;
        self.unreliable.clear()?;
        self.seed()
    }
}

/// An endpoint as listed by `GET /`: method, path, description.
type Endpoint = (&'static str, &'static str, &'static str);

const AREAS: &[&[Endpoint]] = &[
    orders::ENDPOINTS,
    customers::ENDPOINTS,
    inventory::ENDPOINTS,
    payments::ENDPOINTS,
    shipments::ENDPOINTS,
    notifications::ENDPOINTS,
    blobs::ENDPOINTS,
    invoices::ENDPOINTS,
    operations::ENDPOINTS,
    unreliable::ENDPOINTS,
    errors::ENDPOINTS,
    records::ENDPOINTS,
    control::ENDPOINTS,
];

fn router(world: Arc<World>) -> Router {
    Router::new()
        .merge(orders::routes())
        .merge(customers::routes())
        .merge(inventory::routes())
        .merge(payments::routes())
        .merge(shipments::routes())
        .merge(notifications::routes())
        .merge(invoices::routes())
        .merge(operations::routes())
        .merge(unreliable::routes())
        .merge(errors::routes())
        .merge(records::routes())
        .merge(control::routes())
        .route("/", get(index))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .merge(blobs::routes())
        .fallback(async || ApiError::not_found("there is no such endpoint; GET / lists them"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&world), control::interfere))
        .with_state(world)
}

async fn index() -> Json<serde_json::Value> {
    let endpoints: Vec<_> = AREAS
        .iter()
        .copied()
        .flatten()
        .map(|(method, path, about)| json!({ "method": method, "path": path, "about": about }))
        .collect();
    Json(json!({ "service": "sample-backend", "endpoints": endpoints }))
}
