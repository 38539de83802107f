//! Whole requests against the whole program in this process, from the bytes of a connection to SQLite and back:
//! nothing panics, no answer is a 5xx but 501 and 503, and every body is JSON.
//!
//! An input is one or more requests, parted by a line of `%`. Of each the first line is method and target below
//! the tenant, the lines up to an empty one are headers, the rest is the body. Token, `Host` and `Content-Length`
//! are added, so that inputs get past the door.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use ici_scim::clock::SystemClock;
use ici_scim::secret::{TokenHash, TokenText};
use ici_scim::tenants::{Overrides, Tenants};
use ici_scim::{config, web};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// After so many inputs the tenant is made anew, so that what one input left does not slow down the others.
const INPUTS_OF_ONE_TENANT: usize = 1_000;
/// More than any answer here; a duplex stream takes memory only for what is written.
const STREAM_BYTES: usize = 16 * 1024 * 1024;

struct Program {
    runtime: Runtime,
    tenants: Arc<Tenants>,
    token: String,
    inputs: usize,
    // Removed when this is dropped, after everything that lies in it.
    _folder: TempDir,
}

impl Program {
    fn new() -> Program {
        let folder = tempfile::tempdir().expect("a folder");
        let token = TokenText::generate().expect("a token");
        let hash = TokenHash::hash(&token).expect("a hash");
        let text = format!(
            "[server]\ndata_dir = {:?}\ndurability = \"normal\"\nrate_limit = \"off\"\n[tenants.fuzz]\nstore_passwords = false\n\
             [[tenants.fuzz.tokens]]\nname = \"fuzz\"\nhash = {:?}\n",
            folder.path().join("data"),
            hash.expose(),
        );
        let settings = config::parse(&text, "tenants.toml").unwrap_or_else(|error| panic!("{error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let file = folder.path().join("tenants.toml");
        let tenants =
            Tenants::new(file, settings, Overrides::default(), Arc::new(SystemClock)).expect("tenants");
        Program { runtime, tenants, token: token.expose().to_owned(), inputs: 0, _folder: folder }
    }

    /// The bytes of the answers to an input.
    fn answers(&self, input: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        for part in parts(input) {
            self.add(&mut sent, part);
        }
        let service = web::service(Arc::clone(&self.tenants), "127.0.0.1:8080".to_owned());
        let peer = Arc::new(web::Peer::at([127, 0, 0, 1].into(), false));
        let service = service_fn(move |request| service.call((Arc::clone(&peer), request)));
        self.runtime.block_on(async {
            let (client, server) = tokio::io::duplex(STREAM_BYTES);
            let serving = http1::Builder::new().serve_connection(TokioIo::new(server), service);
            let (mut receive, mut send) = tokio::io::split(client);
            let asking = async {
                // The server may close first, over what is no HTTP.
                let _ = send.write_all(&sent).await;
                let _ = send.shutdown().await;
                let mut received = Vec::new();
                let _ = receive.read_to_end(&mut received).await;
                received
            };
            let (_, received) = tokio::join!(serving, asking);
            received
        })
    }

    fn add(&self, sent: &mut Vec<u8>, request: &[u8]) {
        let (head, body) = match find(request, b"\n\n") {
            Some(at) => (&request[..at], &request[at + 2..]),
            None => (request, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let (method, target) = match find(first, b" ") {
            Some(at) => (&first[..at], &first[at + 1..]),
            None => (&b"GET"[..], first),
        };
        sent.extend_from_slice(method);
        sent.extend_from_slice(b" /scim/v2/fuzz/");
        sent.extend(target.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }));
        sent.extend_from_slice(b" HTTP/1.1\r\nhost: localhost\r\nauthorization: ");
        sent.extend_from_slice(self.token.as_bytes());
        for line in lines {
            sent.extend_from_slice(b"\r\n");
            sent.extend_from_slice(line);
        }
        sent.extend_from_slice(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        sent.extend_from_slice(body);
    }
}

/// The requests of an input, at most a few.
fn parts(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = find(rest, b"\n%\n").filter(|_| parts.len() < 7) {
        parts.push(&rest[..at]);
        rest = &rest[at + 3..];
    }
    parts.push(rest);
    parts
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

thread_local! {
    static PROGRAM: RefCell<Option<Program>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    PROGRAM.with_borrow_mut(|kept| {
        if kept.as_ref().is_some_and(|program| program.inputs >= INPUTS_OF_ONE_TENANT) {
            *kept = None;
        }
        let program = kept.get_or_insert_with(Program::new);
        program.inputs += 1;
        let answers = program.answers(input);
        let text = String::from_utf8_lossy(&answers);
        // Statuses stand at the beginning of a line that begins so in no body: those are JSON on one line.
        for line in text.lines().filter(|line| line.starts_with("HTTP/1.1 5")) {
            let allowed = ["HTTP/1.1 501", "HTTP/1.1 503", "HTTP/1.1 505"];
            assert!(allowed.iter().any(|status| line.starts_with(status)), "{text}");
        }
    });
});
