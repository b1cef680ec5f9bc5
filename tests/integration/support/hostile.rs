//! A backend with the inventory's schema, or another, that answers every call with bytes of the test's choice.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Response};
use kubridge_bridge::proto::GetSchemaResponse;
use prost::Message as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// See the module.
#[derive(Debug)]
pub struct Hostile {
    addr: SocketAddr,
    says: Arc<Mutex<Says>>,
    reads: watch::Receiver<usize>,
}

/// What it says of itself, and to every call.
#[derive(Debug, Default)]
struct Says {
    descriptors: Bytes,
    edition: u64,
    answer: Bytes,
    lacks: &'static [&'static str],
    asked: HeaderMap,
}

impl Hostile {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let says = Says { descriptors: Bytes::from_static(inventory::DESCRIPTORS), ..Says::default() };
        let says = Arc::new(Mutex::new(says));
        let shared = Arc::clone(&says);
        let (counter, reads) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared), counter.clone()));
            }
        });
        Self { addr, says, reads }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What every call is answered with from now on.
    pub fn answer_with(&self, message: &[u8]) {
        self.says.lock().unwrap().answer = Bytes::copy_from_slice(message);
    }

    /// The methods that it has not implemented from now on: "GetMachine".
    pub fn lack(&self, methods: &'static [&'static str]) {
        self.says.lock().unwrap().lacks = methods;
    }

    /// The metadata of the last call.
    pub fn asked(&self) -> HeaderMap {
        self.says.lock().unwrap().asked.clone()
    }

    /// Its schema from now on.
    pub fn declare(&self, descriptors: &[u8]) {
        let mut says = self.says.lock().unwrap();
        says.descriptors = Bytes::copy_from_slice(descriptors);
        says.edition += 1;
    }

    /// The inventory's descriptors with other names for some things. As long as the old ones: lengths are in the bytes.
    pub fn renamed<const N: usize>(from: [&str; N], to: [&str; N]) -> Vec<u8> {
        let mut bytes = inventory::DESCRIPTORS.to_vec();
        for (from, to) in from.into_iter().zip(to) {
            assert_eq!(from.len(), to.len());
            let mut found = 0;
            while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
                found += 1;
            }
            assert!(found > 0, "{from} is in the descriptors");
        }
        bytes
    }

    /// The inventory's descriptors without its Watch methods: they are called something that is no verb.
    pub fn watchless() -> Vec<u8> {
        Self::renamed(["WatchMachines", "WatchRacks"], ["Machinelessly", "Racklessly"])
    }

    /// How often the schema was read.
    pub fn schema_reads(&self) -> usize {
        *self.reads.borrow()
    }

    /// Waits until the schema was read more than `before` times.
    pub async fn schema_read_after(&self, before: usize) {
        let mut reads = self.reads.clone();
        let read = reads.wait_for(|reads| *reads > before);
        let in_time = tokio::time::timeout(Duration::from_secs(20), read).await;
        in_time.expect("the schema is read again").unwrap();
    }

    /// Messages that are no Machine.
    pub fn garbage() -> Vec<Vec<u8>> {
        let deep = (0..200).fold(Vec::new(), |inner, _| {
            let mut outer = BytesMut::new();
            kubridge_bridge::wire::put_bytes(&mut outer, 1, &inner);
            outer.to_vec()
        });
        vec![
            vec![0x0a, 0xff],                                                // a length beyond the end
            vec![0x0a, 0x03, 0x0a, 0x05, b'x'],                              // the same, one level down
            vec![0xff; 64],                                                  // an overlong key
            vec![0x0b, 0x0c],                                                // a group
            vec![0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe],                        // a name that is not UTF-8
            vec![0x08, 0x01],                                                // metadata as a number
            vec![0x12, 0x06, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff],            // a varint that does not end
            [vec![0x0a, 0x80, 0x80, 0x80, 0x80, 0x08], vec![0; 9]].concat(), // two gigabytes announced
            deep,
        ]
    }
}

async fn serve(socket: TcpStream, says: Arc<Mutex<Says>>, reads: watch::Sender<usize>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (lacks, message) = {
            let mut says = says.lock().unwrap();
            let lacks = says.lacks.contains(&request.uri().path().rsplit('/').next().unwrap());
            let message = if request.uri().path() == "/kubridge.v1.Schema/Get" {
                reads.send_modify(|reads| *reads += 1);
                GetSchemaResponse {
                    file_descriptor_set: says.descriptors.to_vec(),
                    etag: says.edition.to_string(),
                    not_modified: false,
                }
                .encode_to_vec()
                .into()
            } else {
                says.asked.clone_from(request.headers());
                says.answer.clone()
            };
            (lacks, message)
        };
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(&message);
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let Ok(mut stream) = respond.send_response(head, false) else { continue };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", if lacks { "12" } else { "0" }.parse().unwrap());
        // As some servers do: the status comes after headers that say nothing.
        if !lacks {
            let _ = stream.send_data(frame.freeze(), false);
        }
        let _ = stream.send_trailers(trailers);
    }
}
