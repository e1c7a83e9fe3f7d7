//! Keys and tenants of a host.

use reqwest::Method;
use serde_json::json;

use crate::programs;
use crate::world::World;

impl World {
    /// Gives the host a key of its administrator, which the requests of the test use from then on.
    pub async fn guard(&mut self) {
        let admin = self.create_key("default", "admin").await;
        self.set_key(&admin);
    }

    /// Creates a key of a tenant with this role.
    pub async fn create_key(&self, tenant: &str, role: &str) -> String {
        let created = self.post("/v1/keys", &json!({ "tenant": tenant, "role": role })).await;
        created.expect(201)["key"].as_str().expect("a key").to_owned()
    }

    /// Creates a tenant without quotas.
    pub async fn create_tenant(&self, name: &str) {
        self.post("/v1/tenants", &json!({ "name": name })).await.expect(201);
    }

    /// Uploads sample modules under their own names, with this key.
    pub async fn deploy_as(&self, key: &str, modules: &[&str]) {
        for name in modules {
            let upload = self.request_as(Some(key), Method::PUT, &format!("/v1/modules/{name}"));
            self.send(upload.body(programs::module(name))).await.expect(201);
        }
    }
}
