//! Charter: the backend's one thread of its own: it writes the tap's files and gives freed memory back to the system.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{catch, log, Failure, Result};
use crate::ffi;
use crate::memory;
use crate::tap::{Tap, Writer};

/// While samples come in: often enough for the queue never to fill at 100,000 samples/s.
const BUSY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(200);
/// Unloading many models in a row trims once after this pause, not once a model: a trim walks the whole heap.
const TRIM_PAUSE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Shared {
    stop: Mutex<bool>,
    wake: Condvar,
    trim: AtomicBool,
}

pub struct Housekeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    pub fn start(tap: Option<Arc<Tap>>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tidemill-tap".to_owned())
            .spawn(move || work(&theirs, tap.as_deref()))
            .map_err(|error| Failure::internal(format!("cannot start the housekeeper thread: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Memory was freed: give it back to the system soon, so that the server's size follows the models it holds.
    pub fn trim_soon(&self) {
        self.shared.trim.store(true, Ordering::Release);
    }
}

impl Drop for Housekeeper {
    /// Joins the thread: none of its code may run once Triton unloads the library.
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log(ffi::LOG_ERROR, "onnxruntime backend: the housekeeper thread had died");
        }
    }
}

fn work(shared: &Shared, tap: Option<&Tap>) {
    let mut writer = tap.map(Writer::new);
    let mut trim_at: Option<Instant> = None;
    loop {
        let mut busy = false;
        if let Some(active) = &mut writer {
            // A bug here must not end sampling for good, let alone the server: it is logged and tried again.
            match catch("tap", || Ok(active.tick())) {
                Ok(found) => busy = found,
                Err(failure) => log(ffi::LOG_ERROR, &format!("onnxruntime backend: {failure}")),
            }
        }
        if shared.trim.swap(false, Ordering::AcqRel) {
            trim_at.get_or_insert_with(|| Instant::now() + TRIM_PAUSE);
        } else if trim_at.is_some_and(|due| Instant::now() >= due) {
            trim_at = None;
            memory::give_back();
        }
        let pause = if busy { BUSY } else { IDLE };
        let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) =
            shared.wake.wait_timeout_while(stop, pause, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
        if *stop {
            break;
        }
    }
    if let Some(active) = &mut writer {
        if let Err(failure) = catch("tap", || active.finish()) {
            log(ffi::LOG_ERROR, &format!("onnxruntime backend: {failure}"));
        }
    }
}
