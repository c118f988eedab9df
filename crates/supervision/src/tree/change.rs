//! Members that are added to a running tree, and removed from it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Tree,
    reports::{ChangeError, Removed},
};
use crate::{
    child::{Child, ROOT},
    edges::waiting_cycle,
    group::{Group, Member},
    plan::KILL_GRACE,
    slot::Slot,
    state::{ExitKind, State},
    sync::lock,
};

impl Tree {
    /// Adds a member under the supervisor with this path (`root` for the root), after the existing ones, and has it started. It
    /// outlives crashes of its supervisor.
    ///
    /// # Errors
    /// [`ChangeError`] when there is no such supervisor, the name is taken, its edges would close a cycle, or the supervisor
    /// or the whole tree is being stopped or has ended.
    pub fn add_child(&self, supervisor: &str, child: Child) -> Result<(), ChangeError> {
        // One change at a time: two calls that add the same name must not both find it free.
        let _changing = lock(&self.changing);
        if self.ended.borrow().is_some() {
            return Err(ChangeError::Ended);
        }
        // A supervisor that stops would never start it.
        if self.stopping.load(Relaxed) || self.env.verdict.borrow().is_some() {
            return Err(ChangeError::Stopping("the tree".to_owned()));
        }
        let (parent, group) = self.supervisor(supervisor)?;
        let path = child.path(parent);
        if self.member(&path).is_some() {
            return Err(ChangeError::Taken(path));
        }
        let member = Arc::new(child.place(parent, &self.env)?);
        let (mut added, mut sends_waiting) = (Vec::new(), false);
        member.walk(&mut |member| {
            added.push(member.slot.clone());
            sends_waiting |= member.name.sends_waiting();
        });
        self.check_left_behind(&added)?;
        // A new cycle leads through the new member, so it must send on an edge that waits. Then all edges of the tree matter.
        if sends_waiting {
            let mut edges = self.group.edges();
            edges.extend(member.edges());
            if let Some(cycle) = waiting_cycle(&edges) {
                return Err(cycle.into());
            }
        }
        // Before it is started: the watch must know it.
        added.iter().for_each(|slot| self.registry.register(slot));
        if !group.insert(member.clone()) {
            return Err(ChangeError::Taken(path));
        }
        self.check_still_there(supervisor, &group, &member)
    }

    /// Takes a new member out again when its supervisor, or the tree, has ended since that was checked: nobody would start it or
    /// close its mailbox. What ends after this check finds the member.
    fn check_still_there(&self, supervisor: &str, group: &Group, member: &Member) -> Result<(), ChangeError> {
        let error = match self.supervisor(supervisor) {
            _ if self.root.state() == State::Stopped => ChangeError::Ended,
            Err(error @ (ChangeError::Down(_) | ChangeError::NoSupervisor(_))) => error,
            _ => return Ok(()),
        };
        group.leave(member);
        group.dismiss_leaving();
        Err(error)
    }

    /// Stops the member with this path and everything below it, in order and within its deadline, and removes it from the tree; its
    /// siblings continue. If its supervisor is just being restarted, the call waits for that. Returns the actors that had to be
    /// killed.
    ///
    /// # Errors
    /// [`ChangeError`] when there is no such member, the tree ended first, or a handler in it does not yield.
    pub async fn remove_child(&self, path: &str) -> Result<Removed, ChangeError> {
        if self.ended.borrow().is_some() {
            return Err(ChangeError::Ended);
        }
        let (member, above) = self.group.find(path).ok_or_else(|| ChangeError::Unknown(path.to_owned()))?;
        let slots = || {
            let mut slots = Vec::new();
            member.walk(&mut |member: &Arc<Member>| slots.push(member.slot.clone()));
            slots
        };
        // The counters cover all incarnations, so only their growth belongs to this removal.
        let killed_before: HashMap<String, u64> =
            slots().iter().map(|slot| (slot.path().to_owned(), slot.exits(ExitKind::Killed))).collect();
        let (group, supervisor) = match above.last() {
            Some(above) => (above.group().unwrap_or(&self.group), &above.slot),
            None => (&self.group, &self.root),
        };
        let left = group.leave(&member);
        if supervisor.state() == State::Stopped {
            // No later incarnation of the supervisor will do it.
            group.dismiss_leaving();
        }
        // The tree may end first, and then no supervisor is left to cancel the token.
        tokio::select! {
            biased;
            () = left.cancelled() => {}
            _ = self.ended() => return Err(ChangeError::Ended),
        }
        // A killed actor ends at its next await. That takes real time, whatever the clock of the tree.
        let mut live = self.env.live.subscribe();
        let all_ended = live.wait_for(|_| !slots().iter().any(|slot| slot.has_incarnation()));
        if tokio::time::timeout(KILL_GRACE, all_ended).await.is_err() {
            return Err(ChangeError::Abandoned(path.to_owned()));
        }
        let was_killed = |slot: &Arc<Slot>| {
            let before = killed_before.get(slot.path()).copied().unwrap_or_default();
            (slot.exits(ExitKind::Killed) > before).then(|| slot.path().to_owned())
        };
        Ok(Removed { killed: slots().iter().filter_map(was_killed).collect() })
    }

    /// Whether no incarnation is left of an earlier member at the path of a new one.
    fn check_left_behind(&self, added: &[Arc<Slot>]) -> Result<(), ChangeError> {
        let added: HashSet<&str> = added.iter().map(|slot| slot.path()).collect();
        let remains = |slot: &&Arc<Slot>| {
            added.contains(slot.path()) && slot.has_incarnation() && self.member(slot.path()).is_none()
        };
        match self.registry.slots().iter().find(remains) {
            Some(slot) => Err(ChangeError::StillRuns(slot.path().to_owned())),
            None => Ok(()),
        }
    }

    /// Finds a supervisor by its path (`root` for the root): the prefix of its children's paths, and its group.
    fn supervisor<'a>(&self, path: &'a str) -> Result<(&'a str, Arc<Group>), ChangeError> {
        if path == ROOT {
            return Ok(("", self.group.clone()));
        }
        let found = self.group.find(path);
        let Some((member, group)) = found.as_ref().and_then(|(member, _)| Some((member, member.group()?)))
        else {
            return Err(ChangeError::NoSupervisor(path.to_owned()));
        };
        let above = found.iter().flat_map(|(_, above)| above);
        if let Some(leaving) = above.chain([member]).find(|member| member.is_leaving()) {
            return Err(ChangeError::Stopping(leaving.slot.path().to_owned()));
        }
        if matches!(member.slot.state(), State::Stopped | State::Abandoned) {
            return Err(ChangeError::Down(path.to_owned()));
        }
        Ok((path, group.clone()))
    }
}
