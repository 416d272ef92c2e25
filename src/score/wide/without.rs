//! There is no such processor: nothing here is ever called.

use super::WIDE;
use crate::score::bytes::{ByteForest, Live, Rows};
use crate::score::factorised::{AgentMasks, Mask};

#[derive(Debug, Clone, Copy)]
pub enum Wide {}

#[derive(Debug, Clone, Copy)]
pub enum ByteInstructions {}

pub trait WideMask: Mask {}
impl WideMask for u32 {}
impl WideMask for u64 {}

impl Wide {
    pub fn new() -> Option<Self> {
        None
    }

    pub fn add_sums<M: WideMask>(
        self,
        _: &[M::Leaves],
        _: &[M::Eight],
        _: &[AgentMasks<'_, M>; WIDE],
        _: &mut [i64; WIDE],
    ) {
        match self {}
    }
}

impl ByteInstructions {
    pub fn new() -> Option<Self> {
        None
    }

    pub fn fill(self, _: &mut Live, _: &ByteForest, _: &[u64]) {
        match self {}
    }

    pub fn add_sums(self, _: &Live, _: &ByteForest, _: &Rows, _: &mut [i64]) {
        match self {}
    }
}
