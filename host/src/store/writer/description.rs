//! What the writer must know about an operation before it executes it.

use super::{
    instance_heads::Wanted,
    operation::{EncodedCommit, Operation},
    rows::Rows,
};
use crate::{
    model::{FunctionName, InstanceId, InstanceNumber, LogLine, TenantId},
    store::{
        AttemptRow, EntityAddress, IdempotencyKey, KeyedAnswer, NewInstance, OutboundMessage, Recipient, RewoundChild,
        TurnCommit, attempts::AttemptKey, completions::CompletionKey, garbage::MAX_SWEPT_BYTES,
        heartbeats::HeartbeatKey, idempotency::WantedKey, ownership::Ownership,
    },
};

/// The approximate overhead of a row in memory and in statements, in bytes.
const ROW: usize = 256;

/// About what forgetting broadcasts frees, in bytes.
const MAX_FORGOTTEN_BYTES: usize = 1 << 20;

/// The origin of an operation, for sorting by tenant.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Whose {
    /// An operation of this tenant.
    Tenant(TenantId),
    /// An operation of the tenant that owns this instance.
    Instance(InstanceNumber),
    /// An operation of the host itself, for which somebody waits.
    Host,
    /// An operation of the host itself that has time.
    Upkeep,
}

/// The instances whose heads an operation needs.
pub(super) enum Instances<'a> {
    None,
    Number(InstanceNumber),
    Id(TenantId, &'a InstanceId),
    Numbers(&'a [InstanceNumber]),
    /// The instance that commits or is created, its children, and the recipients of its messages.
    Commit(&'a TurnCommit),
}

/// What the writer must know about an operation. The writer reads the needs of a whole batch at once.
pub(in crate::store) struct Description<'a> {
    pub(in crate::store) whose: Whose,
    /// The approximate bytes that it writes, without the overhead of one row.
    content: usize,
    /// The instances whose heads it needs.
    instances: Instances<'a>,
    /// Its idempotency key.
    key: Option<WantedKey<'a>>,
    /// The tenant and the answers that it stores with other keys.
    answers: (TenantId, &'a [KeyedAnswer]),
    /// The instance that it creates, like `children`. The writer interns the functions of both before it executes the
    /// operation.
    created: Option<&'a NewInstance>,
    children: &'a [NewInstance],
    /// The sub-orchestrations that it rewinds or creates.
    rewound: &'a [RewoundChild],
    /// The tenant of its messages, and those that may create entities.
    messages: (TenantId, &'a [OutboundMessage]),
    /// The entity that it may create.
    entity: Option<&'a EntityAddress>,
    /// An instance with attempts to record, each of which may replace an older one.
    attempts: Option<(InstanceNumber, &'a [AttemptRow])>,
    /// The call that may be completed from outside, which it changes.
    pub(super) completion: Option<CompletionKey>,
    /// The heartbeat that it replaces.
    pub(super) heartbeat: Option<HeartbeatKey>,
    /// The entity that it deletes if no further messages wait for it.
    pub(super) ending: Option<InstanceNumber>,
    /// The maximum number of surplus attempts to prune.
    pub(super) prunes: Option<u64>,
    /// The maximum number of rows of garbage to delete.
    pub(super) sweeps: u64,
    /// The instance whose row it changes. If earlier operations of the batch create the instance, their rows are
    /// written first.
    changes: Option<InstanceNumber>,
    /// Whether it runs its own statements, which must see the rows of earlier operations of the batch.
    runs_statements: bool,
}

impl<'a> Description<'a> {
    /// An operation that writes about one row and needs nothing.
    fn of(whose: Whose) -> Self {
        Self {
            whose,
            content: 0,
            instances: Instances::None,
            key: None,
            answers: (TenantId(0), &[]),
            created: None,
            children: &[],
            rewound: &[],
            messages: (TenantId(0), &[]),
            entity: None,
            attempts: None,
            completion: None,
            heartbeat: None,
            ending: None,
            prunes: None,
            sweeps: 0,
            changes: None,
            runs_statements: false,
        }
    }

    /// An operation that runs its own statements.
    fn of_statements(whose: Whose) -> Self {
        Self {
            runs_statements: true,
            ..Self::of(whose)
        }
    }

    fn of_commit(work: &'a EncodedCommit) -> Self {
        let commit = &work.commit;
        let creation = commit.creation.as_deref();
        Self {
            content: work.bytes() + bytes_of_lines(&commit.logs),
            instances: Instances::Commit(commit),
            key: creation.and_then(|creation| wanted(creation.instance.tenant, creation.key.as_ref())),
            answers: (commit.tenant, commit.answers()),
            created: creation.map(|creation| &creation.instance),
            children: &commit.children,
            rewound: &commit.rewound,
            messages: (commit.tenant, &commit.messages),
            attempts: Some((commit.instance, &commit.attempts)),
            ending: commit.ends().then_some(commit.instance),
            changes: Some(commit.instance),
            ..Self::of(Whose::Tenant(commit.tenant))
        }
    }

    /// The approximate bytes that it writes.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.content + ROW
    }

    /// The functions of the instances that it creates, and of entities that it may create.
    pub(super) fn functions(&self) -> impl Iterator<Item = (TenantId, &'a FunctionName)> + use<'a> {
        let rewound = self.rewound.iter().map(|child| &child.instance);
        let created = self.created.into_iter().chain(self.children).chain(rewound);
        let created = created.map(|new| (new.tenant, &new.started.function));
        let (tenant, messages) = self.messages;
        let entities = messages.iter().filter_map(|message| match &message.to {
            Recipient::Entity(address) => Some(address),
            Recipient::Number(_) | Recipient::Id(_) | Recipient::Child(_) => None,
        });
        let entities = entities.chain(self.entity);
        created.chain(entities.map(move |address| (tenant, &address.name)))
    }

    /// The idempotency keys that it reads or changes.
    pub(super) fn keys(&self) -> impl Iterator<Item = WantedKey<'a>> + use<'a> {
        let (tenant, answers) = self.answers;
        let of_answers = answers.iter().map(move |answer| WantedKey {
            tenant,
            key: &answer.key,
        });
        self.key.into_iter().chain(of_answers)
    }

    /// The attempts that its new attempts replace.
    pub(super) fn replaced_attempts(&self) -> impl Iterator<Item = AttemptKey> + use<'a> {
        let attempts = self.attempts.into_iter();
        attempts.flat_map(|(instance, rows)| {
            rows.iter()
                .filter_map(move |row| AttemptKey::replaced_by(instance, row))
        })
    }

    /// Whether these rows of earlier operations must be written before it is executed.
    pub(super) fn must_see(&self, earlier: &Rows<'_>) -> bool {
        self.runs_statements || self.changes.is_some_and(|instance| earlier.creates(instance))
    }

    /// Whether the owner of these partitions may execute it. Only its owner changes an instance; messages may go to
    /// instances in all partitions.
    pub(super) fn is_of(&self, ownership: Ownership) -> bool {
        self.changes.is_none_or(|instance| ownership.owns(instance))
    }

    /// Adds the instances whose heads it needs.
    pub(super) fn gather_instances(&self, wanted: &mut Wanted) {
        match self.instances {
            Instances::None => {}
            Instances::Number(number) => wanted.number(number),
            Instances::Id(tenant, id) => wanted.id(tenant, id),
            Instances::Numbers(numbers) => numbers.iter().for_each(|number| wanted.number(*number)),
            Instances::Commit(commit) => gather_commit(commit, wanted),
        }
    }
}

fn gather_commit(commit: &TurnCommit, wanted: &mut Wanted) {
    match &commit.creation {
        Some(creation) => {
            wanted.creation(commit.instance);
            wanted.id(creation.instance.tenant, &creation.instance.id);
        }
        None => wanted.number(commit.instance),
    }
    let rewound = commit.rewound.iter().map(|child| &child.instance);
    for child in commit.children.iter().chain(rewound) {
        wanted.id(child.tenant, &child.id);
    }
    for message in &commit.messages {
        match &message.to {
            Recipient::Number(number) => wanted.number(*number),
            Recipient::Id(id) | Recipient::Child(id) => wanted.id(commit.tenant, id),
            Recipient::Entity(address) => wanted.id(commit.tenant, &address.id),
        }
    }
}

impl Operation {
    /// Describes what the writer must know before it executes the operation.
    pub(in crate::store) fn describe(&self) -> Description<'_> {
        use Description as D;
        match self {
            Self::Append { append, bytes, key } => D {
                content: bytes.len(),
                instances: Instances::Id(append.tenant, &append.id),
                key: wanted(append.tenant, key.as_ref()),
                messages: (append.tenant, &[]),
                entity: append.entity.as_ref(),
                ..D::of(Whose::Tenant(append.tenant))
            },
            Self::Deliver { to, item, .. } => D {
                content: item.bytes.len(),
                instances: Instances::Number(*to),
                ..D::of(Whose::Instance(*to))
            },
            Self::Commit(work) => D::of_commit(work),
            Self::NoteAttempt {
                instance,
                attempt,
                lines,
                ..
            } => D {
                content: bytes_of_lines(lines) + usize::try_from(attempt.failure.bytes()).unwrap_or(usize::MAX),
                instances: Instances::Number(*instance),
                attempts: Some((*instance, std::slice::from_ref(attempt))),
                ..D::of(Whose::Instance(*instance))
            },
            Self::NoteHeartbeat { instance, heartbeat } => D {
                content: heartbeat.details.as_str().len(),
                instances: Instances::Number(*instance),
                heartbeat: Some(HeartbeatKey::of(*instance, heartbeat)),
                ..D::of(Whose::Instance(*instance))
            },
            Self::ChangeCompletion(work) => D {
                content: bytes_of_lines(&work.lines)
                    + work.item.as_ref().map_or(0, |item| item.bytes.len())
                    + work.attempt().map_or(0, |attempt| {
                        usize::try_from(attempt.failure.bytes()).unwrap_or(usize::MAX)
                    }),
                instances: Instances::Number(work.instance),
                attempts: work
                    .attempt()
                    .map(|attempt| (work.instance, std::slice::from_ref(attempt))),
                completion: Some(CompletionKey::of(work.instance, &work.completion)),
                ..D::of(Whose::Instance(work.instance))
            },
            Self::NoteUsage(used) => D::of(Whose::Tenant(used.tenant)),
            Self::MarkStuck { instance, .. } => D {
                instances: Instances::Number(*instance),
                ..D::of_statements(Whose::Instance(*instance))
            },
            Self::Purge { tenant, id } => D {
                instances: Instances::Id(*tenant, id),
                ..D::of(Whose::Tenant(*tenant))
            },
            Self::PurgeMany {
                tenant,
                instances,
                is_upkeep,
            } => D {
                content: instances.len() * ROW,
                instances: Instances::Numbers(instances),
                ..D::of(if *is_upkeep {
                    Whose::Upkeep
                } else {
                    Whose::Tenant(*tenant)
                })
            },
            Self::CreateBroadcast(new) => D {
                content: usize::try_from(new.bytes()).unwrap_or(usize::MAX),
                ..D::of_statements(Whose::Tenant(new.tenant))
            },
            Self::Broadcast { piece, item } => D {
                content: piece.instances.len() * (item.bytes.len() + ROW),
                instances: Instances::Numbers(&piece.instances),
                ..D::of_statements(Whose::Tenant(piece.tenant))
            },
            Self::EndBroadcast(end) => D::of_statements(Whose::Tenant(end.tenant)),
            Self::ForgetBroadcasts { .. } => D {
                content: MAX_FORGOTTEN_BYTES,
                ..D::of_statements(Whose::Upkeep)
            },
            Self::Administer(_) | Self::Probe => D::of_statements(Whose::Host),
            Self::DeleteModuleBytes(_) => D::of_statements(Whose::Upkeep),
            Self::Schedule(work) => {
                let created = work.creation.as_deref();
                let own = created.map_or_else(|| D::of(Whose::Tenant(work.change.tenant)), D::of_commit);
                D {
                    content: own.content + work.change.bytes(),
                    runs_statements: true,
                    ..own
                }
            }
            Self::Sweep { limit, .. } => D {
                // Freeing a page takes as long as writing it.
                content: usize::try_from(MAX_SWEPT_BYTES).unwrap_or(usize::MAX),
                sweeps: *limit,
                ..D::of_statements(Whose::Upkeep)
            },
            Self::PutModule(put) => D {
                content: put.bytes.len(),
                ..D::of_statements(Whose::Tenant(put.tenant))
            },
            Self::DeleteModule { tenant, .. } => D::of_statements(Whose::Tenant(*tenant)),
            Self::PruneAttempts { limit } => D {
                prunes: Some(*limit),
                ..D::of(Whose::Upkeep)
            },
        }
    }
}

fn wanted(tenant: TenantId, key: Option<&IdempotencyKey>) -> Option<WantedKey<'_>> {
    key.map(|key| WantedKey { tenant, key: &key.key })
}

fn bytes_of_lines(lines: &[LogLine]) -> usize {
    lines.iter().map(|line| line.message.len() + ROW).sum()
}

impl EncodedCommit {
    fn bytes(&self) -> usize {
        let rows = self.children.iter().chain(&self.messages).chain(&self.rewound);
        let rows = rows.map(|row| row.len() + ROW);
        let items = self
            .start
            .iter()
            .chain(&self.next_execution)
            .map(|item| item.bytes.len());
        let creation = self.commit.creation.as_ref().map_or(0, |creation| {
            let tags = usize::try_from(creation.tags.bytes()).unwrap_or(usize::MAX);
            tags + (1 + creation.tags.len()) * ROW
        });
        let consumed = (self.commit.consumed.len() + self.commit.taken_events.len()) * ROW / 4;
        let kept = self.kept.iter().map(|event| event.bytes.len() + ROW).sum::<usize>();
        self.turn.as_ref().map_or(0, Vec::len)
            + self.entity.as_ref().map_or(0, Vec::len)
            + self.answers.iter().map(|answer| answer.len() + ROW).sum::<usize>()
            + rows.sum::<usize>()
            + items.sum::<usize>()
            + creation
            + consumed
            + kept
            + self.commit.rewinds.as_ref().map_or(0, |_| ROW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;
    use crate::store::tests::{child_of, step};

    #[test]
    fn rewound_children_count_in_the_bound_of_a_batch() {
        const INPUT: usize = 1 << 20;
        let parent = InstanceNumber(7);
        let mut commit = step(parent, 0);
        commit.rewound = (0..3)
            .map(|number| {
                let mut instance = child_of(parent, &format!("child-{number}"));
                instance.started.input = Payload::of(&"x".repeat(INPUT));
                RewoundChild {
                    instance,
                    reason: String::new(),
                }
            })
            .collect();
        let operation = Operation::Commit(Box::new(EncodedCommit::new(commit)));
        assert!(operation.describe().bytes() > 3 * INPUT);
    }
}
