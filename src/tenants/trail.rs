//! What a request leaves behind in its tenant's directory, for the log of slow ones.

use std::sync::OnceLock;

use tokio::runtime::Handle;

use crate::store::Statements;
use crate::tenants::open::Lease;
use crate::tenants::run::Tenant;

/// The statements of a request, and where they were run. Empty, and at no cost, for the short reads that are done where
/// the request came in: they go by an index.
#[derive(Default)]
pub struct Trail(OnceLock<(Lease<Tenant>, Statements)>);

impl Trail {
    /// Where the statements of the request's work are to be kept, from here on.
    pub(super) fn begin(&self, tenant: &Lease<Tenant>) -> Statements {
        self.0.get_or_init(|| (tenant.clone(), Statements::default())).1.clone()
    }

    /// Hands `tell` how SQLite went about the statements, where there are any: later, on a thread that may block. Without
    /// any, or when the runtime has ended, it is told here and now.
    pub fn explain(self, tell: impl FnOnce(Option<&str>) + Send + 'static) {
        match (self.0.into_inner(), Handle::try_current()) {
            (Some((tenant, statements)), Ok(runtime)) => {
                runtime.spawn_blocking(move || {
                    let plan = tenant.directory().plan(&statements).unwrap_or_default();
                    tell(Some(plan.as_str()).filter(|plan| !plan.is_empty()));
                });
            }
            _ => tell(None),
        }
    }
}
