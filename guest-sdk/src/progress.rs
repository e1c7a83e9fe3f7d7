//! What an attempt reports while it runs, and what it learns about its call: heartbeats and cancellation.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::{self, activity::windlass::durable::activity_context as imports};
use crate::failure::Result;

/// Where heartbeats go.
#[derive(Clone)]
pub(crate) enum Progress {
    /// The imports of the sandbox.
    Host,
    /// The record of a test. Clones share it.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "tests are not built for Wasm"))]
    Recorded(Rc<RefCell<Record>>),
}

/// What a test gives to an attempt, and what the attempt did.
#[derive(Default)]
pub(crate) struct Record {
    details: Option<String>,
    heartbeats: Vec<String>,
    /// How often the attempt may still ask before it is cancelled; `None` if it is never cancelled.
    cancelled_after: Option<u32>,
}

impl Record {
    fn ask(&mut self) -> bool {
        match &mut self.cancelled_after {
            Some(0) => true,
            Some(times) => {
                *times -= 1;
                false
            }
            None => false,
        }
    }
}

impl Progress {
    /// Sends a heartbeat. Returns whether the attempt is cancelled.
    pub(crate) fn heartbeat(&self, details: &str) -> Result<bool> {
        match self {
            Self::Host => imports::heartbeat(Some(details)).map_err(bindings::failure),
            Self::Recorded(record) => {
                let mut record = record.borrow_mut();
                record.heartbeats.push(details.into());
                Ok(record.ask())
            }
        }
    }

    /// The details of the last heartbeat of an earlier attempt.
    pub(crate) fn heartbeat_details(&self) -> Option<String> {
        match self {
            Self::Host => imports::heartbeat_details(),
            Self::Recorded(record) => record.borrow().details.clone(),
        }
    }

    /// The token with which somebody outside completes the call.
    pub(crate) fn complete_later(&self) -> Result<(String, Option<String>)> {
        match self {
            Self::Host => {
                let given = imports::complete_later().map_err(bindings::failure)?;
                Ok((given.token, given.url))
            }
            Self::Recorded(_) => Ok((
                "wc_test".into(),
                Some("https://windlass.example/v1/completions/wc_test".into()),
            )),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Host => imports::is_cancelled(),
            Self::Recorded(record) => record.borrow_mut().ask(),
        }
    }

    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self, Self::Host)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Progress {
    pub(crate) fn for_test() -> Self {
        Self::Recorded(Rc::default())
    }

    pub(crate) fn give_details(&self, details: String) {
        if let Self::Recorded(record) = self {
            record.borrow_mut().details = Some(details);
        }
    }

    pub(crate) fn cancel_after(&self, times: u32) {
        if let Self::Recorded(record) = self {
            record.borrow_mut().cancelled_after = Some(times);
        }
    }

    pub(crate) fn heartbeats(&self) -> Vec<String> {
        match self {
            Self::Host => Vec::new(),
            Self::Recorded(record) => record.borrow().heartbeats.clone(),
        }
    }
}
