//! The activities of the pattern samples.

use backend_client::{escape, json};
use patterns_api::*;
use windlass_sdk::http::{self, Method};
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [
    get_customer_profile,
    get_credit_rating,
    get_recommendations,
    start_long_running_operation,
    check_operation_status,
    step_1,
    step_2,
    step_3,
    unreliable_activity,
    risky_activity,
    log_failure,
    delete_old_records,
    read_settings,
    scale_reading,
    send_requests,
]);

/// Reads name and city of a customer.
#[activity(signature = patterns_api::get_customer_profile)]
fn get_customer_profile(customer: Customer) -> Result<Profile> {
    customer
        .backend
        .get(&format!("/customers/{}/profile", escape(&customer.customer_id)))
}

/// Reads credit limit and score of a customer.
#[activity(signature = patterns_api::get_credit_rating)]
fn get_credit_rating(customer: Customer) -> Result<CreditRating> {
    customer
        .backend
        .get(&format!("/customers/{}/credit", escape(&customer.customer_id)))
}

/// Reads recommendations for a customer.
#[activity(signature = patterns_api::get_recommendations)]
fn get_recommendations(customer: Customer) -> Result<Recommendations> {
    customer
        .backend
        .get(&format!("/customers/{}/recommendations", escape(&customer.customer_id)))
}

/// Starts a slow operation of an external service.
#[activity(signature = patterns_api::start_long_running_operation)]
fn start_long_running_operation(ctx: Activity, operation: SlowOperation) -> Result<StartedOperation> {
    #[payload]
    #[serde(rename_all = "camelCase")]
    struct Started {
        operation_id: String,
    }
    let SlowOperation {
        kind,
        polls,
        seconds,
        outcome,
        backend,
    } = operation;
    let body = json!({ "kind": kind, "polls": polls, "seconds": seconds, "outcome": outcome });
    let Started { operation_id } = backend.post(&ctx, "/operations", &body)?;
    Ok(StartedOperation { operation_id, backend })
}

/// Reads the status of a slow operation.
#[activity(signature = patterns_api::check_operation_status)]
fn check_operation_status(operation: StartedOperation) -> Result<OperationStatus> {
    operation
        .backend
        .get(&format!("/operations/{}", escape(&operation.operation_id)))
}

/// The first part of a long workflow: counts the primes in a range.
#[activity(signature = patterns_api::step_1)]
fn step_1(range: Range) -> Result<u64> {
    Ok(primes(&range))
}

/// The second part of a long workflow.
#[activity(signature = patterns_api::step_2)]
fn step_2(range: Range) -> Result<u64> {
    Ok(primes(&range))
}

/// The last part of a long workflow.
#[activity(signature = patterns_api::step_3)]
fn step_3(range: Range) -> Result<u64> {
    Ok(primes(&range))
}

fn primes(range: &Range) -> u64 {
    let is_prime = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (range.from..range.to).filter(|n| is_prime(*n)).count() as u64
}

/// Calls a service that often fails. Returns the number of the call that worked.
#[activity(signature = patterns_api::unreliable_activity)]
fn unreliable_activity(ctx: Activity, call: UnreliableCall) -> Result<u32> {
    call_unreliable_service(&ctx, call)
}

/// Like `UnreliableActivity`, for an orchestration that handles its failures.
#[activity(signature = patterns_api::risky_activity)]
fn risky_activity(ctx: Activity, call: UnreliableCall) -> Result<u32> {
    call_unreliable_service(&ctx, call)
}

fn call_unreliable_service(ctx: &Activity, call: UnreliableCall) -> Result<u32> {
    #[payload]
    struct Worked {
        call: u32,
    }
    let path = format!("/unreliable/{}", escape(&call.key));
    let body = json!({ "failures": call.failures, "permanent": call.permanent });
    let worked: Worked = call.backend.post(ctx, &path, &body)?;
    Ok(worked.call)
}

/// Appends to the error log.
#[activity(signature = patterns_api::log_failure)]
fn log_failure(ctx: Activity, error: LoggedError) -> Result<()> {
    error
        .backend
        .log_error(&ctx, &error.source, &error.error_type, &error.message)
}

/// Deletes the oldest records that exceed an age.
#[activity(signature = patterns_api::delete_old_records)]
fn delete_old_records(ctx: Activity, cleanup: Cleanup) -> Result<Cleaned> {
    let body = json!({ "olderThanDays": cleanup.older_than_days, "limit": cleanup.limit });
    cleanup.backend.post(&ctx, "/cleanups", &body)
}

/// Reads a setting and a secret. Logs the secret by mistake, to show that the host masks it.
#[activity(signature = patterns_api::read_settings)]
fn read_settings(ctx: Activity, wanted: WantedSettings) -> Result<FoundSettings> {
    let (config, secret) = (ctx.config(&wanted.config)?, ctx.secret(&wanted.secret)?);
    info!("the secret is {}", secret.expose());
    Ok(FoundSettings {
        config,
        secret_bytes: u32::try_from(secret.expose().len())?,
    })
}

/// Divides the value of a reading.
#[activity(signature = patterns_api::scale_reading)]
fn scale_reading(reading: Reading) -> Result<Reading> {
    Ok(Reading {
        value: reading.value / reading.divisor,
        ..reading
    })
}

/// A request that is sent several times.
#[payload]
pub struct Requests {
    /// `GET`, for example.
    pub method: String,
    pub url: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: String,
    /// How often it is sent.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// Sends a request several times in sequence. Returns the bodies of the responses.
#[activity(name = "SendRequests")]
fn send_requests(requests: Requests) -> Result<Vec<String>> {
    let method = match &*requests.method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => {
            return Err(Failure::new(
                "UnknownMethod",
                format!("the method {other:?} is not supported"),
            ));
        }
    };
    let request = http::request(method, requests.url).body(requests.body);
    let headers = requests.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    (0..requests.times)
        .map(|_| request.clone().send()?.ok()?.text())
        .collect()
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing;

    use super::*;

    #[test]
    fn settings_and_secrets_are_found_by_their_names() {
        let wanted = || WantedSettings {
            config: "region".into(),
            secret: "token".into(),
        };
        let ctx = testing::activity(1).with_config("region", "eu-west");
        let failure = read_settings(ctx.clone(), wanted()).unwrap_err();
        assert!(failure.is(failure_types::MISSING_SECRET), "{failure}");
        let found = read_settings(ctx.with_secret("token", "0123456789"), wanted()).unwrap();
        assert_eq!((found.config.as_str(), found.secret_bytes), ("eu-west", 10));
    }

    #[test]
    fn requests_are_repeated_and_fail_with_a_forbidden_header() {
        let requests = |header: &str| Requests {
            method: "PUT".into(),
            url: "http://a.example/b".into(),
            headers: vec![(header.into(), "x".into())],
            body: "abc".into(),
            times: 3,
        };
        let send = |requests| {
            let echo = |request: &http::Request| Ok(http::Response::new(200, request.body_bytes()));
            testing::with_http(echo, || send_requests(requests))
        };
        assert_eq!(send(requests("x-kind")).unwrap(), ["abc"; 3]);
        let failure = send(requests("Connection")).unwrap_err();
        assert!(failure.message().contains("\"connection\""), "{failure}");
    }

    #[test]
    fn there_are_25_primes_below_100() {
        assert_eq!(step_1(Range { from: 0, to: 100 }).unwrap(), 25);
    }
}
