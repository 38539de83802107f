//! The settings of a tenant, and of the server, that a call on its directory follows. Where they come from is told in
//! `config`.

use std::sync::Arc;

use crate::config::{Limits, OnRecreate};
use crate::scim::filter::Bounds;
use crate::scim::patch;
use crate::scim::query::PageBounds;
use crate::scim::schema::Schemas;
use crate::scim::{self, Profile};

/// The settings that a call follows; they come with each call, since they may change while the file stays open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds of every input.
    pub limits: Limits,
    /// What is forgiven a client.
    pub profile: Profile,
    /// What a POST of an inactive user's userName does.
    pub on_recreate: OnRecreate,
    /// Whether hashes of passwords are kept.
    pub store_passwords: bool,
    /// The tenant's schemas, where it has some of its own; else those that all share.
    pub schemas: Option<Arc<Schemas>>,
    /// Whether users can be given only what is in the tenant's catalogs.
    pub check_entitlements: bool,
    /// Most active users; unbounded where there is none.
    pub max_users: Option<u32>,
}

impl Options {
    pub(super) fn filter_bounds(&self) -> Bounds {
        Bounds { bytes_max: self.limits.filter_bytes_max, depth_max: self.limits.filter_depth_max }
    }

    /// Reads a PatchOp message.
    pub(super) fn patch(&self, body: serde_json::Value) -> Result<Vec<patch::PatchOperation>, scim::Error> {
        patch::parse(body, self.limits.patch_operations_max, self.filter_bounds(), self.profile)
    }

    pub(super) fn page_bounds(&self) -> PageBounds {
        PageBounds {
            page_resources_max: self.limits.page_resources_max,
            page_resources_default: self.limits.page_resources_default,
            filter: self.filter_bounds(),
            profile: self.profile,
        }
    }
}
