//! The configuration: loaded, checked completely, every problem shown with its place.
//!
//! Invariant: what `load` returns can be run; nothing is checked later that could be checked here.
//!
//! The file becomes a tree that knows its places (`dom`), overrides are merged into it
//! (`overrides`), one walk reads every key (`load` and the file of each kind of table, through
//! `section`), checks between components follow (`cross`), and problems are rendered
//! (`diagnostic`). The walk itself is the list of known keys: `schema` is made from it, and a test
//! compares the reference with it.

mod cross;
mod diagnostic;
mod dom;
mod features;
mod learners;
mod load;
mod memory;
mod models;
mod overrides;
mod print;
mod protection;
mod reference;
mod schema;
mod section;
mod shape;
mod sinks;
mod sources;
mod suggest;
mod types;
mod values;

pub use diagnostic::{Diagnostic, Report};
pub use load::{load, parse};
pub use memory::{Estimate, estimate};
pub use overrides::Overrides;
pub use print::print;
pub use reference::REFERENCE;
pub use schema::schema;
pub use types::{Config, SinkConfig, SourceConfig, StateConfig};
