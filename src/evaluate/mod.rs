//! What we know of a model's quality, measured on every record before it is learned from
//! (progressive validation: Blum, Kalai & Langford 1999; Gama, Sebastião & Rodrigues 2013).
//!
//! Invariant: observing changes no model.
