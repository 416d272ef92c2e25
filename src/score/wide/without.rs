//! There is no such processor: nothing here is ever called.

use pulp::NullaryFnOnce;

use super::WIDE;
use crate::score::factorised::{AgentMasks, Mask};
use crate::score::sliced::{Digits, LANES, Places, Plane, Splits, Sums, TREES, Tables, Test};

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
        _: &[[AgentMasks<'_, M>; WIDE]],
        _: &mut [[i64; WIDE]],
    ) {
        match self {}
    }

    pub fn spread(self, _: i32, _: usize, _: &mut Digits) {
        match self {}
    }

    pub fn turn(self, _: &[u16; LANES], _: usize, _: &mut Places) {
        match self {}
    }

    pub fn fill_tests(self, _: &Places, _: usize, _: &[Test], _: &mut [Plane]) {
        match self {}
    }

    pub fn fill_tables(self, _: &[Splits], _: &[u16], _: &[Plane], _: &mut Tables, _: usize) {
        match self {}
    }

    pub fn add_trees(self, _: &[[Digits; TREES]], _: &Tables, _: &mut Sums) {
        match self {}
    }

    pub fn add_lanes(self, _: &Sums, _: i64, _: &mut [i64]) {
        match self {}
    }
}
