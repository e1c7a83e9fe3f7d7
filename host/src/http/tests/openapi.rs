//! Tests that the OpenAPI document covers every route, and is the committed one.

use expect_test::expect_file;
use utoipa::openapi::RefOr;

use super::harness::TestHost;

#[tokio::test]
async fn the_description_is_served_and_is_the_golden_file() {
    let host = TestHost::start().await;
    let served = host.get("/v1/openapi.json").await;
    assert_eq!(served.header("content-type"), "application/json");
    // `UPDATE_EXPECT=1` rewrites the file.
    expect_file!["../../../../docs/openapi.json"].assert_eq(&format!("{}\n", served.text));
}

#[test]
fn the_description_covers_every_route() {
    let description = crate::http::openapi();
    let mut described: Vec<String> = Vec::new();
    for (path, item) in &description.paths.paths {
        for (method, operation) in [
            ("GET", &item.get),
            ("PUT", &item.put),
            ("POST", &item.post),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ] {
            let Some(operation) = operation else { continue };
            assert!(operation.summary.is_some(), "{method} {path} has no summary");
            let parameters = operation.parameters.as_deref().unwrap_or_default();
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                assert!(
                    parameters
                        .iter()
                        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == name)),
                    "{method} {path} lacks {name}"
                );
            }
            described.push(format!("{method} {path}"));
        }
    }
    described.sort();
    assert_eq!(
        described,
        [
            "DELETE /v1/config/{setting}",
            "DELETE /v1/entities/{name}/{key}",
            "DELETE /v1/entities/{name}/{key}/state",
            "DELETE /v1/instances",
            "DELETE /v1/instances/{id}",
            "DELETE /v1/keys/{key}",
            "DELETE /v1/modules/{module}",
            "DELETE /v1/retention/rule",
            "DELETE /v1/schedules/{schedule}",
            "DELETE /v1/secrets/{setting}",
            "DELETE /v1/tenants/{tenant}",
            "GET /docs/errors/{code}",
            "GET /healthz",
            "GET /metrics",
            "GET /readyz",
            "GET /v1/broadcasts",
            "GET /v1/broadcasts/{id}",
            "GET /v1/config",
            "GET /v1/entities",
            "GET /v1/entities/{name}/{key}",
            "GET /v1/instances",
            "GET /v1/instances/{id}",
            "GET /v1/instances/{id}/logs",
            "GET /v1/keys",
            "GET /v1/modules",
            "GET /v1/modules/{module}",
            "GET /v1/openapi.json",
            "GET /v1/retention",
            "GET /v1/retention/preview",
            "GET /v1/schedules",
            "GET /v1/schedules/{schedule}",
            "GET /v1/secrets",
            "GET /v1/tenants",
            "GET /v1/tenants/{tenant}",
            "GET /v1/usage",
            "PATCH /v1/tenants/{tenant}",
            "POST /v1/broadcasts",
            "POST /v1/broadcasts/{id}/cancel",
            "POST /v1/bulk/{action}",
            "POST /v1/completions/{token}",
            "POST /v1/entities/{name}/{key}/calls/{operation}",
            "POST /v1/entities/{name}/{key}/signals/{operation}",
            "POST /v1/entities/{name}/{key}/unlock",
            "POST /v1/instances/{id}/cancel",
            "POST /v1/instances/{id}/events/{name}",
            "POST /v1/instances/{id}/move",
            "POST /v1/instances/{id}/restart",
            "POST /v1/instances/{id}/resume",
            "POST /v1/instances/{id}/rewind",
            "POST /v1/instances/{id}/suspend",
            "POST /v1/instances/{id}/terminate",
            "POST /v1/keys",
            "POST /v1/orchestrations/{function}",
            "POST /v1/schedules/{schedule}/pause",
            "POST /v1/schedules/{schedule}/resume",
            "POST /v1/schedules/{schedule}/trigger",
            "POST /v1/tenants",
            "PUT /v1/config/{setting}",
            "PUT /v1/entities/{name}/{key}/state",
            "PUT /v1/modules/{module}",
            "PUT /v1/retention/rule",
            "PUT /v1/schedules/{schedule}",
            "PUT /v1/secrets/{setting}",
        ]
    );
}
