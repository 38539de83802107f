//! The configuration in force at one moment, with what has been learned of its tokens.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::{Settings, TenantName, TenantSettings, TokenSettings};
use crate::directory::Options;
use crate::metrics::{Metrics, TenantCounters};
use crate::scim;
use crate::scim::schema::Schemas;
use crate::secret::{Digest, DigestKey, TokenHash};
use crate::tenants::ByName;
use crate::tenants::auth::Caller;
use crate::tenants::door::{self, Door};
use crate::tenants::gate::Gate;
use crate::tenants::imports::LastImport;
use crate::tenants::in_service::{Entered, Inside};
use crate::tenants::schemas::OwnSchemas;

/// Most pairs of tenant, or hash of a tenant, and token that are remembered as wrong. Each has cost a run of Argon2.
const WRONG_MAX: usize = 4096;

/// When a token was used is known to so many milliseconds.
const USED_STEP_MS: i64 = 1000;

/// The settings in force. A request keeps the one that it began with.
pub struct Snapshot {
    settings: Settings,
    own: OwnSchemas,
    seats: ByName<Seat>,
    /// The names of all tenants, in their order.
    names: Box<[TenantName]>,
    /// What was shown under these settings and is wrong.
    pub(super) wrong: WrongTokens,
    /// Bounds the checks of what is not known yet.
    pub(super) gate: Arc<Gate>,
}

/// What a tenant has besides its settings.
struct Seat {
    /// What is known of its tokens, in the order of its settings.
    proofs: Box<[Proof]>,
    /// Who shows each of its tokens, once somebody did.
    callers: Box<[OnceLock<Arc<Caller>>]>,
    /// What is counted of it, once it was asked.
    counters: OnceLock<Arc<TenantCounters>>,
    /// What its callers must pass.
    door: Door,
}

/// The digest of the token of a hash, once a client has shown it. Shared by the snapshots that have the hash,
/// so that Argon2 runs once for each hash and process.
pub(super) type Proof = Arc<Proved>;

/// See [`Proof`].
#[derive(Default)]
pub(super) struct Proved {
    digest: OnceLock<Digest>,
    /// When a client last showed the token, in milliseconds since 1970; 0: never as far as is known.
    used_ms: AtomicI64,
}

impl Proved {
    /// The digest, when it is known.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.get()
    }

    /// Remembers the digest.
    pub(super) fn prove(&self, digest: Digest) {
        self.digest.get_or_init(|| digest);
    }

    /// When a client last showed the token; 0: never as far as is known.
    pub(super) fn used_ms(&self) -> i64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// A client has shown the token; whether that is to be kept. It is not where the last time was just now: a
    /// cache line that every request writes would go back and forth between the processors.
    pub(super) fn use_at(&self, now_ms: i64) -> bool {
        let is_news = now_ms - self.used_ms() >= USED_STEP_MS;
        if is_news {
            self.used_ms.store(now_ms, Ordering::Relaxed);
        }
        is_news
    }
}

impl Snapshot {
    /// Settings that come into force; what `before` has learned of hashes that stay is kept.
    pub(super) fn new(settings: Settings, own: OwnSchemas, before: Option<&Snapshot>) -> Snapshot {
        let known: HashMap<&TokenHash, &Proof> = before.map(Snapshot::known).unwrap_or_default();
        let proof = |token: &TokenSettings| known.get(&token.hash).map(|proof| Proof::clone(proof));
        let seat = |name: &TenantName, tenant: &TenantSettings| {
            let rate = tenant.life.rate_limit.unwrap_or(settings.server.rate_limit);
            let door_before = before.and_then(|before| before.seats.get(name)).map(|seat| &seat.door);
            Seat {
                proofs: tenant.tokens.iter().map(|token| proof(token).unwrap_or_default()).collect(),
                callers: tenant.tokens.iter().map(|_| OnceLock::new()).collect(),
                counters: OnceLock::new(),
                door: Door::new(tenant.life.paused, rate, door_before),
            }
        };
        let seats =
            settings.tenants.iter().map(|(name, tenant)| (name.clone(), seat(name, tenant))).collect();
        let checks_max = settings.server.limits.token_checks_max;
        let gate = before
            .filter(|before| before.settings.server.limits.token_checks_max == checks_max)
            .map(|before| Arc::clone(&before.gate));
        let gate = gate.unwrap_or_else(|| Arc::new(Gate::new(checks_max)));
        let names = settings.tenants.keys().cloned().collect();
        Snapshot { settings, own, seats, names, wrong: WrongTokens::default(), gate }
    }

