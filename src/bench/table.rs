//! What was measured, as one table for people or one document for machines.

use crate::bench::stats::Histogram;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A figure with its unit. No value means that it could not be measured; the remark of its row says why.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub value: Option<f64>,
    pub unit: &'static str,
}

impl Figure {
    pub fn new(name: &'static str, value: impl Into<Option<f64>>, unit: &'static str) -> Self {
        // A rate over no time is no figure.
        Self { name, value: value.into().filter(|v| v.is_finite()), unit }
    }

    fn text(&self) -> String {
        let value = self.value.map_or_else(|| "-".into(), number);
        if self.unit.is_empty() { value } else { format!("{value} {}", self.unit) }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub section: &'static str,
    pub load: String,
    /// The figure the row is about.
    pub result: Figure,
    pub latency: Option<[Option<f64>; 3]>,
    pub more: Vec<Figure>,
    pub remark: String,
}

impl Row {
    pub fn new(section: &'static str, load: impl Into<String>, result: Figure) -> Self {
        Self { section, load: load.into(), result, latency: None, more: Vec::new(), remark: String::new() }
    }

    /// A row for what could not be measured.
    pub fn missing(section: &'static str, load: impl Into<String>, name: &'static str, why: &str) -> Self {
        Self::new(section, load, Figure::new(name, None, "")).remark(why)
    }

    pub fn latency(mut self, h: &Histogram) -> Self {
        self.latency = Some([h.percentile_ms(0.5), h.percentile_ms(0.99), h.max_ms()]);
        self
    }

    pub fn more(mut self, name: &'static str, value: impl Into<Option<f64>>, unit: &'static str) -> Self {
        self.more.push(Figure::new(name, value, unit));
        self
    }

    pub fn remark(mut self, text: impl AsRef<str>) -> Self {
        if !text.as_ref().is_empty() {
            if !self.remark.is_empty() {
                self.remark.push_str("; ");
            }
            self.remark.push_str(text.as_ref());
        }
        self
    }

    fn json(&self) -> Value {
        let figure = |f: &Figure| json!({ "name": f.name, "value": f.value, "unit": f.unit });
        let [p50, p99, max] = self.latency.unwrap_or_default();
        json!({
            "section": self.section, "load": self.load, "result": figure(&self.result),
            "latency_ms": self.latency.map(|_| json!({ "p50": p50, "p99": p99, "max": max })),
            "more": self.more.iter().map(figure).collect::<Vec<_>>(), "remark": self.remark,
        })
    }
}

/// The columns with latencies.
const NUMBERS: std::ops::Range<usize> = 3..6;

/// Where and what: the line above the table.
#[derive(Clone, Debug)]
pub struct Header {
    pub version: &'static str,
    pub hub: String,
    pub cpus: usize,
    /// NumericDate seconds.
    pub time: i64,
}

pub fn json(header: &Header, rows: &[Row]) -> Value {
    json!({
        "version": header.version, "hub": header.hub, "cpus": header.cpus, "time": header.time,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    })
}

pub fn markdown(header: &Header, rows: &[Row]) -> String {
    let mut lines =
        vec![["section", "load", "result", "p50 ms", "p99 ms", "max ms", "and"].map(str::to_owned).to_vec()];
    for row in rows {
        let [p50, p99, max] = row.latency.unwrap_or_default().map(|v| match row.latency {
            Some(_) => v.map_or_else(|| "-".into(), number),
            None => String::new(),
        });
        let mut and: Vec<String> = row.more.iter().map(|f| format!("{} {}", f.name, f.text())).collect();
        and.extend((!row.remark.is_empty()).then(|| row.remark.clone()));
        let result = format!("{} {}", row.result.name, row.result.text());
        let cells = [row.section.to_owned(), row.load.clone(), result, p50, p99, max, and.join("; ")];
        lines.push(cells.map(|c| c.replace('|', "/").replace(['\n', '\r'], " ")).to_vec());
    }
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = format!(
        "revocation-hub {} bench, {}, {} CPUs, client and server share them\n\n",
        header.version, header.hub, header.cpus
    );
    for (n, line) in lines.iter().enumerate() {
        for (i, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ =
                if NUMBERS.contains(&i) { write!(out, "| {cell:>width$} ") } else { write!(out, "| {cell:<width$} ") };
        }
        out.push_str("|\n");
        if n == 0 {
            for (i, width) in widths.iter().enumerate() {
                let _ = if NUMBERS.contains(&i) {
                    write!(out, "| {:->width$}: ", "", width = width - 1)
                } else {
                    write!(out, "| {:->width$} ", "")
                };
            }
            out.push_str("|\n");
        }
    }
    out
}

/// Three significant digits below a hundred, whole numbers with thousands marks above.
fn number(value: f64) -> String {
    if value.abs() < 0.005 {
        return "0".into();
    }
    if value.abs() < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(d);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn header() -> Header {
        Header { version: "0", hub: "SQLite".into(), cpus: 2, time: 0 }
    }

    #[test]
    fn numbers() {
        let cases = [(0.0, "0"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1_234_567.0, "1,234,567")];
        for (value, text) in cases.into_iter().chain([(3.0, "3"), (-1000.0, "-1,000")]) {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn every_line_has_the_same_columns() {
        let mut h = Histogram::default();
        h.record(Duration::from_millis(2));
        let rows = [
            Row::new("ingest", "1 connection", Figure::new("revocations", 1000.0, "/s")).latency(&h),
            Row::missing("memory", "a | b", "per stream", "the hub does not say").more("x", f64::NAN, "B"),
        ];
        let text = markdown(&header(), &rows);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|l| l.matches('|').count() == 8), "{text}");
        assert!(text.contains("revocations 1,000 /s") && text.contains("x - B; the hub does not say"), "{text}");
    }

    #[test]
    fn a_missing_figure_is_null() {
        let v = json(&header(), &[Row::missing("memory", "x", "per stream", "why")]);
        assert!(v["rows"][0]["result"]["value"].is_null());
        assert_eq!(v["rows"][0]["remark"], "why");
    }
}
