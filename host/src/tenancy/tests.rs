//! Authentication, and what administrators may change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::key::PlainKey;
use super::*;
use crate::entropy::SystemEntropy;
use crate::model::Secret;
use crate::store::{SettingKind, StoreOptions};

/// A clock that the test sets.
struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct World {
    tenancy: Tenancy,
    store: Store,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, service) = Store::open(&StoreOptions::new(folder.path())).await.unwrap();
        tokio::spawn(service.run(CancellationToken::new()));
        let clock = Arc::new(TestClock(Mutex::new(Timestamp(1_700_000_000_000))));
        Self {
            tenancy: Self::open(&store, &clock).await,
            store,
            clock,
            _folder: folder,
        }
    }

    async fn open(store: &Store, clock: &Arc<TestClock>) -> Tenancy {
        Tenancy::open(store.clone(), clock.clone(), Arc::new(SystemEntropy), Vault::default())
            .await
            .unwrap()
    }

    async fn key(&self, tenant: &str, role: Role) -> PlainKey {
        self.try_key(tenant, role, None).await.unwrap().1
    }

    async fn try_key(
        &self,
        tenant: &str,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<(KeyRow, PlainKey), TenancyError> {
        let new = NewKey {
            tenant: tenant.parse().unwrap(),
            role,
            label: String::new(),
            expires_at,
        };
        self.tenancy.create_key(new).await
    }

    async fn tenant(&self, name: &str) -> Arc<Tenant> {
        let created = self
            .tenancy
            .create_tenant(name.parse().unwrap(), &Quotas::default())
            .await;
        created.unwrap()
    }
}

#[tokio::test]
async fn without_keys_every_request_is_from_the_administrator_and_with_one_only_those_that_have_it() {
    let world = World::new().await;
    assert!(world.tenancy.is_open());
    let open = world.tenancy.identify(None).unwrap();
    assert_eq!((open.tenant, open.role), (TenantId::DEFAULT, Role::Admin));
    assert_eq!(
        world.tenancy.identify(Some("wl_x")),
        Err(IdentityError::Unknown),
        "a wrong key is refused even if none is required"
    );
    let first = world.try_key("default", Role::Client, None).await;
    assert!(matches!(first, Err(TenancyError::FirstKey)));
    let admin = world.key("default", Role::Admin).await;
    assert_eq!(world.tenancy.identify(None), Err(IdentityError::Unknown));
    let identity = world.tenancy.identify(Some(admin.reveal())).unwrap();
    assert_eq!(identity.role, Role::Admin);
    // A restarted host knows them too.
    let again = World::open(&world.store, &world.clock).await;
    assert_eq!(again.identify(Some(admin.reveal())), Ok(identity));
    let last = world.tenancy.revoke_key(admin.id()).await;
    assert!(matches!(last, Err(TenancyError::LastAdminKey)));
}

#[tokio::test]
async fn a_key_belongs_to_its_tenant_until_it_is_revoked_or_expires() {
    let world = World::new().await;
    let admin = world.key("default", Role::Admin).await;
    let acme = world.tenant("acme").await;
    let client = world.key("acme", Role::Client).await;
    let expected = Ok(Identity {
        tenant: acme.id,
        role: Role::Client,
    });
    assert_eq!(world.tenancy.identify(Some(client.reveal())), expected);
    // The id of one key with the secret of another.
    let (_, secret) = key::split(client.reveal()).unwrap();
    let mixed = format!("wl_{}_{secret}", admin.id());
    assert_eq!(world.tenancy.identify(Some(&mixed)), Err(IdentityError::Unknown));

    let soon = Timestamp(world.clock.now().0 + 1_000);
    let (_, short) = world.try_key("acme", Role::Operator, Some(soon)).await.unwrap();
    assert!(world.tenancy.identify(Some(short.reveal())).is_ok());
    *world.clock.0.lock().unwrap() = soon;
    assert_eq!(
        world.tenancy.identify(Some(short.reveal())),
        Err(IdentityError::Unknown)
    );
    let past = world.try_key("acme", Role::Operator, Some(soon)).await;
    assert!(matches!(past, Err(TenancyError::Expired)));

    world.tenancy.set_tenant("acme", Some(true), Map::new()).await.unwrap();
    assert_eq!(
        world.tenancy.identify(Some(client.reveal())),
        Err(IdentityError::Disabled)
    );
    world.tenancy.set_tenant("acme", Some(false), Map::new()).await.unwrap();
    assert_eq!(world.tenancy.identify(Some(client.reveal())), expected);

    world.tenancy.revoke_key(client.id()).await.unwrap();
    assert_eq!(
        world.tenancy.identify(Some(client.reveal())),
        Err(IdentityError::Unknown)
    );
    let again = world.tenancy.revoke_key(client.id()).await;
    assert!(matches!(again, Err(TenancyError::UnknownKey(_))));
}

