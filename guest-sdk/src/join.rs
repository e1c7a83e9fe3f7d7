//! Concurrency: variants of the join functions and macros of `futures` that also start calls.
//!
//! A [`Call`](crate::Call) is not a future until it is started. The functions of `futures` accept only futures; these
//! start all their arguments, in order, before they wait for any of them.

use std::future::IntoFuture;

use futures::future::{JoinAll, TryFuture, TryJoinAll};

/// Runs futures and calls concurrently and returns all their outputs, in the order of the arguments.
///
/// It starts all calls immediately, in order, so they run in parallel.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn ship(article: String) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Orchestration, articles: Vec<String>) {
/// let outcomes: Vec<Result<()>> = join_all(articles.iter().map(|article| ctx.call(ship, article))).await;
/// # }
/// ```
pub fn join_all<I>(futures: I) -> JoinAll<<I::Item as IntoFuture>::IntoFuture>
where
    I: IntoIterator<Item: IntoFuture>,
{
    futures::future::join_all(futures.into_iter().map(IntoFuture::into_future))
}

/// Like [`join_all`], but returns at the first failure. The remaining calls continue, as when a [`Task`](crate::Task) is
/// dropped.
pub fn try_join_all<I>(futures: I) -> TryJoinAll<<I::Item as IntoFuture>::IntoFuture>
where
    I: IntoIterator<Item: IntoFuture<IntoFuture: TryFuture>>,
{
    futures::future::try_join_all(futures.into_iter().map(IntoFuture::into_future))
}

/// Runs a fixed number of futures and calls of any types concurrently.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # async fn example(ctx: Orchestration) -> Result<String> {
/// let (receipt, ()) = join!(ctx.call(charge, &995), ctx.sleep(secs(5)));
/// receipt
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => {
        $crate::futures::join!($(::core::future::IntoFuture::into_future($future)),+)
    };
}

/// Like [`join!`](crate::join!), but returns at the first failure.
#[macro_export]
macro_rules! try_join {
    ($($future:expr),+ $(,)?) => {
        $crate::futures::try_join!($(::core::future::IntoFuture::into_future($future)),+)
    };
}
