//! Answers without an end: event streams. From its answer on such a connection belongs to one writer, which is the stream, a
//! few bytes, and the socket.
//!
//! hyper would serve them too, but it keeps two buffers of 8 KiB for each connection in case another request comes, and
//! copies each event through one of them. With ten thousand streams that is most of a hub's memory. So a connection is
//! taken from hyper before the answer's first byte, and nothing but the end comes after the stream (`connection: close`).

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use axum::http::{HeaderMap, Method, Version, header, request};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::clock::Clock;

/// What goes out, piece by piece.
type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The mark of an answer that is a stream. Where nobody takes it over (`HEAD`) the answer has an empty body.
#[derive(Clone)]
pub struct Endless(Arc<Mutex<Option<Pieces>>>);

/// An answer (200) that goes on for as long as `pieces` does.
pub fn endless(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Endless(Arc::new(Mutex::new(Some(Box::pin(pieces))))));
    response
}

/// An answer that was taken over, not begun yet.
pub(super) struct Takeover {
    head: Vec<u8>,
    chunked: bool,
    pieces: Pieces,
}

/// What has to be known of the request.
pub(super) struct Asked {
    method: Method,
    version: Version,
}

impl Asked {
    pub(super) fn of(request: &request::Parts) -> Self {
        Self { method: request.method.clone(), version: request.version }
    }
}

impl Takeover {
    /// Takes the stream out of an answer that is one.
    pub(super) fn of(response: &mut Response, asked: &Asked, clock: &Clock) -> Option<Self> {
        let Endless(pieces) = response.extensions_mut().remove()?;
        let pieces = pieces.lock().take().filter(|_| asked.method == Method::GET)?;
        // HTTP/1.0 knows no chunks; there the end of the connection is the end of the body (RFC 9112 §6.3).
        let chunked = asked.version >= Version::HTTP_11;
        Some(Self { head: head(response, asked.version, chunked, clock), chunked, pieces })
    }

    /// Sends everything until the stream ends or the client does. An error means that the client, or the way to it, is gone.
    pub(super) async fn send<I: AsyncRead + AsyncWrite + Unpin>(self, mut io: I) -> io::Result<()> {
        let Self { head, chunked, mut pieces } = self;
        io.write_all(&head).await?;
        drop(head);
        while let Some(piece) = next(&mut pieces, &mut io).await? {
            if piece.is_empty() {
                continue;
            }
            match chunked {
                true => write_chunk(&mut io, &piece).await?,
                false => io.write_all(&piece).await?,
            }
            io.flush().await?;
        }
        // Whoever sees the connection end has to find the place of the stream free.
        drop(pieces);
        if chunked {
            io.write_all(b"0\r\n\r\n").await?;
        }
        io.shutdown().await
    }
}

/// The next piece; `None` when the stream has ended. An error when the client has.
async fn next<I: AsyncRead + Unpin>(pieces: &mut Pieces, io: &mut I) -> io::Result<Option<Bytes>> {
    poll_fn(|cx| match pieces.as_mut().poll_next(cx) {
        Poll::Ready(piece) => Poll::Ready(Ok(piece)),
        Poll::Pending => poll_gone(Pin::new(io), cx).map(Err),
    })
    .await
}

/// Ready when the other side has closed. What it still sends belongs to no request that anybody will answer.
fn poll_gone<I: AsyncRead>(mut io: Pin<&mut I>, cx: &mut Context<'_>) -> Poll<io::Error> {
    let mut bytes = [std::mem::MaybeUninit::uninit(); 256];
    loop {
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match ready!(io.as_mut().poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => {}
            Err(error) => return Poll::Ready(error),
        }
    }
}

/// One chunk (RFC 9112 §7.1). Copied together, because one write of it costs less than a vectored one of its three parts.
async fn write_chunk<I: AsyncWrite + Unpin>(io: &mut I, piece: &[u8]) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(piece.len() + 20);
    write!(chunk, "{:x}\r\n", piece.len())?;
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    io.write_all(&chunk).await
}

/// Status line and fields (RFC 9112 §4, §5).
fn head(response: &Response, version: Version, chunked: bool, clock: &Clock) -> Vec<u8> {
    let own = [
        (header::CONNECTION, "close".to_owned()),
        (header::DATE, date(clock)),
        (header::TRANSFER_ENCODING, "chunked".to_owned()),
    ];
    let mut out = format!("{version:?} {}\r\n", response.status()).into_bytes();
    let mut line = |name: &[u8], value: &[u8]| [name, b": ", value, b"\r\n"].iter().for_each(|part| out.extend(*part));
    let headers: &HeaderMap = response.headers();
    for (name, value) in headers {
        if !own.iter().any(|(mine, _)| mine == name) && name != header::CONTENT_LENGTH {
            line(name.as_ref(), value.as_bytes());
        }
    }
    for (name, value) in &own[..if chunked { 3 } else { 2 }] {
        line(name.as_ref(), value.as_bytes());
    }
    out.extend(b"\r\n");
    out
}

/// The form of `Date` (RFC 9110 §5.6.7).
fn date(clock: &Clock) -> String {
    let seconds = u64::try_from(clock.now()).unwrap_or(0);
    // The form has four digits for the year.
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::stream;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn taken(version: Version, pieces: Vec<Bytes>) -> Takeover {
        let mut response = endless(stream::iter(pieces));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert("connection", HeaderValue::from_static("keep-alive"));
        let asked = Asked { method: Method::GET, version };
        Takeover::of(&mut response, &asked, &Clock::manual(784_111_777)).expect("a stream")
    }

    #[tokio::test]
    async fn a_stream_is_sent_in_chunks_and_to_http_1_0_as_it_is() {
        let large = Bytes::from(vec![b'x'; 4097]);
        let pieces = vec![Bytes::from_static(b"data: 1\n\n"), Bytes::new(), large.clone()];
        let sent = async |version| {
            let (here, mut there) = tokio::io::duplex(1000);
            let pieces = pieces.clone();
            let send = tokio::spawn(async move { taken(version, pieces).send(here).await });
            let mut out = String::new();
            there.read_to_string(&mut out).await.unwrap();
            send.await.unwrap().unwrap();
            out
        };
        let head = " 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let large = std::str::from_utf8(&large).unwrap();
        let chunks = format!("9\r\ndata: 1\n\n\r\n1001\r\n{large}\r\n0\r\n\r\n");
        assert_eq!(sent(Version::HTTP_11).await, format!("HTTP/1.1{head}transfer-encoding: chunked\r\n\r\n{chunks}"));
        assert_eq!(sent(Version::HTTP_10).await, format!("HTTP/1.0{head}\r\ndata: 1\n\n{large}"));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_stream_though_nothing_is_to_be_sent() {
        let (here, mut there) = tokio::io::duplex(1000);
        let mut waiting = taken(Version::HTTP_11, vec![]);
        waiting.pieces = Box::pin(stream::pending());
        let send = tokio::spawn(waiting.send(here));
        // What it says after its request is nobody's.
        there.write_all(&[b'x'; 700]).await.unwrap();
        drop(there);
        let error = send.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe), "{error}");
    }

    #[test]
    fn a_head_request_has_no_body_to_send() {
        let mut response = endless(stream::pending());
        let asked = Asked { method: Method::HEAD, version: Version::HTTP_11 };
        assert!(Takeover::of(&mut response, &asked, &Clock::manual(0)).is_none());
    }
}