#[tokio::test]
async fn the_number_of_a_tenant_is_never_reused() {
    let world = World::new().await;
    let first = world.tenant("one").await.id;
    let again = world
        .tenancy
        .create_tenant("one".parse().unwrap(), &Quotas::default())
        .await;
    assert!(matches!(again, Err(TenancyError::TenantExists(_))));
    world.tenancy.delete_tenant("one").await.unwrap();
    assert!(matches!(
        world.tenancy.named("one"),
        Err(TenancyError::UnknownTenant(_))
    ));
    assert!(world.tenant("one").await.id > first);
    for refused in [
        world.tenancy.delete_tenant("default").await.err(),
        world.tenancy.set_tenant("default", Some(true), Map::new()).await.err(),
    ] {
        assert!(matches!(refused, Some(TenancyError::DefaultTenant)), "{refused:?}");
    }
}

#[tokio::test]
async fn starts_and_fuel_are_bounded_by_quotas_that_may_change() {
    let world = World::new().await;
    let acme = world.tenant("acme").await.id;
    let set = async |text: &str| {
        let quotas = serde_json::from_str(text).unwrap();
        world.tenancy.set_tenant("acme", None, quotas).await.unwrap();
    };
    let use_fuel = |fuel| {
        let work = Work {
            fuel,
            ..Work::default()
        };
        world.tenancy.count_work(acme, work);
    };
    for _ in 0..1_000 {
        world.tenancy.take_start(acme).unwrap();
    }
    set(r#"{"startsPerSecond":2}"#).await;
    world.tenancy.take_start(acme).unwrap();
    world.tenancy.take_start(acme).unwrap();
    let refused = world.tenancy.take_start(acme).unwrap_err();
    assert_eq!((refused.quota, refused.limit), (Quota::StartsPerSecond, 2));
    assert_eq!(refused.retry_after, Some(Duration::from_millis(500)));
    assert!(
        world.tenancy.take_start(TenantId::DEFAULT).is_ok(),
        "other tenants are not affected"
    );

    set(r#"{"startsPerSecond":null,"eventsPerSecond":1}"#).await;
    world.tenancy.take_event(acme).unwrap();
    let refused = world.tenancy.take_event(acme).unwrap_err();
    assert_eq!((refused.quota, refused.limit), (Quota::EventsPerSecond, 1));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    assert!(world.tenancy.take_event(TenantId::DEFAULT).is_ok());
    world.tenancy.return_event(acme);
    world.tenancy.take_event(acme).unwrap();

    set(r#"{"eventsPerSecond":null,"fuelPerMinute":1000}"#).await;
    use_fuel(1_000);
    assert_eq!(world.tenancy.fuel_wait(acme), None);
    use_fuel(500);
    assert_eq!(world.tenancy.fuel_wait(acme), Some(Duration::from_secs(30)));
    assert_eq!(world.tenancy.take_start(acme).unwrap_err().quota, Quota::FuelPerMinute);
    set("{}").await;
    assert!(
        world.tenancy.fuel_wait(acme).is_some(),
        "quotas that are not mentioned stay"
    );
    set(r#"{"fuelPerMinute":null}"#).await;
    assert_eq!(world.tenancy.fuel_wait(acme), None);
}

#[tokio::test]
async fn all_modules_of_a_tenant_share_one_room_for_requests_across_changes() {
    let world = World::new().await;
    let acme = world.tenant("acme").await.id;
    let room = |tenant, module| world.tenancy.grants(tenant, module).requests.clone();
    let before = room(acme, "orders");
    let quotas = Map::from_iter([("maxTenantRequests".to_owned(), Value::from(1))]);
    world.tenancy.set_tenant("acme", None, quotas).await.unwrap();
    assert!(Arc::ptr_eq(&before, &room(acme, "payments")));
    assert!(!Arc::ptr_eq(&before, &room(TenantId::DEFAULT, "orders")));
}

#[tokio::test]
async fn a_change_of_one_tenant_drops_only_what_was_computed_for_it() {
    let world = World::new().await;
    let acme = world.tenant("acme").await.id;
    let grants = |tenant| world.tenancy.grants(tenant, "orders");
    let (of_acme, of_default) = (grants(acme), grants(TenantId::DEFAULT));
    let setting = NewSetting {
        kind: SettingKind::Plain,
        name: "region".parse().unwrap(),
        value: Secret::new("eu"),
        modules: vec!["orders".into()],
    };
    world.tenancy.put_setting(acme, setting).await.unwrap();
    assert_eq!(grants(acme).config["region"], "eu");
    assert!(of_acme.config.is_empty());
    assert!(Arc::ptr_eq(&of_default, &grants(TenantId::DEFAULT)));

    let with_setting = grants(acme);
    world.tenant("another").await;
    assert!(Arc::ptr_eq(&with_setting, &grants(acme)));
    let quotas = Map::from_iter([("activityFuel".to_owned(), Value::from(1_000))]);
    world.tenancy.set_tenant("acme", None, quotas).await.unwrap();
    assert_eq!(grants(acme).limits.fuel, 1_000);
    assert!(Arc::ptr_eq(&of_default, &grants(TenantId::DEFAULT)));
    let kind = SettingKind::Plain;
    world.tenancy.delete_setting(acme, kind, "region").await.unwrap();
    assert!(grants(acme).config.is_empty());
    assert_eq!(grants(acme).limits.fuel, 1_000);
}

#[tokio::test]
async fn only_a_limited_number_of_tenants_are_counted_individually() {
    let world = World::new().await;
    let count = |tenant: &Tenant| world.tenancy.count_start(tenant.id);
    let starts = |name: &str| world.tenancy.named(name).unwrap().counts().starts.get();
    // The tenant `default` has the first place.
    for number in 1..MAX_COUNTED_ALONE {
        let tenant = world.tenant(&format!("tenant-{number}")).await;
        assert!(tenant.counts().are_of_one(), "{number}");
        count(&tenant);
    }
    for name in ["late", "later"] {
        let tenant = world.tenant(name).await;
        assert!(!tenant.counts().are_of_one());
        count(&tenant);
    }
    assert_eq!(
        [
            starts("default"),
            starts("tenant-1"),
            starts("tenant-99"),
            starts("late")
        ],
        [0, 1, 1, 2]
    );
    // A free place goes to the next new tenant; counters of the others keep what they counted.
    world.tenancy.delete_tenant("tenant-7").await.unwrap();
    world.tenancy.delete_tenant("later").await.unwrap();
    assert!(world.tenant("last").await.counts().are_of_one());
    assert!(!world.tenancy.named("late").unwrap().counts().are_of_one());
    assert_eq!(world.tenancy.counts_of_others().starts.get(), 2);
    assert_eq!((starts("last"), starts("tenant-8")), (0, 1));
}

#[tokio::test]
async fn concurrent_changes_are_all_kept() {
    let world = World::new().await;
    world.tenant("acme").await;
    let names: Vec<_> = Quota::ALL
        .iter()
        .map(|quota| quota.name())
        .filter(|name| name.starts_with("max"))
        .collect();
    let changes = names.iter().map(async |name| {
        let change = Map::from_iter([((*name).to_owned(), Value::from(7))]);
        world.tenancy.set_tenant("acme", None, change).await.map(drop)
    });
    futures::future::try_join_all(changes).await.unwrap();
    let stored = world.tenancy.named("acme").unwrap().quotas.stored();
    for name in names {
        assert!(stored.contains(name), "{name} is not in {stored}");
    }
}
