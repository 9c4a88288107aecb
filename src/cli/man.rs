//! `learnd man`: the manual page, one page with a section for each command.
//!
//! Invariant: made from the same definition as the parser.

use std::io::{self, Write};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::Cli;

/// Prints the manual page.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    for sub in command.get_subcommands() {
        let name = sub.get_name().to_uppercase();
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, ".SH \"COMMAND {name}\"\n{about}.")?;
        let sub = sub.clone().mut_args(|arg| {
            // Options of every command are said once.
            let repeated = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(repeated)
        });
        let page = Man::new(sub);
        page.render_synopsis_section(&mut text)?;
        page.render_options_section(&mut text)?;
    }
    page.render_extra_section(&mut text)?;
    page.render_version_section(&mut text)?;
    out.write_all(&text)?;
    out.flush()
}
