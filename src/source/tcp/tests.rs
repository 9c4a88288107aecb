//! Connections against a stand-in for the engine.

use super::super::chunker::tests::texts;
use super::super::context::Delivery;
use super::super::context::tests::Harness;
use super::*;
use tokio::io::{AsyncBufReadExt, BufReader};

fn start(reply: Reply, max_connections: usize) -> (Harness, SocketAddr) {
    let (harness, context) = Harness::new(Vec::new());
    let config = TcpConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        reply,
        max_connections,
        protection: crate::net::Protection::default(),
    };
    let source = TcpSource::open(&config, context).unwrap();
    let address = source.local_addr();
    tokio::runtime::Handle::current().spawn(source.run());
    (harness, address)
}

fn answer_with(delivery: &Delivery, lines: Vec<u8>) {
    let Some(Answer::Lines(to)) = &delivery.reply else {
        panic!("no reply was asked for");
    };
    to.try_send(lines).unwrap();
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_replies_in_order_before_the_close() {
    let (mut harness, address) = start(Reply::Prediction, 10);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"one\ntwo\nlast").await.unwrap();
    client.shutdown().await.unwrap();
    loop {
        let delivery = harness.next().await.unwrap();
        let answer = texts(&delivery.chunk).join("!\n") + "!\n";
        answer_with(&delivery, answer.into_bytes());
        if delivery.chunk.last {
            break;
        }
    }
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "one!\ntwo!\nlast!\n");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let (mut harness, address) = start(Reply::None, 1);
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"here\n").await.unwrap();
    assert_eq!(harness.lines().await, ["here"]);
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"lost\n").await.unwrap();
    let mut line = String::new();
    BufReader::new(&mut second)
        .read_line(&mut line)
        .await
        .unwrap();
    assert_eq!(line, "{\"error\":\"too many connections (limit 1)\"}\n");
    assert_eq!(harness.stats.refused_connections.load(Ordering::Relaxed), 1);
    drop(first);
    assert!(harness.next().await.unwrap().chunk.last);
}

#[tokio::test]
async fn a_client_that_reads_no_replies_holds_up_only_itself() {
    let (mut harness, address) = start(Reply::Prediction, 10);
    let client = TcpStream::connect(address).await.unwrap();
    let (client_read, mut client_write) = client.into_split();
    // Far more answers than the socket's buffers hold.
    let writing = tokio::runtime::Handle::current().spawn(async move {
        let lines = b"x\n".repeat(50);
        while client_write.write_all(&lines).await.is_ok() {}
    });
    let answer = vec![b'y'; 1 << 20];
    let mut unanswered = 0;
    // The learner is never kept waiting: every answer finds room, until no more lines come.
    while unanswered < 2 * UNANSWERED {
        let next = tokio::time::timeout(Duration::from_millis(300), harness.next()).await;
        let Ok(delivery) = next else {
            break;
        };
        answer_with(&delivery.unwrap(), answer.clone());
        unanswered += 1;
    }
    assert!(unanswered < 2 * UNANSWERED, "it kept reading");
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(b"other\n").await.unwrap();
    assert_eq!(harness.lines().await, ["other"]);
    drop(client_read);
    writing.abort();
}

#[tokio::test]
async fn a_stop_ends_reading_and_lets_the_writer_finish() {
    let (mut harness, address) = start(Reply::Prediction, 10);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"one\n").await.unwrap();
    let delivery = harness.next().await.unwrap();
    harness.stop.cancel();
    assert!(
        harness.next().await.is_none(),
        "every task lets go of its sender"
    );
    answer_with(&delivery, b"answer\n".to_vec());
    drop(delivery);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "answer\n");
}
