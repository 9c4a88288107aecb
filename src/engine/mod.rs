//! The runtime: the only place that spawns.
