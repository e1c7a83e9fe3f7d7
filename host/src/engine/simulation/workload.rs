//! The requests of clients: they start, message, stop and purge instances, and retry when they get no answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::checkers::Watch;
use super::guests::ScriptedGuests;
use super::programs::{self, EVENTS, NOISE};
use super::rng::Rng;
use super::time::SimulatedClock;
use crate::clock::Clock;
use crate::engine::{
    Engine, Message, MessageError, PurgeError, RewindError, RewindRequest, StartError, StartRequest, StartTime,
};
use crate::model::{Event, FunctionName, InstanceId, Payload, TenantId};
use crate::store::simulated::Disk;
use crate::store::{Error as StoreError, IdempotencyKey};

/// How long a client waits before it retries.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that a client makes at some time.
#[derive(Debug)]
struct Order {
    at: Duration,
    action: Action,
    state: State,
}

#[derive(Debug, Clone)]
enum Action {
    Start {
        function: FunctionName,
        id: Option<InstanceId>,
        key: Option<String>,
    },
    Send {
        id: InstanceId,
        message: Message,
        key: Option<String>,
    },
    Wait {
        id: InstanceId,
    },
    Purge {
        id: InstanceId,
    },
    Rewind {
        id: InstanceId,
        key: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was not sent yet, or must be sent again.
    Open,
    /// It was sent and has no answer yet.
    Asked,
    /// It was answered, or lost and must not be sent again.
    Settled,
}

/// The orders of a world.
pub(super) struct Workload {
    /// The number of tenants that they come from.
    tenants: u32,
    orders: Mutex<Vec<Order>>,
}

impl Workload {
    /// The orders of a seed, from this many tenants, within this time.
    pub(super) fn of(seed: u64, tenants: u32, programs: &[programs::Program], within_ms: u64) -> Self {
        let mut rng = Rng::new(seed, "workload");
        let starts = rng.between(3, 12);
        // Some instances are sent more than they can take.
        let flooded = rng.per_mille(300).then(|| programs::name(&mut rng));
        let others = match flooded {
            Some(_) => rng.between(20, 50),
            None => rng.below(25),
        };
        let mut orders: Vec<Order> = Vec::new();
        let mut cancellations = Rng::new(seed, "cancellations");
        for number in 0..starts + others {
            let action = if number < starts {
                start(&mut rng, programs, number)
            } else {
                other(&mut rng, number, flooded.as_deref())
            };
            let action = or_cancel(&mut cancellations, action);
            // Every order has its own millisecond; there are fewer than 64 orders.
            let at_ms = rng.below(within_ms / 64 + 1) * 64 + number;
            orders.push(Order {
                at: Duration::from_millis(at_ms),
                action,
                state: State::Open,
            });
        }
        Self {
            tenants,
            orders: Mutex::new(orders),
        }
    }

