//! Running things side by side: the functions and macros of `futures`, which here also start calls.
//!
//! A [`Call`](crate::Call) is no future before it is started. Those of `futures` take futures alone; these start what
//! they are given, in order, before they wait for any of it.

use std::future::IntoFuture;

use futures::future::{JoinAll, TryFuture, TryJoinAll};

/// Runs futures and calls side by side and gives all their outputs, in the order in which they were given.
///
/// All calls are started here, in order, so they run in parallel.
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

/// As [`join_all`], but ends with the first failure. What it gave up goes on, as when a [`Task`](crate::Task) is
/// dropped.
pub fn try_join_all<I>(futures: I) -> TryJoinAll<<I::Item as IntoFuture>::IntoFuture>
where
    I: IntoIterator<Item: IntoFuture<IntoFuture: TryFuture>>,
{
    futures::future::try_join_all(futures.into_iter().map(IntoFuture::into_future))
}

/// Runs a fixed number of futures and calls of any types side by side.
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

/// As [`join!`](crate::join!), but ends with the first failure.
#[macro_export]
macro_rules! try_join {
    ($($future:expr),+ $(,)?) => {
        $crate::futures::try_join!($(::core::future::IntoFuture::into_future($future)),+)
    };
}
