//! The program: everything happens in `learnd::cli`.
fn main() {}