    /// The tenant of an order.
    fn tenant(&self, order: usize) -> TenantId {
        let order = u32::try_from(order).expect("there are few");
        TenantId(TenantId::DEFAULT.0 + order % self.tenants)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all orders are settled.
    pub(super) fn is_settled(&self) -> bool {
        self.lock().iter().all(|order| order.state == State::Settled)
    }

    fn open(&self) -> Vec<(usize, Duration, Action)> {
        let mut orders = self.lock();
        let mut open = Vec::new();
        for (number, order) in orders.iter_mut().enumerate() {
            // An event without a key must not be sent again, because it would be raised twice.
            let lost = order.state == State::Asked && order.action.is_event_without_key();
            if lost {
                order.state = State::Settled;
            }
            if order.state != State::Settled {
                open.push((number, order.at, order.action.clone()));
            }
        }
        open
    }

    fn set(&self, number: usize, state: State) {
        self.lock()[number].state = state;
    }

    /// Checks that no idempotency key has started two instances.
    pub(super) fn check_starts(&self, watch: &Watch) {
        for (number, order) in self.lock().iter().enumerate() {
            if let Action::Start { key: Some(_), .. } = &order.action {
                let started = watch.started(number as u64);
                if started.len() > 1 {
                    watch.violation(format!("one key started {started:?}"));
                }
            }
        }
    }
}

impl Action {
    fn is_event_without_key(&self) -> bool {
        matches!(
            self,
            Self::Send {
                message: Message::Event(_),
                key: None,
                ..
            }
        )
    }
}

fn start(rng: &mut Rng, programs: &[programs::Program], number: u64) -> Action {
    // A start that may be sent again has a key or an id.
    let key = rng.per_mille(500).then(|| format!("key {number}"));
    let named = key.is_none() || rng.per_mille(600);
    Action::Start {
        function: rng.pick(programs).name.clone(),
        id: named.then(|| id(&programs::name(rng))),
        key,
    }
}

fn other(rng: &mut Rng, number: u64, flooded: Option<&str>) -> Action {
    let flooded = flooded.filter(|_| rng.per_mille(700));
    let id = id(&flooded.map_or_else(|| programs::name(rng), str::to_owned));
    let event = if rng.per_mille(200) {
        *rng.pick(&NOISE)
    } else {
        *rng.pick(&EVENTS)
    };
    let message = match rng.below(20) {
        _ if flooded.is_some() => Message::Event(programs::numbered(event, number)),
        0..=11 => Message::Event(programs::numbered(event, number)),
        12..=13 => Message::Suspend {
            reason: "for a while".into(),
        },
        14..=15 => Message::Resume { reason: "go on".into() },
        16 => Message::Terminate {
            reason: "enough".into(),
        },
        17 if rng.per_mille(500) => return Action::Purge { id },
        17..=18 => {
            let key = rng.per_mille(600).then(|| format!("key {number}"));
            return Action::Rewind { id, key };
        }
        _ => return Action::Wait { id },
    };
    let key = rng.per_mille(600).then(|| format!("key {number}"));
    Action::Send { id, message, key }
}

/// Replaces some terminations and waits by requests for cancellation.
fn or_cancel(rng: &mut Rng, action: Action) -> Action {
    let (id, key) = match action {
        Action::Send {
            id,
            message: Message::Terminate { .. },
            key,
        } if rng.per_mille(400) => (id, key),
        Action::Wait { id } if rng.per_mille(700) => (id, None),
        action => return action,
    };
    let reason = format!("for reason {}", rng.below(1_000));
    Action::Send {
        id,
        message: Message::Cancel { reason },
        key,
    }
}

fn id(text: &str) -> InstanceId {
    text.parse().expect("an id")
}

/// Carries out the orders of clients.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) engine: Engine,
    pub(super) workload: Arc<Workload>,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) watch: Arc<Watch>,
    pub(super) guests: Arc<ScriptedGuests>,
    pub(super) disk: Disk,
    /// Whether queries never fail. If one fails, a wait ends early.
    pub(super) reads_are_sound: bool,
    /// Whether some clients disconnect before they get an answer.
    pub(super) impatient: bool,
}

/// The result of sending a request.
enum Answer {
    Settled,
    /// Nothing was done: send it again.
    Again,
    /// The host is shutting down.
    Gone,
}

impl Client {
    /// Carries out all open orders, each in its own task.
    pub(super) fn carry_out_all(&self) {
        for (number, at, action) in self.workload.open() {
            let client = self.clone();
            tokio::spawn(async move { client.carry_out(number, at, action).await });
        }
    }

