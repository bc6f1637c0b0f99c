//! A blocking keep-alive HTTP/1.1 client with clocks in it.
//!
//! Blocking on threads, because a publisher must wake at its scheduled instant: an operating-system sleep is exact to
//! some 50 µs, an async timer only to a millisecond, which is as long as what is measured.

use crate::bench::response::Reader;
use anyhow::{Context, bail};
use base64::Engine as _;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// No answer of a healthy hub takes this long, a cold snapshot of millions included.
const PATIENCE: Duration = Duration::from_secs(120);
const BODY_LIMIT: usize = 1 << 20;

/// Where the hub is and how to be let in.
#[derive(Clone, Debug)]
pub struct Target {
    pub addr: SocketAddr,
    host: String,
    base: String,
    authorization: Option<String>,
}

impl Target {
    /// `url` is http://host:port, with or without a path in front of the hub's own.
    pub fn new(url: &str, authorization: Option<String>) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url}: only http:// can be measured; run the bench beside the hub, before any TLS");
        };
        let (host, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.contains('@') {
            bail!("credentials belong into --user and --password-file, not into the address");
        }
        let with_port = if host.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let addr = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {host}"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Self { addr, host: host.to_owned(), base: base.trim_end_matches('/').to_owned(), authorization })
    }

    /// A request's head, up to and with the empty line.
    pub fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
        let mut head = format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n", self.base, self.host);
        if let Some(a) = &self.authorization {
            let _ = write!(head, "Authorization: {a}\r\n");
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// The value of `Authorization` for a user and password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub encoding: Option<String>,
    /// The body's first bytes; the rest is only counted.
    pub body: Vec<u8>,
    /// Bytes of the body as they came, not decoded.
    pub bytes: u64,
    pub first_byte: Duration,
    pub total: Duration,
}

impl Answer {
    /// The answer, if it is a success.
    pub fn success(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let text: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        bail!("the hub answered {} {}", self.status, text.replace(['\n', '\r', '|'], " "))
    }

    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).context("the hub's answer is not JSON")
    }
}

/// One connection, opened when needed.
#[derive(Debug)]
pub struct Client {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(target: &Target) -> Self {
        Self { target: target.clone(), stream: None, buffer: vec![0; 256 * 1024] }
    }

    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let head = self.target.head("GET", path, headers, None);
        self.exchange(head.as_bytes(), |_| ())
    }

    pub fn post(&mut self, path: &str, content_type: &str, body: &str) -> anyhow::Result<Answer> {
        let mut all = self.target.head("POST", path, &[("Content-Type", content_type)], Some(body.len()));
        all.push_str(body);
        self.exchange(all.as_bytes(), |_| ())
    }

    /// Opens the connection now, so that no measured request has to.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        let stream = TcpStream::connect_timeout(&self.target.addr, Duration::from_secs(10))
            .with_context(|| format!("cannot connect to {}", self.target.addr))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends `request` and reads the answer; `each` sees every piece of the body.
    pub fn exchange(&mut self, request: &[u8], mut each: impl FnMut(&[u8])) -> anyhow::Result<Answer> {
        let reused = self.stream.is_some();
        match self.attempt(request, &mut each) {
            // The hub may have closed an idle connection; to post a revocation twice changes nothing.
            Err((_, 0)) if reused => self.attempt(request, &mut each),
            other => other,
        }
        .map_err(|(e, _)| e)
    }

    /// An error comes with the number of bytes that had been received.
    fn attempt(&mut self, request: &[u8], each: &mut impl FnMut(&[u8])) -> Result<Answer, (anyhow::Error, u64)> {
        if self.stream.is_none() {
            self.connect().map_err(|e| (e, 1))?;
        }
        let mut received = 0;
        let answer = self.converse(request, each, &mut received);
        let keep = answer.as_ref().is_ok_and(|(_, keep)| *keep);
        if !keep {
            self.stream = None;
        }
        answer.map(|(a, _)| a).map_err(|e| (e, received))
    }

    fn converse(
        &mut self,
        request: &[u8],
        each: &mut impl FnMut(&[u8]),
        received: &mut u64,
    ) -> anyhow::Result<(Answer, bool)> {
        let stream = self.stream.as_mut().context("not connected")?;
        let begin = Instant::now();
        stream.write_all(request)?;
        let (mut reader, mut body, mut bytes, mut first_byte) = (Reader::default(), Vec::new(), 0, None);
        loop {
            let n = stream.read(&mut self.buffer)?;
            first_byte.get_or_insert_with(|| begin.elapsed());
            *received += n as u64;
            if n == 0 {
                if reader.may_end_by_close() {
                    break;
                }
                bail!("the hub closed the connection in the middle of an answer");
            }
            let _ = reader.feed(&self.buffer[..n], |piece| {
                bytes += piece.len() as u64;
                body.extend_from_slice(&piece[..piece.len().min(BODY_LIMIT.saturating_sub(body.len()))]);
                each(piece);
                ControlFlow::Continue(())
            })?;
            if reader.is_done() {
                break;
            }
        }
        let total = begin.elapsed();
        let header = |name| reader.header(name).map(str::to_owned);
        let keep = reader.is_done() && !header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        let answer = Answer {
            status: reader.status().context("no status")?,
            encoding: header("content-encoding"),
            body,
            bytes,
            first_byte: first_byte.unwrap_or(total),
            total,
        };
        Ok((answer, keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers each connection's requests with `answers` in turn, then closes it.
    fn server(connections: usize, answers: &'static [&'static str]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/base/", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().take(connections) {
                let mut stream = stream.expect("a connection");
                let mut buffer = [0; 4096];
                for answer in answers {
                    let n = stream.read(&mut buffer).expect("a request");
                    assert!(buffer[..n].starts_with(b"POST /base/x HTTP/1.1\r\nHost: 127.0.0.1:"));
                    stream.write_all(answer.as_bytes()).expect("an answer");
                }
            }
        });
        Target::new(&url, Some(basic("u", "p"))).expect("an address")
    }

    #[test]
    fn a_connection_is_kept_and_reopened_when_the_hub_has_closed_it() {
        let target = server(
            2,
            &[
                "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ],
        );
        let mut client = Client::new(&target);
        for _ in 0..2 {
            let a = client.post("/x", "application/json", "{}").expect("answered");
            assert_eq!((a.status, a.bytes), (201, 2));
            assert_eq!(client.post("/x", "application/json", "{}").expect("answered").body, b"ok");
        }
    }

    #[test]
    fn half_an_answer_is_an_error() {
        let target = server(1, &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}"]);
        assert!(Client::new(&target).post("/x", "application/json", "{}").is_err());
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        assert!(Target::new("https://127.0.0.1:1", None).is_err());
        assert!(Target::new("http://u:p@127.0.0.1:1", None).is_err());
        let t = Target::new("http://127.0.0.1:1/hub", Some(basic("gw", "pw"))).expect("fine");
        assert_eq!(
            t.head("GET", "/readyz", &[("Accept", "*/*")], Some(3)),
            "GET /hub/readyz HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Basic Z3c6cHc=\r\nAccept: */*\r\n\
             Content-Length: 3\r\n\r\n"
        );
    }
}
