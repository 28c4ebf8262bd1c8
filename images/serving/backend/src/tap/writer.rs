//! Charter: the tap's writer: drains the queue into segment files, follows the control file, publishes the counters.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::columns::Group;
use super::control::{self, Watch};
use super::record::Record;
use super::segment::Segment;
use super::{folder, stats, Tap};
use crate::error::{log, Result};
use crate::ffi;

const SEGMENT_BYTES: u64 = 4 << 20;
const SEGMENT_AGE: Duration = Duration::from_secs(2);
/// Rows are gathered before they are written, so that a block has many and a reader few blocks.
const FLUSH_BYTES: usize = 1 << 20;
const FLUSH_AGE: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);
/// Records drained before the timers are looked at again.
const DRAIN: usize = 65_536;

pub struct Writer<'t> {
    tap: &'t Tap,
    queue: Option<Receiver<Record>>,
    groups: HashMap<Vec<u8>, Group>,
    gathered: usize,
    flushed: Instant,
    segment: Option<Segment>,
    sequence: u64,
    disk: u64,
    control: Watch,
    second: Instant,
    complained: Option<Instant>,
}

impl<'t> Writer<'t> {
    pub fn new(tap: &'t Tap) -> Self {
        let mut control = Watch::default();
        // The tap read the file when it was made; a change since then is picked up within a second.
        control.changed(tap.folder());
        Self {
            tap,
            queue: tap.take_receiver(),
            groups: HashMap::new(),
            gathered: 0,
            flushed: Instant::now(),
            segment: None,
            sequence: folder::first_sequence(tap.folder(), std::process::id()),
            disk: folder::used(tap.folder()),
            control,
            second: Instant::now(),
            complained: None,
        }
    }

    /// One round; true when there were records, so that the next round should come soon.
    pub fn tick(&mut self) -> bool {
        let busy = self.drain();
        if self.gathered > 0 && self.flushed.elapsed() >= FLUSH_AGE {
            self.flush();
        }
        if self.segment.as_ref().is_some_and(|open| open.opened.elapsed() >= SEGMENT_AGE) {
            self.rotate();
        }
        if self.second.elapsed() >= SECOND {
            self.second = Instant::now();
            self.disk = folder::used(self.tap.folder());
            self.follow_control();
            if let Err(failure) = self.publish() {
                self.complain(&failure.message);
            }
        }
        busy
    }

    /// The last round, when the server ends.
    pub fn finish(&mut self) -> Result<()> {
        self.drain();
        self.rotate();
        self.publish()
    }

    fn drain(&mut self) -> bool {
        for drained in 0..DRAIN {
            // The receiver stays in its place: moved out, it would be dropped by a panic below, and sampling with it.
            let Some(record) = self.queue.as_ref().and_then(|queue| queue.try_recv().ok()) else {
                return drained > 0;
            };
            self.tap.release_bytes(record.size());
            self.gather(&record);
            if self.gathered >= FLUSH_BYTES {
                self.flush();
            }
        }
        true
    }

    fn gather(&mut self, record: &Record) {
        if !self.groups.contains_key(record.schema()) {
            let Some(group) = Group::for_schema_of(record) else {
                record.model.counters.dropped_queue.fetch_add(1, Relaxed);
                return self.complain("a record has an unreadable schema");
            };
            self.groups.insert(record.schema().to_vec(), group);
        }
        if let Some(group) = self.groups.get_mut(record.schema()) {
            group.push(record);
            self.gathered += record.id().len() + record.values().len() + 16;
        }
    }

    /// The groups, without those that a panic left torn: a block of these would spoil its segment.
    fn take_groups(&mut self) -> HashMap<Vec<u8>, Group> {
        let mut groups = std::mem::take(&mut self.groups);
        groups.retain(|_, group| {
            if group.torn {
                group.model.counters.dropped_queue.fetch_add(group.rows() as u64, Relaxed);
            }
            !group.torn
        });
        groups
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        self.gathered = 0;
        let mut groups = self.take_groups();
        for (schema, group) in groups.iter_mut().filter(|(_, group)| group.rows() > 0) {
            self.write(schema, group);
        }
        // Schemas that the open segment knows stay: their id is needed. The others start afresh.
        groups.retain(|_, group| group.schema_id.is_some());
        self.groups = groups;
        if self.segment.as_ref().is_some_and(|open| open.length >= SEGMENT_BYTES) {
            self.rotate();
        }
    }

