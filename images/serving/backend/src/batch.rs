//! Charter: feeding a group of requests to one run: borrowed for one request, joined along the first dimension for more.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ffi::c_char;
use std::ptr::NonNull;

use crate::error::Result;
use crate::graph::TensorSpec;
use crate::model::ModelState;
use crate::request::{InputView, Parsed, Strings};
use crate::value::{run, Value};

/// Bytes aligned for any vector instruction that ONNX Runtime may use.
struct AlignedBytes {
    data: NonNull<u8>,
    layout: Layout,
}

const ALIGNMENT: usize = 64;

impl AlignedBytes {
    /// The pieces one after the other.
    fn join<'a>(pieces: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let length: usize = pieces.clone().map(<[u8]>::len).sum();
        let layout = Layout::from_size_align(length.max(1), ALIGNMENT).expect("a tensor that fits in memory");
        // SAFETY: the layout's size is not zero.
        let data = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let mut offset = 0;
        for piece in pieces {
            // SAFETY: the pieces' lengths add up to at most the allocation's size, which nobody else sees yet.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), data.as_ptr().add(offset), piece.len()) };
            offset += piece.len();
        }
        Self { data, layout }
    }

    fn as_slice(&self, length: usize) -> &[u8] {
        debug_assert!(length <= self.layout.size());
        // SAFETY: `join` wrote the bytes that callers ask for, and the allocation lives as long as self.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), length) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.data.as_ptr(), self.layout) }
    }
}

/// The wanted outputs of one run over a group, in the order of `slots`.
pub struct Ran {
    pub slots: Vec<usize>,
    pub values: Vec<Option<Value>>,
    pub batch: i64,
    /// An output may share memory with an input (a graph may pass one through), so the inputs live as long.
    _feeds: (Vec<Value>, Vec<AlignedBytes>),
}

/// Runs the group as one; its members must join one another (`Parsed::joins`).
pub fn run_group(model: &ModelState, group: &[&Parsed]) -> Result<Ran> {
    let mut slots: Vec<usize> = group.iter().flat_map(|request| request.outputs.iter().copied()).collect();
    slots.sort_unstable();
    slots.dedup();
    let batch = group.iter().map(|request| request.batch).sum();

    let mut buffers: Vec<AlignedBytes> = Vec::new();
    let mut feeds: Vec<Value> = Vec::with_capacity(group[0].inputs.len());
    let mut names: Vec<*const c_char> = Vec::with_capacity(group[0].inputs.len());
    for position in 0..group[0].inputs.len() {
        let spec = &model.graph.inputs[group[0].inputs[position].slot];
        let members = group.iter().map(|request| &request.inputs[position]);
        feeds.push(feed(spec, members, batch, &mut buffers)?);
        names.push(spec.c_name());
    }
    let inputs: Vec<_> = feeds.iter().map(|value| value.as_ptr().cast_const()).collect();
    let wanted: Vec<_> = slots.iter().map(|slot| model.graph.outputs[*slot].c_name()).collect();
    let values = run(&model.session, &names, &inputs, &wanted)?;
    Ok(Ran { slots, values, batch, _feeds: (feeds, buffers) })
}

fn feed<'a>(
    spec: &TensorSpec,
    members: impl ExactSizeIterator<Item = &'a InputView<'a>> + Clone,
    batch: i64,
    buffers: &mut Vec<AlignedBytes>,
) -> Result<Value> {
    let mut iterator = members.clone();
    let (Some(first), alone) = (iterator.next(), members.len() == 1) else { unreachable!("a group has a member") };
    let mut shape = first.shape.to_vec();
    if !alone {
        shape[0] = batch;
    }
    let Some(size) = spec.datatype.size() else {
        return Value::strings(&shape, members.flat_map(|member| Strings::new(&member.data)));
    };
    if alone && !first.data.is_empty() && first.data.as_ptr().addr() % size == 0 {
        // SAFETY: the request, and with it the buffer, outlives the run; the alignment was just checked.
        return unsafe { Value::over(&first.data, &shape, spec.datatype) };
    }
    let length = members.clone().map(|member| member.data.len()).sum();
    let joined = AlignedBytes::join(members.map(|member| member.data.as_ref()));
    // SAFETY: the allocation does not move when `joined` does, and the caller keeps `buffers` longer than the value.
    let value = unsafe { Value::over(joined.as_slice(length), &shape, spec.datatype) }?;
    buffers.push(joined);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datatypes::DataType;

    #[test]
    fn joined_bytes_are_in_order_and_aligned() {
        let joined = AlignedBytes::join([&b"ab"[..], b"", b"cde"].into_iter());
        assert_eq!(joined.as_slice(5), b"abcde");
        assert_eq!(joined.data.as_ptr().addr() % ALIGNMENT, 0);
        assert!(AlignedBytes::join(std::iter::empty()).as_slice(0).is_empty());
    }

    #[test]
    fn every_fixed_size_divides_the_alignment() {
        for number in 1..=14 {
            let size = DataType::from_triton(number).and_then(DataType::size);
            assert!(size.is_none_or(|bytes| ALIGNMENT.is_multiple_of(bytes)));
        }
    }
}
