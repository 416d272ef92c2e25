//! There is no such processor: nothing here is ever called.

use pulp::NullaryFnOnce;

use super::WIDE;
use crate::score::factorised::{AgentMasks, Mask};
use crate::score::sliced::{BATCH, LANES, LEAVES_A_TABLE, Leaf, LimbSums, MissingLeft, Numbers, Places, Plane, Table};

#[derive(Debug, Clone, Copy)]
pub enum Wide {}

pub trait WideMask: Mask {}
impl WideMask for u32 {}
impl WideMask for u64 {}

impl Wide {
    pub fn new() -> Option<Self> {
        None
    }

    pub fn vectorize<T>(self, _: impl NullaryFnOnce<Output = T>) -> T {
        match self {}
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

    pub fn turn(self, _: &[u16; LANES], _: usize, _: &mut Places) {
        match self {}
    }

    pub fn fill_tests(self, _: &Places, _: usize, _: &[MissingLeft], _: &mut [Plane]) {
        match self {}
    }

    pub fn table(self, _: &[[u8; 4]; LEAVES_A_TABLE]) -> Table {
        match self {}
    }

    pub fn fill_numbers(self, _: &[Leaf], _: &[u16], _: &[Plane], _: &mut Numbers) {
        match self {}
    }

    pub fn add_trees(self, _: &[u8], _: &[Numbers; BATCH], _: &[Table], _: &mut [LimbSums]) {
        match self {}
    }

    pub fn add_lanes(self, _: &[LimbSums], _: &mut [i64]) {
        match self {}
    }
}
