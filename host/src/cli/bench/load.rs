//! The load generator: connections that carry one request at a time each.
//!
//! It uses hyper's connections directly, without a pool and on the single thread of the command: it runs beside the
//! host that it measures, and competes with it for the machine.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::{address::Address, error::CliError};
use crate::http::TENANT_HEADER;

/// The `wait` of requests, in seconds.
const WAIT_S: u64 = 60;

/// Timeout of a response.
const PATIENCE: Duration = Duration::from_secs(WAIT_S + 30);

/// The target of the load.
#[derive(Debug, Clone)]
pub(super) struct Load {
    address: Address,
    /// The tenant of requests; `None` for the default tenant.
    tenant: Option<HeaderValue>,
}

/// A connection, with the address and the tenant of its requests.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    address: Address,
    tenant: Option<HeaderValue>,
}

/// A response, read completely.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// The fields that are read of an instance.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance<'a> {
    pub(super) instance_id: &'a str,
    pub(super) runtime_status: &'a str,
    #[serde(borrow)]
    pub(super) output: &'a RawValue,
    pub(super) turns: u32,
}

impl Load {
    /// Load for that host.
    pub(super) fn new(address: Address) -> Self {
        Self { address, tenant: None }
    }

    /// The same load on behalf of a tenant.
    pub(super) fn of_tenant(&self, name: &'static str) -> Self {
        Self {
            tenant: Some(HeaderValue::from_static(name)),
            ..self.clone()
        }
    }

    /// The address of the host.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn connect(&self) -> Result<Connection, CliError> {
        let stream = self.address.connect().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.address.lost(&error))?;
        // The task ends with the connection, whose other half is the sender.
        tokio::spawn(driver);
        Ok(Connection {
            sender,
            address: self.address.clone(),
            tenant: self.tenant.clone(),
        })
    }

    /// Calls `work` for each number below `count`, `in_flight` at a time.
    pub(super) async fn spread<T>(
        &self,
        in_flight: u32,
        count: u32,
        work: impl AsyncFn(&mut Connection, u32) -> Result<T, CliError>,
    ) -> Result<Vec<T>, CliError> {
        let next = Cell::new(0);
        let (next, work) = (&next, &work);
        let workers = (0..in_flight.clamp(1, count.max(1))).map(async |_| {
            let mut connection = self.connect().await?;
            let mut results = Vec::new();
            while next.get() < count {
                let number = next.get();
                next.set(number + 1);
                results.push(work(&mut connection, number).await?);
            }
            Ok::<_, CliError>(results)
        });
        Ok(try_join_all(workers).await?.into_iter().flatten().collect())
    }
}

impl Connection {
    /// Sends one request and returns its response, whatever its status.
    pub(super) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, CliError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.address.target(path))
            .header(header::HOST, self.address.name())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant.clone());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| CliError::failed(format!("{path}: {error}")))?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status, body })
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|error| self.address.lost(&error)),
            Err(_) => Err(CliError::TimedOut("the host did not answer in time".into())),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, CliError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Starts an instance; the response waits only for the disk.
    pub(super) async fn start(&mut self, function: &str, id: &str, body: Bytes) -> Result<(), CliError> {
        let path = format!("/v1/orchestrations/{function}?instanceId={id}");
        let answer = self.send(Method::POST, &path, body).await?;
        answer.expect(StatusCode::ACCEPTED).map(|_| ())
    }

    /// Raises an event.
    pub(super) async fn raise(&mut self, id: &str, event: &str, body: Bytes) -> Result<(), CliError> {
        let path = format!("/v1/instances/{id}/events/{event}");
        let answer = self.send(Method::POST, &path, body).await?;
        answer.expect(StatusCode::ACCEPTED).map(|_| ())
    }

    /// Starts an instance under a generated id, waits for its end, and checks its output. Returns the id.
    pub(super) async fn run(&mut self, function: &str, input: Bytes, output: &str) -> Result<String, CliError> {
        #[derive(Deserialize)]
        struct Links<'a> {
            id: &'a str,
        }
        let path = format!("/v1/orchestrations/{function}?wait={WAIT_S}s");
        let answer = self.send(Method::POST, &path, input).await?;
        if answer.status == StatusCode::OK {
            let instance = answer.instance()?;
            return instance
                .completed_with(output)
                .map(|()| instance.instance_id.to_owned());
        }
        let accepted = answer.expect(StatusCode::ACCEPTED)?;
        let id = accepted.read::<Links<'_>>()?.id.to_owned();
        self.complete(&id, output).await?;
        Ok(id)
    }

    /// Waits for the end of an instance, and checks its output.
    pub(super) async fn complete(&mut self, id: &str, output: &str) -> Result<(), CliError> {
        let path = format!("/v1/instances/{id}?wait={WAIT_S}s");
        loop {
            let answer = self.get(&path).await?;
            match answer.status {
                StatusCode::OK => return answer.instance()?.completed_with(output),
                StatusCode::ACCEPTED => {}
                _ => return answer.expect(StatusCode::OK).map(|_| ()),
            }
        }
    }
}

impl Answer {
    /// Returns an error for any other status.
    pub(super) fn expect(self, status: StatusCode) -> Result<Self, CliError> {
        if self.status == status {
            return Ok(self);
        }
        match serde_json::from_slice(&self.body) {
            Ok(problem) => Err(CliError::Refused(Box::new(problem))),
            Err(_) => Err(CliError::failed(format!("the host answered {}", self.status))),
        }
    }

    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| CliError::failed(format!("an answer cannot be read: {error}")))
    }

    pub(super) fn instance(&self) -> Result<Instance<'_>, CliError> {
        self.read()
    }
}

impl Instance<'_> {
    /// Returns an error unless the instance completed with that output.
    pub(super) fn completed_with(&self, output: &str) -> Result<(), CliError> {
        if self.runtime_status == "Completed" && self.output.get() == output {
            return Ok(());
        }
        Err(CliError::failed(format!(
            "instance {} is {} with the output {}",
            self.instance_id, self.runtime_status, self.output
        )))
    }
}
