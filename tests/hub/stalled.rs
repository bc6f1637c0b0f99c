//! Readers that stand still.

use bytes::Bytes;
use revocation_hub::cli::promise::Promise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Api, Stream};

/// A connection that asks for something and reads nothing of it, with a small window, so that the hub soon cannot write any
/// more.
pub async fn stalled(api: &Api, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(api.address().parse().unwrap()).await.unwrap();
    // 1.0, so that the body comes without chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: hub\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// The body of a stream that was read by hand, for the promise checker.
pub fn body(mut stream: TcpStream, promise: Promise) -> Stream {
    Stream::new(
        Box::pin(async_stream::stream! {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                yield Ok(Bytes::copy_from_slice(&buffer[..n]));
            }
        }),
        promise,
    )
}
