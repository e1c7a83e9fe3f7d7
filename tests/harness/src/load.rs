//! Load that records what the host acknowledged, and checks it at the end.
//!
//! Clients start chains (with their own ids, with idempotency keys, or both), and raise numbered events for instances
//! that collect them. A request without a response may have been carried out or not. Clients repeat those that have a
//! key until they get a response, and the host must not carry them out twice.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::world::World;

/// Concurrent clients that start chains. Each sends one request at a time.
const STARTERS: usize = 12;

/// Concurrent clients that raise events.
const SENDERS: usize = 4;

/// Instances that collect events. Each run of the host gets new ones: ever longer histories would take long to replay,
/// and an instance whose turn is interrupted by three kills in a row correctly becomes stuck.
const COLLECTORS: usize = 4;

/// Events go to this many of the newest collectors, so that some of these were started by an earlier run of the host.
const NEWEST: usize = 3 * COLLECTORS;

/// The size of each sender's range of event numbers.
const NUMBERS_OF_A_SENDER: i64 = 1_000_000;

/// Concurrent requests of the final check.
const LOOKS: usize = 16;

/// The load, with the record of its requests.
#[derive(Debug)]
pub struct Load {
    client: Client,
    random: Cell<u64>,
    /// Starts by text, which is both the input and the expected output.
    starts: RefCell<BTreeMap<String, Start>>,
    /// Whether the start of each collector was accepted.
    collectors: RefCell<Vec<bool>>,
    /// Events by number, which is the payload.
    events: RefCell<BTreeMap<i64, Event>>,
    repeated: Cell<u32>,
}

/// A request to start a chain.
#[derive(Debug, Clone)]
struct Start {
    path: String,
    key: Option<String>,
    /// The id that the client chose or a response returned.
    id: Option<String>,
    /// Whether the host acknowledged the request.
    promised: bool,
}

/// A request to raise an event.
#[derive(Debug, Clone, Copy)]
struct Event {
    collector: usize,
    /// Whether the request has an idempotency key.
    keyed: bool,
    /// Whether the host acknowledged the request.
    promised: bool,
}

/// The host did not carry out the request or did not respond: it was killed, or is shutting down.
struct Lost;

impl Load {
    /// Creates a load that has not sent any requests. The same seed makes the same choices.
    pub fn new(seed: u64) -> Self {
        Self {
            client: Client::new(),
            random: Cell::new(seed),
            starts: RefCell::default(),
            collectors: RefCell::default(),
            events: RefCell::default(),
            repeated: Cell::new(0),
        }
    }

