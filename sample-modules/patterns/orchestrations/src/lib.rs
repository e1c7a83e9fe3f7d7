//! One orchestration per pattern, one per file.

mod all_or_nothing;
mod error_handling;
mod external_api;
mod long_workflow;
mod measurement;
mod parallel;
mod periodic_cleanup;
mod retry;
mod running_total;
mod settings;

windlass_sdk::export!(orchestrators: [
    parallel::parallel_execution,
    external_api::call_external_api,
    long_workflow::long_workflow,
    retry::with_retry,
    error_handling::with_error_handling,
    periodic_cleanup::periodic_cleanup,
    settings::show_settings,
    running_total::running_total,
    running_total::pay,
    measurement::scale_measurement,
    all_or_nothing::all_or_nothing,
    all_or_nothing::call_once,
]);
