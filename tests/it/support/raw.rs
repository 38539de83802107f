//! Requests byte by byte: what no HTTP library would send, or not so slowly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::support::{PATIENCE, Reply};

/// A connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come after the last answer that was read.
    rest: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, rest: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends and does not mind when the server has stopped listening.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Whether the next bytes are these; takes them.
    pub(crate) fn takes(&mut self, expected: &str) -> bool {
        let mut bytes = vec![0; expected.len()];
        self.stream.read_exact(&mut bytes).is_ok() && bytes == expected.as_bytes()
    }

    /// Whether the server waits for the body of a request with `Expect: 100-continue`.
    pub(crate) fn is_to_continue(&mut self) -> bool {
        self.takes("HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Reads one answer, with the checks of every answer. None when the server closed the connection first.
    pub(crate) fn answer(&mut self) -> Option<Reply> {
        let mut bytes = std::mem::take(&mut self.rest);
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.read_more(&mut bytes) {
                assert!(bytes.is_empty(), "half a head: {}", String::from_utf8_lossy(&bytes));
                return None;
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let mut lines = head.trim_end().lines();
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        if status == 100 {
            self.rest = bytes.split_off(head_end);
            return self.answer();
        }
        let length =
            headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        while bytes.len() < head_end + length {
            assert!(self.read_more(&mut bytes), "half a body");
        }
        self.rest = bytes.split_off(head_end + length);
        Some(Reply::checked(&Method::GET, "(raw)", status, headers, bytes.split_off(head_end)))
    }

    /// Whether the server has closed the connection, or does so before our patience ends.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Whether an answer begins within a time; the bytes stay where they are.
    pub(crate) fn is_answered_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let answered = self.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answered
    }

    /// Says that nothing more will come, and reads whatever the server still has to say.
    pub(crate) fn finish(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    fn read_more(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// Sends one request as it stands and reads the answer.
pub(crate) fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Reply {
    let mut connection = Connection::open(address);
    connection.send(request);
    connection.answer().expect("an answer")
}

/// The text of a request without a body; `target` is put on the wire as it is.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: scim.test\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}
