//! How a gRPC backend is: it says so itself (`grpc.health.v1`), or is asked for a sign of life.

use std::{future::Future, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::{sync::watch, time::sleep};

use super::{
    probe::{Availability, Senses},
    tracker::{Event, Outcome, Settings},
};
use crate::upstream::{self, Backend, ConnectionState, HealthEnd, Life, Serving};

/// The pause before the backend's health is watched again.
const AGAIN: Duration = Duration::from_secs(1);
/// The same where one replica said that it does not serve and another one that it does.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// How many answers contradict a replica that says that it does not serve.
const OTHERS: usize = 3;

impl Availability {
    /// Watches over a gRPC backend. The future is the loop: to be spawned, and dropped with the backend.
    pub fn grpc(backend: Backend, settings: Settings) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let asked = backend.clone();
        let senses = Senses {
            state: backend.state(),
            traffic: backend.traffic(),
            probe: Box::new(move || {
                let backend = asked.clone();
                Box::pin(async move { outcome(upstream::ask(&backend).await) })
            }),
            health: health(backend).boxed(),
        };
        Self::new(senses, settings)
    }
}

fn outcome(life: Life) -> Outcome {
    match life {
        Life::Says(Serving::Serving) | Life::Answers => Outcome::Ok,
        Life::Says(Serving::NotServing) => {
            Outcome::Failed("grpc.health.v1.Health/Check says NOT_SERVING".into())
        }
        Life::Silent(error) => Outcome::Failed(error.to_string().into()),
    }
}

/// What the backend says of itself, for as long as it is connected.
fn health(backend: Backend) -> impl futures::Stream<Item = Event> + Send {
    let (tell, told) = tokio::sync::mpsc::channel(8);
    let watching = async move {
        let mut state = backend.state();
        let mut returns = backend.returns();
        loop {
            connected(&mut state).await?;
            returns.mark_unchanged();
            let ended = watch_health(&backend, &tell).await;
            tell.send(Event::NoHealth).await.ok()?;
            match ended {
                // Another version of it may.
                Ended::Unimplemented => returns.changed().await.ok()?,
                Ended::Lost => sleep(AGAIN).await,
                Ended::Contradicted => sleep(ELSEWHERE).await,
            }
        }
    };
    // The watching is driven by whoever reads what it tells.
    let told = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
    stream::select(told, stream::once(watching).filter_map(std::future::ready))
}

enum Ended {
    Unimplemented,
    Lost,
    /// One replica does not serve, others do.
    Contradicted,
}

async fn watch_health(backend: &Backend, tell: &tokio::sync::mpsc::Sender<Event>) -> Ended {
    let (say, mut said) = watch::channel(None);
    let following = upstream::follow(backend, |serving| {
        say.send_replace(Some(serving));
    });
    let telling = async {
        while said.changed().await.is_ok() {
            let serving = said.borrow_and_update().flatten();
            let event = match serving {
                None => Event::NoHealth,
                Some(Serving::Serving) => Event::Health(Serving::Serving),
                Some(Serving::NotServing) if others_serve(backend).await => return,
                Some(Serving::NotServing) => Event::Health(Serving::NotServing),
            };
            if tell.send(event).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ended = following => match ended {
            HealthEnd::Unimplemented => Ended::Unimplemented,
            HealthEnd::Lost(_) => Ended::Lost,
        },
        () = telling => Ended::Contradicted,
    }
}

/// Whether another replica serves: the watch hears only one, and that one may be about to stop.
async fn others_serve(backend: &Backend) -> bool {
    for _ in 0..OTHERS {
        if matches!(upstream::ask(backend).await, Life::Says(Serving::Serving)) {
            return true;
        }
    }
    false
}

async fn connected(state: &mut watch::Receiver<ConnectionState>) -> Option<()> {
    state.wait_for(|state| *state == ConnectionState::Ready).await.ok().map(|_| ())
}

#[cfg(test)]
mod tests;