    /// A random number below `bound`. (SplitMix64: small, and good enough for choices.)
    pub fn choose(&self, bound: u64) -> u64 {
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A random duration below `bound`.
    pub fn moment(&self, bound: Duration) -> Duration {
        let micros = u64::try_from(bound.as_micros()).expect("a short time");
        Duration::from_micros(self.choose(micros))
    }

    /// Sends requests to the host until it stops responding.
    pub async fn run(&self, url: &str) {
        let known = self.collectors.borrow().len();
        self.collectors.borrow_mut().resize(known + COLLECTORS, false);
        if self.start_collectors(url).await.is_err() {
            return;
        }
        let starters = join_all((0..STARTERS).map(|starter| self.start_until_lost(url, starter)));
        let senders = join_all((0..SENDERS).map(|sender| self.raise_until_lost(url, sender)));
        futures::join!(starters, senders);
    }

    /// Starts the collectors whose start was not acknowledged.
    async fn start_collectors(&self, url: &str) -> Result<(), Lost> {
        let missing: Vec<usize> = {
            let collectors = self.collectors.borrow();
            let missing = collectors.iter().enumerate().filter(|(_, promised)| !**promised);
            missing.map(|(collector, _)| collector).collect()
        };
        for collector in missing {
            let id = collector_id(collector);
            let path = format!("/v1/orchestrations/BenchCollect?instanceId={id}");
            self.post(url, &path, Some(&id), &Value::Null).await?;
            self.collectors.borrow_mut()[collector] = true;
        }
        Ok(())
    }

    /// Chooses one of the newest collectors.
    fn collector(&self) -> usize {
        let newest = self.collectors.borrow().len();
        newest - 1 - self.index(NEWEST.min(newest))
    }

    async fn start_until_lost(&self, url: &str, starter: usize) {
        // Requests without a response are repeated first, so that keys are reused across restarts.
        let mine = |text: &str| text.starts_with(&format!("{starter}-"));
        for text in self.unanswered_starts().into_iter().filter(|text| mine(text)) {
            if self.start(url, &text).await.is_err() {
                return;
            }
        }
        loop {
            let text = format!("{starter}-{}", self.starts.borrow().len());
            let start = self.new_start(&text);
            self.starts.borrow_mut().insert(text.clone(), start);
            if self.start(url, &text).await.is_err() {
                return;
            }
            // Some clients repeat a request although they got a response.
            if self.choose(8) == 0 && self.repeat_one(url).await.is_err() {
                return;
            }
        }
    }

    fn new_start(&self, text: &str) -> Start {
        let (own_id, keyed) = [(true, false), (false, true), (true, true)][self.index(3)];
        let id = own_id.then(|| format!("chain-{text}"));
        let mut query = Vec::from_iter(id.as_ref().map(|id| format!("instanceId={id}")));
        // Half of the starts wait for the end of the chain, so that the load does not run ahead of the host.
        query.extend((self.choose(2) == 0).then(|| "wait=20s".to_owned()));
        Start {
            path: format!("/v1/orchestrations/BenchChain?{}", query.join("&")),
            key: keyed.then(|| format!("start-{text}")),
            id,
            promised: false,
        }
    }

    fn index(&self, bound: usize) -> usize {
        usize::try_from(self.choose(bound as u64)).expect("an index")
    }

    /// Sends the request, and records the response.
    async fn start(&self, url: &str, text: &str) -> Result<(), Lost> {
        let start = self.starts.borrow()[text].clone();
        let body = self.post(url, &start.path, start.key.as_deref(), &json!(text)).await?;
        let id = body["id"].as_str().or(body["instanceId"].as_str());
        let id = id.unwrap_or_else(|| panic!("no id: {body:#}")).to_owned();
        if let Some(before) = &start.id {
            assert_eq!(*before, id, "the response to the start of {text} has another id");
        }
        if body["runtimeStatus"].is_string() {
            assert_eq!(
                (&body["runtimeStatus"], &body["output"]),
                (&json!("Completed"), &json!(text))
            );
        }
        let mut starts = self.starts.borrow_mut();
        let recorded = starts.get_mut(text).expect("the start was recorded before it was sent");
        (recorded.id, recorded.promised) = (Some(id), true);
        Ok(())
    }

    /// Repeats an acknowledged start that has a key.
    async fn repeat_one(&self, url: &str) -> Result<(), Lost> {
        let candidates: Vec<String> = {
            let starts = self.starts.borrow();
            let answered = starts.iter().filter(|(_, start)| start.promised && start.key.is_some());
            answered.map(|(text, _)| text.clone()).collect()
        };
        if candidates.is_empty() {
            return Ok(());
        }
        self.repeated.set(self.repeated.get() + 1);
        self.start(url, &candidates[self.index(candidates.len())]).await
    }

    async fn raise_until_lost(&self, url: &str, sender: usize) {
        let first = NUMBERS_OF_A_SENDER * i64::try_from(sender).expect("a few senders");
        // Collectors must get the events of a sender in order, so the sender repeats an unanswered one first.
        let mine = first..first + NUMBERS_OF_A_SENDER;
        let mut next = {
            let events = self.events.borrow();
            events
                .range(mine)
                .next_back()
                .map_or(first, |(number, event)| match event {
                    Event {
                        keyed: true,
                        promised: false,
                        ..
                    } => *number,
                    _ => number + 1,
                })
        };
        loop {
            self.events.borrow_mut().entry(next).or_insert_with(|| Event {
                collector: self.collector(),
                keyed: self.choose(2) == 0,
                promised: false,
            });
            if self.raise(url, next).await.is_err() {
                return;
            }
            next += 1;
        }
    }

    async fn raise(&self, url: &str, number: i64) -> Result<(), Lost> {
        let event = self.events.borrow()[&number];
        let path = format!("/v1/instances/{}/events/item", collector_id(event.collector));
        let key = event.keyed.then(|| format!("item-{number}"));
        self.post(url, &path, key.as_deref(), &json!(number)).await?;
        self.events
            .borrow_mut()
            .entry(number)
            .and_modify(|event| event.promised = true);
        Ok(())
    }

    async fn post(&self, url: &str, path: &str, key: Option<&str>, body: &Value) -> Result<Value, Lost> {
        let mut request = self.client.post(format!("{url}{path}")).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        match Answer::try_of(request).await {
            Ok(Answer {
                status: 200 | 202,
                body,
                ..
            }) => Ok(body),
            // The host is shutting down.
            Ok(Answer { status: 503, .. }) | Err(_) => Err(Lost),
            Ok(other) => panic!("{path}: {}: {:#}", other.status, other.body),
        }
    }

    /// The number of starts that the host has acknowledged so far.
    pub fn accepted_starts(&self) -> usize {
        let starts = self.starts.borrow();
        starts.values().filter(|start| start.promised).count()
    }

    /// Starts with a key that got no response.
    fn unanswered_starts(&self) -> Vec<String> {
        let starts = self.starts.borrow();
        let unanswered = starts
            .iter()
            .filter(|(_, start)| start.key.is_some() && !start.promised);
        unanswered.map(|(text, _)| text.clone()).collect()
    }

    /// Events with a key that got no response.
    fn unanswered_events(&self) -> Vec<i64> {
        let events = self.events.borrow();
        let unanswered = events.iter().filter(|(_, event)| event.keyed && !event.promised);
        unanswered.map(|(number, _)| *number).collect()
    }

    /// Waits until every instance has completed, and checks the results. Returns a summary line.
    ///
    /// # Panics
    /// If an acknowledged request was not carried out, or any request was carried out twice.
    pub async fn settle(&self, world: &World) -> String {
        assert!(
            self.start_collectors(world.url()).await.is_ok(),
            "the host does not answer"
        );
        for text in self.unanswered_starts() {
            let sent = self.start(world.url(), &text).await;
            assert!(sent.is_ok(), "the host does not answer");
        }
        for number in self.unanswered_events() {
            let sent = self.raise(world.url(), number).await;
            assert!(sent.is_ok(), "the host does not answer");
        }
        self.check_events(world).await;
        let unknown = self.check_starts(world).await;
        self.check_nothing_else(world).await;
        let (starts, events) = (self.starts.borrow(), self.events.borrow());
        format!(
            "{} starts ({unknown} of them unanswered and absent), {} repeated, {} events",
            starts.len(),
            self.repeated.get(),
            events.len()
        )
    }

    /// Checks that each collector got every acknowledged event once, every unanswered one at most once and no others,
    /// and that it got the events of each sender in order.
    async fn check_events(&self, world: &World) {
        let collectors = self.collectors.borrow().len();
        for collector in 0..collectors {
            let id = collector_id(collector);
            world.raise(&id, "item", json!(-1)).await;
            let output = world.output_of(&id).await;
            let items: Vec<i64> = serde_json::from_value(output).expect("a list of numbers");
            let mut last = BTreeMap::new();
            for item in &items {
                let event = self.events.borrow().get(item).copied();
                assert_eq!(event.map(|event| event.collector), Some(collector), "{id} has {item}");
                let before = last.insert(item / NUMBERS_OF_A_SENDER, *item);
                assert!(before < Some(*item), "{id}: {item} came after {before:?}");
            }
            let items = BTreeSet::from_iter(items);
            for (number, event) in self.events.borrow().iter() {
                let promised = event.promised && event.collector == collector;
                assert!(
                    !promised || items.contains(number),
                    "{id} lacks {number}, which was accepted"
                );
            }
        }
    }

    /// Checks that each acknowledged chain has completed, and that each unanswered one has completed or does not exist.
    /// Returns how many do not exist.
    async fn check_starts(&self, world: &World) -> usize {
        let starts = self.starts.borrow().clone();
        let absent = stream::iter(starts).map(async |(text, start)| {
            let id = start.id.as_deref().expect("every start has an id by now");
            if !start.promised && world.get(&format!("/v1/instances/{id}")).await.status == 404 {
                return 1;
            }
            assert_eq!(world.output_of(id).await, json!(text), "{id}");
            0
        });
        absent.buffer_unordered(LOOKS).fold(0, async |sum, one| sum + one).await
    }

    /// Checks that no other instance exists, because a repeated key must not start another one.
    async fn check_nothing_else(&self, world: &World) {
        let known: BTreeSet<String> = self
            .starts
            .borrow()
            .values()
            .filter_map(|start| start.id.clone())
            .collect();
        let mut path = "/v1/instances?name=BenchChain&limit=1000".to_owned();
        loop {
            let page = world.get(&path).await.expect(200);
            for instance in page["instances"].as_array().expect("a list") {
                let id = instance["instanceId"].as_str().expect("an id");
                assert!(known.contains(id), "unexpected instance {id}");
            }
            match page["nextCursor"].as_str() {
                Some(cursor) => path = format!("/v1/instances?name=BenchChain&limit=1000&cursor={cursor}"),
                None => return,
            }
        }
    }
}

fn collector_id(number: usize) -> String {
    format!("collector-{number}")
}
