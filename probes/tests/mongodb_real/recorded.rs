//! Members of replica sets that answer as genuine ones did.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use mongodb::bson::{Document, doc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// A member; dropping it ends it with its connections.
pub struct Member {
    pub address: SocketAddr,
    /// What it says to `hello`.
    pub hello: Arc<Mutex<Document>>,
    /// Names of the commands that came in.
    pub asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    pub async fn start(hello: Document) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let hello = Arc::new(Mutex::new(hello));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (said, heard) = (hello.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, said.clone(), heard.clone()));
            }
        })
        .abort_handle();
        Ok(Self {
            address,
            hello,
            asked,
            task,
        })
    }

    pub fn says(&self, hello: Document) {
        *self.hello.lock().expect("unpoisoned") = hello;
    }

    pub fn heard(&self, command: &str) -> usize {
        let asked = self.asked.lock().expect("unpoisoned");
        asked.iter().filter(|name| *name == command).count()
    }
}

async fn serve(mut stream: TcpStream, hello: Arc<Mutex<Document>>, asked: Arc<Mutex<Vec<String>>>) -> Result<()> {
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header).await?;
        let length = u32::from_le_bytes(header[..4].try_into()?) as usize;
        let mut body = vec![0; length - header.len()];
        stream.read_exact(&mut body).await?;
        let command = Document::from_reader(&body[5..])?;
        let name = command.keys().next().cloned().unwrap_or_default();
        asked.lock().expect("unpoisoned").push(name.clone());
        let said = hello.lock().expect("unpoisoned").clone();
        let reply = match name.as_str() {
            // Servers before 4.4.2 know only the old name.
            "hello" if said.contains_key("ismaster") => {
                doc! { "ok": 0.0, "errmsg": "no such command: 'hello'", "code": 59, "codeName": "CommandNotFound" }
            }
            "hello" | "isMaster" => said,
            "ping" => doc! { "ok": 1.0 },
            "buildInfo" => doc! { "version": "4.4.29", "ok": 1.0 },
            "replSetGetStatus" => doc! { "set": "rs0", "ok": 1.0, "members": [
                { "name": "db1:27017", "state": 1, "optimeDate": mongodb::bson::DateTime::from_millis(20_000) },
                { "name": "db2:27017", "state": 2, "optimeDate": mongodb::bson::DateTime::from_millis(15_000), "self": true },
            ] },
            "find" => doc! { "cursor": { "id": 0_i64, "ns": "config.shards", "firstBatch": [] }, "ok": 1.0 },
            _ => doc! { "ok": 0.0, "errmsg": "not authorized", "code": 13, "codeName": "Unauthorized" },
        };
        let reply = reply.to_vec()?;
        let mut message = Vec::new();
        message.extend_from_slice(&u32::try_from(21 + reply.len())?.to_le_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&header[4..8]);
        message.extend_from_slice(&2013i32.to_le_bytes());
        message.extend_from_slice(&[0; 5]);
        message.extend_from_slice(&reply);
        stream.write_all(&message).await?;
    }
}