    /// The settings: those of the file with flags and environment laid over them.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The options that a tenant's directory follows; `None` when there is no such tenant.
    pub fn options(&self, tenant: &TenantName) -> Option<Options> {
        let settings = self.settings.tenants.get(tenant)?;
        Some(Options {
            limits: self.settings.server.limits,
            profile: settings.profile,
            on_recreate: settings.on_recreate,
            store_passwords: settings.store_passwords,
            schemas: self.own.of(tenant).cloned(),
            check_entitlements: settings.check_entitlements,
            max_users: settings.life.max_users,
        })
    }

    /// The tenant's schemas; `None` when they are the built-in ones.
    pub fn schemas(&self, tenant: &TenantName) -> Option<&Arc<Schemas>> {
        self.own.of(tenant)
    }

    /// Lets an authenticated caller in to the tenant, until what is given is dropped. The tenant's file stays open, or
    /// can be opened, for as long, even when the tenant is paused or taken out meanwhile.
    ///
    /// # Errors
    /// 503 or 429 where the tenant is paused, 429 where it is asked faster than it may be; nothing is counted of what
    /// is refused.
    pub fn pass(&self, caller: &Caller) -> Result<Option<Entered<'_>>, scim::Error> {
        // The caller of another configuration finds no tenant further on.
        self.seats.get(&caller.tenant).map(|seat| seat.door.pass()).transpose()
    }

    /// The requests inside, of each tenant.
    pub(super) fn insides(&self) -> impl Iterator<Item = (&TenantName, &Inside)> {
        self.seats.iter().map(|(name, seat)| (name, &seat.door.inside))
    }

    /// Notes that a client walks the list of users.
    pub(super) fn note_import(&self, caller: &Caller, now_ms: i64) {
        if let Some(seat) = self.seats.get(&caller.tenant) {
            seat.door.last_import.note(now_ms);
        }
    }

    /// When the users of each tenant were last listed.
    pub(super) fn last_imports(&self) -> impl Iterator<Item = (&TenantName, &LastImport)> {
        self.seats.iter().map(|(name, seat)| (name, &seat.door.last_import))
    }

    /// The tenants that are not paused.
    pub(super) fn in_service(&self) -> BTreeSet<TenantName> {
        let open = self.seats.iter().filter(|(_, seat)| !seat.door.is_paused());
        open.map(|(name, _)| name.clone()).collect()
    }

    /// What is answered where a tenant's file may not be opened any more: it was paused, or taken out of the
    /// configuration, after the request had come.
    pub(super) fn out_of_service(&self, tenant: &TenantName) -> scim::Error {
        let settings = self.settings.tenants.get(tenant);
        door::paused(settings.and_then(|settings| settings.life.paused).unwrap_or_default())
    }

    /// The schemas of all tenants that have some of their own.
    pub(super) fn own(&self) -> &OwnSchemas {
        &self.own
    }

    /// The tenant whose name is a text, and its settings.
    pub(super) fn tenant(&self, name: &str) -> Option<(&TenantName, &TenantSettings)> {
        self.settings.tenants.get_key_value(name)
    }

    /// The tenant of this name, or, where there is none, the one that stands in for it while its token is checked: always
    /// the same for a name under these settings. `None` when there is no tenant at all.
    pub(super) fn tenant_or_stand_in(&self, name: &str, key: &DigestKey) -> Option<&TenantName> {
        let stand_in = self.names.get(key.choose(name, self.names.len()));
        self.tenant(name).map(|(name, _)| name).or(stand_in)
    }

    /// The tokens of a tenant, in the order of its settings.
    pub(super) fn tokens(&self, tenant: &TenantName) -> &[TokenSettings] {
        self.settings.tenants.get(tenant).map_or(&[], |settings| &settings.tokens)
    }

    /// What is known of the tokens of a tenant, in the order of its settings.
    pub(super) fn proofs(&self, tenant: &str) -> &[Proof] {
        self.seats.get(tenant).map_or(&[], |seat| &seat.proofs)
    }

    /// Who shows the token at this place of a tenant's settings; `None` when there is no such tenant or token.
    pub(super) fn caller(&self, tenant: &str, index: usize, metrics: &Metrics) -> Option<&Arc<Caller>> {
        let seat = self.seats.get(tenant)?;
        let caller = seat.callers.get(index)?;
        if let Some(caller) = caller.get() {
            return Some(caller);
        }
        let (name, settings) = self.settings.tenants.get_key_value(tenant)?;
        let (token, proof) = (settings.tokens.get(index)?, seat.proofs.get(index)?);
        let counters = self.counters(tenant, metrics)?;
        Some(caller.get_or_init(|| Arc::new(Caller::new(name, token, proof, counters))))
    }

    /// What is counted of a tenant; `None` when there is no such tenant.
    pub(super) fn counters(&self, tenant: &str, metrics: &Metrics) -> Option<&Arc<TenantCounters>> {
        let (name, seat) = self.seats.get_key_value(tenant)?;
        let tenants_max = self.settings.server.ops.metrics_tenants_max;
        Some(seat.counters.get_or_init(|| metrics.tenant(name, tenants_max)))
    }

    /// What has been learned, by hash.
    fn known(&self) -> HashMap<&TokenHash, &Proof> {
        let tenants = self.settings.tenants.iter();
        tenants
            .flat_map(|(name, tenant)| tenant.tokens.iter().zip(self.proofs(name.as_str())))
            .map(|(token, proof)| (&token.hash, proof))
            .collect()
    }
}

