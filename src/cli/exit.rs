//! How the process ends: one number per kind of failure, so that scripts need not read texts.

use super::client::RequestError;
use super::promise::Broken;
use crate::config::ConfigError;
use crate::store::StoreError;

/// It worked.
pub const OK: u8 = 0;
/// It did not work, or the answer is no.
pub const FAILURE: u8 = 1;
/// Nothing has failed, but somebody should look (`doctor`).
pub const WARNINGS: u8 = 3;
/// The configuration is not accepted.
pub const CONFIGURATION: u8 = ConfigError::EXIT_CODE;
/// The hub or the database does not answer; trying again may help.
pub const UNAVAILABLE: u8 = 69;
/// The event stream broke a promise.
pub const BROKEN_PROMISE: u8 = 70;

/// The exit code for an error.
pub fn code(error: &anyhow::Error) -> u8 {
    // Not the chain's links one by one: `downcast_ref` also finds errors that have got a context.
    if error.is::<ConfigError>() {
        CONFIGURATION
    } else if error.is::<Broken>() {
        BROKEN_PROMISE
    } else if let Some(error) = error.downcast_ref::<RequestError>() {
        if error.is_transient() { UNAVAILABLE } else { FAILURE }
    } else if let Some(error) = error.downcast_ref::<StoreError>() {
        if error.is_transient() { UNAVAILABLE } else { FAILURE }
    } else if is_closed_pipe(error) {
        OK
    } else {
        FAILURE
    }
}

/// Whoever reads our output has seen enough (`| head`), which is no failure.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_number() {
        let config = ConfigError::Invalid { key: "a".into(), message: "b".into() };
        assert_eq!(code(&anyhow::Error::new(config)), 64);
        let away = || RequestError::Unavailable { message: "away".into(), retry_after: None };
        assert_eq!(code(&Err::<(), _>(away()).context("line 3").unwrap_err()), 69);
        assert_eq!(code(&StoreError::Unavailable("x".into()).into()), 69);
        assert_eq!(code(&Broken::Twice("hello").into()), 70);
        assert_eq!(code(&StoreError::Refused("x".into()).into()), 1);
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
        assert_eq!(code(&std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()), 0);
    }
}