    async fn carry_out(&self, number: usize, at: Duration, action: Action) {
        let tenant = self.workload.tenant(number);
        tokio::time::sleep(at.saturating_sub(self.clock.uptime())).await;
        // At first, some clients disconnect before they get an answer.
        let mut patience = match number % 3 {
            0 if self.impatient => Duration::from_millis(u64::from(at.subsec_millis() % 8)),
            _ => PATIENCE,
        };
        loop {
            self.workload.set(number, State::Asked);
            let ask = async {
                match &action {
                    Action::Start { function, id, key } => {
                        self.start(number, function, id.as_ref(), key.as_ref()).await
                    }
                    Action::Send { id, message, key } => self.send(tenant, id, message, key.as_ref()).await,
                    Action::Wait { id } => self.wait(tenant, id).await,
                    Action::Purge { id } => self.purge(tenant, id).await,
                    Action::Rewind { id, key } => self.rewind(tenant, id, key.as_ref()).await,
                }
            };
            let answer = match tokio::time::timeout(patience, ask).await {
                Ok(answer) => answer,
                // It is unknown whether an event without a key was raised.
                Err(_) if action.is_event_without_key() => Answer::Settled,
                Err(_) => Answer::Again,
            };
            patience = PATIENCE;
            match answer {
                Answer::Settled => return self.workload.set(number, State::Settled),
                Answer::Gone => return,
                Answer::Again => self.workload.set(number, State::Open),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn key(&self, text: &str) -> IdempotencyKey {
        IdempotencyKey {
            key: text.to_owned(),
            fingerprint: [7; 32],
            earlier_fingerprint: [6; 32],
            expires_at: self.clock.now().after(Duration::from_secs(7 * 24 * 60 * 60)),
        }
    }

    async fn start(
        &self,
        number: usize,
        function: &FunctionName,
        id: Option<&InstanceId>,
        key: Option<&String>,
    ) -> Answer {
        let tenant = self.workload.tenant(number);
        // Every fifth instance starts later.
        let start = match number % 5 {
            4 => StartTime::After(Duration::from_millis(300 * number as u64)),
            _ => StartTime::Now,
        };
        let request = StartRequest {
            instance_id: id.cloned(),
            start,
            idempotency: key.map(|key| self.key(key)),
            ..StartRequest::new(tenant, function.clone(), Payload::of(&[number]))
        };
        match self.engine.start(request).await {
            Ok(answer) if self.watch.started(number as u64).is_empty() => {
                let (id, repeated) = (answer.instance_id, answer.repeated);
                let number_now = self.disk.content().number(tenant, &id);
                self.watch.violation(format!(
                    "start {number} of {id} was accepted (repeated: {repeated}) and is nowhere; {number_now:?} has the id"
                ));
            }
            Ok(_) | Err(StartError::AlreadyExists(_)) => {}
            Err(StartError::Store(StoreError::Closed)) => return Answer::Gone,
            Err(StartError::Store(StoreError::Database(_))) => return Answer::Again,
            Err(other) => self
                .watch
                .violation(format!("start {number} was answered with {other:?}")),
        }
        Answer::Settled
    }

    async fn send(&self, tenant: TenantId, id: &InstanceId, message: &Message, key: Option<&String>) -> Answer {
        let event = match message {
            Message::Event(Event { payload, .. }) => Some(payload),
            _ => None,
        };
        let sent = self
            .engine
            .send(tenant, id, message.clone(), key.map(|key| self.key(key)))
            .await;
        match (sent, event) {
            (Ok(()), Some(payload)) => self.watch.event_accepted(payload),
            (Ok(()), None) => {}
            (Err(MessageError::Store(StoreError::Closed)), _) => return Answer::Gone,
            (Err(MessageError::Store(StoreError::Database(_))), _) => return Answer::Again,
            (Err(MessageError::Unknown | MessageError::Ended(_)), Some(payload)) => self.watch.event_refused(payload),
            (Err(MessageError::Unknown | MessageError::Ended(_)), None) => {}
            (Err(other), _) => self.watch.violation(format!("{message:?} was answered with {other:?}")),
        }
        Answer::Settled
    }

    async fn wait(&self, tenant: TenantId, id: &InstanceId) -> Answer {
        let before = self.clock.uptime();
        let patience = Duration::from_secs(2);
        let number = self.disk.content().number(tenant, id);
        self.engine.wait_for_end(tenant, id, patience).await;
        let content = self.disk.content();
        let live = number.is_some_and(|number| content.row(number).is_some_and(|row| !row.status.has_ended()));
        let early = self.clock.uptime() < before + patience;
        if live && early && self.reads_are_sound {
            self.watch.violation(format!("{id} was reported as ended but is not"));
        }
        Answer::Settled
    }

    async fn rewind(&self, tenant: TenantId, id: &InstanceId, key: Option<&String>) -> Answer {
        // What failed may have been repaired before.
        self.guests.repair();
        let request = RewindRequest {
            tenant,
            id: id.clone(),
            reason: "repaired".into(),
            idempotency: key.map(|key| self.key(key)),
        };
        match self.engine.rewind(request).await {
            Ok(()) | Err(RewindError::Unknown | RewindError::NotFailed(_)) => Answer::Settled,
            Err(RewindError::Store(StoreError::Closed)) => Answer::Gone,
            Err(RewindError::Store(_)) => Answer::Again,
            Err(other) => {
                self.watch
                    .violation(format!("the rewind of {id} was answered with {other:?}"));
                Answer::Settled
            }
        }
    }

    async fn purge(&self, tenant: TenantId, id: &InstanceId) -> Answer {
        match self.engine.purge(tenant, id).await {
            Ok(()) => Answer::Settled,
            Err(PurgeError::Unknown | PurgeError::NotEnded(_) | PurgeError::ChildrenNotEnded(_)) => Answer::Settled,
            Err(PurgeError::Store(StoreError::Closed)) => Answer::Gone,
            Err(PurgeError::Store(_)) => Answer::Again,
        }
    }
}
