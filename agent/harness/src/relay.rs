//! A TCP relay before etcd or Redis: an address that moves to another server
//! at a fail-over, and a network that is cut, slow, or holds every byte back
//! without closing anything.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

const CHUNK: usize = 64 << 10;
/// Chunks under way in each direction; more wait in the sender's socket.
const CHUNKS: usize = 64;

/// What happens to connections, which are numbered as they come.
#[derive(Clone, Copy)]
struct RelayRules {
    /// Where new connections lead to.
    target: SocketAddr,
    /// New connections are closed at once.
    refuses: bool,
    /// Connections below this number are closed.
    closed_below: u64,
    /// Bytes of connections below this number are held back.
    held_below: u64,
    /// How late bytes arrive at the server, and at the client.
    delay: [Duration; 2],
    /// How many connections there were.
    count: u64,
}

/// The two directions of a connection, as indices of a delay.
const TO_SERVER: usize = 0;
const TO_CLIENT: usize = 1;

/// The relay. Dropped, it closes all connections.
pub struct Relay {
    listen: SocketAddr,
    rules: Arc<watch::Sender<RelayRules>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to this server.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let rules = Arc::new(watch::Sender::new(RelayRules {
            target,
            refuses: false,
            closed_below: 0,
            held_below: 0,
            delay: [Duration::ZERO; 2],
            count: 0,
        }));
        let task = tokio::spawn(accept(listener, Arc::clone(&rules)));
        Self {
            listen,
            rules,
            task,
        }
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Leads new connections to another server; open ones stay.
    pub fn lead_to(&self, target: SocketAddr) {
        self.change(|rules| rules.target = target);
    }

    /// The same, and closes the open ones.
    pub fn point_to(&self, target: SocketAddr) {
        self.change(|rules| {
            rules.target = target;
            rules.closed_below = rules.count;
        });
    }

    /// Closes what is open, and whatever comes.
    pub fn cut(&self) {
        self.change(|rules| {
            rules.closed_below = rules.count;
            rules.refuses = true;
        });
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.change(|rules| rules.refuses = false);
    }

    /// Holds all bytes back, of new connections too.
    pub fn hold(&self) {
        self.change(|rules| rules.held_below = u64::MAX);
    }

    /// Holds back all bytes of the connections that are open now; new ones
    /// work.
    pub fn hold_open_ones(&self) {
        self.change(|rules| rules.held_below = rules.count);
    }

    /// Lets what was held back go on.
    pub fn release(&self) {
        self.change(|rules| rules.held_below = 0);
    }

    /// Every byte arrives so much later, each way.
    pub fn delay(&self, delay: Duration) {
        self.change(|rules| rules.delay = [delay; 2]);
    }

    /// Every byte of an answer arrives so much later.
    pub fn delay_answers(&self, delay: Duration) {
        self.change(|rules| rules.delay[TO_CLIENT] = delay);
    }

    /// How many connections there were.
    pub fn count(&self) -> u64 {
        self.rules.borrow().count
    }

    fn change(&self, change: impl FnOnce(&mut RelayRules)) {
        self.rules.send_modify(change);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, rules: Arc<watch::Sender<RelayRules>>) {
    // Dropped with this task, which closes all connections.
    let mut pairs = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let RelayRules {
            target,
            refuses,
            count,
            ..
        } = *rules.borrow();
        if refuses {
            continue;
        }
        rules.send_modify(|rules| rules.count += 1);
        pairs.spawn(relay(client, target, count, rules.subscribe()));
        while pairs.try_join_next().is_some() {}
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    number: u64,
    mut rules: watch::Receiver<RelayRules>,
) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _at_once = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (client.into_split(), server.into_split());
    let (up, down) = (rules.clone(), rules.clone());
    tokio::select! {
        () = pass(client.0, server.1, number, TO_SERVER, up) => {}
        () = pass(server.0, client.1, number, TO_CLIENT, down) => {}
        _closed = rules.wait_for(|rules| rules.closed_below > number) => {}
    }
}

/// Passes bytes on until one side ends. What is delayed does not delay what
/// comes after it.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: u64,
    direction: usize,
    rules: watch::Receiver<RelayRules>,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let mut at_entry = rules.clone();
    let mut at_exit = rules;
    let take_in = async move {
        // Nothing is read while bytes are held back: they wait where they are,
        // and an end is not seen.
        while at_entry
            .wait_for(|rules| rules.held_below <= number)
            .await
            .is_ok()
        {
            let mut bytes = vec![0; CHUNK];
            match from.read(&mut bytes).await {
                Ok(read) if read > 0 => bytes.truncate(read),
                _ => return,
            }
            let due = Instant::now() + at_entry.borrow().delay[direction];
            if sender.send((due, bytes)).await.is_err() {
                return;
            }
        }
    };
    let give_out = async {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            let free = at_exit.wait_for(|rules| rules.held_below <= number);
            if free.await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = give_out => {}
        () = async { take_in.await; pending().await } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ended = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        addr
    }

    #[tokio::test]
    async fn a_delay_does_not_add_up() {
        let relay = Relay::to(echo().await).await;
        let delay = Duration::from_millis(300);
        relay.delay_answers(delay);
        let mut stream = TcpStream::connect(relay.listen()).await.unwrap();
        let begin = Instant::now();
        let mut answer = [0; 2];
        // The second byte is sent while the first one is under way.
        stream.write_all(b"a").await.unwrap();
        sleep_until(begin + delay / 2).await;
        stream.write_all(b"b").await.unwrap();
        stream.read_exact(&mut answer[..1]).await.unwrap();
        assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
        let first = Instant::now();
        stream.read_exact(&mut answer[1..]).await.unwrap();
        assert!(begin.elapsed() >= delay * 3 / 2);
        assert!(first.elapsed() < delay, "{:?}", first.elapsed());
        assert_eq!(&answer, b"ab");
    }

    #[tokio::test]
    async fn only_open_connections_are_held_and_a_cut_closes_them() {
        let relay = Relay::to(echo().await).await;
        let mut held = TcpStream::connect(relay.listen()).await.unwrap();
        held.write_all(b"x").await.unwrap();
        assert_eq!(held.read_u8().await.unwrap(), b'x');
        relay.hold_open_ones();
        held.write_all(b"y").await.unwrap();
        let mut other = TcpStream::connect(relay.listen()).await.unwrap();
        other.write_all(b"z").await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), b'z');
        let mut byte = [0];
        assert!(held.try_read(&mut byte).is_err(), "it was held back");
        relay.release();
        assert_eq!(held.read_u8().await.unwrap(), b'y');
        relay.cut();
        assert!(held.read_u8().await.is_err());
        assert_eq!(relay.count(), 2);
    }
}
