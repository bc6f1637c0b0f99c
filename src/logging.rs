//! Structured logs. A failure is logged once, where it is handled; no token and no secret is ever part of a line.

use std::io::IsTerminal;

use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::prelude::*;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts writing logs to standard error.
pub fn start(log: &Log) -> Result<(), ConfigError> {
    let targets: Targets = log.level.parse().map_err(|error| ConfigError::Invalid {
        key: "log.level".into(),
        message: format!("{:?} is not understood ({error}); an example is \"info,sqlx=warn\"", log.level),
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_ansi(terminal).with_target(false).boxed()
    };
    // The AMQP library shows frames, in which tokens and passwords are; what of its failures matters we say ourselves.
    let filter = targets.and(filter_fn(|about| !about.target().starts_with("lapin")));
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(())
}