/// Remembers what is wrong, the latest of it, so that a misconfigured client that repeats itself costs no
/// Argon2. Holds digests under the process's key and neither tokens nor names.
#[derive(Default)]
pub(super) struct WrongTokens(Mutex<Wrong>);

#[derive(Default)]
struct Wrong {
    known: HashSet<Digest>,
    /// The same, oldest first.
    order: VecDeque<Digest>,
}

impl WrongTokens {
    /// Whether this is known to be wrong.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(digest)
    }

    /// Remembers that this is wrong, and forgets the oldest when there are too many.
    pub(super) fn insert(&self, digest: Digest) {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.known.insert(digest) {
            return;
        }
        wrong.order.push_back(digest);
        if wrong.order.len() > WRONG_MAX
            && let Some(oldest) = wrong.order.pop_front()
        {
            wrong.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::TokenText;

    #[test]
    fn the_latest_wrong_tokens_are_remembered_and_no_more_than_that() {
        let key = DigestKey::random().unwrap();
        let token = TokenText::generate().unwrap();
        let digest = |place: usize| key.digest_at(&place.to_string(), &token);
        let wrong = WrongTokens::default();
        for place in 0..WRONG_MAX + 10 {
            wrong.insert(digest(place));
            wrong.insert(digest(place));
        }
        let inside = wrong.0.lock().unwrap();
        assert_eq!((inside.known.len(), inside.order.len()), (WRONG_MAX, WRONG_MAX));
        drop(inside);
        assert!(!wrong.contains(&digest(9)));
        assert!(wrong.contains(&digest(10)) && wrong.contains(&digest(WRONG_MAX + 9)));
    }
}
