//! Maps that are looked up for every request.

use std::collections::HashMap;

/// The standard map, with a hash that costs less than its own. Whoever may choose many keys could make it slow: it is for ids that we make, and for
/// names by people who are signed in.
pub type QuickMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
