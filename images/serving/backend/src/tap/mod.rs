//! Charter: the sampling tap: a share of the answered requests, with their values, goes to files for a reader beside us.
//!
//! The request path only counts, chooses, copies and offers; it never waits, never touches a file and never reads the
//! clock of a lock. Everything else is done by [`Writer`] on the housekeeper's thread. The file format is described in
//! the crate's README.

mod columns;
mod control;
mod folder;
mod model;
mod record;
mod segment;
mod stats;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use model::ModelTap;
pub use writer::Writer;

use crate::error::{Failure, Result};
use control::Rates;
use model::Totals;
use record::Record;

const QUEUE_RECORDS: usize = 4096;
const MIB: u64 = 1 << 20;

/// Where and how much; from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    pub folder: PathBuf,
    /// All segment files together.
    pub max_disk: u64,
    /// All queued records together.
    pub max_queue: usize,
    /// The values of one record.
    pub max_record: usize,
}

impl Settings {
    fn from_environment() -> Result<Option<Self>> {
        let Some(folder) = std::env::var_os("TIDEMILL_TAP_DIR").filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            folder: folder.into(),
            max_disk: number("TIDEMILL_TAP_MAX_BYTES", 256 * MIB)?,
            max_queue: number("TIDEMILL_TAP_QUEUE_BYTES", 32 * MIB)? as usize,
            max_record: number("TIDEMILL_TAP_MAX_RECORD_BYTES", 64 << 10)? as usize,
        }))
    }
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Err(_) => Ok(default),
        Ok(text) => text.trim().parse().map_err(|_| {
            Failure::invalid(format!("environment variable {variable} is '{text}'; expected a number of bytes"))
        }),
    }
}

/// What the request path and the writer share.
pub struct Tap {
    settings: Settings,
    queue: SyncSender<Record>,
    queued_bytes: Arc<AtomicUsize>,
    receiver: Mutex<Option<Receiver<Record>>>,
    rates: Mutex<Rates>,
    models: Mutex<HashMap<String, Weak<ModelTap>>>,
    totals: Arc<Totals>,
}

impl Tap {
    /// `None` when `TIDEMILL_TAP_DIR` is not set.
    pub fn from_environment() -> Result<Option<Self>> {
        Settings::from_environment()?.map(Self::new).transpose()
    }

    pub fn new(settings: Settings) -> Result<Self> {
        folder::prepare(&settings.folder)?;
        let (queue, receiver) = sync_channel(QUEUE_RECORDS);
        let tap = Self {
            settings,
            queue,
            queued_bytes: Arc::default(),
            receiver: Mutex::new(Some(receiver)),
            rates: Mutex::default(),
            models: Mutex::default(),
            totals: Arc::default(),
        };
        if let Some(rates) = control::load(&tap.settings.folder)? {
            tap.set_rates(rates);
        }
        Ok(tap)
    }

    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// The model's place in the tap; all loaded versions of a model share it.
    pub fn register(&self, name: &str) -> Arc<ModelTap> {
        let rates = lock(&self.rates);
        let mut models = lock(&self.models);
        if let Some(found) = models.get(name).and_then(Weak::upgrade) {
            return found;
        }
        let queue = model::Queue {
            records: self.queue.clone(),
            bytes: Arc::clone(&self.queued_bytes),
            max_bytes: self.settings.max_queue,
            max_record: self.settings.max_record,
        };
        let created = Arc::new(ModelTap::new(name, rates.of(name), queue, Arc::clone(&self.totals)));
        models.insert(name.to_owned(), Arc::downgrade(&created));
        created
    }

    fn set_rates(&self, rates: Rates) {
        let mut current = lock(&self.rates);
        for model in self.loaded() {
            model.set_rate(rates.of(model.name()));
        }
        *current = rates;
    }

    /// The models that are loaded now; forgets those that are gone.
    fn loaded(&self) -> Vec<Arc<ModelTap>> {
        let mut models = lock(&self.models);
        models.retain(|_, model| model.strong_count() > 0);
        let mut found: Vec<Arc<ModelTap>> = models.values().filter_map(Weak::upgrade).collect();
        // Dropping the last handle of a model while the lock is held is harmless: that only adds to the totals.
        found.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        found
    }

    fn take_receiver(&self) -> Option<Receiver<Record>> {
        lock(&self.receiver).take()
    }

    fn release_bytes(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
