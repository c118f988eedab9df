//! What tells the entries of a list apart. Pure.

use peer_snapshots::polled::{ChannelKind, ClientChannel, ClientInfo, ServerChannel, Sv1Client};

/// An entry of a list.
pub(crate) trait Entry {
    /// What no other entry of the list has.
    fn id(&self) -> (Option<ChannelKind>, u32);
}

impl Entry for ClientInfo {
    fn id(&self) -> (Option<ChannelKind>, u32) {
        (None, self.client_id)
    }
}

impl Entry for Sv1Client {
    fn id(&self) -> (Option<ChannelKind>, u32) {
        (None, self.client_id)
    }
}

impl Entry for (ChannelKind, ClientChannel) {
    fn id(&self) -> (Option<ChannelKind>, u32) {
        (Some(self.0), self.1.channel_id)
    }
}

impl Entry for (ChannelKind, ServerChannel) {
    fn id(&self) -> (Option<ChannelKind>, u32) {
        (Some(self.0), self.1.channel_id)
    }
}
