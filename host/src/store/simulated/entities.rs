//! Entities on the simulated disk.

use super::super::{
    EntityDetails, EntityFilter, EntityPage, Error, decode::decode, entities::MAX_COUNTED, list::MAX_EXAMINED,
    page::Page,
};
use super::{Content, Disk};
use crate::model::{InstanceId, InstanceNumber, TenantId};

impl Disk {
    pub(in crate::store) async fn entity(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<EntityDetails>, Error> {
        self.read(|content| match content.number(tenant, id) {
            Some(number) => details(content, number),
            None => Ok(None),
        })
        .await
    }

    pub(in crate::store) async fn entities(
        &self,
        tenant: TenantId,
        filter: &EntityFilter,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<EntityPage, Error> {
        self.read(|content| {
            let (mut entities, mut size, mut examined, mut last) = (Vec::new(), Page::for_answer(), 0, None);
            let prefix = filter.prefix();
            let ids = content.ids.iter().filter(|((owner, id), _)| {
                *owner == tenant && id.as_str().starts_with(&prefix) && after.is_none_or(|after| id > after)
            });
            for ((_, id), number) in ids {
                let Some(entity) = details(content, *number)? else {
                    continue;
                };
                if entities.len() == limit as usize || size.is_full() || examined == MAX_EXAMINED {
                    return Ok(EntityPage { entities, next: last });
                }
                examined += 1;
                last = Some(id.clone());
                if filter.matches(&entity) {
                    size.read(entity.bytes());
                    entities.push(entity);
                }
            }
            Ok(EntityPage { entities, next: None })
        })
        .await
    }
}

fn details(content: &Content, number: InstanceNumber) -> Result<Option<EntityDetails>, Error> {
    let Some(row) = content.row(number).filter(|row| !row.status.has_ended()) else {
        return Ok(None);
    };
    let entity = row
        .entity
        .as_ref()
        .map(|bytes| decode(bytes, || format!("the state of entity {number}")));
    let messages = content.instances.get(&number).map_or(0, |rows| rows.inbox.len() as u64);
    Ok(Some(EntityDetails {
        number,
        id: row.id.clone(),
        status: row.status,
        stuck: row.stuck.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        entity: entity.transpose()?.unwrap_or_default(),
        waiting: messages.min(MAX_COUNTED),
    }))
}
