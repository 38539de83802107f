//! From a name to a running tenant: the configuration in force, who may ask, and where async meets blocking.
//!
//! [`Tenants`] is the one shared handle of the server. A request takes a [`Snapshot`] of the configuration,
//! finds out who asks ([`Tenants::authenticate`]) and has it done ([`Tenants::run`]). What is asked and
//! answered is the directory's business, HTTP is `web`'s.

use std::collections::HashMap;
use std::fs::{DirBuilder, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::config::{Settings, TenantName};
use crate::directory::{self, Directory, Shared};
use crate::metrics::Metrics;
use crate::secret::{self, DigestKey};

pub mod config_file;
pub mod config_set;
mod auth;
mod door;
mod expiry;
mod backups;
mod gate;
mod imports;
mod in_service;
mod last_used;
mod look;
mod open;
mod overrides;
mod parts;
mod queue;
mod reload;
mod run;
mod schemas;
mod snapshot;
mod status;
mod tell;
mod trail;
#[cfg(test)]
mod tests;

pub use auth::{Caller, Refusal};
pub use backups::{BackupKeeper, BackupStatus};
pub use expiry::TOKEN_EXPIRES_SOON_MS;
pub use gate::Network;
pub use imports::last_import_ms;
pub use in_service::{Entered, Told, told};
pub use last_used::LastUsed;
pub use overrides::{BadOverride, Overrides};
pub use parts::{Answered, Rest};
pub use reload::{ReloadSummary, Watch};
pub use run::Running;
pub use schemas::{OwnSchemas, SchemaFault, schemas_of};
pub use snapshot::Snapshot;
pub use status::{ConfigFault, ConfigStatus};
pub use trail::Trail;

/// A map by tenant that every request looks into, some several times. Its hash is quick and not made to withstand
/// whoever chooses the keys: nobody does, they are those of the configuration.
type ByName<V> = HashMap<TenantName, V, foldhash::fast::RandomState>;

/// Mode of a data folder that is made: what lies in it is personal data.
const DATA_DIR_MODE: u32 = 0o700;

/// How often it is written down when users were last listed, at most.
const KEEP_IMPORTS_EVERY: Duration = Duration::from_secs(60);

/// The file in the data folder that a server locks.
const LOCK: &str = ".server.lock";
/// How often a server tries to lock it; a command that looks whether there is a server has it for microseconds.
const LOCK_LOOKS: u32 = 1000;

/// All tenants of a server.
pub struct Tenants {
    config_file: PathBuf,
    overrides: Overrides,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Snapshot>,
    looker: Mutex<look::Looker>,
    status: status::StatusKeeper,
    last_used: last_used::Keeper,
    expiry: Mutex<expiry::Warnings>,
    /// Key of the digests of tokens; never leaves the process.
    digest_key: DigestKey,
    /// Absolute; for the life of the process.
    data_dir: Arc<Path>,
    shared: Shared,
    open: Arc<open::OpenTenants<run::Tenant>>,
    metrics: Arc<Metrics>,
    backups: backups::Backups,
    in_service: Arc<in_service::InService>,
    imports_kept: imports::Kept,
}

/// Why the tenants cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or environment variable is wrong.
    #[error(transparent)]
    Override(#[from] BadOverride),
    /// The schemas of a tenant's own are wrong.
    #[error(transparent)]
    Schemas(#[from] SchemaFault),
    /// No random bytes.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// Another server serves the folder.
    #[error("another ici-scim serves the data folder {} already; stop it first, or give this one another data_dir", folder.display())]
    DataDirTaken {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be used: {reason}", folder.display())]
    DataDir {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// What the directories share cannot be made.
    #[error(transparent)]
    Directory(#[from] directory::Error),
}

impl Tenants {
    /// Sets up the tenants of `settings`, which were read from `config_file`; no tenant's file is opened
    /// before its first request. `overrides` are laid over the settings, now and after each reload.
    ///
    /// # Errors
    /// [`enum@Error`]
    pub fn new(
        config_file: PathBuf,
        settings: Settings,
        overrides: Overrides,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Tenants>, Error> {
        let settings = overrides.lay_over(settings, &config_file)?;
        let own = OwnSchemas::load(&settings, None)?;
        let current = first_snapshot(settings, own);
        let settings = current.settings();
        Ok(Arc::new(Tenants {
            data_dir: Arc::from(settings.server.data_dir.as_path()),
            looker: Mutex::new(look::Looker::new(config_file.clone())),
            config_file,
            overrides,
            status: status::StatusKeeper::new(clock.now_ms()),
            shared: Shared::new(Arc::clone(&clock), settings.server.durability)?,
            clock,
            last_used: last_used::Keeper::new(&settings.server.data_dir),
            expiry: Mutex::default(),
            metrics: Arc::default(),
            digest_key: DigestKey::random()?,
            open: Arc::new(open::OpenTenants::new()),
            backups: backups::Backups::default(),
            in_service: in_service::InService::new(current.in_service()),
            imports_kept: imports::Kept::default(),
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// What is counted of all of them.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Takes the data folder for this server, and from now on tells there which tenants are in service. What the
    /// configuration has become since it was read is in force when this returns: whoever changed it, and then found
    /// the folder free, may rely on that. Gives the lock, which ends with the process, whatever ends it.
    ///
    /// # Errors
    /// [`Error::DataDirTaken`] when another server has the folder, [`Error::DataDir`] when it cannot be used.
    pub fn take_data_dir(&self) -> Result<std::fs::File, Error> {
        let lock = take_data_dir(&self.data_dir)?;
        let unusable = |error: std::io::Error| Error::DataDir {
            folder: self.data_dir.to_path_buf(),
            reason: error.to_string(),
        };
        self.in_service.tell_in(&self.data_dir).map_err(unusable)?;
        self.load_imports();
        // What is wrong with it is reported there.
        let _ = self.reload_now(false);
        Ok(lock)
    }

    /// The configuration in force. A request takes it once and keeps it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The same, for the length of a request: its holders are not counted in one place, which all processors would
    /// write to.
    pub fn current(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Does what is due now and then apart from requests: writes down when tokens were used, once a minute at most, and
    /// warns of those that expire. Blocks.
    fn tend(&self) {
        let (snapshot, now_ms) = (self.snapshot(), self.clock.now_ms());
        self.last_used.keep(&snapshot, now_ms, false);
        self.keep_imports(KEEP_IMPORTS_EVERY);
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner).warn(snapshot.settings(), now_ms);
    }

    /// Writes down when tokens were used and users listed, for a server that ends. Blocks.
    fn keep_last_used(&self) {
        self.keep_imports(Duration::ZERO);
        self.last_used.keep(&self.snapshot(), self.clock.now_ms(), true);
    }

    /// How old the configuration in force is, and whether the last one that was read was faulty.
    pub fn config_status(&self) -> ConfigStatus {
        self.status.get()
    }
}

/// With what a server before this one knew of the use of tokens.
fn first_snapshot(settings: Settings, own: OwnSchemas) -> Snapshot {
    let last_used = LastUsed::read(&settings.server.data_dir);
    let snapshot = Snapshot::new(settings, own, None);
    for (tenant, settings) in &snapshot.settings().tenants {
        for (token, proof) in settings.tokens.iter().zip(snapshot.proofs(tenant.as_str())) {
            if let Some(at_ms) = last_used.of_token(tenant.as_str(), &token.name, token.created_ms) {
                proof.use_at(at_ms);
            }
        }
    }
    snapshot
}

/// Opens a tenant's directory for a command; a server may have it open too. `settings` are those in force, as
/// [`Overrides::lay_over`] gives them.
///
/// # Errors
/// [`directory::Error`] when the file cannot be opened.
pub fn open_directory(
    settings: &Settings,
    name: &TenantName,
    clock: Arc<dyn Clock>,
) -> Result<Directory, directory::Error> {
    if settings.server.data_dir.is_relative() {
        // It would be another folder than the server's, and an empty directory would be made in it.
        let reason = "the settings are those of the file and not those in force".to_owned();
        return Err(directory::Error::Internal { reason });
    }
    open_file(&file_of(&settings.server.data_dir, name), &Shared::new(clock, settings.server.durability)?)
}

/// Takes a data folder for one server: two would each answer from what they hold of the configuration, and
/// keep more open than they were told. Commands do not take it and work beside the server.
fn take_data_dir(data_dir: &Path) -> Result<std::fs::File, Error> {
    let unusable =
        |error: std::io::Error| Error::DataDir { folder: data_dir.to_owned(), reason: error.to_string() };
    DirBuilder::new().recursive(true).mode(DATA_DIR_MODE).create(data_dir).map_err(unusable)?;
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(data_dir.join(LOCK))
        .map_err(unusable)?;
    for look in (0..LOCK_LOOKS).rev() {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if look > 0 => std::thread::yield_now(),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
    Err(Error::DataDirTaken { folder: data_dir.to_owned() })
}

/// Whether a server serves the folder.
fn data_dir_is_taken(data_dir: &Path) -> std::io::Result<bool> {
    let lock = match std::fs::File::open(data_dir.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The file of a tenant. A tenant's name is made for file names: no separator, no dot, one case.
pub fn file_of(data_dir: &Path, name: &TenantName) -> PathBuf {
    data_dir.join(format!("{name}.sqlite"))
}

/// Opens a tenant's file, and makes its folder when it is not there.
fn open_file(file: &Path, shared: &Shared) -> Result<Directory, directory::Error> {
    let folder = config_file::folder_of(file);
    DirBuilder::new().recursive(true).mode(DATA_DIR_MODE).create(&folder).map_err(|error| {
        directory::Error::Unavailable {
            reason: format!("{}: cannot make the folder: {error}", folder.display()),
        }
    })?;
    Directory::open(file, shared)
}
