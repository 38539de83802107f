//! Where clients come in beside an address and a port; whose word about them is taken; how many may come and how slow.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ici_scim::clock::Stopwatch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::raw::{self, Connection};
use crate::support::server::{BINARY, Log, clean_environment, limit_open_files, run_to_end, send_signal};
use crate::support::{Client, Config, PATIENCE, Server, Token, okta, until};

/// A server that was started in another way than on a port, ended with the test.
struct Process {
    child: Child,
    log: Arc<Log>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        clean_environment(command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(&mut child);
        Process { child, log }
    }

    fn stop(&mut self) {
        send_signal("TERM", self.child.id());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a configuration.
fn folder_with(config: &Config) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tenants.toml"), config.text()).unwrap();
    folder
}

/// A request at a socket file; the answer's head and body.
fn ask_unix(socket: &Path, token: &Token, more: &[(&str, &str)]) -> String {
    let mut headers = vec![("Authorization", token.text()), ("Connection", "close")];
    headers.extend_from_slice(more);
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(raw::request("GET", "/scim/v2/acme/ServiceProviderConfig", &headers).as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_socket_file_serves_those_who_may_open_it_and_believes_them() {
    let token = Token::new("okta");
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("scim.sock");
    let config = Config::acme(&token).server("listen", &format!("\"unix:{}\"", socket.display()));
    std::fs::write(folder.path().join("tenants.toml"), config.text()).unwrap();
    let serve = || {
        let mut command = Command::new(BINARY);
        Process::start(command.args(["serve", "--config"]).arg(folder.path().join("tenants.toml")))
    };
    let mut server = serve();
    let listening = server.log.wait_for_message("listening");
    assert_eq!(listening["address"], format!("unix:{}", socket.display()));
    let forwarded = [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "scim.example.com"),
    ];
    let answer = ask_unix(&socket, &token, &forwarded);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("https://scim.example.com/scim/v2/acme/ServiceProviderConfig"), "{answer}");
    server.log.wait_for("the client", |line| line.contains("\"client\":\"198.51.100.7\"").then_some(()));
    // Who says nothing of a client is called by what it is.
    ask_unix(&socket, &token, &[]);
    server.log.wait_for("the client", |line| line.contains("\"client\":\"unix\"").then_some(()));

    // Another one does not take it away from this one.
    let mut second = Command::new(BINARY);
    let second = run_to_end(second.args(["serve", "--config"]).arg(folder.path().join("tenants.toml")));
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("listens on"), "{second:?}");

    server.stop();
    assert!(!socket.exists(), "it goes with the server");
    // What a killed server leaves behind hinders nobody.
    drop(UnixListener::bind(&socket).unwrap());
    let mut server = serve();
    server.log.wait_for_message("listening");
    assert!(ask_unix(&socket, &token, &[]).starts_with("HTTP/1.1 200"));
    server.stop();
}

/// Starts the server as systemd does with an open socket; a shell is needed to have the number of the process that it
/// becomes.
fn activated(folder: &Path, socket: impl Into<OwnedFd>) -> Process {
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", BINARY, "serve", "--config"]).arg(folder.join("tenants.toml"));
    Process::start(command.stdin(Stdio::from(socket.into())))
}

#[test]
fn a_socket_of_systemd_is_served_in_the_place_of_listen() {
    let token = Token::new("okta");
    // The port of `listen` is not this test's to take.
    let folder = folder_with(&Config::acme(&token).server("listen", "\"192.0.2.1:9\""));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = activated(folder.path(), socket);
    let listening = server.log.wait_for_message("listening");
    assert_eq!(listening["address"], address.to_string());
    let client = Client::new(format!("http://{address}/scim/v2/acme"), Some(token.text()));
    client.get("/Users").expect(200);
    server.stop();

    let socket = folder.path().join("scim.sock");
    let mut server = activated(folder.path(), UnixListener::bind(&socket).unwrap());
    server.log.wait_for_message("listening");
    assert!(ask_unix(&socket, &token, &[]).starts_with("HTTP/1.1 200"));
    server.stop();
    assert!(socket.exists(), "it is systemd's");
}

#[test]
fn systemd_is_told_of_readiness_of_reloading_and_of_the_stop_and_gets_signs_of_life() {
    let token = Token::new("okta");
    let folder = folder_with(&Config::acme(&token));
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 512];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let until_told = |what: &str| loop {
        let said = told();
        if said.contains(what) {
            return said;
        }
    };
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(folder.path().join("tenants.toml"));
    let mut server = Process::start(command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "200000"));
    assert_eq!(told(), "READY=1\n");
    until_told("WATCHDOG=1");
    send_signal("HUP", server.child.id());
    assert!(until_told("RELOADING=1").contains("MONOTONIC_USEC="));
    until_told("READY=1");
    send_signal("TERM", server.child.id());
    until_told("STOPPING=1");
    assert!(server.child.wait().unwrap().success());
}

/// A connection from another address of the loopback network.
fn connect_from(last: u8, to: SocketAddr) -> std::net::TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the server answers a request on the connection; reads the answer to its end.
fn is_served(mut stream: &std::net::TcpStream, token: &Token) -> bool {
    let request = raw::request("GET", "/scim/v2/acme/Users", &[("Authorization", token.text())]);
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return false,
            Ok(count) => answer.extend_from_slice(&part[..count]),
        }
        // The body is a JSON object with one closing brace.
        if answer.ends_with(b"}") {
            return answer.starts_with(b"HTTP/1.1 200");
        }
    }
}

