//! The table `tags`.

use std::collections::BTreeMap;

use super::{
    columns::Values,
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{InstanceNumber, Tags},
    store::{Error, tags::NewTag},
};

impl BindRow for NewTag<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .text(self.key)
            .text(self.value)
            .number(self.tenant.0);
    }
}

/// Stores tags.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, key, value, tenant) AS (VALUES ",
    4,
    ")
     INSERT INTO tags (partition, instance, key, value, tenant)
     SELECT 0, v.instance, v.key, v.value, v.tenant
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// The tags of the instance `i` as a JSON object, NULL if it has none.
pub(super) const COLUMN: &str = "
    iif(i.tag_bytes = 0, NULL,
        (SELECT json_group_object(g.key, g.value) FROM tags AS g WHERE g.partition = 0 AND g.instance = i.instance))";

/// Decodes [`COLUMN`].
pub(super) fn tags(object: Option<&str>, instance: InstanceNumber) -> Result<Tags, Error> {
    let Some(object) = object else {
        return Ok(Tags::default());
    };
    let tags: BTreeMap<String, String> = serde_json::from_str(object)
        .map_err(|error| Error::Damaged(format!("the tags of instance {instance} cannot be read: {error}")))?;
    Ok(Tags::from_stored(tags))
}
