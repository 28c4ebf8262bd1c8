//! Charter: one instance of a model: executing what Triton's scheduler hands over.
//!
//! Requests that fit together run as one batch; each fails alone. When a joined run fails, its members run one by one,
//! so that only the guilty ones get the error.

use crate::batch::run_group;
use crate::error::{catch, check, log, text, Failure, Result};
use crate::ffi;
use crate::model::ModelState;
use crate::outputs::{collect, OutputTensor};
use crate::request::Parsed;
use crate::response::Pending;
use crate::stats::{now_ns, report_request, report_run, Times};

pub struct InstanceState {
    instance: *mut ffi::ModelInstance,
    model: *const ModelState,
}

impl InstanceState {
    /// # Safety
    /// `model` is null or outlives the instance.
    pub unsafe fn new(instance: *mut ffi::ModelInstance, model: *const ModelState) -> Result<Self> {
        // SAFETY: by this function's contract.
        let subject =
            unsafe { model.as_ref() }.ok_or_else(|| Failure::internal("the model's state is missing"))?.subject();
        let (mut kind, mut name) = (0, std::ptr::null());
        // SAFETY: the instance is being initialized; its name lives as long as it does.
        unsafe {
            check(ffi::TRITONBACKEND_ModelInstanceKind(instance, &mut kind))?;
            check(ffi::TRITONBACKEND_ModelInstanceName(instance, &mut name))?;
            if kind == ffi::INSTANCE_KIND_GPU {
                return Err(Failure::unsupported(format!(
                    "{subject}: instance {} is of KIND_GPU, but this backend runs on the CPU; set instance_group kind \
                     to KIND_CPU, or serve the model on NVIDIA's image",
                    text(name)
                )));
            }
        }
        Ok(Self { instance, model })
    }

    fn model(&self) -> &ModelState {
        // SAFETY: checked for null in `new`; Triton finalizes a model after its instances.
        unsafe { &*self.model }
    }

    /// Answers and releases every request.
    ///
    /// # Safety
    /// The requests are valid and the caller gives them away.
    pub unsafe fn execute(&self, requests: &[*mut ffi::Request]) {
        let exec_start = now_ns();
        // SAFETY: by this function's contract.
        let mut pending: Vec<Pending> = requests.iter().map(|request| unsafe { Pending::new(*request) }).collect();
        let outcome = catch(&self.model().subject(), || {
            self.execute_all(&mut pending, exec_start);
            Ok(())
        });
        if let Err(failure) = outcome {
            log(ffi::LOG_ERROR, &failure.message);
            for unanswered in pending.iter_mut().filter(|one| !one.answered()) {
                unanswered.send(Err(failure.clone()));
                let times = Times::failed_before_compute(exec_start);
                report_request(self.instance, unanswered.request, false, &times);
            }
        }
    }

    fn execute_all(&self, pending: &mut [Pending], exec_start: u64) {
        let mut parsed: Vec<Option<Parsed>> = Vec::with_capacity(pending.len());
        for one in pending.iter_mut() {
            // SAFETY: the request is released when `pending` is dropped, which outlives `parsed`.
            match unsafe { Parsed::of(one.request, self.model()) } {
                Ok(request) => parsed.push(Some(request)),
                Err(failure) => {
                    self.fail(one, failure, &Times::failed_before_compute(exec_start));
                    parsed.push(None);
                }
            }
        }
        for group in groups(&parsed, self.model().batching()) {
            if self.run(pending, &parsed, &group, exec_start, group.len() > 1) {
                continue;
            }
            for member in group {
                self.run(pending, &parsed, &[member], exec_start, false);
            }
        }
    }

    /// Runs and answers a group. False, with nothing answered, when the run failed and `retry` says it may be tried again.
    fn run(
        &self,
        pending: &mut [Pending],
        parsed: &[Option<Parsed>],
        group: &[usize],
        exec_start: u64,
        retry: bool,
    ) -> bool {
        let members: Vec<&Parsed> = group.iter().filter_map(|index| parsed[*index].as_ref()).collect();
        let mut times = Times { exec_start, compute_start: now_ns(), ..Times::default() };
        let ran = run_group(self.model(), &members);
        times.compute_end = now_ns();
        let outputs = ran.as_ref().map_err(Clone::clone).and_then(|ran| collect(self.model(), ran));
        match outputs {
            Ok(outputs) => {
                let mut first_row = 0;
                for (index, member) in group.iter().zip(&members) {
                    self.answer(&mut pending[*index], member, &outputs, first_row, &mut times);
                    first_row += member.batch;
                }
                report_run(self.instance, first_row.max(1) as u64, &times);
            }
            Err(_) if retry => return false,
            Err(failure) => {
                times.exec_end = now_ns();
                for index in group {
                    self.fail(&mut pending[*index], failure.clone(), &times);
                }
            }
        }
        true
    }

    fn answer(&self, one: &mut Pending, member: &Parsed, outputs: &[OutputTensor], first_row: i64, times: &mut Times) {
        let model = self.model();
        let mut views = Vec::with_capacity(member.outputs.len());
        for slot in &member.outputs {
            if let Some(tensor) = outputs.iter().find(|tensor| tensor.slot == *slot) {
                views.push(tensor.rows(first_row, member.batch, model.batching()));
            }
        }
        let outcome = views.iter().try_for_each(|view| one.write(&model.graph.outputs[view.slot], view));
        if let Err(failure) = outcome {
            times.exec_end = now_ns();
            return self.fail(one, failure, times);
        }
        // Before the answer goes out: Triton's HTTP frontend frees a request's inputs once it has answered.
        if let Some(tap) = model.tap.as_ref().filter(|tap| tap.choose()) {
            tap.offer(model, one.request, member, &views);
        }
        one.send(Ok(()));
        times.exec_end = now_ns();
        report_request(self.instance, one.request, true, times);
    }

    fn fail(&self, one: &mut Pending, failure: Failure, times: &Times) {
        one.send(Err(failure.about(&self.model().subject())));
        report_request(self.instance, one.request, false, times);
    }
}

/// The indices of good requests, grouped by what can run together, in the order in which they came.
fn groups(parsed: &[Option<Parsed>], batching: bool) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (index, request) in parsed.iter().enumerate() {
        let Some(request) = request else { continue };
        let joins = |group: &&mut Vec<usize>| parsed[group[0]].as_ref().is_some_and(|first| first.joins(request));
        match found.iter_mut().find(joins).filter(|_| batching) {
            Some(group) => group.push(index),
            None => found.push(vec![index]),
        }
    }
    found
}