    fn write(&mut self, schema: &[u8], group: &mut Group) {
        let rows = group.rows() as u64;
        let body = group.take_block();
        let cost = Segment::cost(body.len(), group.schema_id.is_none().then_some(schema));
        if self.disk + cost > self.tap.settings.max_disk {
            group.model.counters.dropped_disk.fetch_add(rows, Relaxed);
            return;
        }
        let outcome = self.open().and_then(|segment| {
            let before = segment.length;
            let id = segment.append(group.schema_id, schema, &body)?;
            Ok((id, segment.length - before))
        });
        match outcome {
            Ok((id, length)) => {
                group.schema_id = Some(id);
                self.disk += length;
                group.model.counters.written.fetch_add(rows, Relaxed);
            }
            Err(failure) => {
                group.model.counters.dropped_disk.fetch_add(rows, Relaxed);
                self.complain(&failure.message);
            }
        }
    }

    fn open(&mut self) -> Result<&mut Segment> {
        if self.segment.is_none() {
            let created = Segment::create(self.tap.folder(), std::process::id(), self.sequence)?;
            self.sequence += 1;
            self.disk += created.length;
            self.segment = Some(created);
        }
        Ok(self.segment.as_mut().expect("just made"))
    }

    /// Writes what is gathered, and hands the segment to the reader.
    fn rotate(&mut self) {
        if self.gathered > 0 {
            self.gathered = 0;
            let mut groups = self.take_groups();
            for (schema, group) in groups.iter_mut().filter(|(_, group)| group.rows() > 0) {
                self.write(schema, group);
            }
            self.flushed = Instant::now();
        }
        self.groups.clear();
        if let Some(Err(failure)) = self.segment.take().map(Segment::finish) {
            self.complain(&failure.message);
        }
    }

    fn follow_control(&mut self) {
        if !self.control.changed(self.tap.folder()) {
            return;
        }
        match control::load(self.tap.folder()) {
            Ok(rates) => self.tap.set_rates(rates.unwrap_or_default()),
            Err(failure) => log(ffi::LOG_ERROR, &format!("tap: {failure}; the former sampling rates stay")),
        }
    }

    fn publish(&self) -> Result<()> {
        let stats = stats::render(&self.tap.loaded(), &self.tap.totals, self.disk, self.tap.settings.max_disk);
        folder::replace(&self.tap.folder().join("stats.json"), stats.to_string().as_bytes())
    }

    /// At most a line in ten seconds: a full disk fails many times a second.
    fn complain(&mut self, message: &str) {
        if self.complained.is_none_or(|last| last.elapsed() >= 10 * SECOND) {
            self.complained = Some(Instant::now());
            log(ffi::LOG_ERROR, &format!("tap: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, AssertUnwindSafe};

    use super::super::{Settings, Tap};
    use super::*;

    #[test]
    fn sampling_goes_on_after_a_panic() {
        let folder = std::env::temp_dir().join(format!("tidemill-tap-panic-{}", std::process::id()));
        let settings = Settings { folder: folder.clone(), max_disk: 1 << 20, max_queue: 1 << 20, max_record: 1 << 10 };
        let tap = Tap::new(settings).unwrap();
        let model = tap.register("m");
        let mut writer = Writer::new(&tap);
        tap.queue.send(Record::for_tests(&model, 1, &[1, 2, 3]).without_values()).unwrap();
        tap.queue.send(Record::for_tests(&model, 2, &[1])).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| writer.tick())).is_err());
        assert!(writer.tick());
        tap.queue.send(Record::for_tests(&model, 3, &[1])).unwrap();
        assert!(writer.tick());
        writer.rotate();
        assert_eq!(model.counters.written.load(Relaxed), 2);
        assert_eq!(model.counters.dropped_queue.load(Relaxed), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
