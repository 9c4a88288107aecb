//! What we know of a model's quality, measured on every record before it is learned from
//! (progressive validation: Blum, Kalai & Langford 1999; Gama, Sebastião & Rodrigues 2013).
//!
//! Invariant: observing changes no model.

mod auc;
mod baseline;
mod confusion;
mod progressive;
mod ranking;
#[cfg(test)]
mod tests;

pub use progressive::{Progressive, Summary, Window};
pub use ranking::{Ranking, RankingSummary};
