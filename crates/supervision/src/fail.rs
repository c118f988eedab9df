//! Failure points: named places in the code where a test injects a failure. An operator can use them too, in a build that
//! has them. Without the feature `failure-points` they compile to nothing.
//!
//! They belong to a tree and not to the process, so that trees in one process do not disturb each other. Code finds them
//! through the actor in which it runs.

pub(crate) mod points;

#[cfg(feature = "failure-points")]
pub use points::{BadFailurePoint, FailurePoints, Written};
pub use points::{Fault, InjectedFailure, When};

/// Passes the failure point `name` of the running actor's tree.
///
/// # Errors
/// [`InjectedFailure`] when it is armed with [`Fault::Error`].
#[cfg(not(feature = "failure-points"))]
#[allow(clippy::unused_async)]
pub async fn point(_name: &'static str) -> Result<(), InjectedFailure> {
    Ok(())
}

/// Passes the failure point `name` of the running actor's tree.
///
/// # Errors
/// [`InjectedFailure`] when it is armed with [`Fault::Error`].
///
/// # Panics
/// When it is armed with [`Fault::Panic`].
#[cfg(feature = "failure-points")]
pub async fn point(name: &'static str) -> Result<(), InjectedFailure> {
    let Some(actor) = crate::current::actor() else {
        return Ok(());
    };
    let points = &actor.env.failure_points;
    match points.pass(name, &actor.path) {
        None => {}
        Some(Fault::Panic) => panic!("the failure point {name} was armed with this panic"),
        Some(Fault::Error) => return Err(InjectedFailure(name.to_owned())),
        Some(Fault::Delay(delay)) => actor.env.clock.sleep(delay).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Spin) => {
            // Panics and errors are logged when the actor ends. This actor does not end.
            tracing::warn!(actor = &*actor.path, "the failure point {name} holds this thread");
            // Sleeps on its thread instead of spinning: to the runtime it is the same, and it leaves the core to others.
            while points.is_armed(name) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
    Ok(())
}
