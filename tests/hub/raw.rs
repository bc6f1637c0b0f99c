//! HTTP by hand over TCP, for requests that no client library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Api, within};

/// One connection.
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// One answer, its body without chunks.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The `code` of a problem document.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json["code"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes on a connection of their own and reads one answer.
pub async fn exchange(api: &Api, bytes: impl AsRef<[u8]>) -> RawAnswer {
    let mut raw = Raw::connect(api).await;
    raw.send(bytes).await;
    raw.answer().await.expect("an answer")
}

impl Raw {
    pub async fn connect(api: &Api) -> Self {
        Self { stream: TcpStream::connect(api.address()).await.unwrap(), unread: Vec::new() }
    }

    /// Sends what the hub still takes; it may have answered and closed already.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within("the hub reads", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match within("the hub answers or closes", self.stream.read(&mut buffer)).await {
            Ok(n @ 1..) => {
                self.unread.extend_from_slice(&buffer[..n]);
                true
            }
            // A reset is an end as well.
            _ => false,
        }
    }

    /// Everything until the hub closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line = self.unread.drain(..at + 2).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(self.more().await, "the answer was cut");
        }
        self.unread.drain(..n).collect()
    }

    /// The next answer, or `None` when the connection is closed instead.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        self.answer_to(true).await
    }

    /// The answer to HEAD.
    pub async fn answer_without_body(&mut self) -> Option<RawAnswer> {
        self.answer_to(false).await
    }

    async fn answer_to(&mut self, has_body: bool) -> Option<RawAnswer> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut head = first;
        loop {
            let line = self.line().await.expect("a whole head");
            if line.is_empty() {
                break;
            }
            head = format!("{head}\n{line}");
        }
        let mut answer = RawAnswer { status, head, body: Vec::new() };
        if !has_body || status == 304 {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await.expect("a chunk"), 16).unwrap();
                let chunk = self.take(size).await;
                answer.body.extend_from_slice(&chunk);
                self.take(2).await;
                if size == 0 {
                    return Some(answer);
                }
            }
        }
        answer.body = match answer.header("content-length") {
            Some(length) => {
                let length = length.parse().unwrap();
                self.take(length).await
            }
            None => self.rest().await,
        };
        Some(answer)
    }
}
