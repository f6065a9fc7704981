//! All of the services together: started in order, watched, stopped in the
//! opposite order.

use std::time::Duration;

use futures::future::select_all;

use super::error::DevError;
use super::say;
use super::services::Service;

/// How long each service gets to end by itself.
const GRACE: Duration = Duration::from_secs(8);

/// Services in the order in which they were started.
#[derive(Default)]
pub struct Stack {
    services: Vec<Box<dyn Service>>,
}

impl Stack {
    /// Takes a service that was just started and waits until it answers. It is
    /// ours from the first moment on, also if the waiting is broken off.
    pub async fn add(&mut self, service: impl Service + 'static) -> Result<(), DevError> {
        self.services.push(Box::new(service));
        match self.services.last_mut() {
            Some(service) => service.ready().await,
            None => Ok(()),
        }
    }

    /// Waits for the first essential service that ends, and says what it left
    /// in its log. What ends of the others is told meanwhile.
    pub async fn first_death(&mut self) -> DevError {
        loop {
            let ends = self
                .services
                .iter_mut()
                .map(|service| Box::pin(service.process().died()));
            let (death, at, _) = select_all(ends).await;
            if self.services[at].is_essential() {
                return death;
            }
            drop(self.services.remove(at));
            let death = death.to_string();
            say(&format!(
                "\n{}; the rest goes on.",
                death.lines().next().unwrap_or_default()
            ));
        }
    }

    /// Stops all of them, the last one first.
    pub async fn stop(mut self) {
        while let Some(mut service) = self.services.pop() {
            service.process().stop(GRACE).await;
        }
    }
}
