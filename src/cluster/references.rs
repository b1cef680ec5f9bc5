//! Secrets and ConfigMaps that others refer to, each watched by itself: nobody needs the right to read all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, future,
    task::Poll,
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, Resource,
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde::de::DeserializeOwned;

use super::Pauses;

/// The name of a Secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    is_secret: bool,
    namespace: String,
    name: String,
}

impl Reference {
    /// A Secret.
    pub fn secret(namespace: &str, name: &str) -> Self {
        Self { is_secret: true, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A ConfigMap.
    pub fn config_map(namespace: &str, name: &str) -> Self {
        Self { is_secret: false, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// As rights name it.
    fn plural(&self) -> &'static str {
        if self.is_secret { "secrets" } else { "configmaps" }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_secret { "Secret" } else { "ConfigMap" };
        write!(f, "the {kind} {}/{}", self.namespace, self.name)
    }
}

/// What the API server says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// What is in it, by key.
    Is(BTreeMap<String, Vec<u8>>),
    /// It is not there.
    Absent,
    /// It cannot be read: why, and the mend.
    Unreadable(String),
}

/// Watches what is referred to.
pub struct References {
    client: Client,
    watched: BTreeMap<Reference, Watched>,
}

struct Watched {
    news: BoxStream<'static, Content>,
    /// Nothing before the API server has answered.
    content: Option<Content>,
}

impl References {
    /// Watches nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, watched: BTreeMap::new() }
    }

    /// Watches these, and no others.
    pub fn want(&mut self, wanted: BTreeSet<Reference>) {
        self.watched.retain(|reference, _| wanted.contains(reference));
        for reference in wanted {
            if !self.watched.contains_key(&reference) {
                let news = news(self.client.clone(), &reference);
                self.watched.insert(reference, Watched { news, content: None });
            }
        }
    }

    /// Waits until one of them is another.
    pub async fn changed(&mut self) {
        future::poll_fn(|context| {
            let mut changed = Poll::Pending;
            for watched in self.watched.values_mut() {
                while let Poll::Ready(Some(content)) = watched.news.poll_next_unpin(context) {
                    // What was read before is likelier to be true than nothing.
                    let is_worse = matches!(content, Content::Unreadable(_))
                        && matches!(watched.content, Some(Content::Is(_)));
                    if !is_worse && watched.content.as_ref() != Some(&content) {
                        watched.content = Some(content);
                        changed = Poll::Ready(());
                    }
                }
            }
            changed
        })
        .await;
    }

    /// Whether the API server has said something of each of them.
    pub fn are_known(&self) -> bool {
        self.watched.values().all(|watched| watched.content.is_some())
    }

    /// One key of one of them.
    ///
    /// # Errors
    /// Why it cannot be had, and the mend.
    pub fn key(&self, reference: &Reference, key: &str) -> Result<Vec<u8>, String> {
        let content = match self.watched.get(reference).and_then(|watched| watched.content.as_ref()) {
            None => return Err(format!("{reference} was not read yet")),
            Some(Content::Absent) => {
                return Err(format!("{reference} does not exist: create it, or name another"));
            }
            Some(Content::Unreadable(why)) => return Err(why.clone()),
            Some(Content::Is(content)) => content,
        };
        content.get(key).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
            let keys: Vec<&str> = content.keys().map(String::as_str).collect();
            let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            format!("{reference} has no key {key:?} (it has {keys}): add it, or name another")
        })
    }
}

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("References").field("watched", &self.watched.keys()).finish_non_exhaustive()
    }
}

fn news(client: Client, reference: &Reference) -> BoxStream<'static, Content> {
    if reference.is_secret {
        let data = |secret: Secret| values(secret.data);
        of(Api::<Secret>::namespaced(client, &reference.namespace), reference, data).boxed()
    } else {
        let data = |map: ConfigMap| {
            let text = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
            values(map.binary_data).into_iter().chain(text).collect()
        };
        of(Api::<ConfigMap>::namespaced(client, &reference.namespace), reference, data).boxed()
    }
}

fn values(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, Vec<u8>> {
    data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value)).collect()
}

fn of<K>(
    api: Api<K>,
    reference: &Reference,
    data: impl Fn(K) -> BTreeMap<String, Vec<u8>> + Send + 'static,
) -> impl Stream<Item = Content> + Send + 'static
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    let one = watcher::Config::default().fields(&format!("metadata.name={}", reference.name));
    let reference = reference.clone();
    let mut listed = None;
    watcher(api, one).backoff(Pauses::default()).filter_map(move |event| {
        let content = match event {
            Ok(Event::Init) => {
                listed = None;
                None
            }
            Ok(Event::InitApply(object)) => {
                listed = Some(data(object));
                None
            }
            Ok(Event::InitDone) => Some(listed.take().map_or(Content::Absent, Content::Is)),
            Ok(Event::Apply(object)) => Some(Content::Is(data(object))),
            Ok(Event::Delete(_)) => Some(Content::Absent),
            Err(error) => Some(Content::Unreadable(format!(
                "{reference} cannot be read: {error}; let Kubridge's service account list and watch {} with the \
                 resourceName {} in the namespace {}",
                reference.plural(),
                reference.name,
                reference.namespace
            ))),
        };
        future::ready(content)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::channel::mpsc::{UnboundedSender, unbounded};

    use super::*;

    /// One that is watched, and who tells of it.
    fn watched() -> (References, Reference, UnboundedSender<Content>) {
        let client = Client::new(
            tower::service_fn(|_: http::Request<kube::client::Body>| async {
                Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody asks"))
            }),
            "default",
        );
        let (tell, news) = unbounded();
        let (mut references, reference) = (References::new(client), Reference::secret("default", "tls"));
        references.watched.insert(reference.clone(), Watched { news: news.boxed(), content: None });
        (references, reference, tell)
    }

    #[tokio::test]
    async fn what_was_read_stays_until_it_is_another_or_gone() {
        let (mut references, reference, tell) = watched();
        assert!(!references.are_known());
        let mut told = async |content: Content, key: &str| {
            tell.unbounded_send(content).unwrap();
            let news = tokio::time::timeout(std::time::Duration::from_millis(50), references.changed()).await;
            assert!(references.are_known());
            (news.is_ok(), references.key(&reference, key))
        };
        let unreadable = || Content::Unreadable("forbidden".to_owned());
        assert_eq!(told(unreadable(), "a").await, (true, Err("forbidden".to_owned())));
        let content = || Content::Is(BTreeMap::from([("a".to_owned(), b"1".to_vec())]));
        assert_eq!(told(content(), "a").await, (true, Ok(b"1".to_vec())));
        let (_, other) = told(content(), "b").await;
        assert!(other.unwrap_err().starts_with("the Secret default/tls has no key \"b\" (it has a)"));
        assert_eq!(told(unreadable(), "a").await, (false, Ok(b"1".to_vec())), "for now it cannot be read");
        let (news, gone) = told(Content::Absent, "a").await;
        assert!(news);
        assert_eq!(gone, Err("the Secret default/tls does not exist: create it, or name another".to_owned()));

        references.want(BTreeSet::new());
        assert!(references.key(&reference, "a").is_err(), "it is not watched any more");
    }
}
