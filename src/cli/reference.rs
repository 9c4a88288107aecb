//! `learnd reference`: the commented reference configuration, or its JSON Schema.
//!
//! Invariant: what is printed is what the program checks against; tests compare the two.

use std::io::{self, Write};

use crate::config;

use super::args::ReferenceArgs;

/// Prints the reference.
pub fn reference(args: &ReferenceArgs, out: &mut dyn Write) -> io::Result<()> {
    if args.schema {
        serde_json::to_writer_pretty(&mut *out, &config::schema())?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(config::REFERENCE.as_bytes())?;
    }
    out.flush()
}
