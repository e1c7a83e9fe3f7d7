//! Gives a running attempt the token with which somebody outside completes its call later.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::engine::completions::token_hash;
use crate::engine::environment::Environment;
use crate::model::{CompletionToken, Failure, InstanceNumber, failure::types};
use crate::sandbox::{Completions, GivenToken};
use crate::store::{Completion, CompletionChange, CompletionOutcome};

/// The token of one attempt. Cheap to clone.
#[derive(Clone)]
pub(super) struct AttemptToken(Arc<Inner>);

struct Inner {
    environment: Arc<Environment>,
    instance: InstanceNumber,
    /// The row of the call, without its token.
    completion: Completion,
    public_url: Option<Arc<str>>,
    issued: Mutex<Option<(CompletionToken, Completion)>>,
}

impl AttemptToken {
    pub(super) fn new(
        environment: Arc<Environment>,
        instance: InstanceNumber,
        completion: Completion,
        public_url: Option<Arc<str>>,
    ) -> Self {
        Self(Arc::new(Inner {
            environment,
            instance,
            completion,
            public_url,
            issued: Mutex::default(),
        }))
    }

    /// The row of the call, if the attempt asked for a token.
    pub(super) async fn issued(&self) -> Option<Completion> {
        let issued = self.0.issued.lock().await;
        issued.as_ref().map(|(_, completion)| completion.clone())
    }

    /// Stores a token before the guest gets it, so that it can be used at once.
    async fn issue(self) -> Result<GivenToken, Failure> {
        let Inner {
            environment, instance, ..
        } = &*self.0;
        let mut issued = self.0.issued.lock().await;
        if let Some((token, _)) = &*issued {
            return Ok(self.given(token));
        }
        let token = CompletionToken::new(environment.entropy.seed());
        let completion = Completion {
            token: token_hash(&token),
            ..self.0.completion.clone()
        };
        let change = CompletionChange::Open;
        let opened = environment
            .store
            .change_completion(*instance, completion.clone(), change, Vec::new(), 0);
        match opened.await {
            Ok(CompletionOutcome::Changed(_)) => {
                let given = self.given(&token);
                *issued = Some((token, completion));
                Ok(given)
            }
            Ok(_) => Err(Failure::new(types::CANCELLED, "nobody waits for the call any more").permanent()),
            Err(error) => {
                tracing::warn!(instance = instance.0, %error, "a completion token could not be stored");
                // It may be stored nevertheless: the outcome of the attempt then closes it.
                *issued = Some((token, completion));
                Err(Failure::new(
                    types::UNAVAILABLE,
                    "the completion token could not be stored",
                ))
            }
        }
    }

    fn given(&self, token: &CompletionToken) -> GivenToken {
        let url = self.0.public_url.as_ref();
        GivenToken {
            url: url.map(|url| format!("{}/v1/completions/{token}", url.trim_end_matches('/'))),
            token: token.to_string(),
        }
    }
}

impl Completions for AttemptToken {
    fn open(&self) -> BoxFuture<'static, Result<GivenToken, Failure>> {
        Box::pin(self.clone().issue())
    }
}
