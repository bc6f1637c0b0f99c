//! Settings from the environment: `REVOCATION_HUB_` and the name in capitals, `__` between levels.

use std::ffi::OsString;

use figment::value::{Dict, Value};

use super::error::ConfigError;

/// What the name of every variable of ours begins with.
pub const PREFIX: &str = "REVOCATION_HUB_";

/// Variables of the client commands and of `--config`; they are not settings of the daemon.
const NOT_SETTINGS: [&str; 10] =
    ["CONFIG", "URL", "USER", "PASSWORD", "PASSWORD_FILE", "BEARER", "BEARER_FILE", "CA_FILE", "CERT_FILE", "KEY_FILE"];

/// The variable, one of `names`, that a path of settings came from.
pub(super) fn variable(path: &[String], names: &[String]) -> String {
    // Positions in a list have no variable of their own: the list is one value.
    let named: Vec<&str> =
        path.iter().map(String::as_str).take_while(|p| !p.bytes().all(|b| b.is_ascii_digit())).collect();
    // What was wrong may be deeper in one variable's value, or no deeper than a part of its name.
    for depth in (1..=named.len()).rev() {
        let name = format!("{PREFIX}{}", named[..depth].join("__").to_uppercase());
        let rest = &path[depth..];
        if names.contains(&name) {
            return if rest.is_empty() { name } else { format!("{name} (at {})", rest.join(".")) };
        }
        if let Some(name) = names.iter().find(|n| n.strip_prefix(&name).is_some_and(|rest| rest.starts_with("__"))) {
            return name.clone();
        }
    }
    format!("{PREFIX}{}", named.join("__").to_uppercase())
}

/// Collects the settings among `variables`, and the names of those that are. `defaults` tells text from numbers: a password of digits stays text.
pub(super) fn collect(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    defaults: &Value,
) -> Result<(Dict, Vec<String>), ConfigError> {
    let mut found: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_str()?.strip_prefix(PREFIX)?.to_owned(), value)))
        .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()) && !is_of_kubernetes(name))
        .collect();
    found.sort();
    let names = found.iter().map(|(name, _)| format!("{PREFIX}{name}").to_uppercase()).collect();
    let mut dict = Dict::new();
    for (name, value) in found {
        let invalid = |message: &str| ConfigError::Value {
            place: format!("environment variable {PREFIX}{name}"),
            message: message.into(),
        };
        let value = value.into_string().map_err(|_| invalid("the value is not UTF-8"))?;
        let path: Vec<String> = name.split("__").map(str::to_lowercase).collect();
        let value = interpret(value, defaults.find_ref(&path.join(".")));
        if !insert(&mut dict, &path, value) {
            return Err(invalid("a part of its name is also set as a whole; use one of the two"));
        }
    }
    Ok((dict, names))
}

/// Text stays as it is. Numbers, true and false, and lists and tables in brackets are read as such.
fn interpret(text: String, default: Option<&Value>) -> Value {
    let is_text = match default {
        Some(Value::String(..)) => true,
        Some(_) => false,
        None => !text.starts_with(['[', '{']),
    };
    if is_text {
        return Value::from(text);
    }
    let Ok(value) = text.parse::<Value>();
    value
}

/// Puts a value at its path. False when something else stands in the way.
fn insert(dict: &mut Dict, path: &[String], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return dict.insert(first.clone(), value).is_none();
    }
    match dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new())) {
        Value::Dict(_, inner) => insert(inner, rest, value),
        _ => false,
    }
}

/// Kubernetes gives each pod variables for every Service of its namespace. A Service that is called `revocation-hub`
/// yields `REVOCATION_HUB_SERVICE_HOST`, `REVOCATION_HUB_PORT_8080_TCP` and so on, which nobody meant for us.
fn is_of_kubernetes(name: &str) -> bool {
    name == "PORT"
        || name == "SERVICE_HOST"
        || name == "SERVICE_PORT"
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_as_a_person_finds_them() {
        let path = |text: &str| text.split('.').map(String::from).collect::<Vec<_>>();
        let names = ["STORE__MAX_CONNECTIONS", "CLIENTS", "WSO2", "STOER__X"].map(|n| format!("{PREFIX}{n}"));
        for (at, name) in [
            ("store.max_connections", "REVOCATION_HUB_STORE__MAX_CONNECTIONS"),
            ("clients.0.name", "REVOCATION_HUB_CLIENTS (at 0.name)"),
            ("wso2.shape", "REVOCATION_HUB_WSO2 (at shape)"),
            ("stoer", "REVOCATION_HUB_STOER__X"),
        ] {
            assert_eq!(variable(&path(at), &names), name);
        }
    }

    #[test]
    fn what_kubernetes_and_the_client_commands_set_is_not_a_setting() {
        let variables = [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "URL",
            "USER",
            "PASSWORD",
            "PASSWORD_FILE",
            "BEARER",
            "BEARER_FILE",
            "CA_FILE",
            "CERT_FILE",
            "KEY_FILE",
            "CONFIG",
        ]
        .map(|name| (OsString::from(format!("{PREFIX}{name}")), OsString::from("x")));
        assert_eq!(collect(variables, &Value::from(Dict::new())).unwrap(), (Dict::new(), Vec::new()));
    }
}
