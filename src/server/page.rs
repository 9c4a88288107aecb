//! The status page: what a person sees who opens the address in a browser.
//!
//! Invariant: nothing on it comes unescaped from a record or the configuration; no script.

use std::fmt::Write as _;

use serde_json::Value;

/// The page for these models.
pub(super) fn render(models: &[Value]) -> String {
    let mut rows = String::new();
    for model in models {
        let text = |name: &str| match &model[name] {
            Value::String(s) => escape(s),
            Value::Null => String::new(),
            other => escape(&other.to_string()),
        };
        let name = text("name");
        let quality = match model["task"].as_str() {
            Some("anomaly") => format!(
                "{} alerts, {} in the last 24 h",
                text("alerts"),
                text("alerts_last_day")
            ),
            _ => format!(
                "loss {} (baseline {})",
                short(&model["progressive"]["loss"]),
                short(&model["progressive"]["baseline_loss"])
            ),
        };
        writeln!(
            rows,
            "<tr><td><a href=\"/v1/models/{name}\">{name}</a></td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{quality}</td></tr>",
            text("task"),
            text("ready"),
            text("records"),
            text("learned"),
        )
        .expect("writing to memory cannot fail");
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>learnd</title>\
         <style>body{{font:16px sans-serif;margin:2em}}td,th{{padding:.3em 1em;text-align:left}}\
         </style><h1>learnd {version}</h1><table><tr><th>model<th>task<th>ready<th>records\
         <th>learned<th>quality</tr>\n{rows}</table><p><a href=\"/metrics\">/metrics</a> · \
         <a href=\"/healthz\">/healthz</a> · <a href=\"/readyz\">/readyz</a> · \
         <a href=\"/v1/models\">/v1/models</a></p></html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn short(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "–".to_owned(), |x| format!("{x:.4}"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let page = render(&[serde_json::json!({"name": "<script>", "task": "binary"})]);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
