//! The types and signatures that the pattern samples and their activities share.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "GetCustomerProfile")]
    pub fn get_customer_profile(customer: Customer) -> Result<Profile>;
    #[activity(name = "GetCreditRating")]
    pub fn get_credit_rating(customer: Customer) -> Result<CreditRating>;
    #[activity(name = "GetRecommendations")]
    pub fn get_recommendations(customer: Customer) -> Result<Recommendations>;

    #[activity(name = "StartLongRunningOperation")]
    pub fn start_long_running_operation(operation: SlowOperation) -> Result<StartedOperation>;
    #[activity(name = "CheckOperationStatus")]
    pub fn check_operation_status(operation: StartedOperation) -> Result<OperationStatus>;

    #[activity(name = "Step1")]
    pub fn step_1(range: Range) -> Result<u64>;
    #[activity(name = "Step2")]
    pub fn step_2(range: Range) -> Result<u64>;
    #[activity(name = "Step3")]
    pub fn step_3(range: Range) -> Result<u64>;

    #[activity(name = "UnreliableActivity")]
    pub fn unreliable_activity(call: UnreliableCall) -> Result<u32>;
    #[activity(name = "RiskyActivity")]
    pub fn risky_activity(call: UnreliableCall) -> Result<u32>;
    #[activity(name = "LogFailure")]
    pub fn log_failure(error: LoggedError) -> Result<()>;

    #[activity(name = "DeleteOldRecords")]
    pub fn delete_old_records(cleanup: Cleanup) -> Result<Cleaned>;

    #[activity(name = "ReadSettings")]
    pub fn read_settings(wanted: WantedSettings) -> Result<FoundSettings>;

    #[activity(name = "ScaleReading")]
    pub fn scale_reading(reading: Reading) -> Result<Reading>;
}

/// A reading of an instrument.
#[payload]
pub struct Reading {
    pub value: f64,
    /// The number by which the value is divided.
    #[serde(default = "one")]
    pub divisor: f64,
    #[serde(default)]
    pub count: u32,
    pub taken: Timestamp,
    #[serde(default)]
    pub scan: Bytes,
}

fn one() -> f64 {
    1.0
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    pub customer_id: String,
    #[serde(default)]
    pub backend: Backend,
}

#[payload]
pub struct Profile {
    pub name: String,
    pub city: String,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct CreditRating {
    pub limit_cents: i64,
    pub score: u32,
}

#[payload]
pub struct Recommendations {
    pub skus: Vec<String>,
}

/// A request for a slow operation of an external service.
#[payload]
pub struct SlowOperation {
    pub kind: String,
    /// The minimum number of polls that return "pending".
    #[serde(default)]
    pub polls: u32,
    /// The minimum duration in seconds.
    #[serde(default)]
    pub seconds: f64,
    #[serde(default)]
    pub outcome: OperationOutcome,
    #[serde(default)]
    pub backend: Backend,
}

#[payload]
#[derive(Default)]
#[serde(rename_all = "snake_case")]
pub enum OperationOutcome {
    #[default]
    Done,
    Failed,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct StartedOperation {
    pub operation_id: String,
    pub backend: Backend,
}

#[payload]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum OperationStatus {
    Pending,
    Done { result: OperationResult },
    Failed { error: OperationError },
}

#[payload]
pub struct OperationResult {
    pub kind: String,
    /// The location of the result.
    pub artifact: String,
}

#[payload]
pub struct OperationError {
    pub code: String,
    pub message: String,
}

/// The numbers from `from`, inclusive, to `to`, exclusive.
#[payload]
pub struct Range {
    pub from: u64,
    pub to: u64,
}

/// A call of a service that fails the first calls with each key.
#[payload]
pub struct UnreliableCall {
    pub key: String,
    pub failures: u32,
    /// Whether the failures are permanent.
    #[serde(default)]
    pub permanent: bool,
    #[serde(default)]
    pub backend: Backend,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct LoggedError {
    pub source: String,
    pub error_type: String,
    pub message: String,
    pub backend: Backend,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Cleanup {
    pub older_than_days: u32,
    pub limit: u32,
    pub backend: Backend,
}

#[payload]
pub struct Cleaned {
    pub deleted: Vec<String>,
    /// The number of remaining records that exceed the age.
    pub remaining: u32,
}

/// The names of a setting and of a secret.
#[payload]
pub struct WantedSettings {
    pub config: String,
    pub secret: String,
}

/// The value of the setting, and the length of the secret.
#[payload]
#[serde(rename_all = "camelCase")]
#[derive(PartialEq)]
pub struct FoundSettings {
    pub config: String,
    pub secret_bytes: u32,
}
