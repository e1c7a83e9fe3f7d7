//! The scheduling functions of an execution: calls, starts, events, timers, waits and their cancellation.

use uuid::Uuid;

use super::{Execution, Interrupt, PollTimer, Waiting};
use crate::model::{
    ActivityOptions, Decision, Event, EventName, Failure, FromStored, FunctionName, InstanceId, LogLevel, ModuleNumber,
    ParentClose, Payload, RetryPolicy, SubOrchestrationOptions, TaskId, Timestamp, entity::ENTITY_MARK, failure::types,
};
use crate::replay::decisions::{Call, called_module, size};
use crate::replay::guest::{Directory, ResolvedActivity, ResolvedOrchestration};

/// The arguments of a call of a sub-orchestration.
#[derive(Debug, Clone)]
pub struct SubOrchestrationRequest {
    /// The name, as the guest passed it.
    pub function: String,
    /// The input, as the guest passed it.
    pub input: String,
    /// The id, as the guest passed it.
    pub instance_id: Option<String>,
    /// Retries and the timeout.
    pub options: SubOrchestrationOptions,
}

impl Execution {
    /// Schedules an activity call.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn call_activity(&mut self, name: &str, input: &str, options: ActivityOptions) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        let checked = self.check_call(name, input).and_then(|(function, input)| {
            check_retry(options.retry.as_ref())?;
            check_heartbeat_timeout(options.heartbeat_timeout_ms)?;
            Ok((function, input))
        });
        let decision = self.resolve(
            Call {
                import: "call-activity",
                name,
                task: Some(task),
            },
            checked,
            |directory, (function, input), fuel| directory.activity(function, input, fuel),
            |module| ResolvedActivity {
                module,
                defaults: ActivityOptions::default(),
            },
            |(function, input), ResolvedActivity { module, defaults }| Decision::CallActivity {
                task,
                function,
                input,
                options: options.over(&defaults),
                module,
            },
        );
        self.schedule(task, Waiting::Call(size(&decision)), decision)
    }

    /// Schedules a sub-orchestration.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn call_sub_orchestration(&mut self, request: SubOrchestrationRequest) -> Result<TaskId, Interrupt> {
        let SubOrchestrationRequest {
            function: name,
            input,
            instance_id,
            options,
        } = request;
        let task = self.new_task()?;
        let fixed_id = instance_id.is_some();
        let checked = self.check_call(&name, &input).and_then(|(function, input)| {
            self.check_outside_section()?;
            check_retry(options.retry.as_ref())?;
            let id = match &instance_id {
                Some(id) => self.check_id(id)?,
                None => id_of(self.randomness.child_id(task)),
            };
            Ok((function, input, id))
        });
        let decision = self.resolve(
            Call {
                import: "call-sub-orchestration",
                name: &name,
                task: Some(task),
            },
            checked,
            |directory, (function, input, _), fuel| directory.orchestration(function, input, fuel),
            |module| ResolvedOrchestration { module },
            |(function, input, instance_id), ResolvedOrchestration { module }| Decision::CallSubOrchestration {
                task,
                function,
                input,
                instance_id,
                fixed_id,
                options,
                module,
            },
        );
        self.schedule(task, Waiting::Call(size(&decision)), decision)
    }

    /// Starts an independent instance and returns its id. A refused start is logged and has no effect.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn start_orchestration(&mut self, name: &str, input: &str, id: Option<&str>) -> Result<InstanceId, Interrupt> {
        self.turn()?;
        let drawn = id_of(self.randomness.detached_id());
        let checked = self.check_call(name, input).and_then(|(function, input)| {
            let id = id.map_or_else(|| Ok(drawn.clone()), |id| self.check_id(id))?;
            Ok((function, input, id))
        });
        let shown = checked.as_ref().map_or_else(|_| drawn.clone(), |(_, _, id)| id.clone());
        let decision = self.resolve(
            Call {
                import: "start-orchestration",
                name,
                task: None,
            },
            checked,
            |directory, (function, input, _), fuel| directory.orchestration(function, input, fuel),
            |module| ResolvedOrchestration { module },
            |(function, input, instance_id), ResolvedOrchestration { module }| Decision::StartOrchestration {
                function,
                input,
                instance_id,
                module,
            },
        );
        if let Decision::Refused { failure, .. } = &decision {
            let line = format!("orchestration {name:?} was not started: {}", failure.message);
            self.log(LogLevel::Error, &line);
        }
        self.decide(decision)?;
        Ok(shown)
    }

    /// The decision for a call of a function. In a new turn, the directory refuses or resolves it; in replay, it is
    /// refused or resolved like the recorded decision. (If that is of another kind, the comparison of decisions finds the
    /// difference.)
    pub(super) fn resolve<T, R>(
        &mut self,
        call: Call<'_>,
        checked: Result<T, Failure>,
        find: impl FnOnce(&dyn Directory, &T, &mut u64) -> Result<R, Failure>,
        recorded: impl FnOnce(ModuleNumber) -> R,
        decision: impl FnOnce(T, R) -> Decision,
    ) -> Decision {
        let repeated = self.repeated();
        if let Some(Decision::Refused { failure, .. }) = repeated {
            return call.refused(failure.clone());
        }
        let module = repeated.map(|repeated| called_module(repeated).unwrap_or(ModuleNumber(0)));
        let mut fuel = 0;
        let resolved = checked.and_then(|given| {
            let found = match module {
                Some(module) => recorded(module),
                None => find(&*self.directory, &given, &mut fuel)?,
            };
            Ok(decision(given, found))
        });
        self.fuel = self.fuel.saturating_add(fuel);
        resolved.unwrap_or_else(|failure| call.refused(failure))
    }

    /// Raises an event for another instance. A malformed one is logged and dropped.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn send_event(&mut self, instance_id: &str, name: &str, payload: &str) -> Result<(), Interrupt> {
        self.turn()?;
        let checked = check_recipient(instance_id).and_then(|id| {
            Ok((
                id,
                Event {
                    name: self.check_event_name(name)?,
                    payload: self.check_payload(payload)?,
                },
            ))
        });
        let decision = match checked {
            Ok((instance_id, event)) => Decision::SendEvent { instance_id, event },
            Err(failure) => {
                let line = format!("event {name:?} was not sent: {}", failure.message);
                self.log(LogLevel::Error, &line);
                let call = Call {
                    import: "send-event",
                    name,
                    task: None,
                };
                call.refused(failure)
            }
        };
        self.decide(decision).map(|_| ())
    }

    /// Sets a timer.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn create_timer(&mut self, fire_at: Timestamp) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        let fire_at = fire_at.min(Timestamp::LAST_WRITABLE);
        self.schedule(task, Waiting::Timer, Decision::CreateTimer { task, fire_at })
    }

    /// Sets a timer that only [`Self::is_ready`] sees: a subscription to a clock.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn create_poll_timer(&mut self, fire_at: Timestamp) -> Result<PollTimer, Interrupt> {
        let task = self.new_task()?;
        let fire_at = fire_at.min(Timestamp::LAST_WRITABLE);
        self.schedule(task, Waiting::PollTimer, Decision::CreateTimer { task, fire_at })?;
        Ok(PollTimer(task))
    }

    /// Waits for an external event.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn wait_for_event(&mut self, name: &str) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        let name = match self.check_event_name(name) {
            Ok(name) => name,
            Err(failure) => {
                let call = Call {
                    import: "wait-for-event",
                    name,
                    task: Some(task),
                };
                let decision = call.refused(failure);
                return self.schedule(task, Waiting::Call(size(&decision)), decision);
            }
        };
        let folded = name.folded();
        self.schedule(
            task,
            Waiting::Event(folded.clone()),
            Decision::WaitForEvent { task, name },
        )?;
        if self.events.wait(task, &folded) {
            self.settle(task, Ok(Payload::null()));
        }
        self.update_pending(&folded);
        Ok(task)
    }

    /// Takes the event of a completed wait, once.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn take_event(&mut self, task: TaskId) -> Result<Option<Payload>, Interrupt> {
        self.turn()?;
        Ok(self.events.take(task).map(|event| event.payload))
    }

    /// Withdraws a timer or event wait, gives an event back, or cancels a call.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn cancel_task(&mut self, task: TaskId) -> Result<(), Interrupt> {
        self.turn()?;
        let held = self.events.held_name(task);
        let waiting = self.waiting.get(&task).cloned();
        if held.is_none() && matches!(waiting, None | Some(Waiting::Entity(..) | Waiting::Lock)) {
            return Ok(());
        }
        self.decide(Decision::CancelTask { task })?;
        match waiting {
            Some(Waiting::Call(_)) => {
                let failure = Failure::new(types::CANCELLED, "the task was cancelled").permanent();
                self.settle(task, Err(failure));
            }
            Some(Waiting::Event(folded)) => {
                self.events.withdraw(task, &folded);
                self.update_pending(&folded);
                self.forget(task);
            }
            Some(Waiting::Timer | Waiting::PollTimer) => {
                self.forget(task);
            }
            Some(Waiting::Cancellation) => self.withdraw_cancellation_wait(task),
            Some(Waiting::Entity(..) | Waiting::Lock) => unreachable!("these tasks are not cancelled"),
            None => {
                // The event was delivered but not taken. `wait` may not have returned the completion yet.
                self.ready.remove(task);
                if let Some(next) = self.events.give_back(task) {
                    self.settle(next, Ok(Payload::null()));
                }
                held.iter().for_each(|folded| self.update_pending(folded));
            }
        }
        Ok(())
    }

    /// Chooses what happens to an outstanding sub-orchestration when the execution ends. Does nothing for another task.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn set_parent_close(&mut self, task: TaskId, policy: ParentClose) -> Result<(), Interrupt> {
        let is_replayed = self.turn()?.recorded.is_some();
        if is_replayed || !matches!(self.waiting.get(&task), Some(Waiting::Call(_))) {
            return Ok(());
        }
        self.decide(Decision::SetParentClose { task, policy })
    }

    fn check_call(&self, name: &str, input: &str) -> Result<(FunctionName, Payload), Failure> {
        // The directory checks later whether the function exists. Functions of old modules may have names that are not
        // valid for new ones.
        let function =
            FunctionName::from_stored(name).map_err(|error| argument(format!("the function name {error}")))?;
        Ok((function, self.check_payload(input)?))
    }

    /// Checks the id of a new instance.
    fn check_id(&self, id: &str) -> Result<InstanceId, Failure> {
        let checked = if self.repeats_old_names() {
            InstanceId::from_stored(id)
        } else {
            id.parse()
        };
        checked.map_err(|error| argument(format!("the instance id {error}")))
    }

    fn check_event_name(&self, name: &str) -> Result<EventName, Failure> {
        let checked = if self.repeats_old_names() {
            EventName::from_stored(name)
        } else {
            name.parse()
        };
        checked.map_err(|error| argument(format!("the event name {error}")))
    }

    /// Whether the next decision repeats one that was not refused. An older host may have accepted an id or name that is
    /// not valid in new decisions; replay must accept it.
    fn repeats_old_names(&self) -> bool {
        self.repeated()
            .is_some_and(|recorded| !matches!(recorded, Decision::Refused { .. }))
    }
}

pub(super) fn argument(message: String) -> Failure {
    Failure::new(types::ARGUMENT, message).permanent()
}

/// Checks the id of an instance that may exist. Stored instances may have ids that are not valid for new ones.
fn check_recipient(id: &str) -> Result<InstanceId, Failure> {
    if id.starts_with(ENTITY_MARK) {
        return Err(argument("entities take operations, not events".into()));
    }
    InstanceId::from_stored(id).map_err(|error| argument(format!("the instance id {error}")))
}

fn check_retry(policy: Option<&RetryPolicy>) -> Result<(), Failure> {
    policy.map_or(Ok(()), |policy| {
        policy
            .validate()
            .map_err(|error| argument(format!("the retry policy: {error}")))
    })
}

fn check_heartbeat_timeout(timeout_ms: Option<u64>) -> Result<(), Failure> {
    match timeout_ms {
        Some(0) => Err(argument("the heartbeat timeout must be at least 1 ms".into())),
        _ => Ok(()),
    }
}

fn id_of(uuid: Uuid) -> InstanceId {
    uuid.simple()
        .to_string()
        .parse()
        .expect("a UUID is a valid instance id")
}
