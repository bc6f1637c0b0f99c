//! Where a broker is and who we are there: a URL as the AMQP URI specification of RabbitMQ has it.

use lapin::uri::AMQPUri;
use reqwest::Url;

use crate::config::{Secret, ServerUrl};

/// How often both sides show that they live when nothing else is said, in seconds, unless the URL says `?heartbeat=`; after
/// twice that without a sign the connection is given up. A broker that offers more is asked for this, and one that offers
/// none (WSO2's) as well: it then sends what the client asks for.
const HEARTBEAT: u16 = 10;

/// The largest frame. The library keeps room for 32 of them in each direction, and our messages are small.
const FRAME: u32 = 32 * 1024;

/// The URL is none. It is not repeated, because there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL cannot be read; it looks like amqps://user@host:5671/vhost")]
pub struct Unreadable;

/// Reads a URL and adds what it leaves open: the login from the settings (else `guest`, the protocol's custom), and the
/// default virtual host `/` when there is no path. A path of `/carbon` names the virtual host `carbon`, which is also what
/// the WSO2 broker calls it.
pub fn read(url: &ServerUrl, username: Option<&str>, password: &Secret) -> Result<AMQPUri, Unreadable> {
    let parsed = Url::parse(url.expose()).map_err(|_| Unreadable)?;
    let mut uri: AMQPUri = url.expose().parse().map_err(|_| Unreadable)?;
    // The library takes an IPv6 address for no host at all.
    let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or(Unreadable)?;
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        uri.authority.host = address.to_owned();
    }
    if uri.vhost.is_empty() {
        uri.vhost = "/".into();
    }
    let login = &mut uri.authority.userinfo;
    if parsed.username().is_empty()
        && let Some(username) = username
    {
        login.username = username.to_owned();
    }
    if parsed.password().is_none() && !password.is_empty() {
        login.password = password.expose().to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(FRAME);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, port, virtual host, user and password.
    fn parts(url: &str, username: Option<&str>, password: &str) -> (String, u16, String, String, String) {
        let uri = read(&ServerUrl::new(url), username, &Secret::new(password)).unwrap();
        let login = uri.authority.userinfo;
        (uri.authority.host, uri.authority.port, uri.vhost, login.username, login.password)
    }

    #[test]
    fn what_the_url_leaves_open_comes_from_the_settings() {
        let expect = |host: &str, port, vhost: &str, user: &str, password: &str| {
            (host.to_owned(), port, vhost.to_owned(), user.to_owned(), password.to_owned())
        };
        assert_eq!(parts("amqp://b", None, ""), expect("b", 5672, "/", "guest", "guest"));
        assert_eq!(parts("amqps://b/", Some("u"), "p"), expect("b", 5671, "/", "u", "p"));
        assert_eq!(parts("amqp://u@b/carbon", Some("other"), "p"), expect("b", 5672, "carbon", "u", "p"));
        assert_eq!(parts("amqp://u:q%40@b:1/%2fx", Some("v"), "p"), expect("b", 1, "/x", "u", "q@"));
        assert_eq!(parts("amqp://[::1]:7/v", None, "").0, "::1");
        // As Choreo Connect writes it; what it says there is not for us.
        assert_eq!(parts("amqp://admin:pw@apim:5672?retries='10'&connectdelay='30'", None, "").2, "/");
    }

    #[test]
    fn heartbeats_are_asked_for_and_a_complaint_does_not_show_the_password() {
        let heartbeat = |url| read(&ServerUrl::new(url), None, &Secret::default()).unwrap().query.heartbeat;
        assert_eq!((heartbeat("amqp://b"), heartbeat("amqp://b?heartbeat=3")), (Some(10), Some(3)));
        let error = read(&ServerUrl::new("amqp://u:geheim@:x/"), None, &Secret::default()).unwrap_err();
        assert!(!error.to_string().contains("geheim"));
    }
}
