//! Proof that the chaos stream earns its keep: five classic stream bugs, planted in a toy echo, are found by it.
//!
//! Over turmoil alone the first three are never seen, because it keeps the boundaries of writes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use weirline_sim::chaos::ChaosPlan;
use weirline_sim::net::{Net, NetPlan};
use weirline_sim::rng::Rng;
use weirline_sim::socket::{SimConnector, SimListener, Socket};
use weirline_sim::trace::Keep;
use weirline_tokio::{Connector as _, Listener as _};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    ShortWriteIgnored,
    OneReadIsOneFrame,
    ReadCancelledInHeader,
    WriterAbortedOnEof,
    EarlyCloseWithUnreadData,
}

const FRAMES: u8 = 30;
const SEEDS: u64 = 100;

/// The toy's server: echoes frames of one length byte and a payload, until the end of the stream or an empty frame.
async fn serve(stream: Socket, bug: Bug) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let queue: Rc<RefCell<Vec<u8>>> = Rc::default();
    let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
    let writing = {
        let queue = Rc::clone(&queue);
        tokio::task::spawn_local(async move {
            while woken.recv().await.is_some() {
                let bytes = queue.take();
                if bug == Bug::ShortWriteIgnored {
                    let _ = writer.write(&bytes).await?;
                } else {
                    writer.write_all(&bytes).await?;
                }
            }
            writer.write_all(&queue.take()).await?;
            writer.shutdown().await
        })
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(3));
    let done = loop {
        let frame = match bug {
            Bug::OneReadIsOneFrame => one_read(&mut reader).await,
            Bug::ReadCancelledInHeader => tokio::select! {
                biased;
                frame = whole_frame(&mut reader) => frame,
                _ = ticks.tick() => continue,
            },
            _ => whole_frame(&mut reader).await,
        };
        match frame {
            Ok(frame) if frame.len() <= 1 => break true,
            Ok(frame) => queue.borrow_mut().extend_from_slice(&frame),
            Err(_) => break false,
        }
        let _ = wake.try_send(());
    };
    drop(wake);
    if bug == Bug::WriterAbortedOnEof {
        writing.abort();
    }
    let result = writing.await.unwrap_or(Ok(()));
    if done && bug != Bug::EarlyCloseWithUnreadData {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await?;
    }
    result
}

async fn whole_frame(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![reader.read_u8().await?];
    frame[0] = frame[0].max(reader.read_u8().await?);
    let mut payload = vec![0; usize::from(frame[0])];
    reader.read_exact(&mut payload).await?;
    frame.extend(payload);
    Ok(frame)
}

async fn one_read(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; 512];
    let count = reader.read(&mut buffer).await?;
    if count < 2 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut frame = vec![buffer[0].max(buffer[1])];
    frame.extend(&buffer[2..count]);
    Ok(frame)
}

/// The toy's client: sends frames, an empty one, and more behind it; wants all its frames back.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
    let mut expected = Vec::new();
    for number in 1..=FRAMES {
        let payload = vec![number; usize::from(number)];
        stream
            .write_all(&[0, number])
            .await
            .map_err(|error| error.to_string())?;
        stream
            .write_all(&payload)
            .await
            .map_err(|error| error.to_string())?;
        expected.push(number);
        expected.extend(payload);
        if number % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stream
        .write_all(&[0, 0, 9, 9, 9, 9])
        .await
        .map_err(|error| error.to_string())?;
    stream.shutdown().await.map_err(|error| error.to_string())?;
    let mut got = Vec::new();
    let read = stream.read_to_end(&mut got).await;
    match read {
        Ok(_) if got == expected => Ok(()),
        Ok(_) => Err(format!("{} bytes of {} came back", got.len(), expected.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn run(seed: u64, bug: Bug) -> Result<(), String> {
    let mut rng = Rng::derive(seed, "toy", 0);
    let plan = NetPlan {
        tick_ms: 1,
        latency_ms_min: 1,
        latency_ms_max: 5,
        client_chaos: ChaosPlan::draw(&mut rng),
        server_chaos: ChaosPlan::draw(&mut rng),
        window_bytes: rng.magnitude(64..=65_536),
        vectored: true,
        hang_percent: 0,
        fuses: Vec::new(),
    };
    let net = Net::new(seed, plan, Keep::Last);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .tcp_capacity(4096)
        .simulation_duration(Duration::from_secs(20))
        .build();
    let verdict: Rc<RefCell<Option<Result<(), String>>>> = Rc::default();
    {
        let net = Rc::clone(&net);
        sim.host("server", move || {
            let net = Rc::clone(&net);
            async move {
                let listener = SimListener::bind(net, "server", 80).await?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::task::spawn_local(serve(stream, bug));
                }
            }
        });
    }
    {
        let (net, verdict) = (Rc::clone(&net), Rc::clone(&verdict));
        sim.client("client", async move {
            let connector = SimConnector::new(net, "client", 0, 1);
            let stream = connector.connect("server", 80).await?;
            *verdict.borrow_mut() = Some(converse(stream).await);
            Ok(())
        });
    }
    let end = sim.run().map_err(|error| error.to_string());
    let verdict = verdict.take();
    end.and(verdict.unwrap_or_else(|| Err("the client did not end".to_owned())))
}

fn seeds_that_find(bug: Bug) -> usize {
    let worlds = (0..SEEDS).map(|seed| {
        std::thread::Builder::new()
            .spawn(move || run(seed, bug))
            .unwrap()
            .join()
    });
    worlds
        .filter(|verdict| {
            let verdict = verdict.as_ref().unwrap();
            if let (Bug::None, Err(what)) = (bug, verdict) {
                panic!("the sound toy failed: {what}");
            }
            verdict.is_err()
        })
        .count()
}

fn check(bug: Bug, at_least: usize) {
    let found = seeds_that_find(bug);
    println!("{bug:?}: found by {found} of {SEEDS} seeds");
    assert!(
        found >= at_least,
        "{bug:?} was found by {found} of {SEEDS} seeds only"
    );
}

#[test]
fn a_sound_program_survives_the_chaos() {
    assert_eq!(seeds_that_find(Bug::None), 0);
}

#[test]
fn a_short_write_that_is_ignored_is_found() {
    check(Bug::ShortWriteIgnored, 50);
}

#[test]
fn a_read_taken_for_a_frame_is_found() {
    check(Bug::OneReadIsOneFrame, 50);
}

#[test]
fn a_read_cancelled_inside_a_header_is_found() {
    check(Bug::ReadCancelledInHeader, 30);
}

#[test]
fn a_writer_aborted_at_the_end_of_the_stream_is_found() {
    check(Bug::WriterAbortedOnEof, 30);
}

#[test]
fn a_close_over_unread_data_is_found() {
    check(Bug::EarlyCloseWithUnreadData, 30);
}
