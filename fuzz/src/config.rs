//! The configuration: any text is a configuration or a report with places; one that is accepted
//! means the same after it was printed.

use learnd::config::{Overrides, parse, print};

/// The data as a file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse("fuzz.toml", text, &Overrides::default()) {
        Err(report) => assert!(!report.to_string().is_empty()),
        Ok(config) => {
            let printed = print(&config);
            let again = parse("printed.toml", &printed, &Overrides::default())
                .unwrap_or_else(|report| panic!("{printed}\n{report}"));
            assert_eq!(print(&again), printed);
            assert_eq!(again.models, config.models, "{printed}");
        }
    }
}
