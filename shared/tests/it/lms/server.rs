//! An LMS that answers as a test tells it, byte for byte.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Counted from 1.
    pub number: usize,
    /// Method and target, `GET /x?y=z` for instance, as they were sent.
    pub line: String,
    /// All headers, lowercase, one in a line.
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn is_for_a_token(&self) -> bool {
        self.line.starts_with("POST ") && self.line.ends_with("/oauth2/access_token")
    }

    /// What follows `Authorization: `.
    pub fn authorization(&self) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix("authorization: "))
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, and the connection is closed; none at all is a broken connection.
    Bytes(Vec<u8>),
    /// These bytes, and the connection stays open.
    Open(Vec<u8>),
    /// The head promises more of this body than comes before the connection is closed.
    Half(Value),
    /// Nothing, ever.
    Hang,
    /// As soon as so many are under way as the barrier holds.
    Meet(Arc<Barrier>, Box<Reply>),
}

impl Reply {
    pub const BROKEN: Self = Self::Bytes(Vec::new());

    /// An answer of any status, with headers of its own and a body.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = body.len();
        Self::Bytes(
            format!(
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .into_bytes(),
        )
    }

    pub fn json(status: u16, body: &Value) -> Self {
        let kind = ("Content-Type", "application/json");
        Self::new(status, &[kind], &body.to_string())
    }

    pub fn html(status: u16) -> Self {
        let kind = ("Content-Type", "text/html; charset=utf-8");
        Self::new(status, &[kind], "<html>ada@example.org</html>")
    }

    /// A token that is good for an hour.
    pub fn token(token: &str) -> Self {
        Self::json(
            200,
            &serde_json::json!({
                "access_token": token, "expires_in": 3600, "token_type": "JWT", "scope": "read",
            }),
        )
    }
}

/// The server, gone when dropped.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    asked: Vec<Asked>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Server {
    pub async fn start(plan: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Log::default()));
        let plan = Arc::new(plan);
        let task = tokio::spawn({
            let asked = Arc::clone(&asked);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (asked, plan) = (Arc::clone(&asked), Arc::clone(&plan));
                    tokio::spawn(async move { serve(stream, &asked, &*plan).await });
                }
            }
        });
        Self { url, asked, task }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().asked.clone()
    }

    /// How many requests there were so far for tokens, and how many others.
    pub fn counts(&self) -> (usize, usize) {
        let asked = self.asked();
        let tokens = asked.iter().filter(|asked| asked.is_for_a_token()).count();
        (tokens, asked.len() - tokens)
    }

    /// The most requests that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.asked.lock().unwrap().most_in_flight
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Log>,
    plan: &(impl Fn(&Asked) -> Reply + Send + Sync),
) -> io::Result<()> {
    let Some(mut asked) = read(&mut stream).await? else {
        return Ok(());
    };
    {
        let mut log = log.lock().unwrap();
        asked.number = log.asked.len() + 1;
        log.asked.push(asked.clone());
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
    }
    let mut reply = plan(&asked);
    if let Reply::Meet(barrier, then) = reply {
        barrier.wait().await;
        reply = *then;
    }
    log.lock().unwrap().in_flight -= 1;
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Half(body) => {
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body.as_bytes()[..body.len() / 2]).await?;
        }
        Reply::Open(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Reply::Hang | Reply::Meet(..) => std::future::pending().await,
    }
    stream.shutdown().await
}

/// One request; `None` where the connection was closed before there was one.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let (head, mut body) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            break (head.to_owned(), body.as_bytes().to_vec());
        }
    };
    let (line, headers) = head.split_once("\r\n").unwrap();
    let headers: Vec<_> = headers
        .split("\r\n")
        .filter_map(|header| header.split_once(": "))
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        stream.read_buf(&mut body).await?;
    }
    Ok(Some(Asked {
        number: 0,
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        head: headers.join("\n"),
        body: String::from_utf8(body).unwrap(),
    }))
}