#[test]
fn an_address_gets_so_many_connections_others_are_served_and_trusted_proxies_are_not_bound() {
    let token = Token::new("okta");
    let config = Config::acme(&token).limit("connections_per_address_max", 3);
    let server = Server::start(&config);
    let held: Vec<_> = (0..3).map(|_| connect_from(1, server.address())).collect();
    assert!(held.iter().all(|connection| is_served(connection, &token)));
    assert!(!is_served(&connect_from(1, server.address()), &token), "a fourth is closed");
    let told = server.log().wait_for_message("connections_per_address_max");
    assert_eq!(told["client"], "127.0.0.1");
    assert!(is_served(&connect_from(2, server.address()), &token));
    drop(held);
    until("places are free again", || is_served(&connect_from(1, server.address()), &token));

    server.write_config(&config.server("trusted_proxies", "[\"127.0.0.1\"]").text());
    server.log().wait_for_message("the changed configuration is in force");
    let many: Vec<_> = (0..8).map(|_| connect_from(1, server.address())).collect();
    assert!(many.iter().all(|connection| is_served(connection, &token)));
}

#[test]
fn what_a_stranger_says_of_being_forwarded_counts_for_nothing() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).server("trusted_proxies", "[\"127.0.0.9\"]"));
    let target = "/scim/v2/acme/ServiceProviderConfig";
    let headers = [
        ("Authorization", token.text()),
        ("X-Forwarded-For", "203.0.113.5, 198.51.100.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "public.test"),
        ("Connection", "close"),
    ];
    let ask = |last: u8| {
        let mut stream = connect_from(last, server.address());
        stream.write_all(raw::request("GET", target, &headers).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["meta"]["location"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(1), format!("http://scim.test{target}"));
    server.log().wait_for("the stranger", |line| line.contains("\"client\":\"127.0.0.1\"").then_some(()));
    assert!(!server.log().text().contains("198.51.100.7"));
    assert_eq!(ask(9), format!("https://public.test{target}"));
    server.log().wait_for("the client", |line| line.contains("\"client\":\"198.51.100.7\"").then_some(()));
    assert!(!server.log().text().contains("203.0.113.5"), "what stands before the client is hearsay");
}

#[test]
fn a_body_that_trickles_is_cut_off_when_the_requests_time_is_over() {
    let token = Token::new("okta");
    let server = Server::start(&Config::acme(&token).limit("request_s", 1));
    let mut connection = Connection::open(server.address());
    let headers = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", "100000"),
    ];
    connection.send(raw::request("POST", "/scim/v2/acme/Users", &headers));
    // Something always comes.
    while !connection.is_answered_within(Duration::from_millis(50)) {
        if !connection.try_send(" ") {
            break;
        }
    }
    connection.answer().expect("an answer").expect_error(408, "");
    assert!(connection.is_closed());
}

/// The middle of the times that rounds of what Okta does take, in milliseconds.
fn okta_rounds(client: &Client, name: &str, rounds: usize) -> u128 {
    let mut times: Vec<u128> = (0..rounds)
        .map(|round| {
            let watch = Stopwatch::start();
            let user = format!("{name}-{round}@x.test");
            assert!(client.find("/Users", &format!("userName eq \"{user}\"")).is_empty());
            let id = client.create("/Users", okta::user(&user)).id();
            client.patch(&format!("/Users/{id}"), okta::set_active(false)).expect(200);
            client.get(&format!("/Users/{id}")).expect(200);
            watch.elapsed().as_millis()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

#[test]
fn a_thousand_idle_and_two_hundred_slow_connections_do_not_hinder_okta() {
    const IDLE: usize = 1000;
    const SLOW: usize = 200;
    limit_open_files(std::process::id(), 8192);
    let token = Token::new("okta");
    let limits =
        [("connections_max", 2048), ("header_read_s", 120), ("keep_alive_s", 3600), ("request_s", 300)];
    let config = limits.iter().fold(Config::acme(&token), |config, (name, value)| config.limit(name, *value));
    let server = Server::start(&config);
    server.limit_open_files(8192);
    let client = server.client("acme", &token);
    let before = okta_rounds(&client, "before", 15);

    // From several addresses, since one may not have so many.
    let idle: Vec<_> = (0..IDLE)
        .map(|number| connect_from(2 + u8::try_from(number / 200).unwrap(), server.address()))
        .collect();
    assert!(idle.iter().all(|connection| is_served(connection, &token)));
    let headers = [
        ("Authorization", token.text()),
        ("Content-Type", "application/scim+json"),
        ("Content-Length", "1000000"),
    ];
    let post = raw::request("POST", "/scim/v2/acme/Users", &headers);
    let mut slow: Vec<_> = (0..SLOW).map(|_| connect_from(100, server.address())).collect();
    // Half of them with heads that do not end, half with bodies.
    for (number, connection) in slow.iter_mut().enumerate() {
        let begun = if number % 2 == 0 { &post[..post.len() - 2] } else { &post };
        connection.write_all(begun.as_bytes()).unwrap();
    }
    let done = AtomicBool::new(false);
    let during = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A byte for each in turn.
            let mut turns = 0;
            while !done.load(Ordering::Relaxed) && turns < 100_000 {
                for connection in &mut slow {
                    connection.write_all(b"x").unwrap();
                    turns += 1;
                }
            }
        });
        let during = okta_rounds(&client, "during", 15);
        done.store(true, Ordering::Relaxed);
        during
    });
    assert!(
        during < 5 * before + 2_000,
        "a round took {before} ms before and {during} ms with all of them there"
    );
    assert!(idle.iter().all(|connection| is_served(connection, &token)), "the idle ones are still there");
    let body = json!({ "userName": "last@x.test" });
    client.create("/Users", body);
}
