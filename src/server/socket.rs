//! The sockets that the server listens on: bound by itself, or handed over by systemd.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;

/// Mode of a socket file: for the server's user and its group, which the proxy in front is a member of.
const SOCKET_MODE: u32 = 0o660;

/// The `FileDescriptorName=` of a socket of systemd that redirects to HTTPS in the place of serving.
const REDIRECT_NAME: &str = "redirect";

/// One socket that listens.
pub enum Listener {
    /// An address and a port.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener, Option<SocketFile>),
}

/// A connection that was accepted, out of every runtime's poll, so that whichever loop serves it takes it into its own.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, IpAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// A socket file of ours, which is removed with it.
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have put its own in the place.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens there. Needs a running tokio runtime.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` also for a socket file that another program listens on.
    pub async fn bind(listen: &Listen) -> io::Result<Listener> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Listen::Unix(path) => {
                remove_abandoned(path)?;
                let listener = UnixListener::bind(path)?;
                let inode = std::fs::symlink_metadata(path)?.ino();
                let file = SocketFile { path: path.clone(), inode };
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
                Ok(Listener::Unix(listener, Some(file)))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<Listen> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Listener::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Ok(Listen::Unix(address.as_pathname().map(Path::to_owned).unwrap_or_default()))
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Listener::Tcp(listener) => listener.poll_accept(cx).map(|accepted| {
                let (stream, peer) = accepted?;
                Ok(Accepted::Tcp(stream.into_std()?, peer.ip()))
            }),
            Listener::Unix(listener, _) => {
                listener.poll_accept(cx).map(|accepted| Ok(Accepted::Unix(accepted?.0.into_std()?)))
            }
        }
    }
}

/// Takes a socket file away that nobody listens on any more: its server was killed.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in its place"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(error) => Err(error),
        },
    }
}

/// The sockets that systemd has opened for this process (`sd_listen_fds(3)`).
#[derive(Default)]
pub struct Inherited {
    /// Those that serve.
    pub serving: Vec<Listener>,
    /// The one that redirects, named so by `FileDescriptorName=redirect`.
    pub redirecting: Option<TcpListener>,
}

impl Inherited {
    /// Takes them; none when the process was started otherwise. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When one of them is no listening stream socket.
    pub fn take() -> io::Result<Inherited> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut sockets = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for index in 0..sockets.len() {
            if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
                listener.set_nonblocking(true)?;
                inherited.serving.push(Listener::Unix(UnixListener::from_std(listener)?, None));
            } else if let Some(listener) = sockets.take_tcp_listener(index)? {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                if names.get(index) == Some(&REDIRECT_NAME) {
                    inherited.redirecting = Some(listener);
                } else {
                    inherited.serving.push(Listener::Tcp(listener));
                }
            }
        }
        Ok(inherited)
    }
}

/// Several sockets as one.
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Which of them is asked first: each in turn, so that a busy one does not keep the others waiting.
    first: AtomicUsize,
}

impl Listeners {
    pub(super) fn new(all: Vec<Listener>) -> Listeners {
        Listeners { all, first: AtomicUsize::new(0) }
    }

    /// What to call this server where no client has named it.
    pub(super) fn host(&self) -> io::Result<String> {
        let addresses = self.all.iter().map(Listener::address).collect::<io::Result<Vec<_>>>()?;
        let tcp = addresses.iter().find_map(|address| match address {
            Listen::Tcp(address) => Some(address.to_string()),
            Listen::Unix(_) => None,
        });
        Ok(tcp.unwrap_or_else(|| "localhost".to_owned()))
    }

    /// The first port of them.
    pub(super) fn port(&self) -> Option<u16> {
        self.all.iter().find_map(|listener| match listener.address() {
            Ok(Listen::Tcp(address)) => Some(SocketAddr::port(&address)),
            _ => None,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        poll_fn(|cx| {
            let count = self.all.len();
            let first = self.first.load(Ordering::Relaxed);
            for step in 0..count {
                let at = (first + step) % count;
                if let Poll::Ready(accepted) = self.all[at].poll_accept(cx) {
                    self.first.store((at + 1) % count, Ordering::Relaxed);
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_for_user_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scim.sock");
        let listen = Listen::Unix(path.clone());
        let listener = Listener::bind(&listen).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(listener.address().unwrap(), listen);
        let taken = Listener::bind(&listen).await.err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_abandoned_socket_is_replaced_and_any_other_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scim.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves it behind, as a killed server does");
        drop(Listener::bind(&Listen::Unix(path.clone())).await.unwrap());
        std::fs::write(&path, "mine").unwrap();
        assert!(Listener::bind(&Listen::Unix(path.clone())).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn several_sockets_are_accepted_from_in_turn() {
        let mut all = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let listener = Listener::bind(&Listen::Tcp("127.0.0.1:0".parse().unwrap())).await.unwrap();
            if let Listen::Tcp(address) = listener.address().unwrap() {
                addresses.push(address);
            }
            all.push(listener);
        }
        let listeners = Listeners::new(all);
        let _clients: Vec<_> =
            [0, 0, 0, 1].map(|at| std::net::TcpStream::connect(addresses[at]).unwrap()).into();
        let mut ports = Vec::new();
        for _ in 0..4 {
            let Accepted::Tcp(stream, _) = listeners.accept().await.unwrap() else { panic!("not TCP") };
            ports.push(stream.local_addr().unwrap().port());
        }
        let of_second = ports.iter().position(|port| *port == addresses[1].port()).unwrap();
        assert!(of_second < 3, "the second was kept waiting: {ports:?}");
        assert_eq!(listeners.port(), Some(addresses[0].port()));
    }
}
